"""Copies that have to be made again, or later: lost from the spool, or not made before for want of room or time.

The worker does it between batches, one copy at a time and for SLICE_MS at most; while one takes longer it routes what
comes meanwhile. What a copy was made by is known by its
chain, which tells what its transforms do. Those are found, in this order:

  - of a copy that is lost: in the rules of now, or in those that its instance was routed by;
  - of one that could not be made, because a step failed and somebody has corrected it since: in the rules of now,
    under the same names; else as above.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway import telemetry
from gateway.errors import (
    ConfigurationError,
    LedgerBusy,
    LedgerError,
    LedgerFull,
    SpoolCorrupt,
    SpoolError,
    SpoolMissing,
)
from gateway.flow.derive import make_copy, verify
from gateway.flow.seal import Sealer
from gateway.flow.watch import GivingWay, Watch
from gateway.ledger.base import MAX_ROUTING_ATTEMPTS, DerivationLease, DerivationResult, Ledger
from gateway.model import Derivation, Quarantine, Session, transforms_of
from gateway.reasons import Distrusted, of_file
from gateway.spool import Spool
from gateway.transform import NO_KEYS, Keys, Rulebook, load

LOOK_MS = 1000
SLICE_MS = 1000
KEPT_BOOKS = 16
KEPT_TABLE_BYTES = 4 << 20  # of the tables of all of them
FOR_NOTHING = 4  # tries a turn for which there was no room
TELL_MS = 60_000  # between two lines that say so


class Remaker:
    """Makes what `gateway.ledger.base.DerivationLease` tells of.

    :param made: called when there is something to deliver.
    :param wait: waits for a moment, or for work.
    :param give_way: called while a copy is made, which may take long: nothing else has to wait for it.
    """

    def __init__(
        self,
        ledger: Ledger,
        session: Session,
        spool: Spool,
        clock_ms: Callable[[], int],
        made: Callable[[], None],
        wait: Callable[[], object],
        keys: Keys = NO_KEYS,
        sealer: Sealer | None = None,
        give_way: Callable[[Watch, Callable[[], bool]], None] | None = None,
    ) -> None:
        self._give_way = give_way
        self._ledger = ledger
        self._session = session
        self._spool = spool
        self._clock_ms = clock_ms
        self._made = made
        self._wait = wait
        self._keys = keys
        self._sealer = sealer
        self._looked_at_ms = 0
        self._told_at_ms = 0
        self._books: dict[str, Rulebook | None] = {}

    def turn(self, current: Rulebook | None, watch: Watch, stopping: Callable[[], bool]) -> bool:
        """Make what there is to make, for a while; looked for once a second. True: its time is over, and there may be
        more.

        :raises LedgerBusy, LedgerFull: nothing was claimed.
        """
        began_ms = self._clock_ms()
        if current is None or abs(began_ms - self._looked_at_ms) < LOOK_MS:
            return False
        self._looked_at_ms = began_ms
        for_nothing = 0
        while for_nothing < FOR_NOTHING and not stopping():
            if self._clock_ms() - began_ms >= SLICE_MS:
                return True
            lease = self._ledger.claim_derivation(self._session)
            if lease is None:
                return False
            made = self._make(current, lease, self._patient(watch, stopping))
            if not self._record(lease, made, watch, stopping):
                return False
            for_nothing += made.again  # it goes to the end of the line: there may be room for a smaller one
        return False

    def _patient(self, watch: Watch, stopping: Callable[[], bool]) -> Watch:
        give_way = self._give_way
        return watch if give_way is None else GivingWay(watch, lambda: give_way(watch, stopping))

    def _record(self, lease: DerivationLease, made: Derivation, watch: Watch, stopping: Callable[[], bool]) -> bool:
        """Tell the ledger, however long that takes: what was claimed is ours until then. False when stopping."""
        while True:
            watch.rest()
            try:
                result = self._ledger.record_derivation(self._session, lease, made, self._clock_ms())
                break
            except (LedgerBusy, LedgerFull) as error:
                telemetry.problem("routing_waits_for_ledger", reason=str(error))
            if stopping():
                return False  # the session ends with this process, and frees it
            self._wait()
        if self._sealer is not None and result is DerivationResult.RECORDED:
            self._sealer.recorded(made.remembered)
        self._tell(lease, made)
        if made.payload is not None and result is DerivationResult.UNWANTED:
            self._spool.try_unlink([made.payload.path])
        elif made.payload is not None:
            self._made()
        return True

    def _tell(self, lease: DerivationLease, made: Derivation) -> None:
        """A full disk is told of once a minute, not at every try: it may be full for a weekend."""
        now_ms = self._clock_ms()
        if made.again:
            if abs(now_ms - self._told_at_ms) < TELL_MS:
                return
            self._told_at_ms = now_ms
        telemetry.copy_made(instance_id=lease.instance.instance_id, made=made)

    def _make(self, current: Rulebook, lease: DerivationLease, watch: Watch) -> Derivation:
        instance = lease.instance
        if instance.attempt > MAX_ROUTING_ATTEMPTS:
            return Derivation(lease.chain, None, f"making the copy failed {MAX_ROUTING_ATTEMPTS} times")
        try:
            book, chain = self._rules_of(current, lease)  # not the instance's time
            watch.renew()
            verify(self._spool, instance, watch)
            return make_copy(book, self._spool, instance, chain, watch, self._session.session_id, self._sealer)
        except (SpoolMissing, SpoolCorrupt) as error:
            return self._unreadable(lease, f"{Distrusted.ORIGINAL}: {of_file(error)}")
        except (SpoolError, LedgerBusy, LedgerFull) as error:
            return Derivation(lease.chain, None, str(error), again=True)
        finally:
            watch.rest()

    def _unreadable(self, lease: DerivationLease, reason: str) -> Derivation:
        """The original is damaged: its deliveries are held, and a duplicate that is whole goes instead."""
        instance_id = lease.instance.instance_id
        try:
            self._ledger.quarantine(self._session, [Quarantine(instance_id, reason)], self._clock_ms())
        except (LedgerBusy, LedgerFull) as error:
            return Derivation(lease.chain, None, str(error), again=True)
        telemetry.quarantined(instance_id=instance_id, reason=reason)
        return Derivation(lease.chain, None, reason)

    def _rules_of(self, current: Rulebook, lease: DerivationLease) -> tuple[Rulebook, str]:
        """The rules to make a copy by, and what its chain is called in them."""
        chain = lease.chain
        if current.chain(chain) is not None:
            return current, chain
        if (in_force := current.in_force(chain)) != chain:
            return current, in_force
        now = current.chain_of(transforms_of(chain))
        if lease.failed and now is not None:
            return current, now
        before = self._book_of(lease.revision)
        if before is not None and before.chain(chain) is not None:
            return before, chain
        return current, now or chain  # the definitions are gone: by the names, or with the reason why not

    def _book_of(self, revision: str) -> Rulebook | None:
        if revision not in self._books:
            held_bytes = sum(book.table_bytes for book in self._books.values() if book is not None)
            if len(self._books) >= KEPT_BOOKS or held_bytes > KEPT_TABLE_BYTES:
                self._books.clear()
            try:
                self._books[revision] = load(self._ledger.load_rules(revision).files, None, self._keys)
            except (LedgerBusy, LedgerFull):
                raise
            except LedgerError as error:  # perhaps the next time
                telemetry.problem("rules_unknown", reason=str(error))
                return None
            except ConfigurationError as error:
                telemetry.problem("rules_unknown", reason=str(error))
                self._books[revision] = None
        return self._books[revision]
