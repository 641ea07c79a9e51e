"""Which transfer syntaxes a destination takes for which SOP class: learnt from how it answers what is proposed.

A destination with `transcode: lossless` is also asked for the syntaxes that may stand for those of the instances that
wait (`gateway.dicom.recoding`), each in a presentation context of its own. What it said of them last is remembered for
as long as its settings do not change, so that an association without room for all of them (128 contexts) does too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec

from gateway.dicom.negotiation import MAX_CONTEXTS, AcceptedContext
from gateway.dicom.recoding import Recoding, substitutes
from gateway.flow.send import Context

REMEMBERED = 10_000  # contexts


def is_installed(recoding: Recoding) -> bool:
    """Whether the codec is there that makes such a copy."""
    return not recoding.codec or find_spec(recoding.codec) is not None


@lru_cache(maxsize=64)
def possible(transfer_syntax_uid: str) -> tuple[Recoding, ...]:
    """What may stand for data in this transfer syntax, as far as the codecs for it are installed."""
    return tuple(each for each in substitutes(transfer_syntax_uid) if is_installed(each))


def with_substitutes(wanted: Sequence[Context]) -> list[Context]:
    """What is wanted, and behind it what may stand for it: for the first always, for the others as far as there is
    room in one association."""
    contexts = dict.fromkeys(wanted)
    classes = len({sop_class for sop_class, _ in wanted})  # to each of which Implicit VR may be added
    for index, (sop_class, transfer_syntax) in enumerate(wanted):
        more = dict.fromkeys((sop_class, each.transfer_syntax_uid) for each in possible(transfer_syntax))
        if index == 0 or len(contexts | more) + classes <= MAX_CONTEXTS:
            contexts |= more
    return list(contexts)


class Accepts:
    """What one destination said."""

    def __init__(self) -> None:
        self._said: dict[Context, bool] = {}

    def learn(self, offered: Iterable[Context], accepted: Iterable[AcceptedContext]) -> frozenset[Context]:
        """An association was answered. Returns what was offered and not accepted on it."""
        taken = {(each.abstract_syntax, each.transfer_syntax) for each in accepted}
        said = {context: context in taken for context in offered}
        if len(self._said) > REMEMBERED:  # of classes that nobody knows there may be any number
            self._said.clear()
        self._said |= said
        return frozenset(context for context, is_taken in said.items() if not is_taken)

    def knows(self, context: Context) -> bool:
        """Whether the destination was asked for all that may stand for this."""
        return all((context[0], each.transfer_syntax_uid) in self._said for each in possible(context[1]))

    def instead_of(self, context: Context) -> Recoding | None:
        """The best of what may stand for this that the destination takes."""
        return next(
            (each for each in possible(context[1]) if self._said.get((context[0], each.transfer_syntax_uid))), None
        )
