"""Every sample of pydicom and pydicom-data, through the gateway, unaltered, in every transfer syntax there is.

DCMTK's senders encode a data set anew from what they parsed. So the reference is what a bit-preserving storescp gets
when the same sender sends straight to it; behind the gateway two storescp and an Orthanc must hold the same bytes.
Where Orthanc changes or refuses something, a second Orthanc that is sent to directly shows that it is Orthanc's doing.

pydicom's samples have no HTJ2K, no MPEG, one deflated data set of odd length and no encapsulated documents: such
instances are made here, and sent along.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import UID

from tests.faults.crash_kit import LONG
from tests.harness.data import dataset_sha256, make_instance, sample_files, sendable_sample_files, write_part10
from tests.harness.dcmtk import NODELAY, dcmsend, storescu
from tests.harness.pynet import PynetdicomScu
from tests.harness.rawpeer import RawScu
from tests.harness.tools import require
from tests.integration.interop import (
    NOT_FOR_ORTHANC,
    PYNETDICOM_ONLY,
    Copy,
    Stage,
    gateway_send,
    settle,
    sha256_in,
    stage,
    waves,
)

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS, JPEG_LS_NEAR, J2K_LOSSLESS, J2K = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 70, 80, 81, 90, 91)
)
HTJ2K = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))
MPEG = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (100, 102, 107))
COMPRESSED = {RLE, JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS, JPEG_LS_NEAR, J2K_LOSSLESS, J2K}

ENCAPSULATED_PDF, ENCAPSULATED_CDA, ENCAPSULATED_STL = (f"1.2.840.10008.5.1.4.1.1.104.{number}" for number in (1, 2, 3))
KINDS = {
    "structured reports": {"1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.88.33"},
    "waveforms": {"1.2.840.10008.5.1.4.1.1.9.1.1"},
    "multi-frame": {"1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.2.1"},
    "segmentations": {"1.2.840.10008.5.1.4.1.1.66.4"},
    "radiotherapy doses": {"1.2.840.10008.5.1.4.1.1.481.2"},
    "encapsulated documents": {ENCAPSULATED_PDF, ENCAPSULATED_CDA, ENCAPSULATED_STL},
}
COLOR_PALETTE = "1.2.840.10008.5.1.4.39.1"  # not among DCMTK's storage classes: its SCPs accept no context for it

# storescu proposes one compressed transfer syntax at a time.
STORESCU_OPTION = {
    IMPLICIT: "-xi",
    BIG_ENDIAN: "-xb",
    DEFLATED: "-xd",
    RLE: "-xr",
    JPEG_BASELINE: "-xy",
    JPEG_EXTENDED: "-xx",
    JPEG_LOSSLESS: "-xs",
    JPEG_LS: "-xt",
    JPEG_LS_NEAR: "-xu",
    J2K_LOSSLESS: "-xv",
    J2K: "-xw",
}

# Three have UIDs with VR UN. DCMTK reads such a value as hexadecimal ("31\2e…") and names its first component, 31, in
# the C-STORE-RQ. The command contradicts the data set, so the gateway quarantines the instance, and says so.
DCMTK_NAMES_WRONGLY = "31"
CONTRADICTS = "the data set's SOP Instance UID is not the one in the C-STORE command"

# Orthanc 1.10 indexes by these, and refuses an instance that lacks one: "Store has failed because required tags
# (PatientID, StudyInstanceUID, SeriesInstanceUID) are missing", 0xA700.
ORTHANC_REFUSES = {
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
}

# Orthanc writes data sets anew, with DCMTK: a deflated one is inflated and deflated again by its own zlib settings.
ORTHANC_ALTERS = "image_dfl.dcm"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    for name in ("storescp", "dcmsend", "storescu", "Orthanc"):
        require(name)
    with stage(tmp_path_factory.mktemp("samples")) as made:
        yield made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encapsulated documents, and a deflated data set of even length: what DCMTK can send and the samples lack."""
    folder = tmp_path_factory.mktemp("made")
    document = {"EncapsulatedDocument": b"%PDF-1.7 no more than a beginning\n", "pixel_bytes": 0, "Modality": "DOC"}
    instances = {
        "pdf.dcm": make_instance(seed=1, SOPClassUID=ENCAPSULATED_PDF, **document),
        "cda.dcm": make_instance(seed=2, SOPClassUID=ENCAPSULATED_CDA, **document),
        "stl.dcm": make_instance(seed=3, SOPClassUID=ENCAPSULATED_STL, **document),
        "pdf-implicit.dcm": make_instance(
            seed=4, SOPClassUID=ENCAPSULATED_PDF, transfer_syntax_uid=IMPLICIT, **document
        ),
        "pdf-big-endian.dcm": make_instance(
            seed=5, SOPClassUID=ENCAPSULATED_PDF, transfer_syntax_uid=BIG_ENDIAN, **document
        ),
        "deflated.dcm": make_instance(seed=6, transfer_syntax_uid=DEFLATED),
    }
    return {name: write_part10(folder / name, instance) for name, instance in instances.items()}


