-- What stands behind the pseudonyms of de-identified copies, sealed for the holder of a private key. Rows are never
-- changed or deleted: they outlive the instances. Two originals with one pseudonym have two marks, and two rows.

CREATE TABLE pseudonym (
    pseudonym   TEXT    NOT NULL,
    mark        BLOB    NOT NULL,
    sealed      BLOB    NOT NULL,
    first_at_ms INTEGER NOT NULL,
    PRIMARY KEY (pseudonym, mark)
) STRICT, WITHOUT ROWID;

CREATE INDEX audit_by_action ON audit (action, audit_key);
