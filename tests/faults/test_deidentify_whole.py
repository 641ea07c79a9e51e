"""Canaries through a whole gateway: none is at the archive, nor in the file of the copy, its preamble and file meta."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pydicom

from tests.faults.test_deidentify_links import Linked
from tests.harness.data import Instance
from tests.unit.canaries import CT_IMAGE, found_in
from tests.unit.samples import EXPLICIT
from tests.unit.test_deidentify_leaks import planted

KEY = "the secret of the tests, no more"


def test_no_canary_leaves_the_gateway_nor_is_in_what_it_made_to_leave(tmp_path: Path) -> None:
    everything = planted()
    original = pydicom.dcmread(pydicom.filebase.DicomBytesIO(everything.data), force=True, specific_tags=[0x00080018])
    digest = hashlib.sha256(everything.data).hexdigest()
    one = Instance(everything.data, CT_IMAGE, str(original.SOPInstanceUID), EXPLICIT, digest)
    with Linked(tmp_path / "gateway", KEY, "") as scene:
        scene.start()
        scene.cli("pause", "research")
        scene.send([one], calling="CNRY99999")
        scene.wait_states("research", ready=1)
        (copy,) = scene.copies()
        made = copy.read_bytes()
        scene.cli("resume", "research")
        scene.wait_states("research", delivered=1)
        ((uid, (received,)),) = scene.archive("research").data.items()
        log = scene.gateway.log()
    assert found_in(received) == set() and found_in(uid.encode()) == set()
    assert made[:128] == bytes(128)
    assert found_in(made) == set()
    assert received in made
    assert uid != one.sop_instance_uid
    assert not {mark for mark in found_in(log.encode()) if mark[0] not in ("uid",)} - {("text", 99999)}
