-- name: queue_depth
SELECT n.name, c.state, c.n FROM delivery_count c JOIN destination n ON n.destination_key = c.destination_key
WHERE c.n <> 0;

-- name: queue_oldest
SELECT n.name, (
    SELECT min(d.queued_at_ms) FROM delivery d
    WHERE d.destination_key = n.destination_key AND d.state IN ('ready', 'leased', 'deferred')
) FROM destination n;

-- name: spool_bytes
SELECT bytes FROM spool_count;

-- name: instances
SELECT state, n FROM instance_count WHERE n <> 0;
