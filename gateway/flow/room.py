"""The last resort on a full disk: the ballast is given up, so that the ledger can still record outcomes.

Called by whoever met the end of the room: the receiver with an instance, and both recorders with the ledger. The
sweeper puts the ballast back when there is room for it.
"""

from __future__ import annotations

from gateway import telemetry
from gateway.errors import SpoolError
from gateway.spool import Spool


def give_up_ballast(spool: Spool) -> None:
    """Free the ballast if the spool's file system really is full; where the ledger has one of its own, it may not be.

    Blocks for a moment: a file is unlinked.
    """
    try:
        if spool.room().free_bytes < spool.ballast_bytes and spool.free_ballast():
            telemetry.problem("ballast_freed", reason="no room in the spool")
    except SpoolError as error:
        telemetry.problem("ballast_not_freed", reason=str(error))
