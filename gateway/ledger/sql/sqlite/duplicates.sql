-- CROSS: what was picked comes first. The planner, which knows nothing of its size, would scan all that was skipped.
-- name: stood_for
SELECT s.instance_seq, s.destination_key, s.delivery_id, d.priority, i.first_seq, i.state, n.configured
FROM picked
CROSS JOIN skipped s ON s.delivery_id = picked.key
JOIN delivery d ON d.delivery_id = s.delivery_id
JOIN instance i ON i.seq = s.instance_seq
JOIN destination n ON n.destination_key = s.destination_key
WHERE i.state IN ('routed', 'settled')

-- name: in_order
ORDER BY s.delivery_id, s.instance_seq

-- name: forget
DELETE FROM skipped WHERE instance_seq = ? AND destination_key = ?;

-- name: move
UPDATE skipped SET delivery_id = ? WHERE instance_seq = ? AND destination_key = ?;

-- name: route_again
UPDATE instance SET state = 'routed', settled_at_ms = NULL WHERE seq = ? AND state = 'settled';
