"""A transcoded copy in the spool and in the ledger, and what people are shown of it before."""

from __future__ import annotations

from pathlib import Path

import pydicom

from gateway.console.services.changes import changes
from gateway.flow.derive import make_copy
from gateway.flow.watch import Watch
from gateway.model import InstanceLease, PayloadFile
from gateway.transform import load
from tests.unit.pixels_kit import RLE
from tests.unit.samples import EXPLICIT, MemorySource, sample
from tests.unit.spool_kit import make_facts, make_intake, make_meta, make_spool, payload_of, store
from tests.unit.transform_kit import before, origin, transform

RULES = """\
transforms:
  small: [{transcode: rle-lossless}]
rules:
  - {name: a, send_to: [{destination: research, transform: small}]}
"""


class Beats(Watch):
    def __init__(self) -> None:
        super().__init__(lambda: None, 0)
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1

    def rest(self) -> None:
        pass


def copy_of(data: bytes, folder: Path, rules: str = RULES, syntax: str = EXPLICIT) -> tuple[PayloadFile, bytes, Beats]:
    """The copy that a worker makes: its row, its data set, and how often it said that it gets on."""
    spool = make_spool(folder)
    payload = payload_of(store(make_intake(spool), data, make_meta(transfer_syntax_uid=syntax)))
    book = load({"a.yaml": rules})
    lease = InstanceLease("0198c0de" + "0" * 24, 1, 1, 1_700_000_000_000, payload, make_facts())
    watch = Beats()
    derivation = make_copy(book, spool, lease, book.plan.rules[0].send_to[0].chain, watch)
    assert derivation.payload is not None, derivation.reason
    whole = spool.path(derivation.payload.path).read_bytes()
    return derivation.payload, whole, watch


def test_the_copy_says_in_its_file_and_in_the_ledger_what_it_is(tmp_path: Path) -> None:
    ct = sample("CT_small.dcm").data_set
    payload, whole, _ = copy_of(ct, tmp_path)
    assert payload.transfer_syntax_uid == RLE
    path = tmp_path / "copy.dcm"
    path.write_bytes(whole)
    found = pydicom.dcmread(path)
    assert found.file_meta.TransferSyntaxUID == RLE
    assert (found.pixel_array == before("CT_small.dcm").pixel_array).all()
    lossy = RULES.replace("{transcode: rle-lossless}", "{transcode: {to: jpeg-2000, ratio: 10}}")
    payload, whole, _ = copy_of(ct, tmp_path / "lossy", lossy)
    assert payload.sop_instance_uid.startswith("2.25.")
    assert payload.sop_instance_uid.encode() in whole[: payload.offset]


def test_time_runs_by_the_frame(tmp_path: Path) -> None:
    each = sample("emri_small.dcm")
    assert copy_of(each.data_set, tmp_path / "a")[2].renewed > 10
    lossy = RULES.replace("rle-lossless", "{to: jpeg-ls-near-lossless, error: 1}")
    assert copy_of(each.data_set, tmp_path / "b", lossy)[2].renewed > 20


def test_people_are_shown_the_transfer_syntax_where_it_changes() -> None:
    ct = sample("CT_small.dcm").data_set
    found = changes([transform("- transcode: rle-lossless")], MemorySource(ct), origin(), "gateway")
    assert found == [("TransferSyntaxUID", "Explicit VR Little Endian", "RLE Lossless")]
    found = changes([transform("- set: {PatientID: A}\n- record: false")], MemorySource(ct), origin(), "gateway")
    assert [path for path, _, _ in found] == ["PatientID"]
    found = changes([transform("- transcode: {to: jpeg-2000, ratio: 10}")], MemorySource(ct), origin(), "gateway")
    assert {"TransferSyntaxUID", "SOPInstanceUID", "LossyImageCompression", "ImageType"} <= {
        path for path, _, _ in found
    }
