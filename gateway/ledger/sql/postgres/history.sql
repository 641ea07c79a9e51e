-- Two processes that remember the like for the first time at once make two rows, which does no harm.
-- name: add
WITH fresh (series_instance_uid, decision_key, listener, source, calling_ae_title, called_ae_title, peer_host,
            sop_class_uid, transfer_syntax_uid, instance_id, received_at_ms, last_at_ms, n, header) AS (
    VALUES (?::text, ?::bigint, ?::text, ?::text, ?::text, ?::text, ?::text,
            ?::text, ?::text, ?::text, ?::bigint, ?::bigint, ?::bigint, ?::bytea)
), counted AS (
    UPDATE history h SET n = h.n + f.n, last_at_ms = greatest(h.last_at_ms, f.last_at_ms)
    FROM fresh f
    WHERE h.history_key = (
        SELECT o.history_key FROM history o
        WHERE o.series_instance_uid = f.series_instance_uid AND o.decision_key = f.decision_key
          AND o.listener = f.listener AND o.source = f.source AND o.calling_ae_title = f.calling_ae_title
          AND o.called_ae_title = f.called_ae_title AND o.peer_host = f.peer_host
          AND o.sop_class_uid = f.sop_class_uid AND o.transfer_syntax_uid = f.transfer_syntax_uid
        ORDER BY o.history_key LIMIT 1
    )
    RETURNING h.history_key, h.n
), made AS (
    INSERT INTO history (series_instance_uid, decision_key, listener, source, calling_ae_title, called_ae_title,
                         peer_host, sop_class_uid, transfer_syntax_uid, instance_id, received_at_ms, last_at_ms, n,
                         header)
    SELECT * FROM fresh WHERE NOT EXISTS (SELECT 1 FROM counted)
    RETURNING history_key, n
)
SELECT history_key, n FROM counted UNION ALL SELECT history_key, n FROM made;
