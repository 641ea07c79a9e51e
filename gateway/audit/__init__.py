"""The audit trail: who did what with whose images, by DICOM PS3.15 A.5, in files that show whether they were changed.

::

    codes.py      the codes of PS3.16 that messages use
    messages.py   one function an event: plain values in, a message out
    xml.py        a message as the XML of PS3.15 A.5.1
    chain.py      a record as a line, chained to the one before it by its hash
    trail.py      the files, as the one process writes that has the lock
    verify.py     whether files are as they were written
    read.py       records for people: the newest first, filtered, a page at a time
    server.py     where they are sent
    syslog.py     records as syslog messages (RFC 5424, 5425, 5426)
    sender.py     a thread that sends them, and remembers how far it has got

Nothing here knows the ledger or the log: `gateway.flow.keeper` carries what the ledger has to tell into the files, and
tells of trouble. Records hold patient data: the files are for their owner alone (0600).
"""
