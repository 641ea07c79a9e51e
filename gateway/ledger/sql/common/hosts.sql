-- name: is_draining
SELECT 1 FROM draining WHERE host = ? AND role = ?;

-- name: drain
INSERT INTO draining (host, role, actor, since_ms) VALUES (:host, :role, :actor, :now_ms)
ON CONFLICT (host, role) DO NOTHING;

-- name: undrain
DELETE FROM draining WHERE host = :host AND role = :role;

-- name: draining
SELECT host, role, actor, since_ms FROM draining ORDER BY host, role;

-- name: processes
SELECT s.session_id, s.role, s.host, s.pid, s.opened_at_ms, s.beat_at_ms, s.in_hand,
       CASE WHEN d.host IS NULL THEN 0 ELSE 1 END
FROM session s LEFT JOIN draining d ON d.host = s.host AND d.role = s.role
WHERE s.voided_at_ms IS NULL
ORDER BY s.host, s.role, s.session_id;

-- name: instances_held
SELECT session_id, count(*) FROM instance WHERE state = 'received' AND session_id IS NOT NULL GROUP BY session_id;

-- name: copies_held
SELECT session_id, count(*) FROM derivation WHERE session_id IS NOT NULL GROUP BY session_id;

-- name: deliveries_held
SELECT session_id, count(*) FROM delivery WHERE state = 'leased' GROUP BY session_id;

-- name: destinations_owned
SELECT owner_session_id, name FROM destination WHERE owner_session_id IS NOT NULL ORDER BY name;
