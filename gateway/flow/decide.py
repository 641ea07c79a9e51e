"""What becomes of one instance: its header is read, the rules are asked, and copies are made or left for later.

The worker calls `decide` for each instance of a batch, and then `copied` for those whose copies are made at once:

  - Those of an instance that has ended a worker are not: its originals go, and what kills workers is met by the one who
    makes copies again (`gateway.flow.remake`), where only that copy's deliveries are held for it.
  - Nor are those of a large one, which nobody else of its batch has to wait for.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.dicom.header import Header, read_header, study_facts
from gateway.errors import HeaderError, SpoolCorrupt, SpoolMissing
from gateway.flow.derive import make_copy, verify
from gateway.flow.history import History
from gateway.flow.seal import Sealer
from gateway.flow.watch import Watch
from gateway.ledger.base import MAX_ROUTING_ATTEMPTS
from gateway.model import Decision, Derivation, InstanceLease, PayloadFile, Quarantine, Routing, StudyFacts
from gateway.reasons import Distrusted, of_file
from gateway.spool import Spool, SpoolFile
from gateway.transform import Rulebook

AT_ONCE_BYTES = 64 * 1024 * 1024  # of an instance, or of its pixels where a step works on them
_ENDED_WORKER = "a worker ended over this instance: its copies are made after all others"


class Decided(NamedTuple):
    """What the rules say of an instance. `chains`: of the copies that it needs."""

    lease: InstanceLease
    decision: Decision
    study: StudyFacts
    priority: int
    chains: tuple[str, ...]

    @property
    def is_for_now(self) -> bool:
        """Whether there are copies to be made at once."""
        lease = self.lease
        return bool(self.chains) and lease.attempt == 1 and lease.payload.length <= AT_ONCE_BYTES

    def routing(self, copies: tuple[Derivation, ...] | None = None) -> Routing:
        """What the ledger is told; without `copies`, that they are to be made later."""
        if copies is None:
            reason = _ENDED_WORKER if self.lease.attempt > 1 else ""
            copies = tuple(Derivation(chain, None, reason, again=True) for chain in self.chains)
        return Routing(self.lease.instance_id, self.decision, self.study, self.priority, copies)


def decide(book: Rulebook, spool: Spool, lease: InstanceLease, history: History | None = None) -> Decided | Quarantine:
    """Decide about an instance.

    :param history: remembers it; None where nothing does.
    :raises SpoolError: the host's trouble; nothing has come of it.
    """
    plan, payload = book.plan, lease.payload
    if lease.attempt > MAX_ROUTING_ATTEMPTS:
        return Quarantine(lease.instance_id, f"{Distrusted.ROUTING_FAILED} {MAX_ROUTING_ATTEMPTS} times")
    try:
        with SpoolFile.open(spool, payload) as file:
            header = read_header(file, payload.transfer_syntax_uid, plan.wanted)
            if wrong := _other_identity(header, payload):
                return Quarantine(lease.instance_id, wrong)
            decision = plan.decide(
                header, lease.facts, payload.transfer_syntax_uid, payload.sop_class_uid, lease.received_at_ms
            )
            study = study_facts(header)
            if history is not None:
                history.see(lease, decision, study, file)  # the last thing: what is tried again was not seen
    except (SpoolMissing, SpoolCorrupt) as error:
        return _unreadable(lease, error)
    except HeaderError as error:
        return Quarantine(lease.instance_id, f"{Distrusted.UNREADABLE}: {error}")
    chains = tuple(chain for chain in dict.fromkeys(decision.chains) if chain)
    return Decided(lease, decision, study, plan.priority(decision), chains)


def copied(
    book: Rulebook, spool: Spool, decided: Decided, watch: Watch, session_id: int = 0, sealer: Sealer | None = None
) -> Routing | Quarantine:
    """Make the copies of an instance that was decided about.

    :raises SpoolError: the host's trouble, before any was made.
    """
    lease = decided.lease
    try:
        verify(spool, lease, watch)
        copies = [
            make_copy(book, spool, lease, chain, watch, session_id, sealer, AT_ONCE_BYTES) for chain in decided.chains
        ]
    except (SpoolMissing, SpoolCorrupt) as error:
        return _unreadable(lease, error)
    return decided.routing(tuple(copies))


def _unreadable(lease: InstanceLease, error: SpoolMissing | SpoolCorrupt) -> Quarantine:
    if isinstance(error, SpoolMissing):
        return Quarantine(lease.instance_id, Distrusted.FILE_MISSING.value)
    return Quarantine(lease.instance_id, f"{Distrusted.FILE_DAMAGED}: {of_file(error)}")


def _other_identity(header: Header, payload: PayloadFile) -> str:
    """What the data set names otherwise than the C-STORE command; "" when they agree.

    They name the same instance, PS3.4 B.2.1; else neither can be believed.
    """
    if header.sop_instance_uid != payload.sop_instance_uid:
        return Distrusted.OTHER_INSTANCE.value
    if header.sop_class_uid != payload.sop_class_uid:
        return Distrusted.OTHER_CLASS.value
    return ""
