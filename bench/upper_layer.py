"""Micro-benchmark of the upper layer's codecs and hot paths, beside pynetdicom's in the same run.

python -m bench upper_layer
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from io import BytesIO

from pynetdicom import dimse_messages, dimse_primitives
from pynetdicom import pdu as peer_pdu
from pynetdicom.pdu_primitives import P_DATA

from gateway.dicom.association import Association, AssociationRequested
from gateway.dicom.dimse import c_store_rq, decode_command, encode_command, response_to
from gateway.dicom.negotiation import AcceptorPolicy, negotiate
from gateway.dicom.pdu import AssociateRQ, ProposedContext, decode_pdu, encode

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = "1.2.826.0.1.3680043.8.498.45787841905188114249811017588274763402"
EXPLICIT = "1.2.840.10008.1.2.1"
PDU_LENGTH = 16_384
CHUNK_BYTES = 262_144
VALUES = 1_600


def best_of(run: Callable[[], object], count: int, *, repeats: int = 5) -> float:
    """Microseconds a unit of work, the best of some repeats."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best / count * 1e6


def pair() -> tuple[Association, Association]:
    """An acceptor and a requestor with one context."""
    request = AssociateRQ("GATEWAY", "BENCH", (ProposedContext(1, CT, (EXPLICIT,)),), PDU_LENGTH)
    acceptor, requestor = Association.acceptor(0.0), Association.requestor(request, 0.0)
    (event,) = acceptor.receive_data(b"".join(requestor.outgoing()), 0.0)
    assert isinstance(event, AssociationRequested)
    acceptor.accept(negotiate(event.request, AcceptorPolicy(max_pdu_length=PDU_LENGTH)), 0.0)
    requestor.receive_data(b"".join(acceptor.outgoing()), 0.0)
    requestor.send_command(1, c_store_rq(1, CT, INSTANCE))
    acceptor.receive_data(b"".join(requestor.outgoing()), 0.0)
    return acceptor, requestor


def receiving_and_sending() -> None:
    """Data set fragments through an established association."""
    acceptor, requestor = pair()
    usable = requestor.usable_data_bytes
    payload = memoryview(bytes(usable * VALUES))
    requestor.send_data(1, payload, False)
    stream = memoryview(b"".join(requestor.outgoing()))
    chunks = [stream[begin : begin + CHUNK_BYTES] for begin in range(0, len(stream), CHUNK_BYTES)]

    def receive() -> None:
        for chunk in chunks:
            acceptor.receive_data(chunk, 0.0)

    def send() -> None:
        requestor.send_data(1, payload, False)
        requestor.outgoing()

    def peer_receive() -> None:
        position = 0
        while position < len(stream):
            end = position + 6 + int.from_bytes(stream[position + 2 : position + 6], "big")
            pdu = peer_pdu.P_DATA_TF()
            pdu.decode(bytes(stream[position:end]))
            pdu.to_primitive()
            position = end

    report("receive_data, a PDV of 16 KiB", best_of(receive, VALUES), best_of(peer_receive, VALUES))
    report("send_data, a PDV of 16 KiB", best_of(send, VALUES))


def commands() -> None:
    """C-STORE command sets."""
    command = c_store_rq(1, CT, INSTANCE)
    raw = encode_command(command)
    response = response_to(command, 0)
    raw_response = encode_command(response)

    def peer_encode() -> None:
        primitive = dimse_primitives.C_STORE()
        primitive.MessageID = 1
        primitive.AffectedSOPClassUID = CT
        primitive.AffectedSOPInstanceUID = INSTANCE
        primitive.Priority = 2
        primitive.DataSet = BytesIO(b"")
        message = dimse_messages.C_STORE_RQ()
        message.primitive_to_message(primitive)
        list(message.encode_msg(1, PDU_LENGTH))

    def peer_decode() -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list.append([1, b"\x03" + raw_response])
        message = dimse_messages.DIMSEMessage()
        message.decode_msg(primitive)
        message.message_to_primitive()

    report("encode C-STORE-RQ", times(lambda: encode_command(command)), times(peer_encode, 200))
    report("decode C-STORE-RQ", times(lambda: decode_command(raw)))
    report("encode C-STORE-RSP", times(lambda: encode_command(response)))
    report("decode C-STORE-RSP", times(lambda: decode_command(raw_response)), times(peer_decode, 200))


def negotiation() -> None:
    """An association request with 128 contexts of three transfer syntaxes each."""
    syntaxes = (EXPLICIT, "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70")
    contexts = tuple(ProposedContext(2 * number + 1, f"{CT}.{number}", syntaxes) for number in range(128))
    request = AssociateRQ("GATEWAY", "BENCH", contexts, PDU_LENGTH)
    raw = encode(request)
    answer = negotiate(request, AcceptorPolicy())

    def peer_decode() -> None:
        pdu = peer_pdu.A_ASSOCIATE_RQ()
        pdu.decode(raw)
        pdu.to_primitive()

    report("decode A-ASSOCIATE-RQ, 128 contexts", times(lambda: decode_pdu(1, raw[6:]), 200), times(peer_decode, 20))
    report("negotiate 128 contexts", times(lambda: negotiate(request, AcceptorPolicy()), 200))
    report("encode A-ASSOCIATE-AC, 128 contexts", times(lambda: encode(answer), 200))


def times(run: Callable[[], object], count: int = 20_000) -> float:
    """Microseconds a call."""

    def loop() -> None:
        for _ in range(count):
            run()

    return best_of(loop, count, repeats=3)


def report(what: str, ours_us: float, peers_us: float | None = None) -> None:
    """One line of the table."""
    beside = f"{peers_us:12.1f}" if peers_us is not None else f"{'':12}"
    print(f"{what:40} {ours_us:10.2f} {beside}")


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    print(f"{'':40} {'ours, us':>10} {'pynetdicom':>12}")
    receiving_and_sending()
    commands()
    negotiation()
