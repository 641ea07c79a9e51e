"""What somebody has to look after: held, dead and quarantined, grouped by reason, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.ledger.base import InstanceFilter
from gateway.ledger.look import Trouble, TroubleKind, TroubleOf, TroublePage
from gateway.model import DeliveryState, InstanceState
from gateway.reasons import DEAD_SECTION, HELD_SECTION, QUARANTINE_SECTION, UNROUTED_SECTION, Dead, Held

if TYPE_CHECKING:
    from gateway.console.context import Context

# By the code of a delivery that is held or dead.
ADVICE: Mapping[str, str] = MappingProxyType(
    {
        Held.REFUSED: "The destination refuses these instances. Ask its administrator why it answers so; then release.",
        Dead.GIVEN_UP: "The destination was not reached for `give_up_after`. See that it is up; then release.",
        Held.ABORTED: "The destination aborts on these alone. Show its administrator one; then release or cancel.",
        Held.TIMEOUT: "The destination falls silent on these instances alone. See its log; then release or cancel.",
        Held.CONNECTION: "The connection breaks on these instances alone. Look at its log; then release or cancel.",
        Held.REJECTED: "The destination does not know the sender's AE title. Have it added there; then release.",
        Held.NOT_ACCEPTED: "The destination does not take this SOP class or transfer syntax. Have it accept that, set "
        "`transcode`, or change the rules; then release.",
        Held.TRANSFORM: "A transform could not be done. Correct the rules; then release, which makes the copy anew.",
        Held.TRANSFORM_REQUIRED: "The destination takes only what went through a transform. Correct the rule that "
        "sends there, cancel these, and resend.",
        Held.COPY_UNREADABLE: "Copies cannot be read back from the spool. Look at its disk; then release.",
        Held.ERROR: "The gateway met an error of its own. Its log says which; report it, then release.",
        Held.UNCONFIGURED: "The destination is no longer in gateway.yaml. Put it back, or cancel.",
        Held.OVERTAKEN: "A later version was delivered first. Release by instance id if the older is wanted last.",
        Held.OPERATOR: "A person holds these; the audit trail says who, and why. Release when that is settled.",
        Held.QUARANTINED: "The instance itself is quarantined: look there.",
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
    runbook: str  # the section of docs/operations.md

    @property
    def which(self) -> InstanceFilter:
        """What an order about all of the group means. Of what is quarantined a release has to name each instance."""
        return which_of(self.trouble)


def advice(trouble: Trouble) -> str:
    """What to do about it, in a sentence or two."""
    if trouble.of is TroubleOf.DELIVERY:
        return ADVICE.get(trouble.code, OTHER)
    return QUARANTINED_INSTANCE if trouble.kind is TroubleKind.QUARANTINED else HELD_INSTANCE


def runbook(trouble: Trouble) -> str:
    """The section of docs/operations.md that says what to do, as its anchor."""
    if trouble.of is TroubleOf.DELIVERY:
        return DEAD_SECTION if trouble.kind is TroubleKind.DEAD else HELD_SECTION
    return QUARANTINE_SECTION if trouble.kind is TroubleKind.QUARANTINED else UNROUTED_SECTION


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
    return [TroubleView(each, advice(each), runbook(each)) for each in await context.look.attention()]


async def attention_items(
    context: Context, kind: TroubleKind, destination: str, code: str, reason: str, limit: int, after: str = ""
) -> TroublePage:
    """What a group is of. Patient data. :raises LedgerError, LookRefused."""
    return await context.look.attention_items(kind, destination, code, reason, limit, after)
