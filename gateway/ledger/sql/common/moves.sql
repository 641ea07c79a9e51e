-- name: forget
DELETE FROM picked;

-- name: count_picked
SELECT destination_key, state, count(*) FROM delivery WHERE delivery_id IN (SELECT key FROM picked) GROUP BY 1, 2;

-- name: stop
UPDATE delivery
SET state = :state, code = :code, reason = :reason, parked = 0, updated_at_ms = :now_ms,
    uncertain = CASE WHEN state = 'leased' THEN 1 ELSE uncertain END
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

-- What is settled but waits for a delivery that stands for it has no time yet: whoever looks for what can be purged
-- does not meet it.
-- name: settle_owners
UPDATE instance SET state = 'settled', settled_at_ms = CASE WHEN EXISTS (
    SELECT 1 FROM skipped s JOIN delivery d ON d.delivery_id = s.delivery_id
    WHERE s.instance_seq = instance.seq AND d.state NOT IN ('delivered', 'cancelled')
) THEN NULL ELSE :now_ms END
WHERE state = 'routed'
  AND seq IN (SELECT instance_seq FROM delivery WHERE delivery_id IN (SELECT key FROM picked))
  AND NOT EXISTS (
      SELECT 1 FROM delivery o WHERE o.instance_seq = instance.seq AND o.state NOT IN ('delivered', 'cancelled')
  );

-- name: settle_one
UPDATE instance SET state = 'settled', settled_at_ms = CASE WHEN EXISTS (
    SELECT 1 FROM skipped s JOIN delivery d ON d.delivery_id = s.delivery_id
    WHERE s.instance_seq = instance.seq AND d.state NOT IN ('delivered', 'cancelled')
) THEN NULL ELSE :now_ms END
WHERE seq = :seq AND state = 'routed' AND NOT EXISTS (
    SELECT 1 FROM delivery o WHERE o.instance_seq = instance.seq AND o.state NOT IN ('delivered', 'cancelled')
);

-- name: anything_skipped
SELECT 1 FROM skipped LIMIT 1;

-- name: end_waits
UPDATE instance SET settled_at_ms = :now_ms
WHERE seq IN (SELECT instance_seq FROM skipped WHERE delivery_id = :delivery_id)
  AND +state = 'settled' AND +settled_at_ms IS NULL AND NOT EXISTS (
      SELECT 1 FROM skipped s JOIN delivery d ON d.delivery_id = s.delivery_id
      WHERE s.instance_seq = instance.seq AND d.state NOT IN ('delivered', 'cancelled')
  );

-- name: picked_that_stand
SELECT DISTINCT s.delivery_id FROM picked CROSS JOIN skipped s ON s.delivery_id = picked.key;
