-- name: move_instance_count
INSERT INTO instance_count (state, n) VALUES (?, ?)
ON CONFLICT (state) DO UPDATE SET n = instance_count.n + excluded.n;

-- name: move_spool_bytes
UPDATE spool_count SET bytes = bytes + ?;

-- name: move_delivery_count
INSERT INTO delivery_count (destination_key, state, n) VALUES (?, ?, ?)
ON CONFLICT (destination_key, state) DO UPDATE SET n = delivery_count.n + excluded.n;

-- name: move_decision_count
INSERT INTO decision_count (hour_ms, decision_key, n) VALUES (?, ?, ?)
ON CONFLICT (hour_ms, decision_key) DO UPDATE SET n = decision_count.n + excluded.n;
