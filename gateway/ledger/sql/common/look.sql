-- What people look at (`gateway.ledger.look`). {of} stands for the instances that are meant, {where} and {window} for
-- conditions of ours; values are always bound.

-- name: newest_study
SELECT coalesce(max(study_key), 0) FROM study;

-- name: studies
SELECT t.study_key, t.study_instance_uid, t.patient_id, t.patient_name, t.issuer_of_patient_id, t.accession_number,
       t.study_date, t.study_description
FROM study t WHERE {window} AND {where}
ORDER BY t.study_key DESC LIMIT :limit

-- name: between_keys
t.study_key >= :from_key AND t.study_key < :before_key

-- name: of_keys
t.study_key IN (SELECT CAST(value AS BIGINT) FROM json_each(:keys)) AND t.study_key < :before_key

-- name: patient_id
t.patient_id = :patient_id

-- name: patient_id_like
lower(t.patient_id) LIKE :patient_id ESCAPE '!'

-- name: patient_name_like
lower(t.patient_name) LIKE :patient_name ESCAPE '!'

-- name: accession_number
t.accession_number = :accession_number

-- name: accession_number_like
lower(t.accession_number) LIKE :accession_number ESCAPE '!'

-- name: date_from
t.study_date >= :date_from

-- name: date_to
t.study_date <= :date_to AND t.study_date <> ''

-- name: modality
EXISTS (SELECT 1 FROM series s WHERE s.study_key = t.study_key AND s.modality = :modality)

-- name: source
EXISTS (
    SELECT 1 FROM series s
    JOIN instance i ON i.series_key = s.series_key
    JOIN association a ON a.association_key = i.association_key
    WHERE s.study_key = t.study_key AND a.source = :source
)

-- name: in_states
EXISTS (
    SELECT 1 FROM series s JOIN instance i ON i.series_key = s.series_key
    WHERE s.study_key = t.study_key AND i.state IN (SELECT value FROM json_each(:states))
)

-- What is not settled is of instances that are not, most of which are.
-- name: with_unsettled
EXISTS (
    SELECT 1 FROM series s
    JOIN instance i ON i.series_key = s.series_key
    JOIN delivery d ON d.instance_seq = i.seq
    WHERE s.study_key = t.study_key AND i.state IN ('routed', 'quarantined')
      AND d.state IN (SELECT value FROM json_each(:states))
)

-- name: with_settled
EXISTS (
    SELECT 1 FROM series s
    JOIN instance i ON i.series_key = s.series_key
    JOIN delivery d ON d.instance_seq = i.seq
    WHERE s.study_key = t.study_key AND d.state IN (SELECT value FROM json_each(:states))
)

-- Keys of studies that an index leads to.
-- name: keys_of_patient
SELECT study_key FROM study WHERE patient_id = :patient_id;

-- name: keys_of_accession
SELECT study_key FROM study WHERE accession_number = :accession_number;

-- name: keys_of_study
SELECT study_key FROM study WHERE study_instance_uid = :uid;

-- name: keys_of_series
SELECT DISTINCT study_key FROM series WHERE series_instance_uid = :uid;

-- name: keys_of_instance
SELECT DISTINCT s.study_key FROM instance i JOIN series s ON s.series_key = i.series_key
WHERE i.sop_instance_uid = :uid OR i.instance_id = :uid;

-- name: keys_of_stopped
SELECT DISTINCT s.study_key FROM instance i JOIN series s ON s.series_key = i.series_key
WHERE i.state IN ('held', 'quarantined') AND i.state IN (SELECT value FROM json_each(:states));

-- name: keys_of_stopped_deliveries
SELECT DISTINCT s.study_key
FROM delivery d
JOIN instance i ON i.seq = d.instance_seq
JOIN series s ON s.series_key = i.series_key
WHERE d.state IN ('held', 'dead') AND d.state IN (SELECT value FROM json_each(:states));

