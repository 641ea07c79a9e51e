-- name: count
INSERT INTO transfer (batch, movement, association_key, series_key, destination_key, sop_class_uid, anonymised, n,
                      first_at_ms, last_at_ms)
VALUES ('', ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (batch, movement, association_key, series_key, destination_key, sop_class_uid, anonymised) DO UPDATE
SET n = transfer.n + excluded.n,
    last_at_ms = CASE WHEN excluded.last_at_ms > transfer.last_at_ms THEN excluded.last_at_ms ELSE transfer.last_at_ms END;

-- What became of deliveries. A chain that ends in a de-identified copy says so in the steps that made it.
-- name: movements_of
SELECT CASE d.state WHEN 'delivered' THEN 'out' ELSE d.state END, i.association_key, coalesce(i.series_key, 0),
       d.destination_key, coalesce(p.sop_class_uid, i.sop_class_uid),
       CASE WHEN p.steps LIKE '%"deidentify", 1]%' THEN 1 ELSE 0 END, count(*)
FROM delivery d
JOIN instance i ON i.seq = d.instance_seq
LEFT JOIN payload p ON d.chain <> '' AND p.instance_seq = d.instance_seq AND p.chain = d.chain
WHERE d.delivery_id IN (SELECT value FROM json_each(?))
GROUP BY 1, 2, 3, 4, 5, 6;

-- name: instance
SELECT association_key, coalesce(series_key, 0), sop_class_uid FROM instance WHERE seq = ?;

-- name: studies_of_picked_deliveries
SELECT coalesce(s.study_key, 0), count(DISTINCT d.instance_seq)
FROM picked CROSS JOIN delivery d ON d.delivery_id = picked.key
JOIN instance i ON i.seq = d.instance_seq
LEFT JOIN series s ON s.series_key = i.series_key
GROUP BY 1;

-- name: studies_of_picked_instances
SELECT coalesce(s.study_key, 0), count(*)
FROM picked CROSS JOIN instance i ON i.seq = picked.key
LEFT JOIN series s ON s.series_key = i.series_key
GROUP BY 1;

-- name: study_of
SELECT coalesce(s.study_key, 0), 1 FROM instance i LEFT JOIN series s ON s.series_key = i.series_key
WHERE i.instance_id = ?;

-- name: note
INSERT INTO audit_note (at_ms, kind, body) VALUES (?, ?, ?) RETURNING note_key;

-- name: about
INSERT INTO audit_about (note_key, study_key, instances) VALUES (?, ?, ?);

-- name: anything
SELECT 1 WHERE EXISTS (SELECT 1 FROM transfer WHERE batch = '' AND (last_at_ms <= :quiet_ms OR first_at_ms <= :late_ms))
    OR EXISTS (SELECT 1 FROM audit_about WHERE batch = '')
    OR EXISTS (SELECT 1 FROM audit_batch);

-- A batch that nobody writes any more: of this very session, of one of this home that is dead, or of another home's that
-- has been dead for some time.
-- name: left
SELECT b.batch FROM audit_batch b JOIN session s ON s.session_id = b.session_id
WHERE b.session_id = :session_id OR s.voided_at_ms IS NOT NULL AND (s.home = :home OR s.voided_at_ms <= :before_ms)
ORDER BY b.batch LIMIT 1;

-- name: adopt
UPDATE audit_batch SET session_id = ? WHERE batch = ?;

-- name: home_of
SELECT home FROM session WHERE session_id = ?;

-- name: ripe
SELECT t.movement, t.association_key, coalesce(s.study_key, 0), t.destination_key, t.anonymised
FROM transfer t LEFT JOIN series s ON s.series_key = t.series_key
WHERE t.batch = ''
GROUP BY 1, 2, 3, 4, 5
HAVING max(t.last_at_ms) <= :quiet_ms OR min(t.first_at_ms) <= :late_ms
ORDER BY min(t.first_at_ms) LIMIT :limit;

-- name: take_of_study
UPDATE transfer SET batch = :batch
WHERE batch = '' AND movement = :movement AND association_key = :association_key
  AND series_key IN (SELECT series_key FROM series WHERE study_key = :study_key)
  AND destination_key = :destination_key AND anonymised = :anonymised;

-- name: take_of_none
UPDATE transfer SET batch = :batch
WHERE batch = '' AND movement = :movement AND association_key = :association_key AND series_key = 0
  AND destination_key = :destination_key AND anonymised = :anonymised;

-- name: notes_that_wait
SELECT note_key, study_key FROM audit_about WHERE batch = '' ORDER BY note_key, study_key LIMIT ?;

-- name: take_note
UPDATE audit_about SET batch = :batch WHERE note_key = :note_key AND study_key = :study_key;

-- name: begin_batch
INSERT INTO audit_batch (batch, session_id) VALUES (?, ?);

-- The order is that of keys that stay as they are: whoever writes a batch again finds the same messages in the same places.
-- name: transfers
SELECT t.movement, t.anonymised, t.sop_class_uid, t.n, t.first_at_ms, t.last_at_ms,
       t.association_key, coalesce(s.study_key, 0), t.destination_key,
       coalesce(a.association_id, ''), coalesce(a.listener, ''), coalesce(a.source, ''),
       coalesce(a.calling_ae_title, ''), coalesce(a.called_ae_title, ''), coalesce(a.peer_host, ''),
       coalesce(n.name, ''), y.study_instance_uid, y.patient_id, y.patient_name, y.issuer_of_patient_id,
       y.accession_number, y.study_description
FROM transfer t
LEFT JOIN series s ON s.series_key = t.series_key
LEFT JOIN study y ON y.study_key = s.study_key
LEFT JOIN association a ON a.association_key = t.association_key
LEFT JOIN destination n ON n.destination_key = t.destination_key
WHERE t.batch = ?
ORDER BY t.association_key, 8, t.movement, t.destination_key, t.anonymised, t.series_key, t.sop_class_uid;

-- name: notes
SELECT k.note_key, k.at_ms, k.kind, k.body, b.instances, y.study_instance_uid, y.patient_id, y.patient_name,
       y.issuer_of_patient_id, y.accession_number, y.study_description
FROM audit_about b
JOIN audit_note k ON k.note_key = b.note_key
LEFT JOIN study y ON y.study_key = b.study_key
WHERE b.batch = ?
ORDER BY b.note_key, b.study_key;

-- name: forget_transfers
DELETE FROM transfer WHERE batch = ?;

-- name: noted_in
SELECT DISTINCT note_key FROM audit_about WHERE batch = ?;

-- name: forget_about
DELETE FROM audit_about WHERE batch = ?;

-- name: forget_note
DELETE FROM audit_note WHERE note_key = :note_key AND NOT EXISTS (SELECT 1 FROM audit_about WHERE note_key = :note_key);

-- name: end_batch
DELETE FROM audit_batch WHERE batch = ? AND session_id = ?;

-- name: set_head
INSERT INTO audit_head (home, seq, hash, at_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (home) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, at_ms = excluded.at_ms;

-- name: raise_head
INSERT INTO audit_head (home, seq, hash, at_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (home) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, at_ms = excluded.at_ms
WHERE excluded.seq >= audit_head.seq;

-- name: heads
SELECT home, seq, hash, at_ms FROM audit_head ORDER BY home;
