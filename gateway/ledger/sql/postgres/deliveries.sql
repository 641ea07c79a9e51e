-- What is locked (a duplicate is just being routed that it stands for) comes with the next claim.
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
LIMIT :limit
FOR UPDATE OF d SKIP LOCKED;
