"""Our codecs beside pynetdicom's: they read what we write, we read what they write."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from gateway.dicom.dimse import Command, c_echo_rq, c_store_rq, decode_command, encode_command, response_to
from gateway.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    CommonExtendedNegotiation,
    ContextResult,
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
from gateway.dicom.states import TRANSITIONS, State, Stimulus

pynetdicom_pdu = pytest.importorskip("pynetdicom.pdu")

from pynetdicom import dimse_messages, dimse_primitives, fsm  # noqa: E402
from pynetdicom.pdu_primitives import P_DATA  # noqa: E402

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

REQUEST = AssociateRQ(
    "GATEWAY",
    "CT1",
    (ProposedContext(1, CT, (EXPLICIT, IMPLICIT)), ProposedContext(3, "1.2.840.10008.1.1", (IMPLICIT,))),
    16382,
    "1.2.3.4",
    "SOME_VERSION",
    (5, 6),
    (RoleSelection(CT, True, False),),
    (ExtendedNegotiation(CT, b"\x02\x00\x03\x00\x01\x00"),),
    (CommonExtendedNegotiation(CT, "1.2.840.10008.4.2", ("1.2.840.10008.5.1.4.1.1.88.22",)),),
    UserIdentity(2, True, b"alice", b"secret"),
)
ANSWER = AssociateAC(
    "GATEWAY",
    "CT1",
    (ContextResult(1, 0, EXPLICIT), ContextResult(3, 3, IMPLICIT)),
    65536,
    "1.2.3.4",
    "SOME_VERSION",
    (1, 1),
    (RoleSelection(CT, True, False),),
    (ExtendedNegotiation(CT, b"\x02"),),
    b"ticket",
)
PDUS = [
    (REQUEST, "A_ASSOCIATE_RQ"),
    (ANSWER, "A_ASSOCIATE_AC"),
    (AssociateRJ(1, 1, 7), "A_ASSOCIATE_RJ"),
    (
        PDataTF((PresentationDataValue(1, True, True, b"abcd"), PresentationDataValue(1, False, False, b"ef"))),
        "P_DATA_TF",
    ),
    (ReleaseRQ(), "A_RELEASE_RQ"),
    (ReleaseRP(), "A_RELEASE_RP"),
    (Abort(2, 6), "A_ABORT_RQ"),
]


@pytest.mark.parametrize(("pdu", "theirs"), PDUS, ids=[name for _, name in PDUS])
def test_they_read_what_we_write_and_we_read_what_they_write(pdu: Any, theirs: str) -> None:
    peer = getattr(pynetdicom_pdu, theirs)()
    peer.decode(encode(pdu))
    raw = peer.encode()
    assert decode_pdu(raw[0], raw[6:]) == pdu


def test_they_find_our_values_where_they_look_for_them() -> None:
    peer = pynetdicom_pdu.A_ASSOCIATE_RQ()
    peer.decode(encode(REQUEST))
    assert (peer.called_ae_title.strip(), peer.calling_ae_title.strip()) == ("GATEWAY", "CT1")
    assert [context.context_id for context in peer.presentation_context] == [1, 3]
    assert [str(uid) for uid in peer.presentation_context[0].transfer_syntax] == [EXPLICIT, IMPLICIT]
    assert peer.user_information.maximum_length == 16382
    assert peer.user_information.user_identity.primary_field == b"alice"
    assert peer.user_information.async_ops_window.maximum_number_operations_invoked == 5


def _parts(message: Any) -> tuple[bytes, list[int]]:
    """The command set that pynetdicom makes of a message, and the PDVs' control headers."""
    values = [value for primitive in message.encode_msg(1, 0) for value in primitive.presentation_data_value_list]
    return b"".join(value[1:] for _, value in values if value[0] & 1), [value[0] for _, value in values]


def _store_primitive() -> Any:
    primitive = dimse_primitives.C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = "1.2.3.4.5"
    primitive.Priority = 1
    primitive.MoveOriginatorApplicationEntityTitle = "MOVER"
    primitive.MoveOriginatorMessageID = 3
    primitive.DataSet = BytesIO(b"\x08\x00\x05\x00\x02\x00\x00\x00AB")
    return primitive


def test_we_read_their_c_store_request() -> None:
    message = dimse_messages.C_STORE_RQ()
    message.primitive_to_message(_store_primitive())
    raw, controls = _parts(message)
    assert decode_command(raw) == Command(
        1,
        7,
        affected_sop_class_uid=CT,
        affected_sop_instance_uid="1.2.3.4.5",
        priority=1,
        has_data_set=True,
        move_originator_ae_title="MOVER",
        move_originator_message_id=3,
    )
    assert controls == [3, 2]


def test_we_read_their_c_store_response() -> None:
    primitive = dimse_primitives.C_STORE()
    primitive.MessageIDBeingRespondedTo = 7
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = "1.2.3.4.5"
    primitive.Status = 0xA700
    primitive.ErrorComment = "disk full"
    message = dimse_messages.C_STORE_RSP()
    message.primitive_to_message(primitive)
    assert decode_command(_parts(message)[0]) == response_to(c_store_rq(7, CT, "1.2.3.4.5"), 0xA700, "disk full")


@pytest.mark.parametrize(
    ("command", "name", "expected"),
    [
        (c_echo_rq(3), "C_ECHO_RQ", {"MessageID": 3}),
        (
            c_store_rq(9, CT, "1.2.3", 2),
            "C_STORE_RQ",
            {"MessageID": 9, "AffectedSOPInstanceUID": "1.2.3", "Priority": 2},
        ),
        (
            response_to(c_store_rq(9, CT, "1.2.3"), 0xB000, "odd"),
            "C_STORE_RSP",
            {"MessageIDBeingRespondedTo": 9, "Status": 0xB000, "ErrorComment": "odd", "AffectedSOPClassUID": CT},
        ),
        (response_to(c_echo_rq(3), 0), "C_ECHO_RSP", {"MessageIDBeingRespondedTo": 3, "Status": 0}),
    ],
)
def test_they_read_our_commands(command: Command, name: str, expected: dict[str, object]) -> None:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append([1, b"\x03" + encode_command(command)])
    if command.has_data_set:
        primitive.presentation_data_value_list.append([1, b"\x02" + b"\x08\x00\x05\x00\x02\x00\x00\x00AB"])
    message = dimse_messages.DIMSEMessage()
    assert message.decode_msg(primitive)
    assert type(message).__name__ == name
    assert {key: getattr(message.command_set, key) for key in expected} == expected


def test_their_state_table_is_ours_but_for_the_abort_before_an_association() -> None:
    events = {f"Evt{number}": stimulus for number, stimulus in enumerate(Stimulus, 1)}
    theirs = {(events[event], State(state)): action for (event, state), action in fsm.TRANSITION_TABLE.items()}
    assert dict(TRANSITIONS) == theirs | {(Stimulus.ABORT_REQUEST, State.STA2): "AA-2"}