-- name: keys_of_waiting_deliveries
SELECT DISTINCT s.study_key
FROM delivery d
JOIN instance i ON i.seq = d.instance_seq
JOIN series s ON s.series_key = i.series_key
WHERE d.state IN ('ready', 'leased', 'deferred') AND d.state IN (SELECT value FROM json_each(:states));

-- A page's series and instances.
-- name: series_of
SELECT study_key, modality, count(*) FROM series
WHERE study_key IN (SELECT CAST(value AS BIGINT) FROM json_each(?)) GROUP BY study_key, modality ORDER BY modality;

-- name: figures_of
SELECT 'instance', o.state, count(*), min(o.received_at_ms), max(o.received_at_ms) FROM ({of}) o GROUP BY o.state
UNION ALL
SELECT 'delivery', d.state, count(*), 0, 0
FROM ({of}) o JOIN delivery d ON d.instance_seq = o.seq WHERE o.state = 'routed' GROUP BY d.state

-- name: count_of
SELECT count(*) FROM ({of}) o

-- name: of_study
SELECT i.seq, i.state, i.association_key, i.decision_key, i.received_at_ms, i.recorded_at_ms, i.settled_at_ms
FROM series s JOIN instance i ON i.series_key = s.series_key WHERE s.study_key = :study_key LIMIT :most

-- name: of_instance
SELECT i.seq, i.state, i.association_key, i.decision_key, i.received_at_ms, i.recorded_at_ms, i.settled_at_ms
FROM instance i WHERE i.instance_id = :instance_id LIMIT :most

-- A study.
-- name: study
SELECT t.study_key, t.study_instance_uid, t.patient_id, t.patient_name, t.issuer_of_patient_id, t.accession_number,
       t.study_date, t.study_description
FROM study t WHERE t.study_key = :study_key;

-- name: same_uid
SELECT study_key FROM study WHERE study_instance_uid = ? AND study_key <> ? ORDER BY study_key DESC LIMIT 50;

-- name: series
SELECT s.series_key, s.series_instance_uid, s.series_number, s.series_description, s.modality, (
    SELECT count(*) FROM (SELECT 1 FROM instance i WHERE i.series_key = s.series_key LIMIT :most) counted
)
FROM series s WHERE s.study_key = :study_key ORDER BY s.series_key LIMIT :limit;

-- name: kinds_of
SELECT o.state, o.decision_key, a.source, a.calling_ae_title, count(*), sum(p.length)
FROM ({of}) o
JOIN association a ON a.association_key = o.association_key
JOIN payload p ON p.instance_seq = o.seq AND p.chain = ''
GROUP BY o.state, o.decision_key, a.source, a.calling_ae_title ORDER BY a.source, a.calling_ae_title

-- name: decisions
SELECT revision, tried, matched, destinations, hold, discard, decision_key FROM decision
WHERE decision_key IN (SELECT CAST(value AS BIGINT) FROM json_each(?));

-- name: deliveries_of
SELECT n.name, g.state, g.n FROM (
    SELECT d.destination_key, d.state, count(*) AS n
    FROM ({of}) o JOIN delivery d ON d.instance_seq = o.seq GROUP BY d.destination_key, d.state
) g JOIN destination n ON n.destination_key = g.destination_key ORDER BY n.name, g.state

-- name: series_keys
SELECT series_key, series_instance_uid, series_number FROM series WHERE study_key = :study_key ORDER BY series_key;

-- name: instances_of_series
SELECT i.seq, i.instance_id, i.instance_number, i.sop_class_uid, i.sop_instance_uid, p.transfer_syntax_uid, p.length,
       i.state, i.reason, i.duplicate, a.source, a.calling_ae_title, i.received_at_ms
FROM (
    SELECT seq FROM instance WHERE series_key = :series_key AND seq > :after_seq ORDER BY seq LIMIT :limit
) page
JOIN instance i ON i.seq = page.seq
JOIN payload p ON p.instance_seq = i.seq AND p.chain = ''
JOIN association a ON a.association_key = i.association_key
ORDER BY i.seq;

