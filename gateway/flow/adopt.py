"""Adoption: what receivers that are dead left in the spool becomes known to the ledger, or is removed.

At every start, and whenever a receiver dies. A file that the ledger knows is not even opened. Of the others, a complete
one (record, length and checksum hold) is adopted: its sender may have been told Success. An empty or incomplete one was
never acknowledged, and is removed, because its owner is known to be dead; where that fails it is only told. One that
is damaged is left where it is, and told: after a power cut it is what remains of an instance that was not acknowledged;
otherwise it may be an acknowledged one.

Where several hosts share ledger and spool, a receiver of another host is dead only for all that is known: it does not
beat. Of what it left only the complete files are adopted (`adopt_of_others`); one that lives after all records them
too, which changes nothing. Its incomplete files go at the next start of its own host, whose lock proves it dead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from gateway import telemetry
from gateway.errors import SpoolError
from gateway.ledger.base import Ledger
from gateway.model import Arrival
from gateway.spool import Found, FoundState, Spool, generations_of, instance_ids, remove_incomplete, scan

BATCH = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was found: instances adopted, files removed, and files left alone because they are damaged.

    `failed`: what should have been removed and was not, by path, and why.
    """

    adopted: int
    removed: int
    left: tuple[Found, ...]
    failed: Mapping[str, SpoolError]


def adopt(
    spool: Spool,
    ledger: Ledger,
    generations: Collection[str] | None,
    now_ms: int,
    removable: Collection[str] | None = None,
) -> Adoption:
    """Adopt what lies in the given generations, whose processes are dead; None: in all there are.

    :param removable: those of them whose incomplete files are removed; None: all.
    :raises SpoolError, LedgerError: nothing is removed that was not looked at; it can be called again.
    """
    dead = generations_of(spool) if generations is None else generations
    known = ledger.known_instances(instance_ids(spool, dead))
    arrivals: list[Arrival] = []
    left: dict[str, Found] = {}
    for found in scan(spool, dead, verify=True, skip=known):
        if found.arrival is not None:
            arrivals.append(found.arrival)
        elif found.state not in (FoundState.EMPTY, FoundState.INCOMPLETE):
            left[found.relative] = found
    # Generations overlap in time, and versions of one instance must be sent in the order in which they came.
    arrivals.sort(key=lambda arrival: arrival.received_at_ms)
    adopted = 0
    for batch in _batches(arrivals):
        adopted += sum(result.new for result in ledger.record_arrivals(batch, now_ms))
    known.update(arrival.instance_id for arrival in arrivals)
    removal = remove_incomplete(spool, dead if removable is None else set(removable).intersection(dead), known)
    # What only the checksum of the data set tells is not seen by the removal, which does not read it.
    left |= {found.relative: found for found in removal.kept}
    return Adoption(adopted, len(removal.removed), tuple(left.values()), removal.failed)


def adopt_at_start(spool: Spool, ledger: Ledger, home: str, now_ms: int) -> Adoption:
    """Adopt what lies in all generations that no open session names, on a ledger that other hosts use.

    Incomplete files are removed of those that receivers of this home have written: its sessions were voided.
    :raises SpoolError, LedgerError: as `adopt`.
    """
    return adopt(spool, ledger, _dead(spool, ledger), now_ms, set(ledger.dead_generations(home)))


def adopt_of_others(spool: Spool, ledger: Ledger, generation: str, now_ms: int) -> Adoption:
    """Adopt what a receiver of another host has written: for whoever has voided its session because it did not beat.

    :raises SpoolError, LedgerError: as `adopt`.
    """
    return adopt(spool, ledger, [generation], now_ms, removable=())


class Leftovers:
    """Adopts, each time it is asked, the complete files of all generations that no open session names.

    For the watcher, once in a while: a receiver of another host that lives, cut off from the ledger, goes on to
    acknowledge for a while after its session was voided and its files were adopted; and may then die before it can
    record them. Each damaged file is named once.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._named: set[str] = set()

    def adopt(self, ledger: Ledger, now_ms: int) -> Adoption:
        """See above. Blocking. :raises SpoolError, LedgerError: as `adopt`."""
        found = adopt(self._spool, ledger, _dead(self._spool, ledger), now_ms, removable=())
        new = tuple(item for item in found.left if item.relative not in self._named)
        self._named = {item.relative for item in found.left}
        return replace(found, left=new)


def _dead(spool: Spool, ledger: Ledger) -> list[str]:
    """The generations that no open session names."""
    # In this order: a receiver has its session before its folder, so that a folder seen is dead, or of a session seen.
    there = generations_of(spool)
    alive = {each.generation for each in ledger.sessions()}
    return [each for each in there if each not in alive]


def tell(found: Adoption) -> None:
    """Log what came of an adoption."""
    if found.adopted:
        telemetry.adopted(count=found.adopted)
    if found.removed:
        telemetry.event("incomplete_files_removed", count=found.removed)
    for item in found.left:
        telemetry.problem("damaged_file_left", file=item.relative, reason=item.reason)
    for path, error in found.failed.items():
        telemetry.problem("spool_file_not_removed", file=path, reason=str(error))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
