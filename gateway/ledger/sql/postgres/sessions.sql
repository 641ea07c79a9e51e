-- Locked: a beat that comes meanwhile waits, and learns what became of its session.
-- name: beats_of
SELECT beats FROM session WHERE session_id = ? FOR NO KEY UPDATE;
