"""What somebody has to look after: held, dead and quarantined, grouped by reason, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.console.access.roles import Person, Right
from gateway.console.services.advice import group_fields, of_trouble
from gateway.ledger.base import InstanceFilter
from gateway.ledger.look import Trouble, TroubleOf, TroublePage
from gateway.model import DeliveryState, InstanceState

if TYPE_CHECKING:
    from gateway.console.context import Context

BY_A_PERSON = "an operator ordered it"


@dataclass(frozen=True, slots=True)
class TroubleView:
    """A group, and what to do."""

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


async def attention(context: Context, person: Person) -> list[TroubleView]:
    """All groups, the newest first. What somebody wrote may name a patient: who may see none is not told it.

    :raises LedgerError.
    """
    found = await context.look.attention()
    if not person.may(Right.PATIENTS):
        found = [replace(each, reason=BY_A_PERSON) if each.by_person else each for each in found]
    return [_view(each) for each in found]


async def group(context: Context, fields: Mapping[str, str]) -> Trouble | None:
    """The group that `group_fields` named; None where nothing is stopped so, any more. :raises LedgerError."""
    return next((each for each in await context.look.attention() if group_fields(each) == fields), None)


def _view(trouble: Trouble) -> TroubleView:
    advice = of_trouble(trouble)
    return TroubleView(trouble, advice.do, advice.section)


async def attention_items(context: Context, trouble: Trouble, limit: int, after: str = "") -> TroublePage:
    """What a group is of. Patient data. :raises LedgerError, LookRefused."""
    named = (trouble.kind, trouble.destination, trouble.code, trouble.reason)
    return await context.look.attention_items(*named, limit, after)
