-- Locked: a beat that comes meanwhile waits, and learns what became of its session.
-- name: beats_of
... FOR NO KEY UPDATE;
