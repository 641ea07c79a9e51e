-- name: want
INSERT INTO derivation (instance_seq, chain)
SELECT instance_seq, chain FROM delivery WHERE delivery_id = ? AND chain <> ''
ON CONFLICT (instance_seq, chain) DO NOTHING;

-- name: is_made
SELECT path <> '' FROM payload WHERE instance_seq = ? AND chain = ?;

-- name: turn_to
UPDATE delivery SET chain = :chain, due_at_ms = CASE WHEN EXISTS (
    SELECT 1 FROM payload p WHERE p.instance_seq = delivery.instance_seq AND p.chain = :chain AND p.path <> ''
) THEN 0 ELSE due_at_ms END
WHERE delivery_id = :delivery_id;

-- The partial indices have what waits and what is stopped, and nothing of the many that are over.
-- name: waiting_chains
SELECT chain FROM delivery INDEXED BY delivery_waiting
WHERE state IN ('ready', 'leased', 'deferred') AND state <> 'leased' AND chain <> ''
UNION
SELECT chain FROM delivery INDEXED BY delivery_stopped WHERE state IN ('held', 'dead') AND chain <> '';

-- name: pick_of_chain
INSERT INTO picked
SELECT delivery_id FROM (
    SELECT delivery_id FROM delivery INDEXED BY delivery_waiting
    WHERE state IN ('ready', 'leased', 'deferred') AND state <> 'leased' AND chain = :chain
    UNION ALL
    SELECT delivery_id FROM delivery INDEXED BY delivery_stopped WHERE state IN ('held', 'dead') AND chain = :chain
) of_chain LIMIT :limit;

-- name: place_payloads
INSERT INTO payload (instance_seq, chain, path, data_offset, length, checksum, sop_class_uid, sop_instance_uid,
                     transfer_syntax_uid)
SELECT p.instance_seq, :chain, '', 0, 0, x'', p.sop_class_uid, p.sop_instance_uid, p.transfer_syntax_uid
FROM payload p WHERE p.chain = '' AND p.instance_seq IN (
    SELECT instance_seq FROM delivery WHERE delivery_id IN (SELECT key FROM picked)
)
ON CONFLICT (instance_seq, chain) DO NOTHING;

-- name: turn_picked
UPDATE delivery SET chain = :chain, updated_at_ms = :now_ms,
                    due_at_ms = CASE WHEN state = 'deferred' AND code = 'derive' THEN 0 ELSE due_at_ms END
WHERE delivery_id IN (SELECT key FROM picked);

-- name: picked_chains
SELECT DISTINCT chain FROM delivery WHERE delivery_id IN (SELECT key FROM picked) AND chain <> '';

-- name: place_payloads_before
INSERT INTO payload (instance_seq, chain, path, data_offset, length, checksum, sop_class_uid, sop_instance_uid,
                     transfer_syntax_uid)
SELECT p.instance_seq, :before, '', 0, 0, x'', p.sop_class_uid, p.sop_instance_uid, p.transfer_syntax_uid
FROM payload p WHERE p.chain = '' AND p.instance_seq IN (
    SELECT instance_seq FROM delivery WHERE delivery_id IN (SELECT key FROM picked) AND chain = :chain
)
ON CONFLICT (instance_seq, chain) DO NOTHING;

-- name: turn_picked_back
UPDATE delivery SET chain = :before WHERE delivery_id IN (SELECT key FROM picked) AND chain = :chain;

-- Whose workers died comes last: what ends its workers must not stand before all others.
-- name: next
SELECT instance_seq, chain FROM derivation WHERE session_id IS NULL ORDER BY attempts, tried_at_ms, instance_seq LIMIT 1;

-- name: forget
DELETE FROM derivation WHERE instance_seq = ? AND chain = ?;

-- name: wanted
SELECT c.revision, m.path = '', w.attempts, i.instance_id, i.seq, i.received_at_ms,
       p.path, p.data_offset, p.length, p.checksum, p.sop_class_uid, p.sop_instance_uid, p.transfer_syntax_uid,
       a.association_id, a.listener, a.source, a.calling_ae_title, a.called_ae_title, a.peer_host
FROM derivation w
JOIN payload m ON m.instance_seq = w.instance_seq AND m.chain = w.chain
JOIN instance i ON i.seq = w.instance_seq
JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
JOIN association a ON a.association_key = i.association_key
LEFT JOIN decision c ON c.decision_key = i.decision_key
WHERE w.instance_seq = :seq AND w.chain = :chain AND i.state = 'routed' AND EXISTS (
    SELECT 1 FROM delivery d
    WHERE d.instance_seq = w.instance_seq AND d.chain = w.chain AND d.state = 'deferred' AND d.code = 'derive'
);

-- name: lease
UPDATE derivation SET session_id = ?, attempts = attempts + 1 WHERE instance_seq = ? AND chain = ?;

-- name: give_back
UPDATE derivation SET session_id = NULL, attempts = attempts - 1, tried_at_ms = :now_ms
WHERE instance_seq = :seq AND chain = :chain AND session_id = :session_id;

-- name: end
DELETE FROM derivation WHERE instance_seq = :seq AND chain = :chain AND session_id = :session_id;

-- name: is_routed
SELECT 1 FROM instance WHERE seq = ? AND state = 'routed';

-- name: pick_waiting
INSERT INTO picked SELECT delivery_id FROM delivery
WHERE instance_seq = :seq AND chain = :chain AND state = 'deferred' AND code = 'derive';

-- name: become_due
UPDATE delivery SET chain = :chain, due_at_ms = 0, updated_at_ms = :now_ms
WHERE delivery_id IN (SELECT key FROM picked);

-- name: copies_of
SELECT p.path FROM instance i JOIN payload p ON p.instance_seq = i.seq AND p.chain <> ''
WHERE i.instance_id IN (SELECT value FROM json_each(?)) AND i.state <> 'purged';
