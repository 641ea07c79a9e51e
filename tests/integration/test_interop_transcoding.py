"""Real archives that do not take every transfer syntax: what they get in its place, they can read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pydicom
import pytest

from tests.harness.archive import OurArchive
from tests.harness.data import Instance, sample_files
from tests.harness.dcmtk import DcmtkStorescp
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.orthanc import Orthanc
from tests.harness.rawpeer import RawScu
from tests.harness.tools import program, require, run
from tests.integration.interop import settle

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
NAMES = (
    "MR_small_jp2klossless.dcm",  # JPEG 2000 lossless
    "emri_small_jpeg_ls_lossless.dcm",  # JPEG-LS lossless, ten frames
    "SC_rgb_rle_2frame.dcm",  # RLE, in colour
    "JPEG-LL.dcm",  # JPEG lossless
    "SC_rgb_jpeg_dcmtk.dcm",  # JPEG, lossy, in colour
    "CT_small.dcm",  # native, with private attributes
    "ExplVR_BigEnd.dcm",  # big endian, in colour, by plane
)


@dataclass(slots=True)
class Scene:
    """A gateway in front of archives that take native data only, and of one that takes everything."""

    gateway: GatewayProcess
    implicit: DcmtkStorescp
    native: DcmtkStorescp
    orthanc: Orthanc
    everything: OurArchive


def sample(name: str) -> Instance:
    """A sample of pydicom."""
    return next(each for each in sample_files() if each.path.name == name).instance()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    require("storescp", "Orthanc")
    folder = tmp_path_factory.mktemp("transcoding")
    with (
        DcmtkStorescp(folder / "implicit", accept_all=False, options=["+xi"]) as implicit,
        DcmtkStorescp(folder / "native", accept_all=False, options=["+xe"]) as native,
        Orthanc(folder / "orthanc", AcceptedTransferSyntaxes=[IMPLICIT]) as orthanc,
        OurArchive() as everything,
    ):
        keys = {"transcode": "lossless", "max_associations": 1}
        ports = {"implicit": implicit.port, "native": native.port, "orthanc": orthanc.port}
        destinations: dict[str, object] = {name: {"port": port, **keys} for name, port in ports.items()}
        destinations["everything"] = {"port": everything.port, "transcode": "lossless"}
        with GatewayProcess(GatewayConfig(folder / "gateway", destinations)) as gateway:  # type: ignore[arg-type]
            for name in NAMES:
                one = sample(name)
                with RawScu(gateway.config.port) as scu:
                    scu.associate([(one.sop_class_uid, one.transfer_syntax_uid)])
                    number = scu.context_for(one.sop_class_uid, one.transfer_syntax_uid)
                    assert scu.store(number, one.sop_class_uid, one.sop_instance_uid, one.data) == 0x0000
                    scu.release()
            settle(gateway)
            yield Scene(gateway, implicit, native, orthanc, everything)


def test_everything_arrives_everywhere(scene: Scene) -> None:
    assert {state for _, state in scene.gateway.deliveries()} == {"delivered"}
    wanted = {sample(name).sop_instance_uid for name in NAMES}
    for archive in (scene.implicit, scene.native, scene.orthanc):
        assert set(archive.contents()) == wanted
    assert {one.sha256 for one in map(sample, NAMES)} == {
        sha for copies in scene.everything.contents().values() for sha in copies
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_storescp_keeps_is_the_same_image(scene: Scene, name: str) -> None:
    one = sample(name)
    original = pydicom.dcmread(next(each.path for each in sample_files() if each.path.name == name))
    for scp, syntax in ((scene.implicit, IMPLICIT), (scene.native, EXPLICIT)):
        (path,) = (path for path in scp.files() if pydicom.dcmread(path).SOPInstanceUID == one.sop_instance_uid)
        copy = pydicom.dcmread(path)
        taken_as_it_is = scp is scene.native and not original.file_meta.TransferSyntaxUID.is_compressed
        assert copy.file_meta.TransferSyntaxUID == (original.file_meta.TransferSyntaxUID if taken_as_it_is else syntax)
        if "jpeg_dcmtk" not in name:  # decoders of lossy JPEG differ in the last bit, and in what colours they give
            assert (copy.pixel_array == original.pixel_array).all()
        else:
            assert copy.LossyImageCompression == "01"
        assert copy.get("PatientName") == original.get("PatientName")
        for tool in ("dcmdump", "dcm2pnm"):
            words = [str(path)] if tool == "dcmdump" else ["+Wm", str(path), str(path.with_suffix(".pnm"))]
            output = run([program(tool), *words], 60).check().output
            assert not [line for line in output.splitlines() if line.startswith(("E:", "F:"))], output
