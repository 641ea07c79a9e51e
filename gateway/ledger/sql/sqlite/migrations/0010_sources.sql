-- When the newest instance of a source arrived: a look at all instances of a source that is silent would take seconds.

CREATE TABLE source_seen (
    source TEXT    PRIMARY KEY,
    at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
