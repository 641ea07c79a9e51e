"""Whether an object may show, or say, who the patient is, in a place that no change of the header reaches.

`why_at_risk` is asked before a de-identified copy is made; while it has a reason, the copy is not made and the delivery
is held. What ends the risk of an image is a `mask` step that was done to it (`Tree.pixels_clean`): one that blanked the
places where its machine writes, or `mask: nothing`, by which a person has said that such images show nothing.

An object with pixels is at risk unless all of this holds:
  - it is what a detector has measured, or is computed from that: its Modality is one of `detectors.DETECTORS`, and its
    SOP class belongs to it (`detectors.CLASSES`);
  - nothing says otherwise: Burned In Annotation (0028,0301) and Recognizable Visual Features (0028,0302) are absent,
    empty or NO; Conversion Type (0008,0064) does not say that it was captured from a screen, film, paper or video;
    Image Type (0008,0008) does not speak of a screen, a report, a dose or a protocol;
  - it is grey: such a detector sees no colour, and screens have some;
  - it is no video, and its pixels are in it: others cannot be masked.

Nobody is taken at their word: an attribute is read by what the data dictionary says of it, whatever VR stands there;
every element of it counts where there are several, and every value; what cannot be read counts as the worst of all.
Burned In Annotation NO ends no risk: it is set by default, or by a machine that knows nothing of what the screen showed
(PS3.15 E.3.1 wants the pixels looked at, whatever is said of them).

At risk are also, and no mask is for them:
  - a document (PDF, CDA, STL, OBJ, MTL): nobody looks into it, and with a dummy in place of its content (0042,0011), as
    the profile wants it, nothing would be left. Where that was removed nothing is to be feared. In objects of other
    classes the profile's dummy does;
  - a recording of a voice, as long as Waveform Data (5400,1010) is in it.
"""

from __future__ import annotations

import re
from itertools import chain

from gateway.transform.names import is_pixel_data, label
from gateway.transform.parse import each_item, has_items
from gateway.transform.pixels.detectors import CLASSES, COLOURED, DETECTORS
from gateway.transform.tree import Element, Tree

_IMAGE_TYPE, _SOP_CLASS, _MODALITY, _CONVERSION_TYPE = 0x00080008, 0x00080016, 0x00080060, 0x00080064
_SAMPLES, _PHOTOMETRIC, _BURNED_IN, _VISUAL_FEATURES = 0x00280002, 0x00280004, 0x00280301, 0x00280302
_PROVIDER_URL, _DOCUMENT, _WAVEFORMS, _WAVEFORM = 0x00287FE0, 0x00420011, 0x54000100, 0x54001010
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENCAPSULATED_DOCUMENT = "1.2.840.10008.5.1.4.1.1.104."
_AUDIO = "1.2.840.10008.5.1.4.1.1.9.4."  # Basic Voice, General
_NOT_CAPTURED = frozenset({"", "DRW", "SYN"})  # PS3.3 C.8.6.1: these were drawn or made
# Words of makers and of PS3.3 for pictures of screens and of tables: SCREEN SAVE, DOSE_INFO, CSA REPORT, CT_SOM5 PROT.
_OF_SCREENS = re.compile(r"SCREEN|CAPTURE|REPORT|DOSE|PROTOCOL|(?<![A-Z])PROT(?![A-Z])")
_GREY = frozenset({"", "MONOCHROME1", "MONOCHROME2"})
_ONE_SAMPLE = (b"", b"\x01\x00", b"\x00\x01")
_VIDEO = tuple(f"1.2.840.10008.1.2.4.10{digit}" for digit in range(9))  # PS3.5 10.8-10.15; .1 at the end: fragmentable
_VIDEO_OVER_IP = "1.2.840.10008.1.2.7."
_UNREADABLE = "?"
_NO_MASK = "and no mask step says what to do with it"


def is_video(transfer_syntax_uid: str) -> bool:
    """Whether a transfer syntax is one of video: such pixels cannot be masked."""
    return transfer_syntax_uid.removesuffix(".1") in _VIDEO or transfer_syntax_uid.startswith(_VIDEO_OVER_IP)


def has_pixels(tree: Tree) -> bool:
    """Whether the data set has pixel data of whatever kind, or says where it is."""
    return any(is_pixel_data(each.tag) or each.tag == _PROVIDER_URL for each in tree)


