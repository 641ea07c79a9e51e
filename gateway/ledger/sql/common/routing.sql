-- name: received
SELECT i.seq, i.instance_id, i.attempts, i.received_at_ms, i.first_seq,
       p.path, p.data_offset, p.length, p.checksum, p.sop_class_uid, p.sop_instance_uid, p.transfer_syntax_uid,
       a.association_id, a.listener, a.source, a.calling_ae_title, a.called_ae_title, a.peer_host
FROM instance i
JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
JOIN association a ON a.association_key = i.association_key
WHERE i.state = 'received' AND i.session_id IS NULL AND i.seq > :after_seq
ORDER BY i.seq LIMIT :limit;

-- name: has_earlier_received
SELECT 1 FROM instance WHERE first_seq = ? AND seq < ? AND first_seq IS NOT NULL AND state = 'received' LIMIT 1;

-- name: lease
UPDATE instance SET session_id = ?, attempts = attempts + 1 WHERE seq = ?;

-- name: leased_by
SELECT seq, first_seq, duplicate, association_key, sop_class_uid, decision_key IS NULL FROM instance
WHERE instance_id = :instance_id AND state = 'received' AND session_id = :session_id;

-- name: finish
UPDATE instance
SET state = ?, reason = ?, session_id = NULL, decision_key = ?, series_key = ?, instance_number = ?, settled_at_ms = ?
WHERE seq = ?;

-- name: find_decision
SELECT decision_key FROM decision
WHERE revision = ? AND tried = ? AND matched = ? AND destinations = ?
  AND coalesce(hold, char(0)) = coalesce(?, char(0)) AND coalesce(discard, char(0)) = coalesce(?, char(0));

-- name: insert_decision
INSERT INTO decision (revision, tried, matched, destinations, hold, discard)
VALUES (?, ?, ?, ?, ?, ?) RETURNING decision_key;

-- name: find_study
SELECT study_key FROM study
WHERE study_instance_uid = ? AND patient_id = ? AND patient_name = ? AND issuer_of_patient_id = ?
  AND accession_number = ? AND study_date = ? AND study_description = ?;

-- name: insert_study
INSERT INTO study (study_instance_uid, patient_id, patient_name, issuer_of_patient_id, accession_number, study_date,
                   study_description)
VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING study_key;

-- name: find_series
SELECT series_key FROM series
WHERE study_key = ? AND series_instance_uid = ? AND series_number = ? AND series_description = ? AND modality = ?;

-- name: insert_series
INSERT INTO series (study_key, series_instance_uid, series_number, series_description, modality)
VALUES (?, ?, ?, ?, ?) RETURNING series_key;

-- name: destination
SELECT destination_key, configured, skip_duplicates FROM destination WHERE name = ?;

-- name: insert_unconfigured
INSERT INTO destination (name, configured, updated_at_ms) VALUES (?, 0, ?) RETURNING destination_key;

-- name: insert_delivery
INSERT INTO delivery (instance_seq, destination_key, chain, state, priority, first_seq, created_at_ms, queued_at_ms,
                      updated_at_ms, code, reason)
VALUES (:seq, :destination_key, :chain, :state, :priority, :first_seq, :now_ms, :now_ms, :now_ms, :code, :reason)
RETURNING delivery_id;

-- name: insert_deliveries
INSERT INTO delivery (instance_seq, destination_key, chain, state, priority, first_seq, created_at_ms, queued_at_ms,
                      updated_at_ms, code, reason)
VALUES (:seq, :destination_key, :chain, :state, :priority, :first_seq, :now_ms, :now_ms, :now_ms, :code, :reason);

-- name: derived_length
SELECT length FROM payload WHERE instance_seq = ? AND chain = ?;

-- name: derive
INSERT INTO payload (instance_seq, chain, path, data_offset, length, checksum, sop_class_uid, sop_instance_uid,
                     transfer_syntax_uid, steps)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (instance_seq, chain) DO UPDATE
SET path = excluded.path, data_offset = excluded.data_offset, length = excluded.length, checksum = excluded.checksum,
    sop_class_uid = excluded.sop_class_uid, sop_instance_uid = excluded.sop_instance_uid,
    transfer_syntax_uid = excluded.transfer_syntax_uid, steps = excluded.steps;

-- Of one that was there the path stays, for the purge.
-- name: derive_nothing
INSERT INTO payload (instance_seq, chain, path, data_offset, length, checksum, sop_class_uid, sop_instance_uid,
                     transfer_syntax_uid)
SELECT instance_seq, :chain, '', 0, 0, x'', sop_class_uid, sop_instance_uid, transfer_syntax_uid
FROM payload WHERE instance_seq = :seq AND chain = ''
ON CONFLICT (instance_seq, chain) DO NOTHING;

-- Among the newest twins, and of these among those that came after the last one with another content: what the
-- destination has of an older version is overwritten. One that was skipped itself names what stands for it, so that a
-- line of any length has its beginning in sight.
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
ORDER BY near.seq DESC, d.delivery_id DESC LIMIT 1;

-- name: finish_waiting
UPDATE instance SET settled_at_ms = NULL WHERE seq = :seq AND state = 'settled' AND EXISTS (
    SELECT 1 FROM skipped s JOIN delivery d ON d.delivery_id = s.delivery_id
    WHERE s.instance_seq = :seq AND d.state NOT IN ('delivered', 'cancelled')
);

-- name: insert_skipped
INSERT INTO skipped (instance_seq, destination_key, delivery_id, chain) VALUES (?, ?, ?, ?);

-- name: quarantine
UPDATE instance SET state = 'quarantined', reason = :reason, session_id = NULL
WHERE instance_id = :instance_id
  AND (state = 'routed' OR state = 'received' AND session_id = :session_id)
RETURNING seq, decision_key IS NOT NULL;

-- name: pick_open_of
INSERT INTO picked SELECT delivery_id FROM delivery
WHERE instance_seq = :seq AND state IN ('ready', 'leased', 'deferred');

-- name: pick_unsettled_of
INSERT INTO picked SELECT delivery_id FROM delivery
WHERE instance_seq = :seq AND state NOT IN ('delivered', 'cancelled');
