-- name: current
SELECT revision FROM rule_set WHERE current = 1;

-- name: clear_current
UPDATE rule_set SET current = 0 WHERE current = 1;

-- name: make_current
INSERT INTO rule_set (revision, files, stored_at_ms, current) VALUES (?, ?, ?, 1)
ON CONFLICT (revision) DO UPDATE SET current = 1;

-- name: files
SELECT files FROM rule_set WHERE revision = ?;
