-- name: forwarders
SELECT s.session_id FROM session s
WHERE s.voided_at_ms IS NULL AND s.role = 'forwarder'
  AND NOT EXISTS (SELECT 1 FROM draining d WHERE d.host = s.host AND d.role = s.role)
ORDER BY s.session_id;

-- name: own
UPDATE destination SET owner_session_id = :session_id, wanted_by_session_id = NULL
WHERE name = :name AND owner_session_id IS NULL;

-- name: owned
SELECT name FROM destination WHERE owner_session_id = ? ORDER BY name;

-- name: ask_for
UPDATE destination SET wanted_by_session_id = :session_id
WHERE name = :name AND owner_session_id IS NOT NULL AND owner_session_id <> :session_id;

-- Whoever asked has it from now on, without another's coming in between.
-- name: disown
UPDATE destination
SET owner_session_id = (
        SELECT s.session_id FROM session s WHERE s.session_id = wanted_by_session_id AND s.voided_at_ms IS NULL
    ),
    wanted_by_session_id = NULL
WHERE name = :name AND owner_session_id = :session_id;

-- name: free_owned
UPDATE destination
SET owner_session_id = NULL
WHERE owner_session_id = :session_id;

-- name: forget_wishes
UPDATE destination SET wanted_by_session_id = NULL WHERE wanted_by_session_id = :session_id;

-- name: leased_to
SELECT delivery_id, destination_key FROM delivery
WHERE state = 'leased' AND session_id = :session_id
  AND destination_key = (SELECT destination_key FROM destination WHERE name = :name)
ORDER BY delivery_id;

-- name: free_leased
UPDATE delivery SET state = 'ready', session_id = NULL, uncertain = 1, alone = 1, updated_at_ms = :now_ms
WHERE delivery_id = :delivery_id AND state = 'leased' AND session_id = :session_id;
