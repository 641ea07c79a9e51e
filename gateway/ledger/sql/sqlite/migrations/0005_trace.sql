-- What rules of a later day can be tried on: headers of routed instances, one for all that were routed alike.

CREATE TABLE history (
    history_key         INTEGER PRIMARY KEY,
    series_instance_uid TEXT    NOT NULL,
    decision_key        INTEGER NOT NULL REFERENCES decision,
    listener            TEXT    NOT NULL,
    source              TEXT    NOT NULL,
    calling_ae_title    TEXT    NOT NULL,
    called_ae_title     TEXT    NOT NULL,
    peer_host           TEXT    NOT NULL,
    sop_class_uid       TEXT    NOT NULL,
    transfer_syntax_uid TEXT    NOT NULL,
    instance_id         TEXT    NOT NULL,  -- of the one whose header it is
    received_at_ms      INTEGER NOT NULL,
    last_at_ms          INTEGER NOT NULL,
    n                   INTEGER NOT NULL,
    header              BLOB    NOT NULL,
    UNIQUE (series_instance_uid, decision_key, listener, source, calling_ae_title, called_ae_title, peer_host,
            sop_class_uid, transfer_syntax_uid)
) STRICT;

CREATE INDEX history_by_age ON history (last_at_ms);

-- A counter, because a sum over all headers takes seconds.
CREATE TABLE history_count (
    bytes INTEGER NOT NULL
) STRICT;

INSERT INTO history_count (bytes) VALUES (0);

-- Which steps made a payload: a JSON array of [transform, number, verb, done], in order; nothing where they are not known.
ALTER TABLE payload ADD COLUMN steps TEXT NOT NULL DEFAULT '[]';
