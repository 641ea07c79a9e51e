-- What another worker is claiming just now is passed over, not waited for.
-- name: received
... FOR UPDATE OF i SKIP LOCKED;

-- Locked: who records a twin of it meanwhile waits, and finds the deliveries made here.
-- name: leased_by
... FOR UPDATE;

-- name: find_decision
SELECT decision_key FROM decision
WHERE revision = ? AND tried = ? AND matched = ? AND destinations = ?
  AND hold IS NOT DISTINCT FROM ? AND discard IS NOT DISTINCT FROM ?
ORDER BY decision_key LIMIT 1;

-- Locked: whoever concludes it meanwhile waits, and finds that it stands for another.
-- name: standing_delivery
... FOR UPDATE OF d;
