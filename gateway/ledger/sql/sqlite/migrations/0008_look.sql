-- What people look at. What is held, dead or quarantined is found by its reason, in the order in which it stopped, without
-- a look at each row; the index begins as it did. Of a reason only its first part is in it: an entry has a bound.

DROP INDEX delivery_stopped;
CREATE INDEX delivery_stopped
    ON delivery (destination_key, state, code, substr(reason, 1, 200), updated_at_ms, delivery_id, instance_seq)
    WHERE state IN ('held', 'dead');

DROP INDEX instance_stopped;
CREATE INDEX instance_stopped ON instance (state, substr(reason, 1, 200), seq) WHERE state IN ('held', 'quarantined');

-- How many instances were decided so, by hour: a counter, because a look at all instances of a day takes seconds.
CREATE TABLE decision_count (
    hour_ms      INTEGER NOT NULL,
    decision_key INTEGER NOT NULL REFERENCES decision,
    n            INTEGER NOT NULL,
    PRIMARY KEY (hour_ms, decision_key)
) STRICT, WITHOUT ROWID;
