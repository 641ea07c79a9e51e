-- name: next_seq
SELECT coalesce(max(seq), 0) + 1 FROM instance;

-- name: known_of
SELECT instance_id FROM instance WHERE instance_id IN (SELECT value FROM json_each(?));

-- name: uids_there
SELECT DISTINCT sop_instance_uid FROM instance WHERE sop_instance_uid IN (SELECT value FROM json_each(?));

-- name: newest_twin
SELECT seq, first_seq FROM instance WHERE sop_instance_uid = ? ORDER BY seq DESC LIMIT 1;

-- name: begin_twins_instance
UPDATE instance SET first_seq = seq WHERE seq = ?;

-- name: begin_twins_deliveries
UPDATE delivery SET first_seq = instance_seq WHERE instance_seq = ?;

-- The first and the newest twins only: who sends one SOP Instance UID 10,000 times makes no arrival slow.
-- name: has_equal_twin
SELECT 1 FROM (
    SELECT seq FROM (SELECT seq FROM instance WHERE sop_instance_uid = :sop_instance_uid ORDER BY seq LIMIT 64) oldest
    UNION
    SELECT seq FROM (SELECT seq FROM instance WHERE sop_instance_uid = :sop_instance_uid ORDER BY seq DESC LIMIT 64) newest
) near
JOIN instance i ON i.seq = near.seq
JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
JOIN association a ON a.association_key = i.association_key
WHERE i.state NOT IN ('quarantined', 'held')
  AND p.checksum = :checksum AND p.length = :length AND p.transfer_syntax_uid = :transfer_syntax_uid
  AND a.calling_ae_title = :calling_ae_title AND a.called_ae_title = :called_ae_title AND a.source = :source
  AND NOT EXISTS (
      SELECT 1 FROM delivery d WHERE d.instance_seq = i.seq AND d.state IN ('held', 'dead', 'cancelled')
  )
ORDER BY i.seq DESC LIMIT 1;

-- name: find_association
SELECT association_key FROM association
WHERE association_id = ? AND listener = ? AND source = ? AND calling_ae_title = ? AND called_ae_title = ?
  AND peer_host = ?;

-- name: insert_association
INSERT INTO association (association_id, listener, source, calling_ae_title, called_ae_title, peer_host)
VALUES (?, ?, ?, ?, ?, ?) RETURNING association_key;

-- name: insert_instance
INSERT INTO instance (seq, instance_id, state, reason, association_key, sop_class_uid, sop_instance_uid,
                      received_at_ms, recorded_at_ms, duplicate, first_seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_payload
INSERT INTO payload (instance_seq, chain, path, data_offset, length, checksum, sop_class_uid, sop_instance_uid,
                     transfer_syntax_uid)
VALUES (?, '', ?, ?, ?, ?, ?, ?, ?);

-- name: any
SELECT 1 FROM instance LIMIT 1;

-- What a crash left is adopted late, and is no news; a time ahead of now was a clock's that went wrong.
-- name: source_seen
INSERT INTO source_seen (source, at_ms) VALUES (?, ?)
ON CONFLICT (source) DO UPDATE SET at_ms = excluded.at_ms
WHERE excluded.at_ms > source_seen.at_ms OR source_seen.at_ms > ?;
