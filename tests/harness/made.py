"""Valid objects that no sample has, made with highdicom of pydicom's CT_small: what is found in, drawn on and cut out
of images. `require("highdicom")` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes


def source() -> Dataset:
    """The image that all of them are of."""
    return pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))


def segmentation() -> Dataset:
    """A binary segmentation of one organ."""
    import highdicom as hd

    image = source()
    algorithm = hd.AlgorithmIdentificationSequence("Organs", codes.DCM.ArtificialIntelligence, "1")
    organ = hd.seg.SegmentDescription(
        1, "Liver", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm
    )
    mask = np.ones((image.Rows, image.Columns), np.uint8)
    binary = hd.seg.SegmentationTypeValues.BINARY
    return hd.seg.Segmentation(
        [image], mask, binary, [organ], hd.UID(), 1, hd.UID(), 1, "M", "N", "1", "S", content_creator_name="Doe^Jane"
    )


def presentation() -> Dataset:
    """A grayscale presentation state with a drawing and a name on it."""
    import highdicom as hd

    image = source()
    drawn = hd.pr.GraphicObject(
        hd.pr.GraphicTypeValues.POLYLINE, np.array([[1.0, 1.0], [5.0, 5.0], [3.0, 9.0]]), units="PIXEL"
    )
    text = hd.pr.TextObject("Jane Doe", "PIXEL", anchor_point=(10.0, 10.0))
    layer = hd.pr.GraphicLayer("L", 1)
    annotation = hd.pr.GraphicAnnotation([image], layer, graphic_objects=[drawn], text_objects=[text])
    return hd.pr.GrayscaleSoftcopyPresentationState(
        [image],
        hd.UID(),
        1,
        hd.UID(),
        1,
        "M",
        "N",
        "S",
        "1",
        "LABEL",
        graphic_layers=[layer],
        graphic_annotations=[annotation],
        content_creator_name="Doe^Jane",
    )


def report() -> Dataset:
    """A measurement report, verified by somebody."""
    import highdicom as hd
    from highdicom import sr

    image = source()
    person = sr.PersonObserverIdentifyingAttributes("Doe^Jane")
    region = sr.ImageRegion(
        sr.GraphicTypeValues.CIRCLE,
        np.array([[10.0, 10.0], [11.0, 11.0]]),
        source_image=sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
    )
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(hd.UID(), "Jane"),
        referenced_region=region,
        finding_type=codes.SCT.Neoplasm,
        measurements=[sr.Measurement(codes.SCT.Length, value=17.0, unit=codes.UCUM.Millimeter)],
    )
    content = sr.MeasurementReport(
        sr.ObservationContext(observer_person_context=sr.ObserverContext(codes.DCM.Person, person)),
        codes.LN.CTUnspecifiedBodyRegion,
        [group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.Comprehensive3DSR(
        [image],
        content[0],
        hd.UID(),
        1,
        hd.UID(),
        1,
        manufacturer="M",
        is_complete=True,
        is_verified=True,
        verifying_observer_name="Doe^Jane",
        verifying_organization="St. Elsewhere",
    )


def selection() -> Dataset:
    """A key object selection with a description."""
    import highdicom as hd

    image = source()
    content = hd.ko.KeyObjectSelection(codes.DCM.OfInterest, [image], description="Jane Doe")
    return hd.ko.KeyObjectSelectionDocument([image], content, hd.UID(), 1, hd.UID(), 1, "M", "St. Elsewhere")


MADE: Mapping[str, Callable[[], Dataset]] = {
    each.__name__: each for each in (segmentation, presentation, report, selection)
}
