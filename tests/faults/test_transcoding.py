"""Destinations that do not take the transfer syntax of an instance: with `transcode: lossless` they get a copy of it in
one that they take, with the same pixels; and never an original where a transform was asked for.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest

from tests.faults.delivering_kit import Delivering
from tests.harness.archive import Admission
from tests.harness.archivescript import ACCEPT
from tests.harness.data import Instance, make_instance, make_instances, sample_files
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, wait_until
from tests.harness.wire import Association

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG_2000, JPEG_LS, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"
PRIVATE_STORAGE = "1.2.826.0.1.3680043.9.7777.2"
ITEM = b"\xfe\xff\x00\xe0"
LOSSLESS = {"transcode": "lossless"}
RULES = """\
transforms:
  to-research:
    - set: {InstitutionName: "Trial 7"}
    - remove: [PatientName]
rules:
  - name: everything
    send_to: [TARGETS]
"""


def sample(name: str) -> Instance:
    """A sample of pydicom."""
    return next(each for each in sample_files() if each.path.name == name).instance()


def read(data: bytes, transfer_syntax_uid: str) -> pydicom.Dataset:
    """A data set as pydicom reads it."""
    implicit, little = transfer_syntax_uid == IMPLICIT, transfer_syntax_uid != BIG_ENDIAN
    found = pydicom.filereader.read_dataset(io.BytesIO(data), implicit, little)
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = transfer_syntax_uid
    found.set_original_encoding(implicit, little)
    return found


class Scene(Delivering):
    """A gateway whose archives take what they are told to take; they keep what they get."""

    def __init__(
        self,
        folder: Path,
        archives: Mapping[str, Mapping[str, Any]],
        takes: Mapping[str, str],
        targets: str = "",
        **also: Any,
    ) -> None:
        """:param takes: archive → the one transfer syntax it takes; any where it is not named."""
        super().__init__(folder, archives, **also)
        self.config.rules = {"10.yaml": RULES.replace("TARGETS", targets or ", ".join(archives))}
        for name, archive in self.archives.items():
            archive.keep_data = True
            if name in takes:
                archive.on_associate = taking(takes[name])

    def got(self, name: str, uid: str) -> tuple[pydicom.Dataset, str]:
        """What an archive has of an instance, and in which syntax; it has it once."""
        (data,), (stored,) = self.archive(name).data[uid], self.archive(name).stored(uid)
        return read(data, stored.transfer_syntax_uid), stored.transfer_syntax_uid

    def asked_for(self, name: str) -> set[str]:
        """The transfer syntaxes that an archive was ever asked for."""
        associations = self.archive(name).tally.associations
        return {uid for one in associations for context in one.contexts for uid in context.transfer_syntaxes}

    def made(self) -> float:
        """How many copies were made."""
        return self.gateway.metric("gateway_copies_total", result="made")


def taking(*syntaxes: str) -> Any:
    """A script of an archive that takes these transfer syntaxes only."""
    return lambda request, number: Admission(accept=frozenset(syntaxes))


def test_who_takes_only_implicit_gets_the_same_pixels_decoded_and_others_get_what_came(tmp_path: Path) -> None:
    one = sample("MR_small_jp2klossless.dcm")
    archives = {"implicit": LOSSLESS, "any": LOSSLESS, "strict": {}}
    with Scene(tmp_path, archives, {"implicit": IMPLICIT, "strict": IMPLICIT}) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("implicit", delivered=1)
        scene.wait_states("any", delivered=1)
        scene.wait_states("strict", held=1)
        assert scene.archive("any").contents() == {one.sop_instance_uid: [one.sha256]}
        copy, syntax = scene.got("implicit", one.sop_instance_uid)
        assert syntax == IMPLICIT
        original = read(one.data, one.transfer_syntax_uid)
        assert (copy.pixel_array == original.pixel_array).all()
        assert "OriginalAttributesSequence" not in copy
        for each in original:
            assert each.keyword == "PixelData" or copy[each.tag].value == each.value, each.keyword
        assert scene.deliveries("strict")[one.sop_instance_uid].code == "not_accepted"
        assert scene.asked_for("strict") - {IMPLICIT} == {JPEG_2000}, "nobody asks for what will not be sent"
        assert scene.made() == 1
        assert scene.gateway.metric("gateway_deliveries_total", destination="implicit", outcome="derive") == 1


@pytest.mark.parametrize(
    ("came", "taken"),
    [(EXPLICIT, IMPLICIT), (BIG_ENDIAN, EXPLICIT), (IMPLICIT, EXPLICIT), (EXPLICIT, RLE), (EXPLICIT, JPEG_LS)],
)
def test_native_data_is_encoded_as_it_is_taken(tmp_path: Path, came: str, taken: str) -> None:
    names = {EXPLICIT: "MR_small.dcm", IMPLICIT: "MR_small_implicit.dcm", BIG_ENDIAN: "MR_small_bigendian.dcm"}
    one = sample(names[came])
    assert one.transfer_syntax_uid == came
    with Scene(tmp_path, {"pacs": LOSSLESS}, {"pacs": taken}) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", delivered=1)
        copy, syntax = scene.got("pacs", one.sop_instance_uid)
        assert syntax == taken
        assert (copy.pixel_array == read(one.data, came).pixel_array).all()
        assert copy.PatientName == read(one.data, came).PatientName


def test_the_best_of_what_is_taken_is_chosen(tmp_path: Path) -> None:
    one = sample("MR_small_jp2klossless.dcm")
    with Scene(tmp_path, {"pacs": LOSSLESS}, {}) as scene:
        scene.archive("pacs").on_associate = taking(IMPLICIT, EXPLICIT, RLE)
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", delivered=1)
        assert scene.got("pacs", one.sop_instance_uid)[1] == EXPLICIT
        assert scene.asked_for("pacs") == {JPEG_2000, EXPLICIT, IMPLICIT, JPEG_LS, RLE}


def test_what_was_compressed_with_a_loss_is_only_decompressed(tmp_path: Path) -> None:
    one = sample("JPEG2000.dcm")
    with Scene(
        tmp_path, {"native": LOSSLESS, "compressed": LOSSLESS}, {"native": EXPLICIT, "compressed": RLE}
    ) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("native", delivered=1)
        scene.wait_states("compressed", held=1)
        copy, _ = scene.got("native", one.sop_instance_uid)
        assert copy.get("LossyImageCompression") == read(one.data, EXPLICIT).get("LossyImageCompression")
        assert scene.deliveries("compressed")[one.sop_instance_uid].code == "not_accepted"
        assert scene.made() == 1


def test_where_nothing_is_taken_it_is_held_as_it_ever_was(tmp_path: Path) -> None:
    one = sample("MR_small.dcm")
    with Scene(tmp_path, {"pacs": {"idle_timeout": "0 s", **LOSSLESS}}, {"pacs": "1.2.840.10008.1.2.4.50"}) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", held=1)
        held = scene.deliveries("pacs")[one.sop_instance_uid]
        assert held.code == "not_accepted"
        assert one.sop_class_uid in held.reason and EXPLICIT in held.reason
        assert scene.archive("pacs").count == 0
        scene.archive("pacs").on_associate = taking(IMPLICIT)
        scene.cli("release", "--uid", one.sop_instance_uid, "--yes")
        scene.wait_states("pacs", delivered=1)


def test_of_what_goes_through_transforms_the_copy_is_encoded_anew_and_never_the_original(tmp_path: Path) -> None:
    one = sample("MR_small_jp2klossless.dcm")
    keys = {"require_transform": "to-research", **LOSSLESS}
    targets = "{destination: research, transform: to-research}, pacs"
    with Scene(tmp_path, {"research": keys, "pacs": {}}, {"research": EXPLICIT}, targets) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("research", delivered=1)
        scene.wait_states("pacs", delivered=1)
        copy, syntax = scene.got("research", one.sop_instance_uid)
        assert syntax == EXPLICIT
        assert copy.InstitutionName == "Trial 7" and "PatientName" not in copy
        assert (copy.pixel_array == read(one.data, JPEG_2000).pixel_array).all()
        assert scene.archive("pacs").contents() == {one.sop_instance_uid: [one.sha256]}
        shown = scene.cli("show", one.sop_instance_uid)
        assert "to-research+as-explicit-vr-little-endian~" in shown


def test_pixels_that_were_masked_are_masked_in_whatever_syntax_they_go(tmp_path: Path) -> None:
    one = sample("emri_small_RLE.dcm")
    keys = {"require_transform": "clean", **LOSSLESS}
    targets = "{destination: same, transform: clean}, {destination: implicit, transform: clean}"
    takes = {"same": RLE, "implicit": IMPLICIT}
    with Scene(tmp_path, dict.fromkeys(takes, keys), takes, targets) as scene:
        rules = scene.config.rules["10.yaml"]
        mask = "transforms:\n  clean: [{mask: {regions: [{left: 0, top: 0, width: 100%, height: 16}]}}]\n"
        scene.config.rules = {"10.yaml": rules.replace("transforms:\n", mask)}
        scene.start()
        scene.send([one])
        original = read(one.data, RLE).pixel_array
        for name, syntax in takes.items():
            scene.wait_states(name, delivered=1)
            copy, came = scene.got(name, one.sop_instance_uid)
            assert came == syntax
            assert (copy.pixel_array[:, :16] == 0).all()
            assert (copy.pixel_array[:, 16:] == original[:, 16:]).all()


def test_a_destination_that_requires_a_transform_gets_no_original_in_whatever_syntax(tmp_path: Path) -> None:
    """A rule sends it there without the transform: what it takes does not matter."""
    one = sample("MR_small_jp2klossless.dcm")
    keys = {"require_transform": "to-research", **LOSSLESS}
    with Scene(tmp_path, {"research": keys}, {"research": EXPLICIT}) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("research", held=1)
        assert scene.deliveries("research")[one.sop_instance_uid].code == "transform_required"
        assert scene.archive("research").count == 0
        assert scene.made() == 0


def test_pixels_that_cannot_be_decoded_hold_what_they_were_for_and_nothing_goes_in_their_place(tmp_path: Path) -> None:
    whole = sample("MR_small_RLE.dcm")
    table = whole.data.index(ITEM)
    frame = whole.data.index(ITEM, table + 8) + 8
    data = whole.data[:frame] + bytes(64) + whole.data[frame + 64 :]  # PS3.5 G.5: no segments
    broken = Instance(data, whole.sop_class_uid, whole.sop_instance_uid, RLE, "")
    with Scene(tmp_path, {"pacs": LOSSLESS}, {"pacs": EXPLICIT}) as scene:
        scene.start()
        scene.send([broken])
        scene.wait_states("pacs", held=1)
        held = scene.deliveries("pacs")[broken.sop_instance_uid]
        assert held.code == "transform"
        assert "as-explicit-vr-little-endian" in held.reason
        assert scene.archive("pacs").count == 0
        assert scene.gateway.metric("gateway_copies_total", result="failed") == 1


def test_a_worker_that_dies_while_it_makes_a_copy_leaves_it_to_the_next(tmp_path: Path) -> None:
    require("strace")
    one = sample("MR_small_jp2klossless.dcm")
    with Scene(tmp_path, {"pacs": LOSSLESS}, {"pacs": EXPLICIT}) as scene:
        scene.start()
        worker = scene.gateway.pid_of("worker")
        with Strace.attach(worker, tmp_path / "trace", injections=[inject("fdatasync", kill=True, when=1)]):
            scene.send([one])
            scene.gateway.wait_replaced("worker", worker)
        scene.wait_states("pacs", delivered=1)
        assert scene.got("pacs", one.sop_instance_uid)[1] == EXPLICIT
        derived = scene.config.spool_dir / "derived"
        wait_until(lambda: not list(derived.rglob("*.dcm")), 60, "what the dead worker left, and the copy, to go")


def test_versions_of_an_instance_arrive_in_their_order_though_one_has_to_be_made(tmp_path: Path) -> None:
    first = make_instance(seed=5, PatientComments="first")
    second = make_instance(seed=5, PatientComments="second")
    assert first.sop_instance_uid == second.sop_instance_uid
    with Scene(tmp_path, {"pacs": LOSSLESS}, {"pacs": IMPLICIT}) as scene:
        scene.start()
        scene.send([first])
        scene.send([second])
        scene.wait_states("pacs", delivered=2)
        copies = scene.archive("pacs").data[first.sop_instance_uid]
        assert [read(each, IMPLICIT).PatientComments for each in copies] == ["first", "second"]


def test_many_that_are_to_be_encoded_anew_all_arrive(tmp_path: Path) -> None:
    instances = list(make_instances(120, pixel_bytes=2_000, seed=7))
    with Scene(tmp_path, {"pacs": LOSSLESS}, {"pacs": IMPLICIT}) as scene:
        scene.start()
        scene.send(instances)
        scene.wait_states("pacs", delivered=len(instances))
        assert set(scene.archive("pacs").contents()) == {one.sop_instance_uid for one in instances}
        assert scene.made() == len(instances)
        for one in instances:
            assert scene.got("pacs", one.sop_instance_uid)[0].PixelData == read(one.data, EXPLICIT).PixelData


def test_more_classes_than_fit_into_one_association_are_all_asked_about(tmp_path: Path) -> None:
    """Each may be proposed in five transfer syntaxes: 40 classes at once would be 200 contexts."""
    instances = [make_instance(seed=n, SOPClassUID=f"{PRIVATE_STORAGE}.{n}", pixel_bytes=64) for n in range(40)]
    with Scene(tmp_path, {"pacs": LOSSLESS}, {"pacs": IMPLICIT}) as scene:
        scene.start()
        scene.cli("pause", "pacs")
        scene.send(instances)
        scene.wait_states("pacs", ready=len(instances))
        scene.cli("resume", "pacs")
        scene.wait_states("pacs", delivered=len(instances))
        assert max(len(one.contexts) for one in scene.archive("pacs").tally.associations) <= 128
        for one in instances:
            assert scene.got("pacs", one.sop_instance_uid)[1] == IMPLICIT


def test_who_takes_now_this_and_now_that_is_not_served_for_ever(tmp_path: Path) -> None:
    def capricious(request: Association, number: int) -> Admission:
        if all(context.abstract_syntax == "1.2.840.10008.1.1" for context in request.contexts):
            return ACCEPT
        wanted = [uid for context in request.contexts for uid in context.transfer_syntaxes]
        return Admission(accept=frozenset({EXPLICIT if wanted[0] != EXPLICIT else IMPLICIT}))

    one = sample("MR_small_jp2klossless.dcm")
    keys = {"attempts": 3, "idle_timeout": "0 s", **LOSSLESS}
    with Scene(tmp_path, {"pacs": keys}, {}) as scene:
        scene.archive("pacs").on_associate = capricious
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", held=1)
        assert scene.deliveries("pacs")[one.sop_instance_uid].code == "not_accepted"
        assert scene.archive("pacs").count == 0


def first_then(first: str, then: str) -> Any:
    """A script of an archive that takes one transfer syntax on its first association, and another on all others."""
    return lambda request, number: Admission(accept=frozenset({first if number == 1 else then}))


def test_an_archive_that_takes_only_the_original_after_all_gets_the_original(tmp_path: Path) -> None:
    one = sample("MR_small_jp2klossless.dcm")
    with Scene(tmp_path, {"pacs": {"idle_timeout": "0 s", **LOSSLESS}}, {}) as scene:
        scene.archive("pacs").on_associate = first_then(EXPLICIT, JPEG_2000)
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", delivered=1)
        assert scene.archive("pacs").contents() == {one.sop_instance_uid: [one.sha256]}
        assert scene.made() == 1


def test_what_was_compressed_with_a_loss_is_not_compressed_anew_where_the_native_copy_is_refused(
    tmp_path: Path,
) -> None:
    one = sample("JPEG2000.dcm")
    with Scene(tmp_path, {"pacs": {"idle_timeout": "0 s", **LOSSLESS}}, {}) as scene:
        scene.archive("pacs").on_associate = first_then(EXPLICIT, RLE)
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", held=1)
        assert scene.deliveries("pacs")[one.sop_instance_uid].code == "not_accepted"
        assert scene.archive("pacs").count == 0
        assert not scene.asked_for("pacs") & {RLE, JPEG_LS, JPEG_2000}
        scene.archive("pacs").on_associate = taking(one.transfer_syntax_uid)
        scene.cli("release", "--uid", one.sop_instance_uid, "--yes")
        scene.wait_states("pacs", delivered=1)
        assert scene.archive("pacs").contents() == {one.sop_instance_uid: [one.sha256]}


def test_what_has_no_pixels_is_held_at_once_where_only_compressed_data_is_taken(tmp_path: Path) -> None:
    one = sample("reportsi.dcm")
    with Scene(tmp_path, {"pacs": {"attempts": 9, "idle_timeout": "0 s", **LOSSLESS}}, {"pacs": JPEG_LS}) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", held=1)
        held = scene.deliveries("pacs")[one.sop_instance_uid]
        assert (held.code, held.attempts) == ("not_accepted", 1)
        assert scene.made() == 1


def test_what_was_sent_in_another_syntax_stands_for_an_exact_duplicate_and_is_sent_again_as_it_was(
    tmp_path: Path,
) -> None:
    one = sample("MR_small_jp2klossless.dcm")
    spool = {"keep": "1 h"}
    with Scene(tmp_path, {"pacs": {"duplicates": "skip", **LOSSLESS}}, {"pacs": EXPLICIT}, spool=spool) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("pacs", delivered=1)
        scene.send([one])
        scene.gateway.wait_idle(60)
        assert scene.archive("pacs").count == 1
        scene.cli("resend", "--uid", one.sop_instance_uid, "--to", "pacs", "--yes")
        wait_until(lambda: scene.archive("pacs").count > 1, 60, "what is sent again")
        copies = scene.archive("pacs").data[one.sop_instance_uid]
        assert len(set(copies)) == 1
        assert numpy.array_equal(read(copies[1], EXPLICIT).pixel_array, read(one.data, JPEG_2000).pixel_array)
