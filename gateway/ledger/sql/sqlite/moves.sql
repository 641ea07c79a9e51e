-- name: forget
DELETE FROM picked;

-- name: count_picked
SELECT destination_key, state, count(*) FROM delivery WHERE delivery_id IN (SELECT key FROM picked) GROUP BY 1, 2;

-- name: stop
UPDATE delivery
SET state = :state, code = :code, reason = :reason, parked = 0, updated_at_ms = :now_ms,
    uncertain = max(uncertain, state = 'leased')
WHERE delivery_id IN (SELECT key FROM picked);

-- name: start
UPDATE delivery
SET state = 'ready', code = '', reason = '', status = NULL, parked = 0, session_id = NULL, attempts = 0, alone = 0,
    due_at_ms = 0, queued_at_ms = :now_ms, updated_at_ms = :now_ms
WHERE delivery_id IN (SELECT key FROM picked);

-- name: route_owners
UPDATE instance SET state = 'routed', settled_at_ms = NULL, reason = ''
WHERE state = :from_state AND seq IN (
    SELECT instance_seq FROM delivery WHERE delivery_id IN (SELECT key FROM picked)
);

-- name: settle_owners
UPDATE instance SET state = 'settled', settled_at_ms = :now_ms
WHERE state = 'routed'
  AND seq IN (SELECT instance_seq FROM delivery WHERE delivery_id IN (SELECT key FROM picked))
  AND NOT EXISTS (
      SELECT 1 FROM delivery o WHERE o.instance_seq = instance.seq AND o.state NOT IN ('delivered', 'cancelled')
  );

-- name: settle_one
UPDATE instance SET state = 'settled', settled_at_ms = :now_ms
WHERE seq = :seq AND state = 'routed' AND NOT EXISTS (
    SELECT 1 FROM delivery o WHERE o.instance_seq = instance.seq AND o.state NOT IN ('delivered', 'cancelled')
);
