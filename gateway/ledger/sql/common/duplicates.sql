-- CROSS: what was picked comes first. The planner, which knows nothing of its size, would scan all that was skipped.
-- name: stood_for
SELECT s.instance_seq, s.destination_key, s.delivery_id, d.priority, i.first_seq, i.state, s.chain, CASE
    WHEN EXISTS (
        SELECT 1 FROM instance j
        JOIN payload p ON p.instance_seq = j.seq AND p.chain = ''
        JOIN payload q ON q.instance_seq = i.seq AND q.chain = ''
        JOIN delivery o ON o.instance_seq = j.seq AND o.destination_key = s.destination_key
        WHERE j.first_seq = i.first_seq AND j.first_seq IS NOT NULL AND j.seq > i.seq
          AND o.state IN ('delivered', 'leased') AND p.checksum <> q.checksum
    ) THEN 'overtaken'
    WHEN n.configured = 0 THEN 'unconfigured'
    ELSE ''
END
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
