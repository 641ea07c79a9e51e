"""The verb `transcode`: a transfer syntax by its name or UID, and how much may be lost where that is asked for."""

from __future__ import annotations

from difflib import get_close_matches

from gateway.document import Node, Scalar, Table
from gateway.transform.pixels.profiles import J2K, JPEG_LS_NEAR_LOSSLESS
from gateway.transform.reader import Reader
from gateway.transform.transcode import SYNTAXES, Target, Transcode

_LOSS = {J2K: "ratio", JPEG_LS_NEAR_LOSSLESS: "error"}  # what a lossy syntax needs told
_MOST = {"ratio": 1000, "error": 255}


def transcode(reader: Reader, node: Node) -> Transcode | None:
    """What stands behind the verb: a text, or a map with `to` and `ratio` or `error`."""
    if not isinstance(node, Table):
        uid = _syntax(reader, node, node)
        if uid in _LOSS:
            told = f"{{to: {_name(uid)}, {_LOSS[uid]}: …}}"
            reader.problem(node.place, f"how much may be lost has to be said: transcode: {told}")
            return None
        return Transcode(Target(uid)) if uid else None
    table = reader.table(node, "transcode", ("to", "ratio", "error"))
    uid = _syntax(reader, table.get("to"), node)
    if not uid:
        return None
    needed = _LOSS.get(uid)
    found = {}
    for key in _MOST:
        value = table.get(key)
        if (value is not None) != (key == needed):
            reads = f"{_name(uid)} needs {key}" if key == needed else f"{_name(uid)} has no {key}"
            reader.problem(value.place if value is not None else table.place, reads)
        elif value is not None:
            found[key] = reader.number(value, table.place, key, _MOST[key])
    return Transcode(Target(uid, **found))


def _syntax(reader: Reader, node: Node | None, around: Node) -> str:
    """The UID of a transfer syntax that can be written; "" where it is none."""
    text = node.text if isinstance(node, Scalar) and not node.is_null else ""
    uid = SYNTAXES.get(text, text)
    if uid in SYNTAXES.values():
        return uid
    close = get_close_matches(text, SYNTAXES, n=1)
    hint = f"; is {close[0]!r} meant?" if close else ""
    reader.problem((node or around).place, f"the gateway writes these transfer syntaxes: {', '.join(SYNTAXES)}{hint}")
    return ""


def _name(uid: str) -> str:
    return next(name for name, each in SYNTAXES.items() if each == uid)
