"""Runs the tests that people write beside their rules: where an instance goes, and what the copies of it are like.

For `after` and `unchanged` the instance of the test is made a data set (explicit VR little endian, UTF-8), goes through
the chain that the decision has for the destination, and is read again as any other. `gateway rules test`, `gateway
check` and every reload call.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from gateway.dicom.header import SOP_CLASS_UID, SOP_INSTANCE_UID, Header, Wanted, read_header
from gateway.dicom.kept import private_vr
from gateway.dicom.paths import SPECIFIC_CHARACTER_SET, AttributePath, PathStep, Step, tag_of
from gateway.errors import HeaderError, TransformError
from gateway.rules.schema import Expectation, TestCase
from gateway.rules.testing import TestResult, Tried, result_of, try_case
from gateway.transform.pipeline import prepare
from gateway.transform.rulebook import Rulebook
from gateway.transform.steps import Origin

_EXPLICIT_LE = "1.2.840.10008.1.2.1"
_ANY_UID = "2.25.1"
_NUMBERS = {"FL": float, "FD": float, **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV"), int)}


class _Bytes:
    """A data set in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def run_tests(book: Rulebook) -> list[TestResult]:
    """Run every test of a set of rules, in order."""
    return [_run(book, case) for case in book.plan.tests]


def _run(book: Rulebook, case: TestCase) -> TestResult:
    tried = try_case(book.plan, case)
    result = result_of(case, tried.decision)
    expect = case.expect
    sent = tried.decision.hold is None and tried.decision.discard is None
    if not expect.looks_at_copy and not (expect.outcome == "held" and sent and any(tried.decision.chains)):
        return result
    chain = _chain_of(tried, expect.to)
    if chain is None:
        which = f"to {expect.to}" if expect.to else "to one destination (`to` says which)"
        return replace(result, passed=False, expected=f"a copy {which}")
    try:
        data = _data_set(case, tried.sop_class_uid)
    except Exception as error:  # noqa: BLE001 - pydicom raises many; none says more than that the text is no value
        return replace(result, passed=False, got=f"an instance that cannot be: {type(error).__name__}: {error}")
    try:
        before, after = _copy(book, case, tried, chain, data)
    except (TransformError, HeaderError) as error:
        held = expect.outcome == "held" and expect.reason in ("", str(error))
        return replace(result, passed=held, got=f"held: {error}")
    except Exception as error:  # noqa: BLE001 - a bug fails the test that met it, and not whoever reloads the rules
        return replace(result, passed=False, got=f"an error in the gateway: {type(error).__name__}: {error}")
    if expect.outcome == "held":
        return result
    wrong = _differences(expect, before, after)
    if not wrong:
        return result
    return replace(result, passed=False, expected=wrong[0][0], got=wrong[0][1])


def _chain_of(tried: Tried, to: str) -> str | None:
    """The chain that is meant; None where there is none, or more than one."""
    decision = tried.decision
    chains = {
        decision.chain_of(index)
        for index, name in enumerate(decision.destinations)
        if decision.chain_of(index) and to in ("", name)
    }
    return chains.pop() if len(chains) == 1 else None


def _copy(book: Rulebook, case: TestCase, tried: Tried, chain: str, data: bytes) -> tuple[Header, Header]:
    """The instance, and what a destination gets of it, as far as the test looks at them."""
    origin = Origin(tried.facts, tried.sop_class_uid, _ANY_UID, _EXPLICIT_LE, 0, case.received)
    pieces: list[bytes] = []
    prepared = prepare(book.chain(chain) or (), _Bytes(data), origin, system="test")
    prepared.write(lambda piece: pieces.append(bytes(piece)))
    expect = case.expect
    wanted = Wanted.of([path for _, path, _ in expect.after] + [path for _, path in expect.unchanged])
    before, after = (read_header(_Bytes(each), _EXPLICIT_LE, wanted) for each in (data, b"".join(pieces)))
    return before, after


def _differences(expect: Expectation, before: Header, after: Header) -> list[tuple[str, str]]:
    """What was expected of an attribute, and what it is."""
    wrong: list[tuple[str, str]] = []
    for name, path, values in expect.after:
        got = after.get(path)
        if got != values:
            wrong.append((f"{name} {_told(values)} in the copy", f"{name} {_told(got)}"))
    for name, path in expect.unchanged:
        old, new = before.get(path), after.get(path)
        if old != new:
            wrong.append((f"{name} as it was: {_told(old)}", f"{name} {_told(new)}"))
    return wrong


def _told(values: tuple[str, ...] | None) -> str:
    if values is None:
        return "absent"
    return " and ".join(repr(value) for value in values) or "empty"


def _data_set(case: TestCase, sop_class_uid: str) -> bytes:
    """The instance of a test, encoded. :raises ValueError: a text is none that its attribute can have."""
    root = Dataset()
    for path, values in case.instance.items():
        if isinstance(path, tuple):
            _put(root, path, values)
    for tag, text in (
        (SPECIFIC_CHARACTER_SET, "ISO_IR 192"),
        (SOP_CLASS_UID, sop_class_uid or _ANY_UID),
        (SOP_INSTANCE_UID, _ANY_UID),
    ):
        if tag not in root:
            root.add_new(tag, str(dictionary_VR(tag)), text)
    file = DicomFileLike(BytesIO())
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, root)
    return bytes(file.parent.getvalue())


def _put(root: Dataset, path: AttributePath, values: tuple[str, ...]) -> None:
    data = root
    for one in path[:-1]:
        tag = _tag(data, one)
        if tag not in data:
            data.add_new(tag, "SQ", Sequence())
        items = data[tag].value
        number = (one.item if isinstance(one, Step) else 0) or 1
        while len(items) < number:
            items.append(Dataset())
        data = items[number - 1]
    tag = _tag(data, path[-1])
    last = path[-1]
    vr = (private_vr(last) or "LO") if isinstance(last, Step) and last.creator else _vr(tag)
    convert = _NUMBERS.get(vr, str)
    data.add_new(tag, vr, [convert(value) for value in values] if values else None)


def _tag(data: Dataset, one: PathStep) -> int:
    tag = tag_of(one)
    if not isinstance(one, Step) or not one.creator:
        return tag
    return int(data.private_block(tag >> 16, one.creator, create=True).get_tag(tag & 0xFF))


def _vr(tag: int) -> str:
    try:
        vr = str(dictionary_VR(tag))
    except KeyError:
        return "LO" if tag >> 16 & 1 else "UN"
    return vr.split(" or ")[0]
