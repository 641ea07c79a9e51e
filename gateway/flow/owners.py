"""Which forwarder is to have which destination. Pure decisions: what the ledger says and a clock are handed in.

Each destination has exactly one forwarder's process, over all hosts (`Ledger.own_destinations`), so that its bounds
(associations, one delivery while half open, one lone instance) hold for all of them without another word.

  - Who should have it is the same for all who ask: the forwarder whose number, hashed with the destination's name, is
    the highest. When one comes or goes, no destination moves but its own.
  - Who should have it takes it at once where it is free, and asks for it where another has it. An owner that is asked
    finishes what it is sending, and gives it up.
  - One that is free for FREE_S is taken by whoever has it in its configuration: the one that should have it may not.
  - Who drains, or was taken for dead, gives up all and takes none.

Called by `gateway.flow.forward`, once a second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import xxhash

from gateway.ledger.base import Forwarding

FREE_S = 5.0


class Step(NamedTuple):
    """What a forwarder does now: destinations to take, to ask others for, and to end and then give up."""

    take: frozenset[str] = frozenset()
    ask: frozenset[str] = frozenset()
    give_up: frozenset[str] = frozenset()


def chosen(destination: str, forwarders: Iterable[int]) -> int | None:
    """Who should have a destination, by rendezvous hashing; None where there is nobody."""

    def rank(forwarder: int) -> tuple[int, int]:
        return xxhash.xxh3_64_intdigest(f"{forwarder} {destination}".encode()), forwarder

    return max(forwarders, key=rank, default=None)


def next_step(me: int, seen: Forwarding, configured: Collection[str], free_for_s: Mapping[str, float]) -> Step:
    """What the forwarder of session `me` does about what it sees.

    :param configured: the destinations that it knows.
    :param free_for_s: how long each that is free now has been seen so, by the caller's own clock.
    """
    owned = {state.name for state in seen.destinations if state.owner is not None and state.owner.session_id == me}
    if me not in seen.forwarders:
        return Step(give_up=frozenset(owned))
    take, ask, give_up = set(), set(), owned.difference(configured)
    for state in seen.destinations:
        name = state.name
        if name not in configured:
            continue
        if state.owner is None:
            if chosen(name, seen.forwarders) == me or free_for_s.get(name, 0.0) >= FREE_S:
                take.add(name)
        elif name in owned:
            if state.wanted_by is not None and state.wanted_by in seen.forwarders:
                give_up.add(name)
        elif state.wanted_by != me and chosen(name, seen.forwarders) == me:
            ask.add(name)
    return Step(frozenset(take), frozenset(ask), frozenset(give_up))
