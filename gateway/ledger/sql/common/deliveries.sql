-- name: claimable
SELECT destination_key FROM destination
WHERE name = ? AND configured = 1 AND paused = 0 AND (owner_session_id IS NULL OR owner_session_id = ?);

-- name: pick_due
INSERT INTO picked SELECT delivery_id FROM delivery
WHERE destination_key = :destination_key AND state = 'deferred' AND due_at_ms <= :now_ms
ORDER BY due_at_ms LIMIT :limit;

-- name: make_ready
UPDATE delivery SET state = 'ready' WHERE delivery_id IN (SELECT key FROM picked);

-- name: ready
SELECT d.delivery_id, d.token, d.first_seq, d.instance_seq, i.instance_id, d.attempts, d.uncertain, d.queued_at_ms,
       i.received_at_ms, d.chain, a.calling_ae_title, d.priority,
       p.path, p.data_offset, p.length, p.checksum, p.sop_class_uid, p.sop_instance_uid, p.transfer_syntax_uid
FROM delivery d
JOIN instance i ON i.seq = d.instance_seq
JOIN payload p ON p.instance_seq = d.instance_seq AND p.chain = d.chain
JOIN association a ON a.association_key = i.association_key
WHERE d.destination_key = :destination_key AND d.alone = :alone AND d.state = 'ready' AND d.parked = 0
ORDER BY d.priority DESC, d.instance_seq, d.delivery_id
LIMIT :limit;

-- Of what was never made, the row has the syntax of the original.
-- name: syntax_of
SELECT transfer_syntax_uid FROM payload WHERE instance_seq = ? AND chain = ? AND path <> '';

-- name: lone_turn
SELECT 1 WHERE EXISTS (
    SELECT 1 FROM delivery
    WHERE destination_key = :destination_key AND alone = 1 AND state = 'ready' AND parked = 0 AND updated_at_ms <= :before_ms
) AND NOT EXISTS (
    SELECT 1 FROM delivery INDEXED BY delivery_leased WHERE state = 'leased' AND destination_key = :destination_key AND alone = 1
);

-- name: has_earlier_twin
SELECT 1 FROM delivery
WHERE first_seq = :first_seq AND destination_key = :destination_key
  AND first_seq IS NOT NULL AND state IN ('ready', 'leased', 'deferred')
  AND (instance_seq, delivery_id) < (:instance_seq, :delivery_id)
LIMIT 1;

-- name: has_leased_twin
SELECT 1 FROM delivery
WHERE first_seq = :first_seq AND destination_key = :destination_key AND first_seq IS NOT NULL AND state = 'leased'
LIMIT 1;

-- name: has_other_version
SELECT 1 FROM instance i
JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
JOIN payload q ON q.instance_seq = :instance_seq AND q.chain = ''
WHERE i.first_seq = :first_seq AND i.first_seq IS NOT NULL AND p.checksum <> q.checksum
LIMIT 1;

-- name: park
UPDATE delivery SET parked = 1 WHERE delivery_id = ?;

-- name: lease
UPDATE delivery
SET state = 'leased', session_id = ?, token = token + 1, attempts = attempts + 1, updated_at_ms = ?
WHERE delivery_id = ?;

-- name: give_back
UPDATE delivery
SET state = 'ready', session_id = NULL, attempts = attempts - 1, updated_at_ms = :now_ms
WHERE delivery_id = :delivery_id AND state = 'leased' AND session_id = :session_id AND token = :token
RETURNING destination_key;

-- name: conclude
UPDATE delivery
SET state = :state, session_id = NULL, code = :code, reason = :reason, status = :status, due_at_ms = :due_at_ms,
    uncertain = CASE WHEN :uncertain = 1 THEN 1 ELSE uncertain END, alone = :alone, attempts = attempts - :uncounted, updated_at_ms = :now_ms
WHERE delivery_id = :delivery_id AND session_id = :session_id AND token = :token AND state = 'leased'
RETURNING destination_key, instance_seq;

-- name: conclude_stopped
UPDATE delivery
SET state = 'delivered', session_id = NULL, code = :code, reason = :reason, status = :status, updated_at_ms = :now_ms
WHERE delivery_id = :delivery_id AND session_id = :session_id AND token = :token
  AND state = 'held' AND code IN ('quarantined', 'unconfigured')
RETURNING destination_key, instance_seq;
