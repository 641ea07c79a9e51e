"""Whether an object may show who the patient is, in a place that no change of the header reaches.

`why_at_risk` is asked before a de-identified copy is made; while it has a reason, the copy is not made and the delivery
is held. What ends the risk of an image is a `mask` step that was done to it (`Tree.pixels_clean`): one that blanked the
places where its machine writes, or `mask: nothing`, by which a person has said that such images show nothing.

At risk is an object that:
  - says so: Burned In Annotation (0028,0301) or Recognizable Visual Features (0028,0302) is YES;
  - was captured from a screen, film, paper or video: a Secondary Capture class (PS3.3 A.8), or a Conversion Type
    (0008,0064) that says so. Dose reports and screen saves of CT and MR are of this kind;
  - is of a modality whose machines write into the picture, or photograph what has names on it: `MODALITIES`;
  - names no modality: nobody knows what made it;
  - is a video, or keeps its pixels elsewhere: such pixels cannot be masked;
  - is a document (PDF, CDA, STL, OBJ, MTL): nobody looks into it, no mask is for it, and with a dummy in place of its
    content (0042,0011), as the profile wants it, nothing would be left. Where that was removed nothing is to be feared.
    In objects of other classes the profile's dummy does.

Burned In Annotation NO ends no risk: it is set by default, or by a machine that knows nothing of what the screen showed
(PS3.15 E.3.1 wants the pixels looked at, whatever is said of them).

Not on the list are CT, MR, PT, NM, XA, RF, CR, DX, MG, IO, PX and OPT: their detectors give pixels in which nothing is
written, as long as the class is not that of a capture. Films that were digitised come as captures.
"""

from __future__ import annotations

from gateway.transform.names import is_pixel_data, label
from gateway.transform.tree import Tree
from gateway.transform.view import View

MODALITIES = {
    "US": "ultrasound machines write the name into the picture",
    "IVUS": "ultrasound machines write the name into the picture",
    "ES": "endoscopes write the name into the picture",
    "XC": "photographs show people, and what stands beside them",
    "GM": "photographs of slides show their labels",
    "SM": "images of slides show their labels",
    "OP": "cameras for the eye write the name into the picture",
    "BMD": "densitometers make a report of the picture",
    "DG": "photographs show people",
    "TG": "photographs show people",
    "DOC": "documents have names on them",
    "HC": "what was printed has names on it",
    "FILM": "films have names on them",
    "OT": "it may be anything, and often is a capture of a screen",
    "SC": "captures of screens have names on them",
    "CP": "colposcopes write the name into the picture",
    "LP": "endoscopes write the name into the picture",
    "VF": "it is a capture of a video",
}
"""Modality (0008,0060), retired and made-up ones too, and why."""

_MODALITY, _SOP_CLASS, _CONVERSION_TYPE = 0x00080060, 0x00080016, 0x00080064
_BURNED_IN, _VISUAL_FEATURES, _PROVIDER_URL, _DOCUMENT = 0x00280301, 0x00280302, 0x00287FE0, 0x00420011
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENCAPSULATED_DOCUMENT = "1.2.840.10008.5.1.4.1.1.104."
_CAPTURED = frozenset({"DV", "DI", "DF", "WSD", "SD", "SI"})  # PS3.3 C.8.6.1: not DRW and SYN, which were drawn
_VIDEO = tuple(f"1.2.840.10008.1.2.4.10{digit}" for digit in range(9))  # PS3.5 10.8-10.15; .1 at the end: fragmentable
_VIDEO_OVER_IP = "1.2.840.10008.1.2.7."


def is_video(transfer_syntax_uid: str) -> bool:
    """Whether a transfer syntax is one of video: such pixels cannot be masked."""
    return transfer_syntax_uid.removesuffix(".1") in _VIDEO or transfer_syntax_uid.startswith(_VIDEO_OVER_IP)


def has_pixels(tree: Tree) -> bool:
    """Whether the data set has pixel data of whatever kind, or says where it is."""
    return any(is_pixel_data(each.tag) or each.tag == _PROVIDER_URL for each in tree)


def why_at_risk(tree: Tree) -> str:
    """Why an object may show who the patient is, after the steps so far; "" where nothing says so. Holds no value that
    could be a patient's.
    """
    view = View(tree)
    sop_class = view.text(_SOP_CLASS)
    document = tree.root.get(_DOCUMENT)
    if sop_class.startswith(_ENCAPSULATED_DOCUMENT):
        if document is not None and document.value_bytes:
            return f"it is a document ({label(_DOCUMENT)}), of which nothing would be left"
        return ""
    if tree.pixels_clean or not has_pixels(tree):
        return ""
    return _of_image(tree, view, sop_class)


def _of_image(tree: Tree, view: View, sop_class: str) -> str:
    for tag in (_BURNED_IN, _VISUAL_FEATURES):
        if view.text(tag).strip().upper() == "YES":
            return f"{label(tag)} is YES, and no mask step was done"
    if is_video(tree.transfer_syntax_uid):
        return "it is a video, which cannot be masked"
    if tree.root.get(_PROVIDER_URL) is not None:
        return f"its pixels are elsewhere ({label(_PROVIDER_URL)}), and cannot be masked"
    what = "and no mask step says what to do with it"
    if sop_class == _SECONDARY_CAPTURE or sop_class.startswith(f"{_SECONDARY_CAPTURE}."):
        return f"it is a secondary capture, {what}"
    if view.text(_CONVERSION_TYPE).strip().upper() in _CAPTURED:
        return f"{label(_CONVERSION_TYPE)} says that it was captured, {what}"
    modality = view.text(_MODALITY).strip().upper()
    if not modality:
        return f"it has no {label(_MODALITY)}, {what}"
    reason = MODALITIES.get(modality)
    return f"modality {modality}: {reason}, {what}" if reason else ""