-- An instance.
-- name: instance
SELECT i.seq, s.study_key, i.instance_number, i.sop_instance_uid, i.attempts, i.recorded_at_ms, i.settled_at_ms,
       a.association_id, a.listener, a.source, a.calling_ae_title, a.called_ae_title, a.peer_host,
       c.revision, c.tried, c.matched, c.destinations, c.hold, c.discard
FROM instance i
JOIN association a ON a.association_key = i.association_key
LEFT JOIN series s ON s.series_key = i.series_key
LEFT JOIN decision c ON c.decision_key = i.decision_key
WHERE i.instance_id = ?;

-- name: payloads
SELECT chain, steps, path, data_offset, length, checksum, sop_class_uid, sop_instance_uid, transfer_syntax_uid
FROM payload WHERE instance_seq = ? ORDER BY chain LIMIT 100;

-- name: twins
SELECT instance_id, state, duplicate, received_at_ms FROM instance
WHERE sop_instance_uid = :uid ORDER BY seq DESC LIMIT 51;

-- name: by_id
SELECT instance_id, state, duplicate, received_at_ms FROM instance WHERE instance_id = :uid;

-- name: skipped
SELECT i.instance_id, n.name, o.instance_id
FROM instance i
JOIN skipped s ON s.instance_seq = i.seq
JOIN destination n ON n.destination_key = s.destination_key
JOIN delivery d ON d.delivery_id = s.delivery_id
JOIN instance o ON o.seq = d.instance_seq
WHERE i.instance_id IN (SELECT value FROM json_each(?));

-- name: moments_of_instances
SELECT count(*), min(received_at_ms), max(received_at_ms), min(recorded_at_ms), max(recorded_at_ms),
       count(settled_at_ms), min(settled_at_ms), max(settled_at_ms)
FROM ({of}) o

-- name: moments_of_deliveries
WITH moved AS MATERIALIZED (
    SELECT d.instance_seq, d.destination_key, d.state, d.code, d.reason, d.attempts, d.created_at_ms, d.queued_at_ms,
           d.updated_at_ms, min(d.created_at_ms) OVER (PARTITION BY d.instance_seq) AS routed_at_ms
    FROM ({of}) o JOIN delivery d ON d.instance_seq = o.seq
), groups AS (
    SELECT 'routed' AS what, NULL AS destination_key, '' AS state, '' AS code, '' AS reason,
           count(DISTINCT instance_seq) AS n, min(routed_at_ms) AS at_ms, max(routed_at_ms) AS until_ms
    FROM moved HAVING count(*) > 0
    UNION ALL
    SELECT 'sent again', destination_key, '', '', '', count(*), min(created_at_ms), max(created_at_ms)
    FROM moved WHERE created_at_ms > routed_at_ms GROUP BY destination_key
    UNION ALL
    SELECT 'released', destination_key, '', '', '', count(*), min(queued_at_ms), max(queued_at_ms)
    FROM moved WHERE queued_at_ms > created_at_ms GROUP BY destination_key
    UNION ALL
    SELECT 'moved', destination_key, state, code, reason, count(*), min(updated_at_ms), max(updated_at_ms)
    FROM moved WHERE state <> 'ready' OR attempts > 0 GROUP BY destination_key, state, code, reason
)
SELECT g.what, coalesce(n.name, ''), g.state, g.code, g.reason, g.n, g.at_ms, g.until_ms
FROM groups g LEFT JOIN destination n ON n.destination_key = g.destination_key
ORDER BY g.at_ms, g.until_ms LIMIT :groups

-- Trouble: from one reason to the next, by the index.
-- name: stopped_counts
SELECT c.destination_key, n.name, c.state FROM delivery_count c JOIN destination n ON n.destination_key = c.destination_key
WHERE c.state IN ('held', 'dead') AND c.n > 0 ORDER BY n.name, c.state;

-- name: next_code
SELECT code, substr(reason, 1, 200) FROM delivery
WHERE destination_key = :destination_key AND state IN ('held', 'dead') AND state = :state AND code > :code
ORDER BY code, substr(reason, 1, 200) LIMIT 1;

