-- name: add
INSERT INTO history (series_instance_uid, decision_key, listener, source, calling_ae_title, called_ae_title, peer_host,
                     sop_class_uid, transfer_syntax_uid, instance_id, received_at_ms, last_at_ms, n, header)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (series_instance_uid, decision_key, listener, source, calling_ae_title, called_ae_title, peer_host,
             sop_class_uid, transfer_syntax_uid) DO UPDATE
SET n = history.n + excluded.n,
    last_at_ms = CASE WHEN excluded.last_at_ms > history.last_at_ms THEN excluded.last_at_ms ELSE history.last_at_ms END
RETURNING history_key, n;

-- name: count
UPDATE history
SET n = n + :n, last_at_ms = CASE WHEN last_at_ms < :last_at_ms THEN :last_at_ms ELSE last_at_ms END
WHERE history_key = :history_key;

-- name: move_bytes
UPDATE history_count SET bytes = bytes + ?;

-- name: bytes
SELECT bytes FROM history_count;

-- name: since
SELECT history_key, series_instance_uid, instance_id, listener, source, calling_ae_title, called_ae_title, peer_host,
       sop_class_uid, transfer_syntax_uid, received_at_ms, n, header
FROM history WHERE history_key > :after_key AND last_at_ms >= :since_ms ORDER BY history_key LIMIT :limit;

-- name: oldest
SELECT history_key, last_at_ms, length(header) FROM history ORDER BY last_at_ms, history_key LIMIT ?;

-- name: forget
DELETE FROM history WHERE history_key = ?;

-- name: forget_decided
DELETE FROM decision_count WHERE hour_ms < ?;