def why_at_risk(tree: Tree) -> str:
    """Why an object may show who the patient is, after the steps so far; "" where nothing says so. Holds no value but
    a term of `DETECTORS`.
    """
    classes = _values(tree, _SOP_CLASS)
    documents = [each for each in tree if each.tag == _DOCUMENT and (each.value_bytes or each.items)]
    if documents and any(each.startswith(_ENCAPSULATED_DOCUMENT) for each in classes):
        return f"it is a document ({label(_DOCUMENT)}), of which nothing would be left"
    if ("AU" in _values(tree, _MODALITY) or any(each.startswith(_AUDIO) for each in classes)) and _has_waveform(tree):
        return f"it is a recording of a voice: a step has to remove {label(_WAVEFORM)}, or all of {label(_WAVEFORMS)}"
    if tree.pixels_clean or not has_pixels(tree):
        return ""
    return _says_so(tree) or _why_no_detector(tree, classes)


def _says_so(tree: Tree) -> str:
    """What an image says of itself; "" for nothing."""
    for tag in (_BURNED_IN, _VISUAL_FEATURES):
        if not {"", "NO"}.issuperset(_values(tree, tag)):
            return f"{label(tag)} is YES, or nothing that can be read, and no mask step was done"
    if is_video(tree.transfer_syntax_uid):
        return "it is a video, which cannot be masked"
    if tree.root.get(_PROVIDER_URL) is not None:
        return f"its pixels are elsewhere ({label(_PROVIDER_URL)}), and cannot be masked"
    if not _NOT_CAPTURED.issuperset(_values(tree, _CONVERSION_TYPE)):
        return f"{label(_CONVERSION_TYPE)} says that it was captured, {_NO_MASK}"
    if any(each == _UNREADABLE or _OF_SCREENS.search(each) for each in _values(tree, _IMAGE_TYPE)):
        return f"{label(_IMAGE_TYPE)} speaks of a screen, a report, a dose or a protocol, {_NO_MASK}"
    return ""


def _why_no_detector(tree: Tree, classes: list[str]) -> str:
    """Why an image may be something else than a detector's; "" where it is one."""
    modalities = _values(tree, _MODALITY)
    if not any(modalities):
        return f"it has no {label(_MODALITY)}, {_NO_MASK}"
    if len(modalities) > 1:
        return f"{label(_MODALITY)} has several values, {_NO_MASK}"
    (modality,) = modalities
    if any(each == _SECONDARY_CAPTURE or each.startswith(f"{_SECONDARY_CAPTURE}.") for each in classes):
        return f"it is a secondary capture, {_NO_MASK}"
    if modality not in DETECTORS:
        return f"{label(_MODALITY)} is none of those whose images are known to show nothing, {_NO_MASK}"
    if len(classes) != 1 or classes[0] not in CLASSES:
        return f"{label(_SOP_CLASS)} is none of those whose images are known to show nothing, {_NO_MASK}"
    if modality not in CLASSES[classes[0]]:
        return f"modality {modality} does not go with {label(_SOP_CLASS)}, {_NO_MASK}"
    if not _is_grey(tree, modality):
        return f"it has colours, which a detector for {modality} does not see, {_NO_MASK}"
    return ""


def _is_grey(tree: Tree, modality: str) -> bool:
    allowed = _GREY | {"PALETTE COLOR"} if modality in COLOURED else _GREY
    samples = [each.value for each in tree if each.tag == _SAMPLES and each.bulk is None]
    return all(each in _ONE_SAMPLE for each in samples) and allowed.issuperset(_values(tree, _PHOTOMETRIC))


def _has_waveform(tree: Tree) -> bool:
    groups = [each for each in tree if each.tag == _WAVEFORMS and has_items(each)]
    inner = (each for group in groups for item in each_item(tree.root, group) for each in item.data.elements)
    return any(each.tag == _WAVEFORM and each.value_bytes for each in chain(tree, inner))


def _values(tree: Tree, tag: int) -> list[str]:
    """The values of all elements of a tag, of codes or UIDs, whatever VR stands there."""
    return [value for each in tree if each.tag == tag for value in _values_of(each)]


def _values_of(element: Element) -> list[str]:
    if element.bulk is not None or element.is_sequence or not element.value.isascii():
        return [_UNREADABLE]
    return [each.strip(" \0").upper() for each in element.value.decode("ascii").split("\\")]
