"""Which forwarder is to have which destination: one each, few that move, and none that stays alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.flow.owners import FREE_S, Step, chosen, next_step
from gateway.ledger.base import Forwarding
from gateway.model import DestinationState, Owner

NAMES = st.lists(st.text("abcdefghij-0123456789", min_size=1, max_size=12), min_size=1, max_size=20, unique=True)
FORWARDERS = st.sets(st.integers(1, 1000), min_size=1, max_size=6)


def seen(forwarders: tuple[int, ...], **owners: int | None) -> Forwarding:
    """A look: destination → its owner."""
    states = [DestinationState(name, owner=None if who is None else Owner(who, "host")) for name, who in owners.items()]
    return Forwarding(tuple(states), forwarders)


class World:
    """A ledger's owners, and forwarders that each look in turn; what is given up is given up at once."""

    def __init__(self, names: list[str], forwarders: set[int]) -> None:
        self.states = {name: DestinationState(name) for name in names}
        self.forwarders = set(forwarders)
        self.known: dict[int, set[str]] = {}
        self.moves = 0

    def look(self, me: int, free_for_s: float = 0.0) -> Step:
        """One forwarder's look, and what it does."""
        view = Forwarding(tuple(self.states.values()), tuple(sorted(self.forwarders)))
        free = {name: free_for_s for name, state in self.states.items() if state.owner is None}
        step = next_step(me, view, self.known.get(me, set(self.states)), free)
        for name in step.take:
            self._give(name, me)
        for name in step.ask:
            self.states[name] = replace(self.states[name], wanted_by=me)
        for name in step.give_up:
            self._give(name, self.states[name].wanted_by)
        return step

    def _give(self, name: str, to: int | None) -> None:
        self.states[name] = replace(self.states[name], owner=None if to is None else Owner(to, "host"), wanted_by=None)
        self.moves += 1

    def settle(self, free_for_s: float = 0.0) -> None:
        """Until nobody does anything any more."""
        for _ in range(5):
            steps = [self.look(me, free_for_s) for me in sorted(self.forwarders)]
            if not any(any(step) for step in steps):
                return
        raise AssertionError("it does not come to rest")

    def die(self, me: int) -> None:
        """A forwarder's session is voided."""
        self.forwarders.discard(me)
        for name, state in self.states.items():
            owner = None if state.owner is not None and state.owner.session_id == me else state.owner
            wanted_by = None if state.wanted_by == me else state.wanted_by
            self.states[name] = replace(state, owner=owner, wanted_by=wanted_by)

    def owners(self) -> dict[str, int | None]:
        """Destination → session."""
        return {name: None if state.owner is None else state.owner.session_id for name, state in self.states.items()}


@given(NAMES, FORWARDERS, st.data())
def test_each_destination_comes_to_the_one_that_all_choose_whatever_happened_before(
    names: list[str], forwarders: set[int], data: st.DataObject
) -> None:
    world = World(names, forwarders)
    for _ in range(data.draw(st.integers(0, 12))):
        what = data.draw(st.sampled_from(["look", "look", "look", "die", "come"]))
        if what == "look" and world.forwarders:
            world.look(data.draw(st.sampled_from(sorted(world.forwarders))), data.draw(st.sampled_from([0.0, FREE_S])))
        elif what == "die" and len(world.forwarders) > 1:
            world.die(data.draw(st.sampled_from(sorted(world.forwarders))))
        elif what == "come":
            world.forwarders.add(data.draw(st.integers(1001, 1010)))
    world.settle()
    assert world.owners() == {name: chosen(name, world.forwarders) for name in names}


@given(NAMES, FORWARDERS, st.integers(1001, 2000))
def test_when_a_forwarder_comes_or_goes_no_destination_moves_but_its_own(
    names: list[str], forwarders: set[int], new: int
) -> None:
    before = {name: chosen(name, forwarders) for name in names}
    after = {name: chosen(name, forwarders | {new}) for name in names}
    assert all(after[name] in (before[name], new) for name in names)
    world = World(names, forwarders)
    world.settle()
    world.moves = 0
    world.forwarders.add(new)
    world.settle()
    assert world.moves == sum(before[name] != after[name] for name in names)
    world.die(new)
    world.settle()
    assert world.owners() == before


def test_each_of_few_forwarders_has_some_of_many_destinations() -> None:
    names = [f"archive-{number}" for number in range(60)]
    for forwarders in ({1}, {1, 2}, {4, 9, 17}, set(range(100, 107))):
        shares = [sum(chosen(name, forwarders) == each for name in names) for each in forwarders]
        assert sum(shares) == len(names)
        assert min(shares) >= len(names) // len(forwarders) // 4, shares


@given(NAMES, FORWARDERS, st.data())
def test_what_the_chosen_one_does_not_know_is_taken_by_another_after_a_while(
    names: list[str], forwarders: set[int], data: st.DataObject
) -> None:
    world = World(names, forwarders)
    knows_all = data.draw(st.sampled_from(sorted(forwarders)))
    for each in forwarders - {knows_all}:
        world.known[each] = data.draw(st.sets(st.sampled_from(names)))
    world.settle()
    world.settle(free_for_s=FREE_S)
    owners = world.owners()
    assert None not in owners.values()
    for name, owner in owners.items():
        assert owner is not None
        assert name in world.known.get(owner, names)


def test_who_drains_or_was_voided_gives_up_all_and_takes_none() -> None:
    assert next_step(1, seen((2,), a=1, b=None, c=2), ["a", "b", "c"], {"b": 99.0}) == Step(give_up=frozenset("a"))


def test_what_leaves_the_configuration_is_given_up() -> None:
    assert next_step(1, seen((1,), a=1, b=1), ["b"], {}) == Step(give_up=frozenset("a"))


def test_an_owner_keeps_what_one_asks_for_that_is_gone() -> None:
    look = seen((1, 2), a=1)
    asked = Forwarding(tuple(replace(state, wanted_by=3) for state in look.destinations), look.forwarders)
    assert next_step(1, asked, ["a"], {}) == Step()
    asked = Forwarding(tuple(replace(state, wanted_by=2) for state in look.destinations), look.forwarders)
    assert next_step(1, asked, ["a"], {}) == Step(give_up=frozenset("a"))
