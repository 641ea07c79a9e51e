-- Several hosts on one ledger: `home` is the id of the state folder that a process is of, `generation` the folder of the
-- spool that a receiver writes into.

ALTER TABLE session ADD COLUMN generation TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN home TEXT NOT NULL DEFAULT '';

CREATE INDEX session_by_home ON session (home) WHERE generation <> '';
CREATE INDEX session_by_generation ON session (generation) WHERE generation <> '';

-- Which destinations the configuration of each home names. One that some home names is configured.
CREATE TABLE home_destination (
    home            TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    skip_duplicates INTEGER NOT NULL,
    PRIMARY KEY (home, name)
) STRICT, WITHOUT ROWID;