def _uids_of(names: set[str]) -> set[str]:
    return {sample.sop_instance_uid for sample in sample_files() if Path(sample.name).name in names}


def _candidates(made: dict[str, Path]) -> list[Path]:
    """Everything, also what looks as if it could not be sent: DCMTK decides."""
    return [sample.path for sample in sample_files()] + list(made.values())


def _pass_through(scene: Stage, files: list[Path], send: Callable[[list[Path], int, bool], object]) -> Counter[Copy]:
    """Send the same files to the reference and to the gateway; compare what the archives hold with what that got.

    Returns what the reference got, without what the gateway must quarantine.
    """
    everything: Counter[Copy] = Counter()
    refused: set[str] = set()
    altered: set[str] = set()
    for wave in waves(files):
        send(wave, scene.reference.scp.port, True)
        send(wave, scene.port, False)
        expected = scene.reference.new()
        named_wrongly = {copy for copy in expected if copy.sop_instance_uid == DCMTK_NAMES_WRONGLY}
        for copy in named_wrongly:
            del expected[copy]
        settle(scene.gateway)
        for shelf in (scene.forking, scene.single):
            assert shelf.new() == expected, f"{shelf.scp.directory.name} does not hold what the reference holds"
        other = {copy for copy in expected if sha256_in(scene.orthanc, copy.sop_instance_uid) != copy.sha256}
        if other:
            send(wave, scene.direct_orthanc.port, True)
        for uid in (copy.sop_instance_uid for copy in other):
            direct = sha256_in(scene.direct_orthanc, uid)
            assert sha256_in(scene.orthanc, uid) == direct, (
                f"Orthanc has {uid} otherwise than when it is sent to directly"
            )
            (refused if direct is None else altered).add(uid)
        everything += expected
    assert refused == _uids_of(ORTHANC_REFUSES)
    made_deflated = make_instance(seed=6, transfer_syntax_uid=DEFLATED).sop_instance_uid
    assert altered == _uids_of({ORTHANC_ALTERS}) | {made_deflated}
    return everything


def _quarantined(scene: Stage) -> Counter[str]:
    rows = json.loads(scene.gateway.cli("list", "--state", "quarantined", "--limit", "1000", "--json").stdout)
    return Counter(row["reason"] for row in rows)


def _assert_kinds(copies: Counter[Copy], syntaxes: set[str]) -> None:
    assert {copy.transfer_syntax_uid for copy in copies} == syntaxes
    classes = {copy.sop_class_uid for copy in copies}
    assert not {kind: wanted - classes for kind, wanted in KINDS.items() if wanted - classes}


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.skipif(not LONG, reason="takes half a minute; storescu and gateway send do the same below")
def test_what_dcmsend_sends_is_at_two_storescp_and_an_orthanc_unaltered(scene: Stage, made: dict[str, Path]) -> None:
    def send(files: list[Path], port: int, direct: bool) -> None:
        dcmsend(files, port, env=NODELAY if direct else None)

    before = _quarantined(scene), _of_another_class(scene)
    copies = _pass_through(scene, _candidates(made), send)
    # dcmsend proposes explicit little endian alone for whatever is not compressed, and converts to it.
    _assert_kinds(copies, {EXPLICIT, DEFLATED} | COMPRESSED)
    assert copies.total() >= 229
    # It takes the UIDs of three (their VR is UN) from elsewhere than what it proposes: told so at once.
    assert _of_another_class(scene) - before[1] == 3
    assert _quarantined(scene) == before[0]


