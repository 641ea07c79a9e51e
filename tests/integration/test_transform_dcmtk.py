"""What comes out of a chain is as good to DCMTK as what went in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.transform import TransformError
from tests.harness.tools import require
from tests.unit.samples import Sample
from tests.unit.test_header import VARIED
from tests.unit.transform_kit import part10, run

STEPS = [
    "- remove: [private, '(60xx,xxxx)']\n- set: {PatientID: '{PatientName}', InstitutionName: ELSEWHERE}",
    "- charset: ISO_IR 192\n- set: {InstitutionName: Wałęsa}",
    "- add_item: {to: RequestAttributesSequence, item: {RequestedProcedureID: A}}\n- empty: [PatientName]\n"
    "- set: {BeamSequence.BeamName: B, ContentSequence.ContentSequence.TextValue: TEXT}",
]


def complaints(path: Path, data: bytes, transfer_syntax_uid: str) -> str:
    """What dcmdump says against a data set; "" where it reads all of it."""
    path.write_bytes(part10(data, transfer_syntax_uid))
    done = subprocess.run(["dcmdump", str(path)], capture_output=True, check=False)
    return done.stderr.decode("latin-1") or ("fails" if done.returncode else "")


@pytest.mark.parametrize("each", VARIED, ids=str)
def test_dcmdump_reads_what_comes_out(each: Sample, tmp_path: Path) -> None:
    require("dcmdump")
    if complaints(tmp_path / "before.dcm", each.data_set, each.transfer_syntax_uid):
        pytest.skip("dcmdump complains of the sample itself")
    for steps in STEPS:
        try:
            written = run(each.data_set, steps, each.transfer_syntax_uid)
        except TransformError as error:
            assert "step 1" in str(error)
            continue
        assert complaints(tmp_path / "after.dcm", written, each.transfer_syntax_uid) == ""
