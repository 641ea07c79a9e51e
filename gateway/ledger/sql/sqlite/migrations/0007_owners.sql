-- Which forwarder serves a destination, and which is to have it next; and which roles of which hosts take no more work.

ALTER TABLE destination ADD COLUMN owner_session_id INTEGER REFERENCES session;
ALTER TABLE destination ADD COLUMN wanted_by_session_id INTEGER REFERENCES session;

-- How much a process that was told to take no more still has in its hands, besides what is leased to it; NULL: it works.
ALTER TABLE session ADD COLUMN in_hand INTEGER;

-- A row: this role takes no more work on this host, until somebody says otherwise.
CREATE TABLE draining (
    host     TEXT    NOT NULL,
    role     TEXT    NOT NULL,
    actor    TEXT    NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (host, role)
) STRICT, WITHOUT ROWID;
