-- name: list
SELECT i.instance_id, i.state, i.reason, a.source, a.calling_ae_title, i.received_at_ms, i.sop_class_uid,
       i.sop_instance_uid, p.transfer_syntax_uid, p.length, i.duplicate,
       coalesce(t.patient_id, ''), coalesce(t.patient_name, ''), coalesce(t.accession_number, ''),
       coalesce(t.study_instance_uid, ''), coalesce(t.study_date, ''), coalesce(t.study_description, ''),
       coalesce(s.series_instance_uid, ''), coalesce(s.modality, ''), coalesce(c.matched, '[]'), coalesce(c.revision, '')
FROM instance i
JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
JOIN association a ON a.association_key = i.association_key
LEFT JOIN series s ON s.series_key = i.series_key
LEFT JOIN study t ON t.study_key = s.study_key
LEFT JOIN decision c ON c.decision_key = i.decision_key

-- name: newest
ORDER BY i.seq DESC LIMIT :limit OFFSET :offset

-- name: deliveries
SELECT d.delivery_id, i.instance_id, n.name, d.state, d.code, d.reason, d.status, d.attempts, d.created_at_ms,
       d.due_at_ms, d.updated_at_ms, d.chain, coalesce(p.steps, '[]')
FROM instance i
JOIN delivery d ON d.instance_seq = i.seq
LEFT JOIN payload p ON p.instance_seq = d.instance_seq AND p.chain = d.chain
JOIN destination n ON n.destination_key = d.destination_key
WHERE i.instance_id IN (SELECT value FROM json_each(?))
ORDER BY i.seq, n.name, d.delivery_id;

-- name: waiting_between
SELECT count(*) FROM delivery
WHERE destination_key = :destination_key AND state IN ('ready', 'leased', 'deferred')
  AND queued_at_ms > :after_ms AND queued_at_ms <= :until_ms;

-- name: destinations
SELECT destination_key, name FROM destination ORDER BY name;
