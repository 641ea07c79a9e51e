"""Mutated upper-layer streams and command sets against the parsers and the state machine.

    python -m tests.fuzz.fuzz_upper_layer --cases 1000000 --seed 1

A case takes a valid stream for an acceptor or a requestor, damages it (or not), cuts it into chunks, feeds it, and
lets a caller answer in any way it may: accept, reject, respond, release, abort, lose the connection. It must hold that
nothing raises, that a case takes bounded CPU time, that what the association keeps and queues is bounded, that no more
data set bytes come out than went in, and that nothing is told after the end. A failing case is printed with the seed
and number that make it again.
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import sys
import time
from dataclasses import dataclass, field

from gateway.dicom.association import (
    Aborted,
    Association,
    AssociationRequested,
    CommandReceived,
    ConnectionClosed,
    DataSetFragment,
    Event,
    Released,
    ReleaseRequested,
    State,
)
from gateway.dicom.dimse import (
    Command,
    CommandField,
    c_echo_rq,
    c_store_rq,
    decode_command,
    encode_command,
    response_to,
)
from gateway.dicom.negotiation import AcceptorPolicy, negotiate
from gateway.dicom.pdu import (
    Abort,
    AssociateRJ,
    AssociateRQ,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    PDataTF,
    PresentationDataValue,
    ProposedContext,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    UserIdentity,
    decode_pdu,
    encode,
)
from gateway.errors import ProtocolError

MAX_CASE_CPU_S = 1.0
MAX_KEPT_BYTES = 400_000  # a whole association PDU, a command set and a header
MAX_QUEUED_BYTES = 300_000  # what the caller below can have asked for in one case
MAX_RSS_GROWTH_BYTES = 64 << 20

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
CONTEXTS = (ProposedContext(1, CT, (EXPLICIT, IMPLICIT)), ProposedContext(3, "1.2.840.10008.1.1", (IMPLICIT,)))
SMALL_REQUEST = AssociateRQ("GATEWAY", "CT1", CONTEXTS, 16384, "1.2.3")
FULL_REQUEST = AssociateRQ(
    "GATEWAY",
    "CT1",
    CONTEXTS,
    4096,
    "1.2.3",
    "VERSION",
    (3, 4),
    (RoleSelection(CT, True, True),),
    (ExtendedNegotiation(CT, b"\2\0\3\0\1\0"),),
    (CommonExtendedNegotiation(CT, "1.2.840.10008.4.2", ("1.2.3", "1.2.4")),),
    UserIdentity(2, True, b"user", b"pass"),
)
ANSWER = negotiate(FULL_REQUEST, AcceptorPolicy(max_pdu_length=4096))
COMMANDS = (
    c_echo_rq(1),
    c_store_rq(2, CT, "1.2.3.4"),
    Command(CommandField.C_CANCEL_RQ, message_id_being_responded_to=1),
    Command(CommandField.C_FIND_RQ, 4, affected_sop_class_uid=CT, has_data_set=True),
    Command(CommandField.N_GET_RQ, 5, other={0x0003: b"1.2.\0\0", 0x1001: b"1.2.3\0"}),
    response_to(c_store_rq(2, CT, "1.2.3.4"), 0xB000, "coerced"),
)


def _p_data(*values: tuple[bytes, bool, bool], context_id: int = 1) -> bytes:
    return encode(
        PDataTF(tuple(PresentationDataValue(context_id, command, last, data) for data, command, last in values))
    )


def _messages() -> list[bytes]:
    """Valid runs of P-DATA-TF PDUs."""
    runs = []
    for command in COMMANDS:
        raw = encode_command(command)
        end = len(raw) // 2
        data = [(b"\x08\0\5\0\2\0\0\0AB", False, False), (b"", False, False), (b"C" * 90, False, True)]
        rest = data if command.has_data_set else []
        runs.append(_p_data((raw, True, True)) + b"".join(_p_data(piece) for piece in rest))
        runs.append(_p_data((raw[:end], True, False), (raw[end:], True, True), *rest))
    return runs


MESSAGES = _messages()
CONTROL = [encode(pdu) for pdu in (ReleaseRQ(), ReleaseRP(), Abort(0, 0), Abort(2, 1), AssociateRJ(1, 1, 7))]
CONTROL.append(encode(ReleaseRQ()) + encode(ReleaseRP()))  # the peer's part of a release collision
OPENINGS = [encode(SMALL_REQUEST), encode(FULL_REQUEST)]
ANSWERS = [encode(ANSWER), encode(AssociateRJ(2, 3, 1))]
NUMBERS_8 = (0, 1, 2, 3, 4, 5, 7, 0x10, 0x20, 0x40, 0x50, 0x7F, 0x80, 0xFE, 0xFF)
NUMBERS_32 = (0, 1, 3, 4, 5, 6, 7, 8, 255, 256, 4096, 16384, 16385, 65536, 262144, 262145, 0x7FFFFFFF, 0xFFFFFFFF)


class Failure(Exception):
    """An invariant does not hold."""


@dataclass(slots=True)
class Totals:
    """What a run has met, to show that it went deep."""

    cases: int = 0
    events: int = 0
    aborted: int = 0
    states: set[State] = field(default_factory=set)


def _mutate(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with one to four damages."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        size = len(data)
        if not size:
            break
        at = rng.randrange(size)
        match rng.randrange(9):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.choice(NUMBERS_8)
            case 2:
                data[at : at + 4] = struct.pack(rng.choice((">I", "<I")), rng.choice(NUMBERS_32))
            case 3:
                data[at : at + 2] = struct.pack(rng.choice((">H", "<H")), rng.choice(NUMBERS_32) & 0xFFFF)
            case 4:
                del data[at : at + rng.randint(1, 12)]
            case 5:
                data[at:at] = rng.randbytes(rng.randint(1, 12))
            case 6:
                begin = rng.randrange(size)
                data[at:at] = data[begin : begin + rng.randint(1, 80)]
            case 7:
                del data[at:]
            case 8:
                data[at:] = rng.choice(MESSAGES)
    return bytes(data)


def _stream(rng: random.Random, opening: list[bytes]) -> bytes:
    """A conversation for one side: its opening, messages, an end; each part may be missing or out of place."""
    parts = [rng.choice(opening)] if rng.random() < 0.9 else []
    parts += [rng.choice(MESSAGES) for _ in range(rng.randint(0, 4))]
    if rng.random() < 0.6:
        parts.append(rng.choice(CONTROL))
    if rng.random() < 0.1:
        rng.shuffle(parts)
    if rng.random() < 0.02:
        parts.append(rng.randbytes(rng.randint(1, 3000)))
    if parts and rng.random() < 0.85:
        # Damage to one part leaves the others to lead the association to it.
        at = rng.randrange(len(parts))
        parts[at] = _mutate(parts[at], rng)
    return b"".join(parts)


class _Caller:
    """Whoever drives the association: answers in any way that the interface allows."""

    def __init__(self, association: Association, rng: random.Random, totals: Totals) -> None:
        self.association = association
        self.ended = False
        self.data_bytes = 0
        self._rng = rng
        self._totals = totals
        self._later: list[
            AssociationRequested | CommandReceived | ReleaseRequested
        ] = []  # events that are answered after another chunk

    def hear(self, events: list[Event]) -> None:
        """Act on the events of one chunk."""
        self._totals.events += len(events)
        for event in events:
            if self.ended:
                raise Failure(f"{type(event).__name__} after the end")
            if isinstance(event, DataSetFragment):
                self.data_bytes += len(event.data)
            elif isinstance(event, AssociationRequested | CommandReceived | ReleaseRequested):
                if self._rng.random() < 0.75:
                    self._answer(event)
                else:
                    self._later.append(event)
            elif isinstance(event, Aborted | ConnectionClosed | Released):
                # In a release collision the acceptor's own release is confirmed while it still owes the answer to the
                # peer's (Sta12), so that something may yet happen after `Released`.
                self.ended = not isinstance(event, Released)
                self._totals.aborted += isinstance(event, Aborted)

    def _answer(self, event: AssociationRequested | CommandReceived | ReleaseRequested) -> None:
        rng, association = self._rng, self.association
        if isinstance(event, ReleaseRequested):
            association.respond_release(1.0)
        elif isinstance(event, CommandReceived):
            command = event.command
            if not command.is_response and command.command_field != CommandField.C_CANCEL_RQ:
                association.send_command(event.context.context_id, response_to(command, 0x0211))
        elif rng.random() < 0.95:
            maximum = rng.choice((0, 128, 4096, 262144))
            association.accept(negotiate(event.request, AcceptorPolicy(max_pdu_length=maximum)), 1.0)
        else:
            association.reject(AssociateRJ(1, 1, 3), 1.0)

    def act(self) -> None:
        """Answer what waits, and sometimes want something that the peer did not ask for."""
        rng, association = self._rng, self.association
        later, self._later = self._later, []
        for event in later:
            self._answer(event)
        chance = rng.random()
        if chance < 0.02:
            self.hear(association.abort(0, 0, 1.0))
        elif chance < 0.13 and association.state is State.STA6:
            association.release(1.0)
        elif chance < 0.15 and association.state is State.STA6 and 1 in association.contexts:
            association.send_command(1, c_store_rq(1, CT, "1.2.3"))
            association.send_data(1, bytes(5000), True)


def _kept(association: Association) -> int:
    reader = association._reader
    return len(reader._partial) + len(reader._body) + len(reader._command)


def run_case(rng: random.Random, totals: Totals) -> None:
    """One conversation. Raises whatever goes wrong."""
    if rng.random() < 0.6:
        association, raw = Association.acceptor(0.0), _stream(rng, OPENINGS)
    else:
        association, raw = Association.requestor(FULL_REQUEST, 0.0), _stream(rng, ANSWERS)
    caller = _Caller(association, rng, totals)
    queued = position = 0
    chunk = rng.choice((1 << 20, 600, 150, 17, 1 if len(raw) < 600 else 64))
    while position < len(raw):
        end = position + rng.randint(1, chunk)
        caller.act()
        caller.hear(association.receive_data(memoryview(raw)[position:end], 1.0))
        position = end
        if _kept(association) > MAX_KEPT_BYTES:
            raise Failure(f"{_kept(association)} bytes are kept")
        queued += sum(map(len, association.outgoing()))
        totals.states.add(association.state)
    if rng.random() < 0.5:
        caller.hear(association.handle_timeout(association.deadline or 1.0))
    caller.hear(association.connection_lost(2.0))
    if not association.closing:
        raise Failure(f"{association.state} after the connection was lost")
    if caller.data_bytes > len(raw):
        raise Failure("more data set bytes came out than went in")
    if queued > MAX_QUEUED_BYTES:
        raise Failure(f"{queued} bytes were queued for {len(raw)} received")


def run_codec_case(rng: random.Random, totals: Totals) -> None:
    """One damaged PDU body and one damaged command set, each alone; what decodes must be usable."""
    raw = _mutate(rng.choice(OPENINGS + ANSWERS + CONTROL), rng)
    try:
        pdu = decode_pdu(raw[0] if raw else 0, raw[6:])
    except ProtocolError:
        pass
    else:
        if isinstance(pdu, AssociateRQ):
            encode(negotiate(pdu, AcceptorPolicy()))
    try:
        command = decode_command(_mutate(encode_command(rng.choice(COMMANDS)), rng))
    except ProtocolError:
        return
    if not command.is_response and command.command_field != CommandField.C_CANCEL_RQ:
        encode_command(response_to(command, 0x0211))
    totals.events += 1


def run(cases: int, seed: int, *, progress: bool = False) -> Totals:
    """`cases` cases; a case is made again from the seed and its number. Raises `Failure` on the first that fails."""
    totals = Totals()
    before_rss = _rss_bytes()
    began = time.monotonic()
    for number in range(cases):
        rng = random.Random(f"{seed}/{number}")
        cpu = time.thread_time()
        try:
            (run_codec_case if number % 5 == 4 else run_case)(rng, totals)
        except Exception as error:
            raise Failure(f"seed {seed}, case {number}: {type(error).__name__}: {error}") from error
        cpu = time.thread_time() - cpu
        if cpu > MAX_CASE_CPU_S:
            raise Failure(f"seed {seed}, case {number}: took {cpu:.2f} s of CPU time")
        totals.cases += 1
        if progress and totals.cases % 100_000 == 0:
            print(f"{totals.cases} cases, {totals.cases / (time.monotonic() - began):.0f} cases/s", flush=True)
    growth = _rss_bytes() - before_rss
    if growth > MAX_RSS_GROWTH_BYTES:
        raise Failure(f"seed {seed}: the process grew by {growth} bytes")
    return totals


def _rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    before = _rss_bytes()
    try:
        totals = run(arguments.cases, arguments.seed, progress=True)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    print(
        f"{totals.cases} cases in {seconds:.0f} s ({totals.cases / seconds:.0f} cases/s): {totals.events} events, "
        f"{totals.aborted} aborts, states {' '.join(sorted(totals.states, key=list(State).index))}, "
        f"peak memory grew by {(_rss_bytes() - before) >> 10} KiB; no failure"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
