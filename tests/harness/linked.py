"""A study whose instances refer to each other: images, what was found in them, drawn on them and planned on them.

study = linked_study(seed=1)
study.instances               # in no order that would help
references(dataset)           # every SOP Instance UID that a data set refers to
uids(dataset)                 # every UID of a data set, by the path to it
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import UID

from tests.harness.data import Instance, encode, new_uid

EXPLICIT = "1.2.840.10008.1.2.1"
CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR: multi-frame, with functional groups
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTPLAN": "1.2.840.10008.5.1.4.1.1.481.5",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
}
SLICES = 3

Path = tuple[int, ...]


@dataclass
class LinkedStudy:
    """One patient's study; see the module's docstring. `number` is the Series Number of all of its series."""

    source: random.Random
    patient_id: str
    number: int
    instances: list[Instance] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.study_uid, self.frame_of_reference_uid = new_uid(self.source), new_uid(self.source)
        images = self._series("CT", SLICES)
        for image in images:
            image.FrameOfReferenceUID = self.frame_of_reference_uid
            image.add_new(0x7FE00010, "OW", bytes(8))
            self._add(image)
        for make in (self._frames, self._report, self._presentation, self._segmentation, self._selection):
            self._add(make(images))
        structures = self._structures(images)
        self._add(structures)
        self._add(self._plan(structures))
        self.source.shuffle(self.instances)

    def _series(self, modality: str, count: int = 1) -> list[Dataset]:
        series_uid = new_uid(self.source)
        made = []
        for number in range(1, count + 1):
            data = Dataset()
            data.SOPClassUID, data.SOPInstanceUID = CLASSES[modality], new_uid(self.source)
            data.StudyInstanceUID, data.SeriesInstanceUID = self.study_uid, series_uid
            data.PatientID, data.PatientName, data.Modality = self.patient_id, "Doe^Jane", modality
            data.InstanceNumber, data.StudyDate = str(number), "20240229"
            data.SeriesNumber = str(self.number)
            made.append(data)
        return made

    def _add(self, data: Dataset) -> None:
        encoded = encode(data, EXPLICIT)
        digest = hashlib.sha256(encoded).hexdigest()
        identity = (str(data.SOPClassUID), str(data.SOPInstanceUID), EXPLICIT, digest)
        self.instances.append(Instance(encoded, *identity, (), self.study_uid, str(data.SeriesInstanceUID)))

    def _evidence(self, images: Sequence[Dataset]) -> Dataset:
        series = items(SeriesInstanceUID=images[0].SeriesInstanceUID, ReferencedSOPSequence=list(map(to, images)))
        return items(StudyInstanceUID=self.study_uid, ReferencedSeriesSequence=[series])

    def _frames(self, images: Sequence[Dataset]) -> Dataset:
        (data,) = self._series("MR")
        organization = new_uid(self.source)
        data.FrameOfReferenceUID, data.NumberOfFrames = self.frame_of_reference_uid, str(len(images))
        data.ConcatenationUID, data.SOPInstanceUIDOfConcatenationSource = new_uid(self.source), data.SOPInstanceUID
        data.DimensionOrganizationSequence = [items(DimensionOrganizationUID=organization)]
        data.DimensionIndexSequence = [items(DimensionOrganizationUID=organization)]
        data.ReferencedImageEvidenceSequence = [self._evidence(images)]
        data.SourceImageEvidenceSequence = [self._evidence(images)]
        data.SharedFunctionalGroupsSequence = [items(ReferencedImageSequence=[to(images[0])])]
        data.PerFrameFunctionalGroupsSequence = [
            items(DerivationImageSequence=[items(SourceImageSequence=[to(image)])]) for image in images
        ]
        return data

    def _report(self, images: Sequence[Dataset]) -> Dataset:
        (data,) = self._series("SR")
        data.CurrentRequestedProcedureEvidenceSequence = [self._evidence(images)]
        found = [content("IMAGE", ReferencedSOPSequence=[to(image)]) for image in images]
        found.append(content("SCOORD", ContentSequence=[content("IMAGE", ReferencedSOPSequence=[to(images[0])])]))
        data.ValueType, data.ContentSequence = "CONTAINER", [content("CONTAINER", ContentSequence=found)]
        return data

    def _presentation(self, images: Sequence[Dataset]) -> Dataset:
        (data,) = self._series("PR")
        shown = list(map(to, images))
        series = items(SeriesInstanceUID=images[0].SeriesInstanceUID, ReferencedImageSequence=shown)
        data.ReferencedSeriesSequence = [series]
        data.GraphicAnnotationSequence = [items(GraphicLayer="L", ReferencedImageSequence=[to(images[0])])]
        data.DisplayedAreaSelectionSequence = [items(ReferencedImageSequence=list(map(to, images)))]
        return data

    def _segmentation(self, images: Sequence[Dataset]) -> Dataset:
        (data,) = self._series("SEG")
        data.FrameOfReferenceUID = self.frame_of_reference_uid
        series = items(SeriesInstanceUID=images[0].SeriesInstanceUID, ReferencedInstanceSequence=list(map(to, images)))
        data.ReferencedSeriesSequence = [series]
        data.SegmentSequence = [items(SegmentNumber=1, TrackingUID=new_uid(self.source))]
        data.PerFrameFunctionalGroupsSequence = [
            items(DerivationImageSequence=[items(SourceImageSequence=[to(image)])]) for image in images
        ]
        return data

    def _selection(self, images: Sequence[Dataset]) -> Dataset:
        (data,) = self._series("KO")
        data.CurrentRequestedProcedureEvidenceSequence = [self._evidence(images)]
        data.ContentSequence = [content("IMAGE", ReferencedSOPSequence=[to(image)]) for image in images]
        return data

    def _structures(self, images: Sequence[Dataset]) -> Dataset:
        (data,) = self._series("RTSTRUCT")
        frame = self.frame_of_reference_uid
        series = items(SeriesInstanceUID=images[0].SeriesInstanceUID, ContourImageSequence=list(map(to, images)))
        study = items(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
            ReferencedSOPInstanceUID=self.study_uid,
            RTReferencedSeriesSequence=[series],
        )
        data.ReferencedFrameOfReferenceSequence = [items(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])]
        data.StructureSetROISequence = [items(ROINumber="1", ReferencedFrameOfReferenceUID=frame)]
        contours = [items(ContourImageSequence=[to(image)]) for image in images]
        data.ROIContourSequence = [items(ReferencedROINumber="1", ContourSequence=contours)]
        return data

    def _plan(self, structures: Dataset) -> Dataset:
        (data,) = self._series("RTPLAN")
        data.FrameOfReferenceUID = self.frame_of_reference_uid
        data.ReferencedStructureSetSequence = [to(structures)]
        return data


def linked_study(seed: int = 1, patient_id: str = "17") -> LinkedStudy:
    """A study of its own for every seed; the same for the same."""
    return LinkedStudy(random.Random(seed), patient_id, seed)


def items(**attributes: object) -> Dataset:
    """An item of these attributes."""
    data = Dataset()
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def to(instance: Dataset) -> Dataset:
    """A reference to an instance."""
    return items(ReferencedSOPClassUID=instance.SOPClassUID, ReferencedSOPInstanceUID=instance.SOPInstanceUID)


def content(value_type: str, **attributes: object) -> Dataset:
    """An item of structured content."""
    return items(RelationshipType="CONTAINS", ValueType=value_type, **attributes)


def uids(data: Dataset, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every UID of a data set that is no class's, with the tags and numbers of items that lead to it."""
    for element in data:
        where = (*path, int(element.tag))
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from uids(item, (*where, number))
        elif element.VR == "UI" and not UID(element.value).name.endswith(("Storage", "Class", "Retired)")):
            yield where, str(element.value)


def references(data: Dataset) -> set[str]:
    """The SOP Instance UIDs that a data set refers to."""
    return {uid for path, uid in uids(data) if path[-1] == 0x00081155}
