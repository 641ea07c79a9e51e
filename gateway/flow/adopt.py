"""Adoption: what receivers that are dead left in the spool becomes known to the ledger, or is removed.

At every start, and whenever a receiver dies. A file that the ledger knows is not even opened. Of the others, a complete
one (record, length and checksum hold) is adopted: its sender may have been told Success. An empty or incomplete one was
never acknowledged, and is removed, because its owner is known to be dead. One that has a whole record but is otherwise
damaged is left where it is, and told: after a power cut it is what remains of an instance that was not acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from gateway.ledger.base import Ledger
from gateway.spool import Found, FoundState, Spool, look, names, remove_empty_folders

BATCH = 500


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was found: instances adopted, files removed, and files left alone because they are damaged."""

    adopted: int
    removed: int
    left: tuple[Found, ...]


def adopt(spool: Spool, ledger: Ledger, generations: Collection[str] | None, now_ms: int) -> Adoption:
    """Adopt what lies in the given dead generations; None: in all there are.

    :raises SpoolError, LedgerError: nothing is removed that was not looked at; it can be called again.
    """
    adopted = removed = 0
    left: list[Found] = []
    for batch in _batches(names(spool, generations)):
        known = ledger.known_instances([instance_id for _, instance_id in batch])
        unknown = [(relative, instance_id) for relative, instance_id in batch if instance_id not in known]
        found = [item for item in (look(spool, *entry, verify=True) for entry in unknown) if item is not None]
        arrivals = [item.arrival for item in found if item.arrival is not None]
        if arrivals:
            adopted += sum(result.new for result in ledger.record_arrivals(arrivals, now_ms))
        gone = [item.relative for item in found if item.state in (FoundState.EMPTY, FoundState.INCOMPLETE)]
        spool.unlink(gone)
        removed += len(gone)
        left.extend(item for item in found if item.state in (FoundState.DAMAGED, FoundState.UNREADABLE))
    remove_empty_folders(spool, generations)
    return Adoption(adopted, removed, tuple(left))


def _batches(entries: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    while batch := list(islice(entries, BATCH)):
        yield batch
