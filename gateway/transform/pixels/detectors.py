"""Images in which nothing is written: what makes them, and the SOP classes in which they come.

An image is one of these when its Modality is in `DETECTORS` and its SOP class is one that belongs to it (`CLASSES`).
Whatever is on neither list may show names: the lists grow by what is known for certain, never by what is likely.

Not on them, though images: ultrasound and intravascular imaging, all visible light (endoscopy, photography, slides,
eyes), secondary captures, colour made of MR (.4.3), fundus and OCT maps of the eye (screens of their makers), films
that were digitised, standard classes for goods and luggage, and classes of a single maker.
"""

from __future__ import annotations

DETECTORS = {
    "CT": "computed from what a ring of detectors has measured",
    "MR": "computed from what coils have received",
    "PT": "computed from pairs of photons that were counted",
    "NM": "photons that were counted in each place",
    "XA": "read from a detector of X-rays",
    "RF": "read from a detector of X-rays",
    "CR": "read from a plate that X-rays have exposed; marks of lead on it may show letters, not what a program wrote",
    "DX": "read from a detector of X-rays",
    "MG": "read from a detector of X-rays",
    "IO": "read from a detector of X-rays in the mouth",
    "PX": "read from a detector of X-rays that goes around the head",
    "OPT": "depth in the eye, computed from interference of light",
    "RTIMAGE": "read from the detector of a treatment machine, or computed from a CT",
    "RTDOSE": "doses, computed for each place",
    "SEG": "which places belong to what, or how likely",
}
"""Modality (0008,0060), and why nothing is written in what it makes."""

_PROJECTIONS = frozenset({"CR", "DX", "MG", "IO", "PX", "XA", "RF"})  # what a plate or panel takes, by its purpose
_VOLUMES = _PROJECTIONS | {"CT"}  # of a panel that turns: some say CT
_CT, _MR, _PT, _NM = (frozenset({each}) for each in ("CT", "MR", "PT", "NM"))

_STORAGE = "1.2.840.10008.5.1.4.1.1."
CLASSES = {
    f"{_STORAGE}{end}": modalities
    for end, modalities in {
        "1": _PROJECTIONS,  # Computed Radiography
        "1.1": _PROJECTIONS,  # Digital X-Ray, for presentation
        "1.1.1": _PROJECTIONS,  # Digital X-Ray, for processing
        "1.2": _PROJECTIONS,  # Digital Mammography X-Ray, for presentation
        "1.2.1": _PROJECTIONS,  # Digital Mammography X-Ray, for processing
        "1.3": _PROJECTIONS,  # Digital Intra-Oral X-Ray, for presentation
        "1.3.1": _PROJECTIONS,  # Digital Intra-Oral X-Ray, for processing
        "2": _CT,
        "2.1": _CT,  # Enhanced CT
        "2.2": _CT,  # Legacy Converted Enhanced CT
        "4": _MR,
        "4.1": _MR,  # Enhanced MR
        "4.4": _MR,  # Legacy Converted Enhanced MR
        "5": _NM,  # Nuclear Medicine, retired
        "12.1": _PROJECTIONS,  # X-Ray Angiographic
        "12.1.1": _PROJECTIONS,  # Enhanced XA
        "12.2": _PROJECTIONS,  # X-Ray Radiofluoroscopic
        "12.2.1": _PROJECTIONS,  # Enhanced XRF
        "12.3": _PROJECTIONS,  # X-Ray Angiographic Bi-Plane, retired
        "13.1.1": _VOLUMES,  # X-Ray 3D Angiographic
        "13.1.2": _VOLUMES,  # X-Ray 3D Craniofacial
        "13.1.3": _VOLUMES,  # Breast Tomosynthesis
        "13.1.4": _PROJECTIONS,  # Breast Projection X-Ray, for presentation
        "13.1.5": _PROJECTIONS,  # Breast Projection X-Ray, for processing
        "20": _NM,  # Nuclear Medicine
        "30": _VOLUMES | _MR | _PT | _NM,  # Parametric Map: of the modality that it was computed from
        "66.4": frozenset({"SEG"}),  # Segmentation
        "66.7": frozenset({"SEG"}),  # Label Map Segmentation
        "77.1.5.4": frozenset({"OPT"}),  # Ophthalmic Tomography
        "128": _PT,  # Positron Emission Tomography
        "128.1": _PT,  # Legacy Converted Enhanced PET
        "130": _PT,  # Enhanced PET
        "481.1": frozenset({"RTIMAGE"}),  # RT Image
        "481.2": frozenset({"RTDOSE"}),  # RT Dose
        "481.23": frozenset({"RTIMAGE"}),  # Enhanced RT Image
        "481.24": frozenset({"RTIMAGE"}),  # Enhanced Continuous RT Image
    }.items()
}
"""SOP classes of PS3.4 B.5 by UID, and the modalities that go with each."""

COLOURED = frozenset({"NM", "SEG"})
"""Those whose grey may be shown in the colours of a palette. None has more than one sample a pixel."""
