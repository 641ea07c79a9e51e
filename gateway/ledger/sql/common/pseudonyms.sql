-- name: remember
INSERT INTO pseudonym (pseudonym, mark, sealed, first_at_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (pseudonym, mark) DO NOTHING;

-- name: behind
SELECT sealed FROM pseudonym WHERE pseudonym = ? ORDER BY first_at_ms, mark;
