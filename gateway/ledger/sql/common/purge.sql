-- name: purging
SELECT seq, instance_id FROM instance WHERE state = 'purging' ORDER BY seq LIMIT ?;

-- name: purgeable
SELECT i.seq, i.instance_id FROM instance i
WHERE i.state = 'settled' AND i.settled_at_ms <= :settled_before_ms
  AND EXISTS (SELECT 1 FROM payload p WHERE p.instance_seq = i.seq AND p.chain = '')
  AND NOT EXISTS (
      SELECT 1 FROM delivery d WHERE d.instance_seq = i.seq AND d.state NOT IN ('delivered', 'cancelled')
  )
  AND NOT EXISTS (
      SELECT 1 FROM skipped s JOIN delivery d ON d.delivery_id = s.delivery_id
      WHERE s.instance_seq = i.seq AND d.state NOT IN ('delivered', 'cancelled')
  )
ORDER BY i.settled_at_ms LIMIT :limit;

-- name: begin
UPDATE instance SET state = 'purging' WHERE seq = ?;

-- name: paths
SELECT path FROM payload WHERE instance_seq = ? AND path <> '' ORDER BY chain;

-- name: finish
UPDATE instance SET state = 'purged' WHERE instance_id = ? AND state = 'purging'
RETURNING (SELECT sum(p.length) FROM payload p WHERE p.instance_seq = seq);
