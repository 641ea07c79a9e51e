"""Two associations back to back, and an association put into any state of PS3.8."""

from __future__ import annotations

from gateway.dicom.association import Association, AssociationRequested, Event, State
from gateway.dicom.negotiation import AcceptorPolicy, negotiate
from gateway.dicom.pdu import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    Pdu,
    ProposedContext,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
    encode,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
ARTIM_S = 30.0

REQUEST = AssociateRQ(
    "GATEWAY", "CT1", (ProposedContext(1, CT, (EXPLICIT,)), ProposedContext(3, MR, (EXPLICIT,))), 16384
)
ANSWER = negotiate(REQUEST, AcceptorPolicy(max_pdu_length=16384))


def sent(association: Association) -> bytes:
    """Everything the association wants to send, joined."""
    return b"".join(bytes(part) for part in association.outgoing())


def pdus(raw: bytes) -> list[Pdu]:
    """The PDUs in a stream of bytes; there must be no rest."""
    found: list[Pdu] = []
    while raw:
        end = 6 + int.from_bytes(raw[2:6], "big")
        assert len(raw) >= end
        found.append(decode_pdu(raw[0], raw[6:end]))
        raw = raw[end:]
    return found


def receive(association: Association, *what: Pdu | bytes, now: float = 0.0) -> list[Event]:
    """Give PDUs or bytes to an association in one chunk."""
    raw = b"".join(each if isinstance(each, bytes) else encode(each) for each in what)
    return association.receive_data(memoryview(raw), now)


def established(ours: int = 16384, theirs: int = 16384) -> tuple[Association, Association]:
    """An acceptor and a requestor in Sta6; `ours` is what the acceptor announces."""
    request = AssociateRQ("GATEWAY", "CT1", REQUEST.contexts, theirs)
    acceptor, requestor = Association.acceptor(0.0), Association.requestor(request, 0.0)
    (event,) = receive(acceptor, sent(requestor))
    assert isinstance(event, AssociationRequested)
    acceptor.accept(negotiate(event.request, AcceptorPolicy(max_pdu_length=ours)), 0.0)
    receive(requestor, sent(acceptor))
    return acceptor, requestor


def in_state(state: State) -> Association:
    """An association that got into `state` by what its peer and its caller did; nothing is left to send."""
    association = _walk(state)
    assert association.state is state
    association.outgoing()
    return association


def _walk(state: State) -> Association:
    acceptor, requestor = established()
    match state:
        case State.STA2:
            return Association.acceptor(0.0, artim_s=ARTIM_S)
        case State.STA3:
            fresh = Association.acceptor(0.0, artim_s=ARTIM_S)
            receive(fresh, REQUEST)
            return fresh
        case State.STA5:
            return Association.requestor(REQUEST, 0.0, artim_s=ARTIM_S)
        case State.STA6:
            return acceptor
        case State.STA7:
            requestor.release(0.0)
            return requestor
        case State.STA8:
            receive(acceptor, ReleaseRQ())
            return acceptor
        case State.STA9 | State.STA11:
            requestor.release(0.0)
            receive(requestor, ReleaseRQ())
            if state is State.STA11:
                requestor.respond_release(0.0)
            return requestor
        case State.STA10 | State.STA12:
            acceptor.release(0.0)
            receive(acceptor, ReleaseRQ())
            if state is State.STA12:
                receive(acceptor, ReleaseRP())
            return acceptor
        case State.STA13:
            fresh = Association.acceptor(0.0, artim_s=ARTIM_S)
            receive(fresh, REQUEST)
            fresh.reject(AssociateRJ(1, 1, 3), 0.0)
            return fresh
        case State.STA1:
            acceptor.connection_lost(0.0)
            return acceptor
    raise AssertionError(f"{state} is passed through, never rested in")


RESTING_STATES = [state for state in State if state is not State.STA4]
OTHER_ANSWER = AssociateAC("GATEWAY", "CT1", (ContextResult(1, 0, EXPLICIT),), 16384)
