"""Our SCP beside DCMTK, pynetdicom and a scripted peer: what each of them is answered."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind as PatientRootFind

from tests.harness import wire
from tests.harness.archive import OurArchive
from tests.harness.data import Instance, make_instance, make_instances, write_part10
from tests.harness.dcmtk import dcmsend, echoscu, storescu
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.pynet import PynetdicomScu
from tests.harness.rawpeer import Aborted, RawScu
from tests.harness.tools import free_port, program, require, run, wait_until
from tests.harness.wire import CT_IMAGE_STORAGE, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION, Context

JPEG_2000 = "1.2.840.10008.1.2.4.90"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MPPS = "1.2.840.10008.3.1.2.3.3"
PRIVATE_STORAGE = "1.2.826.0.1.3680043.9.7777.1"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
UNRECOGNIZED_OPERATION = 0x0211


@pytest.fixture(scope="module")
def archive() -> Iterator[OurArchive]:
    with OurArchive() as archive:
        yield archive


@pytest.fixture(scope="module")
def gateway(archive: OurArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("scp")
    narrow = {
        "host": "127.0.0.1",
        "port": free_port(),
        "abstract_syntaxes": [CT_IMAGE_STORAGE, PRIVATE_STORAGE],
        "transfer_syntaxes": [JPEG_2000, IMPLICIT_LE],
        "max_pdu_length": "16 KiB",
    }
    config = GatewayConfig(folder, {"archive": archive.port}, listeners={"narrow": narrow})
    with GatewayProcess(config) as process:
        yield process


def _arrived(archive: OurArchive, instances: list[Instance]) -> None:
    """Every instance is at the archive, with the bytes that were sent."""

    def all_there() -> bool:
        contents = archive.contents()
        return all(contents.get(one.sop_instance_uid) == [one.sha256] for one in instances)

    wait_until(all_there, 60, lambda: f"{len(instances)} instances at the archive: {archive.count}")


# ── PDU lengths ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("max_pdu", [4096, 16384, 0])
def test_pynetdicom_stores_and_echoes_on_one_association(
    gateway: GatewayProcess, archive: OurArchive, max_pdu: int
) -> None:
    instances = list(make_instances(3, seed=7000 + max_pdu, pixel_bytes=300_000))
    with PynetdicomScu(gateway.config.port, [(CT_IMAGE_STORAGE, EXPLICIT_LE)], max_pdu=max_pdu) as scu:
        assert scu.echo() == 0x0000
        for instance in instances:
            assert scu.store(instance) == 0x0000
            assert scu.echo() == 0x0000
    _arrived(archive, instances)


@pytest.mark.parametrize("options", [("-pdu", "4096", "--max-send-pdu", "4096"), ("-pdu", "16384"), ("-pdu", "131072")])
@pytest.mark.parametrize("sender", [dcmsend, storescu])
def test_dcmtk_stores_with_any_pdu_length(
    gateway: GatewayProcess, archive: OurArchive, tmp_path: Path, sender: object, options: tuple[str, ...]
) -> None:
    require("dcmsend")
    name = "dcmsend" if sender is dcmsend else "storescu"
    seed = 20_000 + int(options[1]) + 7 * len(name)
    instances = list(make_instances(3, seed=seed, pixel_bytes=300_000))
    files = [write_part10(tmp_path / f"{index}.dcm", one) for index, one in enumerate(instances)]
    done = (dcmsend if sender is dcmsend else storescu)(files, gateway.config.port, options=options)
    assert done.returncode == 0, done.output
    _arrived(archive, instances)  # what DCMTK writes anew is byte for byte what pydicom wrote


# ── presentation contexts ─────────────────────────────────────────────────────────────────────────────────────────────


def test_128_contexts_are_negotiated_and_the_last_one_stores(gateway: GatewayProcess, archive: OurArchive) -> None:
    classes = [f"{PRIVATE_STORAGE}.{number}" for number in range(1, 127)] + [CT_IMAGE_STORAGE]
    proposed = [(VERIFICATION, IMPLICIT_LE), *((one, EXPLICIT_LE) for one in classes)]
    instance = make_instance(seed=71)
    with RawScu(gateway.config.port) as scu:
        answer = scu.associate(proposed)
        assert {number: result for number, (result, _) in answer.results.items()} == dict.fromkeys(range(1, 257, 2), 0)
        assert scu.echo(1) == 0x0000
        assert scu.store(255, instance.sop_class_uid, instance.sop_instance_uid, instance.data) == 0x0000
        scu.release()
    _arrived(archive, [instance])


def test_pynetdicom_proposes_128_contexts(gateway: GatewayProcess, archive: OurArchive) -> None:
    instance = make_instance(seed=72)
    contexts = [(f"{PRIVATE_STORAGE}.{number}", EXPLICIT_LE) for number in range(1, 127)]
    with PynetdicomScu(gateway.config.port, [*contexts, (CT_IMAGE_STORAGE, EXPLICIT_LE)]) as scu:
        assert len(scu.association.accepted_contexts) == 128
        assert scu.store(instance) == 0x0000
    _arrived(archive, [instance])


def test_private_classes_come_in_and_other_services_are_refused_in_negotiation(gateway: GatewayProcess) -> None:
    proposed = [(PRIVATE_STORAGE, EXPLICIT_LE), (STUDY_ROOT_FIND, IMPLICIT_LE), (MPPS, IMPLICIT_LE)]
    with RawScu(gateway.config.port) as scu:
        answer = scu.associate([*proposed, (CT_IMAGE_STORAGE, "1.2.826.0.1.3680043.9.7777.2")])
        # PS3.8 Table 9-18: 0 acceptance, 3 abstract syntax not supported
        assert [answer.results[number][0] for number in (1, 3, 5, 7)] == [0, 3, 3, 0]
        scu.release()


def test_findscu_is_told_that_its_context_is_refused(gateway: GatewayProcess) -> None:
    require("findscu")
    argv = [program("findscu"), "-v", "-aec", "GATEWAY", "-S", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1"]
    done = run([*argv, str(gateway.config.port)], 30)
    assert done.returncode != 0
    assert "No Acceptable Presentation Contexts" in done.output


def test_a_listener_takes_only_what_it_names_in_its_own_order(gateway: GatewayProcess) -> None:
    with RawScu(gateway.config.document["listeners"]["narrow"]["port"]) as scu:
        answer = scu.associate(
            [
                Context(1, CT_IMAGE_STORAGE, (EXPLICIT_LE, IMPLICIT_LE, JPEG_2000)),  # the listener's first wins
                Context(3, CT_IMAGE_STORAGE, (IMPLICIT_LE,)),
                Context(5, CT_IMAGE_STORAGE, (EXPLICIT_LE,)),
                Context(7, MR_IMAGE_STORAGE, (IMPLICIT_LE,)),
                Context(9, PRIVATE_STORAGE, (IMPLICIT_LE,)),
                Context(11, VERIFICATION, (EXPLICIT_LE,)),  # always taken, in any syntax
            ]
        )
        results = dict(answer.results)
        assert results[1] == (0, JPEG_2000)
        assert results[3] == (0, IMPLICIT_LE)
        assert results[5][0] == 4
        assert results[7][0] == 3
        assert results[9] == (0, IMPLICIT_LE)
        assert results[11] == (0, EXPLICIT_LE)
        assert answer.max_pdu == 16384
        assert scu.echo(11) == 0x0000
        scu.release()


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────

C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_CANCEL_RQ = 0x0020, 0x0010, 0x0021, 0x0FFF
N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ, N_ACTION_RQ, N_CREATE_RQ, N_DELETE_RQ = 0x100, 0x110, 0x120, 0x130, 0x140, 0x150


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(field, id=f"0x{field:04X}")
        for field in (C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ, N_ACTION_RQ, N_CREATE_RQ)
    ],
)
def test_any_other_request_is_answered_0x0211_and_the_association_goes_on(
    gateway: GatewayProcess, archive: OurArchive, field: int
) -> None:
    instance = make_instance(seed=80_000 + field)
    with RawScu(gateway.config.port) as scu:
        scu.associate([(CT_IMAGE_STORAGE, EXPLICIT_LE)])
        request = {wire.AFFECTED_SOP_CLASS_UID: CT_IMAGE_STORAGE, wire.COMMAND_FIELD: field, wire.MESSAGE_ID: 77}
        request |= {wire.PRIORITY: 0, wire.COMMAND_DATA_SET_TYPE: 0x0001}
        scu.send(
            wire.p_data(1, wire.command_set(request), command=True, last=True),
            wire.p_data(1, b"\x08\x00\x05\x00CS\x00\x00", command=False, last=True),
        )
        _, answer, data = scu.recv_message()
        assert wire.us(answer, wire.COMMAND_FIELD) == field | 0x8000
        assert wire.us(answer, wire.MESSAGE_ID_RESPONDED_TO) == 77
        assert wire.us(answer, wire.STATUS) == UNRECOGNIZED_OPERATION
        assert data == b""
        assert scu.store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data) == 0x0000
        scu.release()
    _arrived(archive, [instance])


def test_a_cancel_of_nothing_is_ignored(gateway: GatewayProcess) -> None:
    with RawScu(gateway.config.port) as scu:
        scu.associate([(VERIFICATION, IMPLICIT_LE)])
        cancel = {wire.COMMAND_FIELD: C_CANCEL_RQ, wire.MESSAGE_ID_RESPONDED_TO: 5}
        cancel |= {wire.COMMAND_DATA_SET_TYPE: wire.NO_DATA_SET}
        scu.send(wire.p_data(1, wire.command_set(cancel), command=True, last=True))
        assert scu.echo(1) == 0x0000  # and nothing came before its response
        scu.release()


def test_a_command_on_a_context_that_was_refused_ends_in_an_abort(gateway: GatewayProcess) -> None:
    with RawScu(gateway.config.port) as scu:
        scu.associate([(VERIFICATION, IMPLICIT_LE), (STUDY_ROOT_FIND, IMPLICIT_LE)])
        with pytest.raises(Aborted) as caught:
            scu.echo(3)
        assert caught.value.source == 2  # the service provider's abort, PS3.8 Table 9-26


# ── user information ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_pynetdicom_finds_its_negotiation_items_answered(gateway: GatewayProcess) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 6
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = UID(CT_IMAGE_STORAGE), True, True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = UID(CT_IMAGE_STORAGE), b"\x02\x00\x03\x00"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"alice", b"secret"
    identity.positive_response_requested = True
    ae = AE("NEGOTIATOR")
    association = ae.associate(
        "127.0.0.1",
        gateway.config.port,
        contexts=[build_context(CT_IMAGE_STORAGE), build_context(PatientRootFind)],
        ae_title="GATEWAY",
        ext_neg=[window, role, extended, identity],
    )
    try:
        assert association.is_established
        answered = association.acceptor
        assert answered.asynchronous_operations == (1, 1)  # no window: one operation at a time
        assert answered.role_selection[UID(CT_IMAGE_STORAGE)].scu_role is True
        assert answered.role_selection[UID(CT_IMAGE_STORAGE)].scp_role is False  # what we receive we do not give out
        assert answered.sop_class_extended == {}  # none of our classes has anything to negotiate
        assert answered.user_identity is not None  # a positive response was asked for
        assert [str(one.abstract_syntax) for one in association.rejected_contexts] == [str(PatientRootFind)]
    finally:
        association.release()
        ae.shutdown()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_user_identity_is_acknowledged_only_when_that_is_asked_for(gateway: GatewayProcess, wanted: bool) -> None:
    name, word = b"alice-the-user", b"secret-word"
    identity = struct.pack(">BBH", 2, wanted, len(name)) + name + struct.pack(">H", len(word)) + word
    with RawScu(gateway.config.port) as scu:
        answer = scu.associate([(VERIFICATION, IMPLICIT_LE)], extra=wire.item(0x58, identity))
        kinds = [kind for kind, _ in answer.user_items]
        assert (0x59 in kinds) is wanted
        assert 0x53 not in kinds  # an asynchronous operations window is not answered unless it was proposed
        assert scu.echo(1) == 0x0000
        scu.release()
    assert "alice-the-user" not in gateway.log()
    assert "secret-word" not in gateway.log()


def test_storescu_gets_the_positive_response_it_insists_on(
    gateway: GatewayProcess, archive: OurArchive, tmp_path: Path
) -> None:
    require("storescu")
    instance = make_instance(seed=73)
    options = ("-R", "-usr", "alice", "-pwd", "secret", "-rsp")
    done = storescu([write_part10(tmp_path / "a.dcm", instance)], gateway.config.port, options=options)
    assert done.returncode == 0, done.output
    _arrived(archive, [instance])


def test_echoscu_is_answered(gateway: GatewayProcess) -> None:
    require("echoscu")
    assert echoscu(gateway.config.port).returncode == 0
    assert echoscu(gateway.config.port, options=("--propose-pc", "128")).returncode == 0


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ledger_names_the_facts_of_the_association(gateway: GatewayProcess, archive: OurArchive) -> None:
    instance = make_instance(seed=74)
    with RawScu(gateway.config.port) as scu:
        scu.associate([(CT_IMAGE_STORAGE, EXPLICIT_LE)], called="SOMEBODY", calling="A MODALITY")
        assert scu.store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data) == 0x0000
        scu.release()
    _arrived(archive, [instance])
    (shown,) = json.loads(gateway.cli("show", instance.sop_instance_uid, "--json").stdout)
    assert (shown["calling_ae_title"], shown["source"]) == ("A MODALITY", "loopback")