-- name: next_reason
SELECT code, substr(reason, 1, 200) FROM delivery
WHERE destination_key = :destination_key AND state IN ('held', 'dead') AND state = :state AND code = :code
  AND substr(reason, 1, 200) > :reason
ORDER BY substr(reason, 1, 200) LIMIT 1;

-- name: first_code
SELECT code, substr(reason, 1, 200) FROM delivery
WHERE destination_key = :destination_key AND state IN ('held', 'dead') AND state = :state
ORDER BY code, substr(reason, 1, 200) LIMIT 1;

-- name: stopped_deliveries
SELECT (SELECT count(*) FROM (
    SELECT 1 FROM delivery
    WHERE destination_key = :destination_key AND state IN ('held', 'dead') AND state = :state AND code = :code
      AND substr(reason, 1, 200) = :reason LIMIT :most
) counted), (
    SELECT updated_at_ms FROM delivery
    WHERE destination_key = :destination_key AND state IN ('held', 'dead') AND state = :state AND code = :code
      AND substr(reason, 1, 200) = :reason
    ORDER BY updated_at_ms LIMIT 1
), (
    SELECT updated_at_ms FROM delivery
    WHERE destination_key = :destination_key AND state IN ('held', 'dead') AND state = :state AND code = :code
      AND substr(reason, 1, 200) = :reason
    ORDER BY updated_at_ms DESC LIMIT 1
);

-- name: first_instance_reason
SELECT substr(reason, 1, 200) FROM instance
WHERE state IN ('held', 'quarantined') AND state = :state ORDER BY substr(reason, 1, 200) LIMIT 1;

-- name: next_instance_reason
SELECT substr(reason, 1, 200) FROM instance
WHERE state IN ('held', 'quarantined') AND state = :state AND substr(reason, 1, 200) > :reason
ORDER BY substr(reason, 1, 200) LIMIT 1;

-- name: stopped_instances
SELECT (SELECT count(*) FROM (
    SELECT 1 FROM instance
    WHERE state IN ('held', 'quarantined') AND state = :state AND substr(reason, 1, 200) = :reason LIMIT :most
) counted), (
    SELECT received_at_ms FROM instance
    WHERE state IN ('held', 'quarantined') AND state = :state AND substr(reason, 1, 200) = :reason
    ORDER BY seq LIMIT 1
), (
    SELECT received_at_ms FROM instance
    WHERE state IN ('held', 'quarantined') AND state = :state AND substr(reason, 1, 200) = :reason
    ORDER BY seq DESC LIMIT 1
);

-- Whether the oldest or the newest of them was decided so.
-- name: stopped_by_a_rule
SELECT count(*) FROM decision c
WHERE substr(c.hold, 1, 200) = :reason AND c.decision_key IN ((
    SELECT decision_key FROM instance
    WHERE state IN ('held', 'quarantined') AND state = :state AND substr(reason, 1, 200) = :reason
    ORDER BY seq LIMIT 1
), (
    SELECT decision_key FROM instance
    WHERE state IN ('held', 'quarantined') AND state = :state AND substr(reason, 1, 200) = :reason
    ORDER BY seq DESC LIMIT 1
));

-- name: items_of_deliveries
SELECT i.instance_id, d.delivery_id, d.updated_at_ms, d.reason, d.attempts, d.status, i.sop_class_uid, t.study_key,
       coalesce(t.study_instance_uid, ''), coalesce(t.patient_id, ''), coalesce(t.patient_name, ''),
       coalesce(t.accession_number, ''), coalesce(t.study_date, ''), coalesce(s.modality, ''), d.updated_at_ms,
       d.delivery_id
