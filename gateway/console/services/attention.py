"""What somebody has to look after: held, dead and quarantined, grouped by reason, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.console.services.advice import group_fields, of_trouble
from gateway.ledger.base import InstanceFilter
from gateway.ledger.look import Trouble, TroubleKind, TroubleOf, TroublePage
from gateway.model import DeliveryState, InstanceState

if TYPE_CHECKING:
    from gateway.console.context import Context


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
    return [_view(each) for each in await context.look.attention()]


async def group(context: Context, fields: Mapping[str, str]) -> Trouble | None:
    """The group that `group_fields` named; None where nothing is stopped so, any more. :raises LedgerError."""
    return next((each for each in await context.look.attention() if group_fields(each) == fields), None)


def _view(trouble: Trouble) -> TroubleView:
    advice = of_trouble(trouble)
    return TroubleView(trouble, advice.do, advice.section)


async def attention_items(
    context: Context, kind: TroubleKind, destination: str, code: str, reason: str, limit: int, after: str = ""
) -> TroublePage:
    """What a group is of. Patient data. :raises LedgerError, LookRefused."""
    return await context.look.attention_items(kind, destination, code, reason, limit, after)
