"""Pixels in another transfer syntax, from the sender to an archive that accepts no other."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom

from tests.faults.delivering_kit import Delivering
from tests.harness.archive import Admission
from tests.harness.data import make_instance, make_instances
from tests.unit.samples import EXPLICIT
from tests.unit.transform_kit import part10

JPEG_LS = "1.2.840.10008.1.2.4.80"
IMPLICIT = "1.2.840.10008.1.2"
RULES = """\
transforms:
  to-long-term: [{transcode: jpeg-ls-lossless}]
  to-old-pacs: [{transcode: implicit-vr-little-endian}]
rules:
  - name: everything
    send_to: [{destination: research, transform: to-long-term}, {destination: pacs, transform: to-old-pacs}]
"""


def pixels(data: bytes, syntax: str) -> np.ndarray:  # type: ignore[type-arg]
    """What pydicom decodes of a data set."""
    return pydicom.dcmread(io.BytesIO(part10(data, syntax))).pixel_array


def test_archives_get_the_transfer_syntax_that_they_accept(tmp_path: Path) -> None:
    instances = list(make_instances(6, pixel_bytes=80_000, BitsStored=16, HighBit=15))
    with Delivering(tmp_path, ["pacs", "research"]) as scene:
        scene.config.rules = {"10.yaml": RULES}
        for name, syntax in (("research", JPEG_LS), ("pacs", IMPLICIT)):
            archive = scene.archive(name)
            archive.keep_data = True
            archive.on_associate = lambda association, number, syntax=syntax: Admission(accept=frozenset({syntax}))
        scene.start()
        before = {role: any("numpy" in maps(pid) for pid in pids) for role, pids in scene.gateway.roles().items()}
        assert not any(before.values()), "a codec is loaded before a pixel is touched"
        scene.send(instances)
        for name, syntax in (("research", JPEG_LS), ("pacs", IMPLICIT)):
            scene.wait_states(name, delivered=len(instances))
            for one in instances:
                (data,) = scene.archive(name).data[one.sop_instance_uid]
                assert np.array_equal(pixels(data, syntax), pixels(one.data, EXPLICIT))
        after = {role: any("numpy" in maps(pid) for pid in pids) for role, pids in scene.gateway.roles().items()}
        assert after == {role: role == "worker" for role in after}


def maps(pid: int) -> str:
    """The files that a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text()


def test_what_cannot_be_compressed_is_held_with_the_reason(tmp_path: Path) -> None:
    one = make_instance(pixel_bytes=80_000)  # samples that use more bits than they say
    with Delivering(tmp_path, ["pacs", "research"]) as scene:
        scene.config.rules = {"10.yaml": RULES}
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", delivered=1)
        scene.wait_states("research", held=1)
        held = scene.deliveries("research")[one.sop_instance_uid]
        assert held.code == "transform"
        assert held.reason.startswith("transform to-long-term, step 1 (transcode): frame 1: BitsStored (0028,0101)")
        assert one.sop_instance_uid not in scene.archive("research").contents()
