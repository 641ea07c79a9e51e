-- What is locked (a duplicate is just being routed that it stands for) comes with the next claim.
-- name: ready
... FOR UPDATE OF d SKIP LOCKED;