@pytest.mark.timeout(300)
def test_what_storescu_sends_is_at_two_storescp_and_an_orthanc_unaltered(scene: Stage, made: dict[str, Path]) -> None:
    syntax = {sample.path: sample.transfer_syntax_uid for sample in sample_files()}
    syntax |= {made["pdf-implicit.dcm"]: IMPLICIT, made["pdf-big-endian.dcm"]: BIG_ENDIAN}
    syntax |= {made["deflated.dcm"]: DEFLATED}

    def send(files: list[Path], port: int, direct: bool) -> None:
        for option in dict.fromkeys(STORESCU_OPTION.get(syntax.get(path, ""), "-xe") for path in files):
            same = [path for path in files if STORESCU_OPTION.get(syntax.get(path, ""), "-xe") == option]
            storescu(same, port, options=("-R", option), env=NODELAY if direct else None)

    copies = _pass_through(scene, _candidates(made), send)
    _assert_kinds(copies, {IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED} | COMPRESSED)
    assert copies.total() >= 230


def _of_another_class(scene: Stage) -> float:
    """How many C-STOREs were refused because their SOP class was not that of their presentation context."""
    return scene.gateway.metric("gateway_stores_refused_total", source="loopback", status="0x0122")


# These end too soon.
NOT_WHOLE = {"MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"}
# The data sets of these have another SOP Instance UID than their file meta information, or none: the C-STORE-RQ of a
# sender that goes by the latter contradicts the data set.
NAMED_OTHERWISE = {
    *("UN_sequence.dcm", "badVR.dcm", "bad_sequence.dcm", "no_meta_group_length.dcm", "priv_SQ.dcm", "rtplan.dcm"),
    *("chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "chrSQEncoding.dcm", "chrSQEncoding1.dcm"),
    *("rtdose.dcm", "rtdose_1frame.dcm", "rtdose_expb.dcm", "rtdose_expb_1frame.dcm"),
}

# Implicit VR in a compressed transfer syntax: Orthanc's parser fails, and it never answers.
HANGS_ORTHANC = "SC_rgb_jpeg.dcm"
# DCMTK aborts: "Odd Fragment Length". PS3.5 A.5 wants a deflated stream padded, so it is right, and the sender wrong.
DCMTK_ABORTS = "image_dfl.dcm"
ODD_AND_TRUNCATED = "rtplan_truncated.dcm"


def _named(*names: str) -> list[Path]:
    return [sample.path for sample in sendable_sample_files() if Path(sample.name).name in names]


@pytest.mark.timeout(180)
def test_what_gateway_send_sends_is_everywhere_as_it_is_in_the_file(scene: Stage, made: dict[str, Path]) -> None:
    apart = _named(HANGS_ORTHANC, DCMTK_ABORTS, ODD_AND_TRUNCATED)
    files = [sample.path for sample in sendable_sample_files() if sample.path not in apart] + list(made.values())
    paths = {dataset_sha256(path): path for path in files}
    gateway_send(files, scene.reference.scp.port)
    refused = NOT_WHOLE | NAMED_OTHERWISE
    whole = [path for path in files if path.name not in refused]
    at_orthanc = json.loads(gateway_send(whole, scene.direct_orthanc.port).stdout)["sent"]
    for shelf in (scene.forking, scene.single):
        shelf.new()
    before = _quarantined(scene)
    told = json.loads(gateway_send(files, scene.port).stdout)
    assert [one["file"] for one in told["sent"] if not one["stored"]] == []
    settle(scene.gateway)

    expected = scene.reference.new()
    assert all(copy.sha256 in paths for copy in expected)
    arrived = scene.forking.new()
    assert scene.single.new() == arrived
    missing = {paths[copy.sha256].name for copy in expected - arrived}
    assert not arrived - expected
    assert missing == refused
    quarantined = _quarantined(scene) - before
    assert quarantined.pop(CONTRADICTS) == len(NAMED_OTHERWISE)
    assert quarantined.total() == len(NOT_WHOLE)
    _assert_kinds(arrived, {IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED} | COMPRESSED)
    taken = {Path(one["file"]) for one in at_orthanc if one["stored"]}
    uids = {copy.sop_instance_uid for copy in arrived if paths[copy.sha256] in taken}
    assert len(uids) > 100
    for uid in uids:
        assert sha256_in(scene.orthanc, uid) == sha256_in(scene.direct_orthanc, uid)


def test_what_orthanc_hangs_on_is_its_own_doing_and_reaches_the_storescp(scene: Stage) -> None:
    (sample,) = (sample for sample in sendable_sample_files() if Path(sample.name).name == HANGS_ORTHANC)
    instance = sample.instance()
    with RawScu(scene.direct_orthanc.port) as scu:
        scu.associate([(instance.sop_class_uid, instance.transfer_syntax_uid)], called="ORTHANC")
        scu.send_store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data)
        assert scene.direct_orthanc.process is not None
        scene.direct_orthanc.process.wait_for_output("Store SCP Failed")
        with pytest.raises(TimeoutError):
            scu.recv_pdu(1)
    for shelf in (scene.forking, scene.single):
        shelf.new()
    gateway_send([sample.path], scene.port, calling=NOT_FOR_ORTHANC)
    settle(scene.gateway)
    for shelf in (scene.forking, scene.single):
        assert [copy.sha256 for copy in shelf.new()] == [instance.sha256]


