-- name: all
SELECT n.name, n.breaker, n."window", n.paused, n.last_error, n.next_probe_at_ms, n.configured, n.skip_duplicates,
       n.owner_session_id, o.host, n.wanted_by_session_id
FROM destination n LEFT JOIN session o ON o.session_id = n.owner_session_id
ORDER BY n.name;

-- name: forget_named
DELETE FROM home_destination WHERE home = ?;

-- name: name
INSERT INTO home_destination (home, name, skip_duplicates) VALUES (:home, :name, :skip);

-- name: named_elsewhere
SELECT name, min(skip_duplicates) FROM home_destination
WHERE home <> ? AND home IN (SELECT home FROM session WHERE voided_at_ms IS NULL)
GROUP BY name ORDER BY name;

-- name: lapsed
SELECT h.name, min(h.skip_duplicates) FROM home_destination h
LEFT JOIN destination n ON n.name = h.name
WHERE coalesce(n.configured, 0) = 0 AND h.home IN (SELECT home FROM session WHERE voided_at_ms IS NULL)
GROUP BY h.name ORDER BY h.name;

-- name: configure
INSERT INTO destination (name, configured, skip_duplicates, updated_at_ms) VALUES (:name, 1, :skip, :now_ms)
ON CONFLICT (name) DO UPDATE SET configured = 1, skip_duplicates = :skip, updated_at_ms = :now_ms;

-- name: unconfigure
UPDATE destination SET configured = 0, skip_duplicates = 0, updated_at_ms = :now_ms WHERE name = :name;

-- name: pick_open
INSERT INTO picked SELECT delivery_id FROM delivery
WHERE destination_key = (SELECT destination_key FROM destination WHERE name = :name)
  AND state IN ('ready', 'leased', 'deferred');

-- name: pick_unconfigured
INSERT INTO picked SELECT d.delivery_id FROM delivery d JOIN instance i ON i.seq = d.instance_seq
WHERE d.destination_key = (SELECT destination_key FROM destination WHERE name = :name)
  AND d.state IN ('held', 'dead') AND d.state = 'held' AND d.code = 'unconfigured' AND i.state = 'routed';

-- name: save
UPDATE destination
SET breaker = :breaker, "window" = :window, last_error = :last_error, next_probe_at_ms = :next_probe_at_ms,
    updated_at_ms = :now_ms
WHERE name = :name;

-- name: pause
UPDATE destination SET paused = :paused, updated_at_ms = :now_ms WHERE name = :name;

-- name: key
SELECT destination_key FROM destination WHERE name = ?;

-- name: ask_for_probe
UPDATE destination SET next_probe_at_ms = 0, updated_at_ms = :now_ms WHERE name = :name AND breaker = 'down';

-- name: come_due
UPDATE delivery SET due_at_ms = :now_ms
WHERE destination_key = :destination_key AND state = 'deferred' AND due_at_ms > :now_ms AND code <> :derive;
