-- Payloads that a transform has to make again: what was made is lost, or could not be made and was released.

CREATE TABLE derivation (
    instance_seq INTEGER NOT NULL REFERENCES instance,
    chain        TEXT    NOT NULL,
    session_id   INTEGER REFERENCES session,
    attempts     INTEGER NOT NULL DEFAULT 0,
    tried_at_ms  INTEGER NOT NULL DEFAULT 0,  -- when there was no room for it: others may be smaller
    PRIMARY KEY (instance_seq, chain),
    FOREIGN KEY (instance_seq, chain) REFERENCES payload (instance_seq, chain)
) STRICT, WITHOUT ROWID;

CREATE INDEX derivation_leased ON derivation (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX derivation_next ON derivation (attempts, tried_at_ms, instance_seq) WHERE session_id IS NULL;

-- What a skipped duplicate would be sent as.
ALTER TABLE skipped ADD COLUMN chain TEXT NOT NULL DEFAULT '';
