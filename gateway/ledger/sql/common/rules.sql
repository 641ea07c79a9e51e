-- name: current
SELECT revision FROM rule_set WHERE current = 1;

-- name: clear_current
UPDATE rule_set SET current = 0 WHERE current = 1;

-- name: make_current
INSERT INTO rule_set (revision, files, stored_at_ms, current) VALUES (?, ?, ?, 1)
ON CONFLICT (revision) DO UPDATE SET current = 1, stored_at_ms = excluded.stored_at_ms;

-- name: files
SELECT files FROM rule_set WHERE revision = ?;

-- name: superseded
SELECT r.revision FROM rule_set r
WHERE r.current = 0 AND EXISTS (
    SELECT 1 FROM rule_set n WHERE n.stored_at_ms > r.stored_at_ms AND n.stored_at_ms < :before_ms
)
ORDER BY r.stored_at_ms;

-- name: last_seq
SELECT max(seq) FROM (SELECT seq FROM instance WHERE seq > :after_seq ORDER BY seq LIMIT :limit) looked_at;

-- name: revisions_of
SELECT DISTINCT c.revision FROM instance i JOIN decision c ON c.decision_key = i.decision_key
WHERE i.seq > :after_seq AND i.seq <= :last_seq AND i.state <> 'purged';

-- name: forget
DELETE FROM rule_set WHERE revision = ? AND current = 0;
