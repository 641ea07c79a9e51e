"""Which transfer syntaxes a destination takes for which SOP class: learnt from how it answers what is proposed.

A destination with `transcode: lossless` is also asked for the syntaxes that may stand for those of the instances that
wait (`gateway.dicom.recoding`), each in a presentation context of its own. What it said of them last is remembered for
as long as its settings do not change, so that an association without room for all of them (128 contexts) does too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

from gateway.dicom.negotiation import MAX_CONTEXTS, AcceptedContext
from gateway.dicom.recoding import Recoding, Substitute, stand_ins
from gateway.flow.send import Context, context_of
from gateway.model import DeliveryLease

REMEMBERED = 10_000  # contexts


def is_installed(recoding: Recoding) -> bool:
    """Whether the codec is there that makes such a copy."""
    return not recoding.codec or find_spec(recoding.codec) is not None


class Wanted(NamedTuple):
    """What a delivery needs, and what may go in its place, the best first."""

    context: Context
    instead: tuple[Substitute, ...] = ()

    def contexts(self) -> list[Context]:
        """What is to be asked for where it is not accepted itself."""
        return [(self.context[0], each.transfer_syntax_uid) for each in self.instead]


def wanted_by(lease: DeliveryLease) -> Wanted:
    """What a delivery needs and, as far as the codecs for it are installed, what may go in its place."""
    syntaxes = lease.payload.transfer_syntax_uid, lease.original_syntax_uid, lease.before_syntax_uid
    return Wanted(context_of(lease), _possible(lease.chain, *syntaxes))


@lru_cache(maxsize=256)
def _possible(chain: str, *transfer_syntax_uids: str) -> tuple[Substitute, ...]:
    found = stand_ins(chain, *transfer_syntax_uids)
    return tuple(each for each in found if each.recoding is None or is_installed(each.recoding))


def with_substitutes(wanted: Sequence[Wanted]) -> list[Context]:
    """What is wanted, and behind it what may stand for it: for the first always, for the others as far as there is
    room in one association."""
    contexts = dict.fromkeys(each.context for each in wanted)
    classes = len({sop_class for sop_class, _ in contexts})  # to each of which Implicit VR may be added
    for index, each in enumerate(wanted):
        more = dict.fromkeys(each.contexts())
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

    def knows(self, wanted: Wanted) -> bool:
        """Whether the destination was asked for all that may stand for this."""
        return all(context in self._said for context in wanted.contexts())

    def instead_of(self, wanted: Wanted) -> Substitute | None:
        """The best of what may stand for this that the destination takes."""
        found = zip(wanted.instead, wanted.contexts(), strict=True)
        return next((each for each, context in found if self._said.get(context)), None)
