-- Conditions that an InstanceFilter is made of: on an instance `i`, and on a delivery `d`.

-- name: instance_ids
i.instance_id IN (SELECT value FROM json_each(:instance_ids))

-- name: states
i.state IN (SELECT value FROM json_each(:states))

-- name: source
i.association_key IN (SELECT association_key FROM association WHERE source = :source)

-- name: patient_id
i.series_key IN (SELECT series_key FROM series JOIN study USING (study_key) WHERE patient_id = :patient_id)

-- name: accession_number
i.series_key IN (
    SELECT series_key FROM series JOIN study USING (study_key) WHERE accession_number = :accession_number
)

-- name: study_instance_uid
i.series_key IN (
    SELECT series_key FROM series JOIN study USING (study_key) WHERE study_instance_uid = :study_instance_uid
)

-- name: sop_instance_uid
i.sop_instance_uid = :sop_instance_uid

-- name: delivery_states
d.state IN (SELECT value FROM json_each(:delivery_states))

-- name: destination
d.destination_key = (SELECT destination_key FROM destination WHERE name = :destination)

-- name: code
d.code = :code

-- name: because
substr(d.reason, 1, 200) = :because

-- name: instance_because
substr(i.reason, 1, 200) = :because

-- name: has_delivery
EXISTS (SELECT 1 FROM delivery d WHERE d.instance_seq = i.seq AND
