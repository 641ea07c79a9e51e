-- The first schema. Integer keys never leave the ledger; names and identifiers of the outside stay text.
-- States are stored as the words that people read, so that a query by hand needs no legend.
-- References are declared and verified by check(), not enforced at each insert.

CREATE TABLE session (
    session_id   INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again
    role         TEXT    NOT NULL,
    host         TEXT    NOT NULL,
    pid          INTEGER NOT NULL,
    opened_at_ms INTEGER NOT NULL,
    beats        INTEGER NOT NULL DEFAULT 0,
    beat_at_ms   INTEGER NOT NULL,
    voided_at_ms INTEGER
) STRICT;

CREATE INDEX session_open ON session (host) WHERE voided_at_ms IS NULL;

CREATE TABLE association (
    association_key  INTEGER PRIMARY KEY,
    association_id   TEXT NOT NULL,
    listener         TEXT NOT NULL,
    source           TEXT NOT NULL,
    calling_ae_title TEXT NOT NULL,
    called_ae_title  TEXT NOT NULL,
    peer_host        TEXT NOT NULL,
    UNIQUE (association_id, listener, source, calling_ae_title, called_ae_title, peer_host)
) STRICT;

CREATE TABLE rule_set (
    rule_set_key INTEGER PRIMARY KEY,
    revision     TEXT    NOT NULL UNIQUE,
    files        TEXT    NOT NULL,  -- a JSON object: name -> text
    stored_at_ms INTEGER NOT NULL,
    current      INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX rule_set_current ON rule_set (current) WHERE current = 1;

-- One row for all instances with an equal decision; the lists are JSON arrays.
CREATE TABLE decision (
    decision_key INTEGER PRIMARY KEY,
    revision     TEXT    NOT NULL,
    tried        INTEGER NOT NULL,
    matched      TEXT    NOT NULL,
    destinations TEXT    NOT NULL,
    hold         TEXT,
    discard      TEXT
) STRICT;

CREATE UNIQUE INDEX decision_equal
    ON decision (revision, tried, matched, destinations, ifnull(hold, char(0)), ifnull(discard, char(0)));

-- Unequal attributes make another row: an instance is found by what it says itself, not by what its siblings said.
CREATE TABLE study (
    study_key            INTEGER PRIMARY KEY,
    study_instance_uid   TEXT NOT NULL,
    patient_id           TEXT NOT NULL,
    patient_name         TEXT NOT NULL,
    issuer_of_patient_id TEXT NOT NULL,
    accession_number     TEXT NOT NULL,
    study_date           TEXT NOT NULL,
    study_description    TEXT NOT NULL,
    UNIQUE (study_instance_uid, patient_id, patient_name, issuer_of_patient_id, accession_number, study_date,
            study_description)
) STRICT;

CREATE INDEX study_by_patient ON study (patient_id);
CREATE INDEX study_by_accession ON study (accession_number);

CREATE TABLE series (
    series_key          INTEGER PRIMARY KEY,
    study_key           INTEGER NOT NULL REFERENCES study,
    series_instance_uid TEXT    NOT NULL,
    series_number       TEXT    NOT NULL,
    series_description  TEXT    NOT NULL,
    modality            TEXT    NOT NULL,
    UNIQUE (study_key, series_instance_uid, series_number, series_description, modality)
) STRICT;

CREATE TABLE instance (
    seq              INTEGER PRIMARY KEY,  -- order of arrival; rows are never deleted
    instance_id      TEXT    NOT NULL UNIQUE,
    state            TEXT    NOT NULL,
    reason           TEXT    NOT NULL DEFAULT '',
    session_id       INTEGER REFERENCES session,  -- the worker that has it, while received
    attempts         INTEGER NOT NULL DEFAULT 0,
    association_key  INTEGER NOT NULL REFERENCES association,
    sop_class_uid    TEXT    NOT NULL,
    sop_instance_uid TEXT    NOT NULL,
    received_at_ms   INTEGER NOT NULL,
    recorded_at_ms   INTEGER NOT NULL,
    duplicate        TEXT    NOT NULL,
    first_seq        INTEGER REFERENCES instance,  -- first arrival of this SOP Instance UID; NULL: there is no other
    decision_key     INTEGER REFERENCES decision,
    series_key       INTEGER REFERENCES series,
    instance_number  TEXT    NOT NULL DEFAULT '',
    settled_at_ms    INTEGER
) STRICT;

CREATE INDEX instance_by_uid ON instance (sop_instance_uid);
CREATE INDEX instance_received ON instance (session_id, seq) WHERE state = 'received';
CREATE INDEX instance_settled ON instance (settled_at_ms) WHERE state = 'settled';
CREATE INDEX instance_purging ON instance (seq) WHERE state = 'purging';
CREATE INDEX instance_stopped ON instance (state, seq) WHERE state IN ('held', 'quarantined');
CREATE INDEX instance_by_series ON instance (series_key) WHERE series_key IS NOT NULL;
CREATE INDEX instance_twins ON instance (first_seq, seq) WHERE first_seq IS NOT NULL;
CREATE INDEX instance_twins_received ON instance (first_seq, seq) WHERE first_seq IS NOT NULL AND state = 'received';

-- Instance x transform chain; the original is the empty chain.
CREATE TABLE payload (
    instance_seq        INTEGER NOT NULL REFERENCES instance,
    chain               TEXT    NOT NULL,
    path                TEXT    NOT NULL,
    data_offset         INTEGER NOT NULL,
    length              INTEGER NOT NULL,
    checksum            BLOB    NOT NULL,
    sop_class_uid       TEXT    NOT NULL,
    sop_instance_uid    TEXT    NOT NULL,
    transfer_syntax_uid TEXT    NOT NULL,
    PRIMARY KEY (instance_seq, chain)
) STRICT, WITHOUT ROWID;

CREATE TABLE destination (
    destination_key  INTEGER PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    configured       INTEGER NOT NULL,
    skip_duplicates  INTEGER NOT NULL DEFAULT 0,
    paused           INTEGER NOT NULL DEFAULT 0,
    breaker          TEXT    NOT NULL DEFAULT 'up',
    window           REAL    NOT NULL DEFAULT 0.0,
    last_error       TEXT    NOT NULL DEFAULT '',
    next_probe_at_ms INTEGER NOT NULL DEFAULT 0,
    updated_at_ms    INTEGER NOT NULL
) STRICT;

CREATE TABLE delivery (
    delivery_id     INTEGER PRIMARY KEY,  -- rows are never deleted
    instance_seq    INTEGER NOT NULL REFERENCES instance,
    chain           TEXT    NOT NULL DEFAULT '',
    destination_key INTEGER NOT NULL REFERENCES destination,
    state           TEXT    NOT NULL,
    priority        INTEGER NOT NULL DEFAULT 0,
    first_seq       INTEGER,                      -- as instance.first_seq: others may have to go before this one
    parked          INTEGER NOT NULL DEFAULT 0,   -- ready, but seen waiting for a twin: out of the claims' way
    alone           INTEGER NOT NULL DEFAULT 0,
    uncertain       INTEGER NOT NULL DEFAULT 0,
    session_id      INTEGER REFERENCES session,
    token           INTEGER NOT NULL DEFAULT 0,
    attempts        INTEGER NOT NULL DEFAULT 0,
    due_at_ms       INTEGER NOT NULL DEFAULT 0,
    created_at_ms   INTEGER NOT NULL,
    queued_at_ms    INTEGER NOT NULL,             -- creation, or the last release by a person
    updated_at_ms   INTEGER NOT NULL,
    code            TEXT    NOT NULL DEFAULT '',
    reason          TEXT    NOT NULL DEFAULT '',
    status          INTEGER,
    FOREIGN KEY (instance_seq, chain) REFERENCES payload (instance_seq, chain)
) STRICT;

CREATE INDEX delivery_by_instance ON delivery (instance_seq, destination_key);
CREATE INDEX delivery_ready ON delivery (destination_key, alone, priority DESC, instance_seq, delivery_id)
    WHERE state = 'ready' AND parked = 0;
CREATE INDEX delivery_due ON delivery (destination_key, due_at_ms) WHERE state = 'deferred';
CREATE INDEX delivery_leased ON delivery (session_id) WHERE state = 'leased';
CREATE INDEX delivery_waiting ON delivery (destination_key, queued_at_ms)
    WHERE state IN ('ready', 'leased', 'deferred');
CREATE INDEX delivery_stopped ON delivery (destination_key, state) WHERE state IN ('held', 'dead');
CREATE INDEX delivery_twins ON delivery (first_seq, destination_key, instance_seq, delivery_id)
    WHERE first_seq IS NOT NULL AND state IN ('ready', 'leased', 'deferred');
CREATE INDEX delivery_twins_leased ON delivery (first_seq, destination_key)
    WHERE first_seq IS NOT NULL AND state = 'leased';
CREATE INDEX delivery_parked ON delivery (first_seq, destination_key, instance_seq, delivery_id) WHERE parked = 1;

-- Whatever moves a delivery, by whichever way, the next of its parked twins is looked at again by the next claim.
CREATE TRIGGER delivery_unpark AFTER UPDATE OF state ON delivery
WHEN old.first_seq IS NOT NULL AND old.state <> new.state
BEGIN
    UPDATE delivery SET parked = 0
    WHERE delivery_id = (
        SELECT delivery_id FROM delivery
        WHERE first_seq = new.first_seq AND destination_key = new.destination_key AND parked = 1
        ORDER BY instance_seq, delivery_id LIMIT 1
    );
END;

-- Exact duplicates that were not sent because an earlier arrival's delivery stands for them.
CREATE TABLE skipped (
    instance_seq    INTEGER NOT NULL REFERENCES instance,
    destination_key INTEGER NOT NULL REFERENCES destination,
    delivery_id     INTEGER NOT NULL REFERENCES delivery,
    PRIMARY KEY (instance_seq, destination_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX skipped_by_delivery ON skipped (delivery_id);

-- Counters, kept by the transactions that move the rows.
CREATE TABLE instance_count (
    state TEXT    PRIMARY KEY,
    n     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery_count (
    destination_key INTEGER NOT NULL REFERENCES destination,
    state           TEXT    NOT NULL,
    n               INTEGER NOT NULL,
    PRIMARY KEY (destination_key, state)
) STRICT, WITHOUT ROWID;

-- What people ordered. Append-only.
CREATE TABLE audit (
    audit_key INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms     INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    filter    TEXT    NOT NULL,  -- a JSON object
    reason    TEXT    NOT NULL,
    count     INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;

CREATE TRIGGER audit_keeps_words BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;
