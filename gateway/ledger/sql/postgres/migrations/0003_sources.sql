-- When the newest instance of a source arrived: as SQLite's step 10 has it.

CREATE TABLE source_seen (
    source TEXT COLLATE "C" PRIMARY KEY,
    at_ms  BIGINT NOT NULL
);

ALTER TABLE source_seen SET (fillfactor = 50);
