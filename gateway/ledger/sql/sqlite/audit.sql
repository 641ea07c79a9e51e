-- name: write
INSERT INTO audit (at_ms, actor, action, filter, reason, count) VALUES (?, ?, ?, ?, ?, ?);