FROM (
    SELECT delivery_id, instance_seq, updated_at_ms, reason, attempts, status FROM delivery
    WHERE destination_key = (SELECT destination_key FROM destination WHERE name = :destination)
      AND state IN ('held', 'dead') AND state = :state AND code = :code AND substr(reason, 1, 200) = :reason
      AND (updated_at_ms, delivery_id) < (:before_ms, :before_key)
    ORDER BY updated_at_ms DESC, delivery_id DESC LIMIT :limit
) d
JOIN instance i ON i.seq = d.instance_seq
LEFT JOIN series s ON s.series_key = i.series_key
LEFT JOIN study t ON t.study_key = s.study_key
ORDER BY d.updated_at_ms DESC, d.delivery_id DESC;

-- name: items_of_instances
SELECT i.instance_id, NULL, i.received_at_ms, i.reason, i.attempts, NULL, i.sop_class_uid, t.study_key,
       coalesce(t.study_instance_uid, ''), coalesce(t.patient_id, ''), coalesce(t.patient_name, ''),
       coalesce(t.accession_number, ''), coalesce(t.study_date, ''), coalesce(s.modality, ''), 0, i.seq
FROM instance i
LEFT JOIN series s ON s.series_key = i.series_key
LEFT JOIN study t ON t.study_key = s.study_key
WHERE i.state IN ('held', 'quarantined') AND i.state = :state AND substr(i.reason, 1, 200) = :reason
  AND i.seq < :before_key
ORDER BY i.seq DESC LIMIT :limit;

-- name: affected_instances
SELECT state, count(*) FROM (SELECT i.state FROM instance i WHERE {where} LIMIT :most) counted GROUP BY state

-- name: affected_of_instances
SELECT state, count(*) FROM (
    SELECT d.state FROM instance i JOIN delivery d ON d.instance_seq = i.seq
    WHERE {where} AND d.state IN ('ready', 'leased', 'deferred', 'held', 'dead') LIMIT :most
) counted GROUP BY state

-- name: affected_of_deliveries
SELECT state, count(*) FROM ({deliveries} LIMIT :most) counted GROUP BY state

-- name: waiting_deliveries
SELECT d.state FROM delivery d INDEXED BY delivery_waiting {join}
WHERE d.state IN ('ready', 'leased', 'deferred') AND {where}

-- name: those_stopped
SELECT d.state FROM delivery d INDEXED BY delivery_stopped {join} WHERE d.state IN ('held', 'dead') AND {where}

-- name: with_instance
 JOIN instance i ON i.seq = d.instance_seq

-- Queue, rules, audit, counters.
-- name: waiting_at_most
SELECT count(*) FROM (
    SELECT 1 FROM delivery
    WHERE destination_key = :destination_key AND state IN ('ready', 'leased', 'deferred')
      AND queued_at_ms > :after_ms AND queued_at_ms <= :until_ms LIMIT :most
) counted;

-- name: delivery_counts
SELECT n.name, n.destination_key, c.state, c.n
FROM destination n LEFT JOIN delivery_count c ON c.destination_key = n.destination_key AND c.n <> 0;

-- name: decided_since
SELECT c.matched, sum(k.n) FROM decision_count k JOIN decision c ON c.decision_key = k.decision_key
WHERE k.hour_ms >= :since_ms GROUP BY c.matched;

-- name: revisions
SELECT revision, files, stored_at_ms, current FROM rule_set ORDER BY stored_at_ms DESC, rule_set_key DESC LIMIT ?;

-- name: orders
SELECT audit_key, at_ms, actor, action, filter, reason, count FROM audit
WHERE audit_key < :before_key AND {where} ORDER BY audit_key DESC LIMIT :limit

-- name: orders_that_name
SELECT at_ms, actor, action, filter, reason, count FROM (
    SELECT audit_key, at_ms, actor, action, filter, reason, count FROM audit ORDER BY audit_key DESC LIMIT :looked_at
) newest
WHERE {where} ORDER BY audit_key DESC LIMIT :limit

-- name: names
lower(filter) LIKE :name_{letter} ESCAPE '!'

-- name: by_actor
actor = :actor

-- name: of_action
action = :action

-- name: about
lower(filter) LIKE :about ESCAPE '!'

-- name: since
at_ms >= :since_ms

-- name: until
at_ms < :until_ms
