-- How many data set bytes the spool holds for the ledger: a counter, because a sum over all payloads takes seconds.

CREATE TABLE spool_count (
    bytes INTEGER NOT NULL
) STRICT;

INSERT INTO spool_count (bytes)
SELECT ifnull(sum(p.length), 0) FROM payload p JOIN instance i ON i.seq = p.instance_seq WHERE i.state <> 'purged';
