"""DCMTK, Orthanc and pynetdicom work as peers of each other before they judge anything of ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.harness import wire
from tests.harness.archive import OurArchive
from tests.harness.data import make_instance, make_instances, sendable_sample_files, write_part10
from tests.harness.dcmtk import DcmtkStorescp, dcmsend, echoscu, sent_by_dcmtk, storescu
from tests.harness.orthanc import Orthanc
from tests.harness.pynet import PynetdicomScp, PynetdicomScu
from tests.harness.rawpeer import RawScu
from tests.harness.tools import require

NAMES = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "image_dfl.dcm", "test-SR.dcm", "waveform_ecg.dcm")


def some_samples() -> list[Path]:
    return [sample.path for sample in sendable_sample_files() if sample.path.name in NAMES]


def test_storescp_takes_every_syntax_and_keeps_the_bytes(tmp_path: Path) -> None:
    require("storescp")
    with DcmtkStorescp(tmp_path / "scp", max_pdu=4096) as scp:
        for sample in sendable_sample_files():
            if sample.path.name not in NAMES or sample.odd:
                continue
            instance = sample.instance()
            with RawScu(scp.port) as scu:
                scu.associate([(instance.sop_class_uid, instance.transfer_syntax_uid)])
                assert scu.max_pdu == 4096
                assert scu.store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data) == 0
                scu.release()
            assert instance.sha256 in scp.contents()[instance.sop_instance_uid]
        assert len(scp.files()) == len(some_samples()) - 1


def test_dcmtk_senders_send(tmp_path: Path) -> None:
    require("dcmsend", "storescu", "echoscu")
    files = [write_part10(tmp_path / f"{n}.dcm", one) for n, one in enumerate(make_instances(5))]
    with OurArchive() as archive:
        echoscu(archive.port).check()
        dcmsend(files, archive.port, calling="CT1", called="ARCH").check()
        storescu(files, archive.port).check()
        assert archive.count == 10
        assert archive.tally.echoes == 1
        assert {(one.calling, one.called) for one in archive.all_stored()} == {("CT1", "ARCH"), ("STORESCU", "GATEWAY")}


def test_what_dcmsend_puts_on_the_wire_is_known(tmp_path: Path) -> None:
    require("dcmsend")
    made = write_part10(tmp_path / "made.dcm", make_instance())
    sent = {one.path.name: one for one in sent_by_dcmtk([made, *some_samples()])}
    assert all(not one.reason for one in sent.values())
    assert sent["made.dcm"].as_in_file
    assert not sent["CT_small.dcm"].as_in_file  # it leaves the trailing padding away
    assert hashlib.sha256(sent["JPEG2000.dcm"].data).hexdigest() == sent["JPEG2000.dcm"].sha256


def test_orthanc_gives_back_what_dcmsend_sent(tmp_path: Path) -> None:
    require("Orthanc", "dcmsend")
    samples = [path for path in some_samples() if path.name != "image_dfl.dcm"]  # Orthanc stores deflated ones inflated
    reference = {one.sop_instance_uid: [one.sha256] for one in sent_by_dcmtk(samples)}
    with Orthanc(tmp_path / "orthanc") as orthanc:
        dcmsend(samples, orthanc.port).check()
        orthanc.wait_for(len(reference))
        assert orthanc.contents() == reference


@pytest.mark.parametrize("max_pdu", [4096, 16384, 0])
def test_pynetdicom_sends_and_receives(max_pdu: int) -> None:
    instances = list(make_instances(5, pixel_bytes=60_000))
    contexts = [(wire.CT_IMAGE_STORAGE, wire.EXPLICIT_LE)]
    status = {instances[2].sop_instance_uid: 0xA700, instances[3].sop_instance_uid: 0xB000}
    with (
        PynetdicomScp(max_pdu=max_pdu, status=lambda uid, attempt: status.get(uid, 0)) as scp,
        PynetdicomScu(scp.port, contexts, max_pdu=max_pdu) as scu,
    ):
        assert scu.echo() == 0
        assert [scu.store(one) for one in instances] == [0, 0, 0xA700, 0xB000, 0]
    expected = {one.sop_instance_uid: [one.sha256] for one in instances if one is not instances[2]}
    assert scp.contents() == expected


def test_pynetdicom_takes_an_unknown_class_and_syntax() -> None:
    (one,) = make_instances(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.999", transfer_syntax_uid=wire.EXPLICIT_LE)
    with PynetdicomScp() as scp, RawScu(scp.port) as scu:
        scu.associate([(one.sop_class_uid, one.transfer_syntax_uid)])
        assert scu.store(1, one.sop_class_uid, one.sop_instance_uid, one.data) == 0
        scu.release()
    assert scp.contents() == {one.sop_instance_uid: [one.sha256]}
