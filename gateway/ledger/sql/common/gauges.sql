-- name: queue_depth
SELECT n.name, c.state, c.n FROM delivery_count c JOIN destination n ON n.destination_key = c.destination_key
WHERE c.n <> 0;

-- name: queue_oldest
SELECT n.name, (
    SELECT min(d.queued_at_ms) FROM delivery d
    WHERE d.destination_key = n.destination_key AND d.state IN ('ready', 'leased', 'deferred')
) FROM destination n;

-- name: sessions
SELECT s.host, s.role, count(*), CASE WHEN d.host IS NULL THEN 0 ELSE 1 END
FROM session s LEFT JOIN draining d ON d.host = s.host AND d.role = s.role
WHERE s.voided_at_ms IS NULL
GROUP BY s.host, s.role, d.host;

-- name: spool_bytes
SELECT bytes FROM spool_count;

-- name: instances
SELECT state, n FROM instance_count WHERE n <> 0;

-- The first in each worker's hands and the first in nobody's: as many looks into the index as processes live.
-- name: routing_since
SELECT min(at_ms) FROM (
    SELECT (
        SELECT i.received_at_ms FROM instance i
        WHERE i.state = 'received' AND i.session_id IS NULL ORDER BY i.session_id, i.seq LIMIT 1
    ) AS at_ms
    UNION ALL
    SELECT (
        SELECT i.received_at_ms FROM instance i
        WHERE i.state = 'received' AND i.session_id = s.session_id ORDER BY i.seq LIMIT 1
    ) FROM session s WHERE s.voided_at_ms IS NULL
) AS oldest;

-- name: source_arrivals
SELECT source, at_ms FROM source_seen;
