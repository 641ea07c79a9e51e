-- name: pick_deliveries
INSERT INTO picked SELECT d.delivery_id FROM delivery d JOIN instance i ON i.seq = d.instance_seq

-- name: that_wait
d.state IN ('ready', 'deferred')

-- name: that_are_claimed
d.state = 'leased'

-- name: that_are_stopped
d.state IN ('held', 'dead')

-- name: of_what_is_routed
i.state = 'routed'

-- name: of_what_is_routed_or_quarantined
i.state IN ('routed', 'quarantined')

-- name: of_what_is_quarantined
i.state = 'quarantined'

-- name: to_what_is_configured
d.destination_key IN (SELECT destination_key FROM destination WHERE configured = 1)

-- name: to_what_is_not_configured
d.destination_key IN (SELECT destination_key FROM destination WHERE configured = 0)

-- A later version that is in flight counts as delivered: nothing can be put before it any more.
-- name: that_no_later_version_overtook
(d.first_seq IS NULL OR NOT EXISTS (
    SELECT 1 FROM instance j
    JOIN payload p ON p.instance_seq = j.seq AND p.chain = ''
    JOIN payload q ON q.instance_seq = i.seq AND q.chain = ''
    JOIN delivery o ON o.instance_seq = j.seq AND o.destination_key = d.destination_key
    WHERE j.first_seq = d.first_seq AND j.first_seq IS NOT NULL AND j.seq > i.seq
      AND o.state IN ('delivered', 'leased') AND p.checksum <> q.checksum
))

-- name: that_are_not_settled
d.state IN ('ready', 'deferred', 'held', 'dead')

-- name: pick_instances
INSERT INTO picked SELECT i.seq FROM instance i

-- name: that_are_received
i.state = 'received' AND i.session_id IS NULL

-- name: that_are_held
i.state = 'held'

-- name: that_are_held_or_quarantined
i.state IN ('held', 'quarantined')

-- name: that_are_quarantined
i.state = 'quarantined' AND NOT EXISTS (
    SELECT 1 FROM delivery d WHERE d.instance_seq = i.seq AND d.state NOT IN ('delivered', 'cancelled')
)

-- name: that_can_be_sent
i.state IN ('routed', 'settled')

-- name: count_picked_instances
SELECT state, count(*) FROM instance WHERE seq IN (SELECT key FROM picked) GROUP BY state;

-- name: hold_instances
UPDATE instance SET state = 'held', reason = :reason WHERE seq IN (SELECT key FROM picked);

-- name: receive_instances
UPDATE instance SET state = 'received', reason = '', session_id = NULL, attempts = CASE WHEN attempts > 1 THEN 1 ELSE attempts END
WHERE seq IN (SELECT key FROM picked);

-- name: forget_skipped
DELETE FROM skipped WHERE instance_seq IN (SELECT key FROM picked);

-- name: settle_instances
UPDATE instance SET state = 'settled', reason = :reason, settled_at_ms = :now_ms
WHERE seq IN (SELECT key FROM picked);

-- CROSS: what was picked comes first. The planner, which knows nothing of its size, would scan all instances.
-- name: picked_to_send
SELECT i.seq, i.first_seq FROM picked CROSS JOIN instance i ON i.seq = picked.key ORDER BY picked.key;

-- name: become_twins_instances
UPDATE instance SET first_seq = seq WHERE seq IN (SELECT key FROM picked) AND first_seq IS NULL;

-- name: become_twins_deliveries
UPDATE delivery SET first_seq = instance_seq
WHERE instance_seq IN (SELECT key FROM picked) AND first_seq IS NULL;

-- name: destinations_of
SELECT destination_key, max(configured), max(delivered), max(open) FROM (
    SELECT d.destination_key, n.configured, CASE WHEN d.state = 'delivered' THEN 1 ELSE 0 END AS delivered,
           CASE WHEN d.state IN ('ready', 'leased', 'deferred') THEN 1 ELSE 0 END AS open
    FROM delivery d JOIN destination n ON n.destination_key = d.destination_key WHERE d.instance_seq = ?
) each_delivery GROUP BY destination_key ORDER BY destination_key;

-- What the destination got last of it, or would have got but for a duplicate of it, so that nobody is sent an original who was never to see one.
-- name: last_chain
SELECT coalesce(
    (SELECT chain FROM delivery WHERE instance_seq = :seq AND destination_key = :destination_key ORDER BY delivery_id DESC LIMIT 1),
    (SELECT chain FROM skipped WHERE instance_seq = :seq AND destination_key = :destination_key),
    ''
);

-- name: configured
SELECT destination_key FROM destination WHERE name = ? AND configured = 1;

-- name: route_one
UPDATE instance SET state = 'routed', settled_at_ms = NULL WHERE seq = ? AND state = 'settled';
