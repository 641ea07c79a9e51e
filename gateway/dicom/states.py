"""The upper layer's state machine: PS3.8 Table 9-10, row by row and column by column as it is printed there.

A row is a stimulus (the standard's event), a column a state, a cell the action to take. An empty cell (`-`) is a
stimulus that cannot occur in that state: for something the peer sent there is none outside Sta1 and Sta4, where no
connection is open; for something asked for by this side it means misuse. One cell is our own: an abort asked for in
Sta2, where the standard foresees no association to abort, closes the connection (AA-2).

What an action does, and the state it leads to, is in `gateway.dicom.association`, the only caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """PS3.8 Table 9-2 to 9-5."""

    STA1 = "Sta1"  # idle: no transport connection
    STA2 = "Sta2"  # transport connection open, awaiting A-ASSOCIATE-RQ
    STA3 = "Sta3"  # awaiting the local A-ASSOCIATE response
    STA4 = "Sta4"  # awaiting the transport connection to open
    STA5 = "Sta5"  # awaiting A-ASSOCIATE-AC or -RJ
    STA6 = "Sta6"  # association established
    STA7 = "Sta7"  # awaiting A-RELEASE-RP
    STA8 = "Sta8"  # awaiting the local A-RELEASE response
    STA9 = "Sta9"  # release collision, requestor: awaiting the local A-RELEASE response
    STA10 = "Sta10"  # release collision, acceptor: awaiting A-RELEASE-RP
    STA11 = "Sta11"  # release collision, requestor: awaiting A-RELEASE-RP
    STA12 = "Sta12"  # release collision, acceptor: awaiting the local A-RELEASE response
    STA13 = "Sta13"  # awaiting the transport connection to close


class Stimulus(StrEnum):
    """The events of PS3.8 Table 9-10, in its order (Evt1 to Evt19)."""

    ASSOCIATE_REQUEST = "A-ASSOCIATE request"
    TRANSPORT_CONFIRMED = "transport connection confirmed"
    AC_RECEIVED = "A-ASSOCIATE-AC received"
    RJ_RECEIVED = "A-ASSOCIATE-RJ received"
    TRANSPORT_INDICATED = "transport connection indicated"
    RQ_RECEIVED = "A-ASSOCIATE-RQ received"
    ACCEPT = "A-ASSOCIATE response (accept)"
    REJECT = "A-ASSOCIATE response (reject)"
    DATA_REQUEST = "P-DATA request"
    DATA_RECEIVED = "P-DATA-TF received"
    RELEASE_REQUEST = "A-RELEASE request"
    RELEASE_RQ_RECEIVED = "A-RELEASE-RQ received"
    RELEASE_RP_RECEIVED = "A-RELEASE-RP received"
    RELEASE_RESPONSE = "A-RELEASE response"
    ABORT_REQUEST = "A-ABORT request"
    ABORT_RECEIVED = "A-ABORT received"
    TRANSPORT_CLOSED = "transport connection closed"
    ARTIM_EXPIRED = "ARTIM expired"
    INVALID_PDU = "unrecognized or invalid PDU received"


_TABLE = """
#                    Sta1 Sta2 Sta3 Sta4 Sta5 Sta6 Sta7 Sta8 Sta9 Sta10 Sta11 Sta12 Sta13
ASSOCIATE_REQUEST    AE-1 -    -    -    -    -    -    -    -    -     -     -     -
TRANSPORT_CONFIRMED  -    -    -    AE-2 -    -    -    -    -    -     -     -     -
AC_RECEIVED          -    AA-1 AA-8 -    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
RJ_RECEIVED          -    AA-1 AA-8 -    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
TRANSPORT_INDICATED  AE-5 -    -    -    -    -    -    -    -    -     -     -     -
RQ_RECEIVED          -    AE-6 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
ACCEPT               -    -    AE-7 -    -    -    -    -    -    -     -     -     -
REJECT               -    -    AE-8 -    -    -    -    -    -    -     -     -     -
DATA_REQUEST         -    -    -    -    -    DT-1 -    AR-7 -    -     -     -     -
DATA_RECEIVED        -    AA-1 AA-8 -    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
RELEASE_REQUEST      -    -    -    -    -    AR-1 -    -    -    -     -     -     -
RELEASE_RQ_RECEIVED  -    AA-1 AA-8 -    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
RELEASE_RP_RECEIVED  -    AA-1 AA-8 -    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3  AA-8  AA-6
RELEASE_RESPONSE     -    -    -    -    -    -    -    AR-4 AR-9 -     -     AR-4  -
ABORT_REQUEST        -    AA-2 AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1  AA-1  -
ABORT_RECEIVED       -    AA-2 AA-3 -    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3  AA-3  AA-2
TRANSPORT_CLOSED     -    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4  AA-4  AR-5
ARTIM_EXPIRED        -    AA-2 -    -    -    -    -    -    -    -     -     -     AA-2
INVALID_PDU          -    AA-1 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
"""


def _parse(text: str) -> Mapping[tuple[Stimulus, State], str]:
    table: dict[tuple[Stimulus, State], str] = {}
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            name, *cells = line.split()
            for state, action in zip(State, cells, strict=True):
                if action != "-":
                    table[Stimulus[name], state] = action
    return MappingProxyType(table)


TRANSITIONS = _parse(_TABLE)
