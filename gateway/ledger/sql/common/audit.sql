-- name: write
INSERT INTO audit (at_ms, actor, action, filter, reason, count) VALUES (?, ?, ?, ?, ?, ?);

-- name: of_action
SELECT at_ms, actor, action, filter, reason, count FROM audit WHERE action = ? ORDER BY audit_key DESC LIMIT ?;
