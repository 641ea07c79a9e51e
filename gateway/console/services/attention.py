"""What somebody has to look after: held, dead and quarantined, grouped by reason, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.ledger.base import InstanceFilter
from gateway.ledger.look import Trouble, TroubleKind, TroubleOf, TroublePage
from gateway.model import DeliveryState, InstanceState

if TYPE_CHECKING:
    from gateway.console.context import Context

# By the code of a delivery's last outcome (`gateway.flow.dispatch`, `gateway.ledger.logic.moves`).
ADVICE = MappingProxyType(
    {
        "refused": "The destination refuses these instances. Ask its administrator why it answers so; then release.",
        "given_up": "The destination was not reached for `give_up_after`. See that it is up; then release.",
        "aborted": "The destination aborts on these alone. Show its administrator one; then release or cancel.",
        "timeout": "The destination falls silent on these instances alone. See its log; then release or cancel.",
        "connection": "The connection breaks on these instances alone. Look at its log; then release or cancel.",
        "rejected": "The destination does not know the sender's AE title. Have it added there; then release.",
        "not_accepted": "The destination does not take this SOP class or transfer syntax. Have it accept that, set "
        "`transcode`, or change the rules; then release.",
        "transform": "A transform could not be done. Correct it in the rules; then release, which makes the copy anew.",
        "transform_required": "The destination takes only what went through a transform. Correct the rule that sends "
        "there, cancel these, and resend.",
        "copy_unreadable": "Copies cannot be read back from the spool. Look at its disk; then release.",
        "error": "The gateway met an error of its own. Its log says which; report it, then release.",
        "unconfigured": "The destination is no longer in gateway.yaml. Put it back, or cancel.",
        "overtaken": "A later version was delivered first. Release by instance id if the older is wanted last.",
        "operator": "A person holds these; the audit trail says who, and why. Release when that is settled.",
        "quarantined": "The instance itself is quarantined: look there.",
    }
)
HELD_INSTANCE = (
    "No rule has sent these anywhere: none matches, a rule or a person holds them, or they were recovered. Correct the "
    "rules, then release: they are routed by the rules of then."
)
QUARANTINED_INSTANCE = (
    "The file cannot be read, or is damaged. Have it sent again; then discard, or release by name if it may be sent."
)
OTHER = "See docs/operations.md; release when the reason is gone, or cancel."


@dataclass(frozen=True, slots=True)
class TroubleView:
    """A group, and what to do. Holds no patient data but what a rule's reason says."""

    trouble: Trouble
    what_to_do: str

    @property
    def which(self) -> InstanceFilter:
        """What an order about all of the group means. Of what is quarantined a release has to name each instance."""
        return which_of(self.trouble)


def advice(trouble: Trouble) -> str:
    """What to do about it, in a sentence or two."""
    if trouble.of is TroubleOf.DELIVERY:
        return ADVICE.get(trouble.code, OTHER)
    return QUARANTINED_INSTANCE if trouble.kind is TroubleKind.QUARANTINED else HELD_INSTANCE


def which_of(trouble: Trouble) -> InstanceFilter:
    """The filter of an order about all of a group."""
    if trouble.of is TroubleOf.DELIVERY:
        return InstanceFilter(
            delivery_states=(DeliveryState(trouble.kind.value),),
            destination=trouble.destination,
            code=trouble.code,
            because=trouble.reason,
        )
    return InstanceFilter(states=(InstanceState(trouble.kind.value),), because=trouble.reason)


async def attention(context: Context) -> list[TroubleView]:
    """All groups, the newest first. :raises LedgerError."""
    return [TroubleView(each, advice(each)) for each in await context.look.attention()]


async def attention_items(
    context: Context, kind: TroubleKind, destination: str, code: str, reason: str, limit: int, after: str = ""
) -> TroublePage:
    """What a group is of. Patient data. :raises LedgerError, LookRefused."""
    return await context.look.attention_items(kind, destination, code, reason, limit, after)
