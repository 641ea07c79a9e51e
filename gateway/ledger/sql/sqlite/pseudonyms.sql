-- name: remember
INSERT OR IGNORE INTO pseudonym (pseudonym, mark, sealed, first_at_ms) VALUES (?, ?, ?, ?);

-- name: behind
SELECT sealed FROM pseudonym WHERE pseudonym = ? ORDER BY first_at_ms, mark;
