"""Runs a chain of transforms over one data set: parse, steps, record, write.

The header is parsed once, all transforms work on one tree, and bulk values go through in pieces: memory does not grow
with the object. Nothing is written before every step has succeeded. Pixels that a step changes are made frame by frame
while they are written, and a data set whose transfer syntax has changed is encoded anew on the way. Should the source
end there, or a frame be refused, what was written is of no use, and the caller throws it away.

Workers call. A `TransformError` means that this instance cannot be transformed so, and its original must not be sent
in place of the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.dicom.header import SOP_CLASS_UID, SOP_INSTANCE_UID
from gateway.dicom.window import ByteSource
from gateway.errors import TransformError
from gateway.model import StepRun
from gateway.rules.subject import Subject
from gateway.transform.deidentify.remember import remembered
from gateway.transform.parse import DEFLATED, parse
from gateway.transform.record import record
from gateway.transform.reencode import is_encoded_anew, reencoded
from gateway.transform.reread import check_reading
from gateway.transform.schema import DEIDENTIFY, Step, Transform
from gateway.transform.steps import Origin
from gateway.transform.tree import Tree
from gateway.transform.values import ValueRefused
from gateway.transform.view import View
from gateway.transform.write import MAX_PIECE_BYTES, Deflating, Write, write_parts, write_tree


class Prepared:
    """A data set that all steps of a chain were done to, and the identity that it has now; nothing is written yet."""

    def __init__(self, tree: Tree, source: ByteSource, origin: Origin, steps: tuple[StepRun, ...]) -> None:
        view = View(tree)
        self.sop_class_uid = view.text(SOP_CLASS_UID) or origin.sop_class_uid
        self.sop_instance_uid = view.text(SOP_INSTANCE_UID) or origin.sop_instance_uid
        self.transfer_syntax_uid = tree.transfer_syntax_uid
        self._is_encoded_anew = is_encoded_anew(tree, origin.transfer_syntax_uid)
        self.remembered = remembered(tree)  # what stands behind its pseudonyms: patient data, to be sealed
        self.steps = steps
        self._tree = tree
        self._source = source

    def about_bytes(self) -> int:
        """How many bytes it will have, as far as that is known before it is written."""
        return sum(element.encoded_bytes() for element in self._tree)

    def write(self, write: Write) -> int:
        """Write it; returns how many bytes it has.

        :param write: takes the data set, without file meta information, in pieces of at most 1 MiB, in order.
        :raises HeaderError: the source ends early, or the new data set does not fit into its lengths.
        :raises TransformError: a frame of its pixel data cannot be made as a step wants it.
        """
        if self._is_encoded_anew:
            return write_parts(self._tree, reencoded(self._tree), write)
        if self.transfer_syntax_uid not in DEFLATED:
            return write_tree(self._tree, write)
        if self._tree.is_changed:
            deflating = Deflating(write)
            write_tree(self._tree, deflating.write)
            deflating.finish()
            return deflating.length
        # What nobody changed is not deflated anew: another deflater would make other bytes of it.
        at = 0
        while piece := self._source.read(at, MAX_PIECE_BYTES):
            write(piece)
            at += len(piece)
        return at


def prepare(
    chain: Sequence[Transform],
    source: ByteSource,
    origin: Origin,
    *,
    system: str,
    beat: Callable[[], object] | None = None,
    at_once_bytes: int | None = None,
) -> Prepared:
    """Run all transforms of a chain, one after the other.

    :param source: the data set's bytes, without preamble and file meta information; read again while writing.
    :param system: the name for Modifying System (0400,0563).
    :param beat: called now and then while a step takes long over pixels.
    :param at_once_bytes: how much pixel data a step may work on, decoded; None bounds it by no more than usual.
    :raises TransformError: a step failed.
    :raises TakesLong: it is more than `at_once_bytes`.
    :raises HeaderError: the data set cannot be read, or is past a bound.
    """
    tree = parse(source, origin.transfer_syntax_uid)
    tree.beat = beat or tree.beat
    tree.at_once_bytes = at_once_bytes
    steps: list[StepRun] = []
    for transform in chain:
        tree.is_recording = transform.is_recorded and not tree.keeps_no_record
        for step in transform.steps:
            done = _run(transform, step, tree, origin)
            steps.append(StepRun(transform.name, step.number, step.verb, done))
        if transform.deidentifies and not any(each.done for each in steps if is_deidentifying(each, transform)):
            told = "none of its deidentify steps was done: their conditions leave this instance out"
            raise TransformError(f"transform {transform.name}: {told}")
    try:
        record(tree, origin, system)
    except ValueRefused as refused:
        names = ", ".join(transform.name for transform in chain)
        raise TransformError(f"transform {names}: the changes cannot be recorded: {refused}") from None
    if not is_encoded_anew(tree, origin.transfer_syntax_uid):
        check_reading(tree)
    return Prepared(tree, source, origin, tuple(steps))


def is_deidentifying(step: StepRun, transform: Transform) -> bool:
    """Whether a step that was run is one of a transform's that de-identify."""
    return step.transform == transform.name and step.verb == DEIDENTIFY


def _run(transform: Transform, step: Step, tree: Tree, origin: Origin) -> bool:
    """Do a step, unless it has conditions that do not hold; whether it was done."""
    if step.when is not None:
        facts, syntax, sop_class = origin.facts, origin.transfer_syntax_uid, origin.sop_class_uid
        received = origin.received_at_ms if origin.received is None else origin.received
        subject = Subject(View(tree), facts, syntax, sop_class, received)
        if not step.when.holds(subject):
            return False
    tree.where = f"transform {transform.name}, step {step.number} ({step.verb})"
    try:
        step.action.run(tree, origin)
    except ValueRefused as refused:
        raise TransformError(f"{tree.where}: {refused}") from None
    return True
