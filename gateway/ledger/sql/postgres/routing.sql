-- What another worker is claiming just now is passed over, not waited for.
-- name: received
SELECT i.seq, i.instance_id, i.attempts, i.received_at_ms, i.first_seq,
       p.path, p.data_offset, p.length, p.checksum, p.sop_class_uid, p.sop_instance_uid, p.transfer_syntax_uid,
       a.association_id, a.listener, a.source, a.calling_ae_title, a.called_ae_title, a.peer_host
FROM instance i
JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
JOIN association a ON a.association_key = i.association_key
WHERE i.state = 'received' AND i.session_id IS NULL AND i.seq > :after_seq
ORDER BY i.seq LIMIT :limit
FOR UPDATE OF i SKIP LOCKED;

-- Locked: who records a twin of it meanwhile waits, and finds the deliveries made here.
-- name: leased_by
SELECT seq, first_seq, duplicate FROM instance
WHERE instance_id = :instance_id AND state = 'received' AND session_id = :session_id
FOR UPDATE;

-- name: find_decision
SELECT decision_key FROM decision
WHERE revision = ? AND tried = ? AND matched = ? AND destinations = ?
  AND hold IS NOT DISTINCT FROM ? AND discard IS NOT DISTINCT FROM ?
ORDER BY decision_key LIMIT 1;

-- Locked: whoever concludes it meanwhile waits, and finds that it stands for another.
-- name: standing_delivery
WITH near AS MATERIALIZED (
    SELECT i.seq, i.association_key, p.checksum, p.length, p.transfer_syntax_uid
    FROM instance i JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
    WHERE i.first_seq = :first_seq AND i.first_seq IS NOT NULL AND i.seq < :seq
    ORDER BY i.seq DESC LIMIT 64
)
SELECT d.delivery_id FROM instance j
JOIN payload q ON q.instance_seq = j.seq AND q.chain = ''
JOIN association b ON b.association_key = j.association_key
JOIN near ON near.checksum = q.checksum AND near.length = q.length AND near.transfer_syntax_uid = q.transfer_syntax_uid
JOIN association a ON a.association_key = near.association_key
LEFT JOIN skipped s ON s.instance_seq = near.seq AND s.destination_key = :destination_key
JOIN delivery d ON d.delivery_id = s.delivery_id
    OR (d.instance_seq = near.seq AND d.destination_key = :destination_key)
JOIN instance o ON o.seq = d.instance_seq
WHERE j.seq = :seq
  AND near.seq > coalesce((SELECT max(n.seq) FROM near n WHERE n.checksum <> q.checksum), 0)
  AND a.calling_ae_title = b.calling_ae_title AND a.called_ae_title = b.called_ae_title AND a.source = b.source
  AND o.state NOT IN ('quarantined', 'held')
  AND d.state NOT IN ('held', 'dead', 'cancelled') AND d.chain IN (SELECT value FROM json_each(:chains))
ORDER BY near.seq DESC, d.delivery_id DESC LIMIT 1
FOR UPDATE OF d;
