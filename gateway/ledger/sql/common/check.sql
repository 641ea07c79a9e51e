-- Each statement finds what must not be, as one count. The name, with spaces, is what people read.

-- name: counters_of_instances_that_differ_from_a_recount
SELECT count(*) FROM (
    SELECT state, count(*) AS n FROM instance GROUP BY state
    EXCEPT SELECT state, n FROM instance_count
    UNION ALL
    SELECT * FROM (
        SELECT state, n FROM instance_count WHERE n <> 0
        EXCEPT SELECT state, count(*) FROM instance GROUP BY state
    ) gone
) differing;

-- name: counters_of_deliveries_that_differ_from_a_recount
SELECT count(*) FROM (
    SELECT destination_key, state, count(*) AS n FROM delivery GROUP BY 1, 2
    EXCEPT SELECT destination_key, state, n FROM delivery_count
    UNION ALL
    SELECT * FROM (
        SELECT destination_key, state, n FROM delivery_count WHERE n <> 0
        EXCEPT SELECT destination_key, state, count(*) FROM delivery GROUP BY 1, 2
    ) gone
) differing;

-- name: counters_of_the_spools_bytes_that_differ_from_a_recount
SELECT count(*) FROM spool_count WHERE bytes <> (
    SELECT coalesce(sum(p.length), 0) FROM payload p JOIN instance i ON i.seq = p.instance_seq WHERE i.state <> 'purged'
);

-- name: counters_of_the_historys_bytes_that_differ_from_a_recount
SELECT count(*) FROM history_count WHERE bytes <> (SELECT coalesce(sum(length(header)), 0) FROM history);

-- name: instances_without_an_original_payload
SELECT count(*) FROM instance i
WHERE NOT EXISTS (SELECT 1 FROM payload p WHERE p.instance_seq = i.seq AND p.chain = '');

-- name: settled_or_purged_instances_with_an_unsettled_delivery
SELECT count(*) FROM instance i
WHERE i.state IN ('settled', 'purging', 'purged') AND EXISTS (
    SELECT 1 FROM delivery d WHERE d.instance_seq = i.seq AND d.state NOT IN ('delivered', 'cancelled')
);

-- name: settled_instances_that_would_never_be_purged
SELECT count(*) FROM instance i
WHERE i.state = 'settled' AND i.settled_at_ms IS NULL AND NOT EXISTS (
    SELECT 1 FROM skipped s JOIN delivery d ON d.delivery_id = s.delivery_id
    WHERE s.instance_seq = i.seq AND d.state NOT IN ('delivered', 'cancelled')
);

-- name: routed_instances_without_an_unsettled_delivery
SELECT count(*) FROM instance i
WHERE i.state = 'routed' AND NOT EXISTS (
    SELECT 1 FROM delivery d WHERE d.instance_seq = i.seq AND d.state NOT IN ('delivered', 'cancelled')
);

-- name: open_deliveries_of_instances_that_are_not_routed
SELECT count(*) FROM delivery d JOIN instance i ON i.seq = d.instance_seq
WHERE d.state IN ('ready', 'leased', 'deferred') AND i.state <> 'routed';

-- name: open_deliveries_to_destinations_that_are_not_configured
SELECT count(*) FROM delivery d JOIN destination n ON n.destination_key = d.destination_key
WHERE d.state IN ('ready', 'leased', 'deferred') AND n.configured = 0;

-- name: leases_of_sessions_that_are_not_open
SELECT (
    SELECT count(*) FROM delivery d WHERE d.state = 'leased'
      AND NOT EXISTS (SELECT 1 FROM session s WHERE s.session_id = d.session_id AND s.voided_at_ms IS NULL)
) + (
    SELECT count(*) FROM instance i WHERE i.state = 'received' AND i.session_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM session s WHERE s.session_id = i.session_id AND s.voided_at_ms IS NULL)
);

-- name: twins_in_flight_at_once
SELECT count(*) FROM (
    SELECT 1 FROM delivery d JOIN instance i ON i.seq = d.instance_seq
    WHERE d.state = 'leased' GROUP BY i.sop_instance_uid, d.destination_key HAVING count(*) > 1
) at_once;

-- name: parked_deliveries_that_wait_for_nothing
SELECT count(*) FROM delivery d
WHERE d.parked = 1 AND (d.state <> 'ready' OR NOT EXISTS (
    SELECT 1 FROM delivery o
    WHERE o.first_seq = d.first_seq AND o.destination_key = d.destination_key
      AND o.first_seq IS NOT NULL AND o.state IN ('ready', 'leased', 'deferred')
      AND o.delivery_id <> d.delivery_id
      AND (o.state = 'leased' OR (o.instance_seq, o.delivery_id) < (d.instance_seq, d.delivery_id))
));

-- name: arrivals_of_one_uid_that_are_not_twins
SELECT count(*) FROM instance i
WHERE i.first_seq IS NULL AND EXISTS (
    SELECT 1 FROM instance o WHERE o.sop_instance_uid = i.sop_instance_uid AND o.seq <> i.seq
);

-- name: deliveries_whose_twins_are_not_those_of_their_instance
SELECT count(*) FROM delivery d JOIN instance i ON i.seq = d.instance_seq WHERE coalesce(d.first_seq, 0) <> coalesce(i.first_seq, 0);