def test_a_deflated_data_set_of_odd_length_goes_to_peers_that_take_it(scene: Stage) -> None:
    (sample,) = (sample for sample in sendable_sample_files() if Path(sample.name).name == DCMTK_ABORTS)
    gateway_send([sample.path], scene.port, calling=PYNETDICOM_ONLY)
    settle(scene.gateway)
    assert scene.pynetdicom.contents()[sample.sop_instance_uid][-1] == sample.sha256


@pytest.mark.parametrize("sender", ["gateway send", "pynetdicom"])
def test_transfer_syntaxes_that_dcmtk_does_not_know_reach_the_peer_that_does(
    scene: Stage, sender: str, tmp_path: Path
) -> None:
    instances = [
        make_instance(seed=100 + index + 50 * (sender == "pynetdicom"), transfer_syntax_uid=uid)
        for index, uid in enumerate(HTJ2K + MPEG)
    ]
    scene.forking.new()
    if sender == "pynetdicom":
        contexts = [(one.sop_class_uid, one.transfer_syntax_uid) for one in instances]
        with PynetdicomScu(scene.port, contexts) as scu:
            assert [scu.store(one) for one in instances] == [0] * len(instances)
    else:
        gateway_send([write_part10(tmp_path / one.sop_instance_uid, one) for one in instances], scene.port)
    settle(scene.gateway)
    at_pynetdicom, at_storescp = scene.pynetdicom.contents(), Counter(scene.forking.new())
    for one in instances:
        assert at_pynetdicom[one.sop_instance_uid] == [one.sha256], UID(one.transfer_syntax_uid).name
    # A peer that knows nothing of a syntax has its deliveries held, each with the reason; the others go on.
    (shown,) = json.loads(scene.gateway.cli("show", instances[0].sop_instance_uid, "--json").stdout)
    states = {delivery["destination"]: (delivery["state"], delivery["code"]) for delivery in shown["deliveries"]}
    assert states["forking"] == states["single"] == ("held", "not_accepted")
    assert states["pynetdicom"] == ("delivered", "success")
    known = {copy.sha256 for copy in at_storescp}
    assert known == {one.sha256 for one in instances if one.transfer_syntax_uid in MPEG}


def test_what_was_truncated_is_quarantined_and_said_to_be(scene: Stage) -> None:
    (path,) = _named(ODD_AND_TRUNCATED)
    gateway_send([path], scene.port, calling=PYNETDICOM_ONLY)
    settle(scene.gateway)
    (found, *_) = json.loads(scene.gateway.cli("list", "--limit", "1", "--json").stdout)
    assert (found["state"], found["deliveries"]) == ("quarantined", [])
    assert found["reason"].startswith("the data set ")
