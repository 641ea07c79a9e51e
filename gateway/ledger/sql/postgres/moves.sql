-- name: end_waits
UPDATE instance SET settled_at_ms = :now_ms
WHERE seq IN (SELECT instance_seq FROM skipped WHERE delivery_id = :delivery_id)
  AND state = 'settled' AND settled_at_ms IS NULL AND NOT EXISTS (
      SELECT 1 FROM skipped s JOIN delivery d ON d.delivery_id = s.delivery_id
      WHERE s.instance_seq = instance.seq AND d.state NOT IN ('delivered', 'cancelled')
  );
