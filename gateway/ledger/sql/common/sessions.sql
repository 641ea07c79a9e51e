-- name: open_session
INSERT INTO session (role, host, pid, opened_at_ms, beat_at_ms, generation, home)
VALUES (:role, :host, :pid, :now_ms, :now_ms, :generation, :home)
RETURNING session_id;

-- name: beat
UPDATE session SET beats = beats + 1, beat_at_ms = :now_ms, in_hand = :in_hand
WHERE session_id = :session_id AND voided_at_ms IS NULL;

-- name: is_open
SELECT 1 FROM session WHERE session_id = ? AND voided_at_ms IS NULL;

-- name: beats_of
SELECT beats FROM session WHERE session_id = ?;

-- name: opened_at
SELECT opened_at_ms FROM session WHERE session_id = ?;

-- name: open
SELECT session_id, role, host, pid, opened_at_ms, generation, home, beats, beat_at_ms FROM session
WHERE voided_at_ms IS NULL ORDER BY session_id;

-- name: knows_generation
SELECT 1 FROM session WHERE generation = ? AND generation <> '' LIMIT 1;

-- name: generations_of
SELECT generation FROM session WHERE home = ? AND generation <> '' AND voided_at_ms IS NOT NULL ORDER BY session_id;

-- name: void
UPDATE session SET voided_at_ms = :now_ms WHERE session_id = :session_id AND voided_at_ms IS NULL;

-- name: free_instances
UPDATE instance SET session_id = NULL WHERE state = 'received' AND session_id = :session_id;

-- name: free_derivations
UPDATE derivation SET session_id = NULL WHERE session_id = :session_id;

-- name: count_leased
SELECT destination_key, count(*) FROM delivery
WHERE state = 'leased' AND session_id = :session_id GROUP BY destination_key;

-- name: free_deliveries
UPDATE delivery
SET state = 'ready', session_id = NULL, uncertain = 1, alone = 1, updated_at_ms = :now_ms
WHERE state = 'leased' AND session_id = :session_id;
