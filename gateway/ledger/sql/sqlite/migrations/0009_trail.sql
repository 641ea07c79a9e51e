-- What is still to be told to the audit trail, whose files stand beside the ledger. A row is there from the transaction on
-- that did what it tells of, until some host has it in its file. `batch` is '' until a host has taken it to write it.

-- Instances that moved, counted: in from a sender, meant for a destination (begin), out to it, or not (held, dead).
-- 0 is what there is none of.
CREATE TABLE transfer (
    batch           TEXT    NOT NULL DEFAULT '',
    movement        TEXT    NOT NULL,
    association_key INTEGER NOT NULL,
    series_key      INTEGER NOT NULL,
    destination_key INTEGER NOT NULL,
    sop_class_uid   TEXT    NOT NULL,
    anonymised      INTEGER NOT NULL,
    n               INTEGER NOT NULL,
    first_at_ms     INTEGER NOT NULL,
    last_at_ms      INTEGER NOT NULL,
    PRIMARY KEY (batch, movement, association_key, series_key, destination_key, sop_class_uid, anonymised)
) STRICT, WITHOUT ROWID;

-- Anything else: orders, log-ins, alerts. `body` is a JSON object.
CREATE TABLE audit_note (
    note_key INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms    INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    body     TEXT    NOT NULL
) STRICT;

-- Which studies a note is about, and how many instances of each; study_key 0 where it is about none that is known.
CREATE TABLE audit_about (
    note_key  INTEGER NOT NULL REFERENCES audit_note,
    study_key INTEGER NOT NULL,
    batch     TEXT    NOT NULL DEFAULT '',
    instances INTEGER NOT NULL,
    PRIMARY KEY (note_key, study_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_about_by_batch ON audit_about (batch, note_key, study_key);

-- What a host has taken to write, and has not written yet as far as the ledger knows.
CREATE TABLE audit_batch (
    batch      TEXT    PRIMARY KEY,
    session_id INTEGER NOT NULL REFERENCES session
) STRICT, WITHOUT ROWID;

-- How far the files of each home are known to have got: what is cut off at their end is missed.
CREATE TABLE audit_head (
    home  TEXT    PRIMARY KEY,
    seq   INTEGER NOT NULL,
    hash  TEXT    NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
