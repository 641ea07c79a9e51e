"""Copies for destinations that get something changed: an instance through a chain of transforms, into the spool.

Fail closed: whatever keeps a copy from being made holds its deliveries with the reason, and nobody gets the original
instead. Trouble of the host (a full disk) is told apart from that of the instance, tried again, and holds up nobody who
gets originals.

The original's checksum is verified before anything is made of it: a damaged file must not come out as a copy whose own
checksum holds. Called by the worker.
"""

from __future__ import annotations

from gateway import telemetry
from gateway.dicom.negotiation import IMPLEMENTATION_VERSION_NAME
from gateway.errors import HeaderError, SpoolCorrupt, SpoolError, SpoolMissing, TakesLong, TransformError
from gateway.flow.seal import Sealer
from gateway.flow.watch import Watch
from gateway.model import CHAIN_DIGEST, AssociationFacts, Derivation, InstanceLease
from gateway.spool import ArrivalMeta, Spool, SpoolFile, SpoolWriter, derive
from gateway.transform import Origin, Rulebook, prepare

# A copy says nothing of who sent the original.
_NOBODY = AssociationFacts("", "", "", "", "", "")


def verify(spool: Spool, lease: InstanceLease, watch: Watch) -> None:
    """See that the original is what was received, before anything is made of it.

    :raises SpoolMissing, SpoolCorrupt: it is not. SpoolError: the host's trouble.
    """
    with SpoolFile.open(spool, lease.payload) as file:
        file.verify(lease.payload.checksum, watch.renew)


def make_copy(
    book: Rulebook,
    spool: Spool,
    lease: InstanceLease,
    chain: str,
    watch: Watch,
    maker: int = 0,
    sealer: Sealer | None = None,
    at_once_bytes: int | None = None,
) -> Derivation:
    """Make what a destination gets of an instance, which was verified.

    :param chain: of a decision of this set of rules.
    :param maker: the session that makes it.
    :param sealer: seals what stands behind pseudonyms; None keeps nothing of it.
    :param at_once_bytes: leave it for later where a step works on more pixel data; None is never.
    :raises SpoolMissing, SpoolCorrupt: the original is not there any more.
    """
    transforms = book.chain(chain)
    if transforms is None:
        return Derivation(chain, None, f"the rules {book.revision} have no such transforms")
    payload = lease.payload
    facts, received_at_ms = lease.facts, lease.received_at_ms
    origin = Origin(facts, payload.sop_class_uid, payload.sop_instance_uid, payload.transfer_syntax_uid, received_at_ms)
    watch.renew()
    try:
        with SpoolFile.open(spool, payload) as file:
            system, beat = IMPLEMENTATION_VERSION_NAME, watch.renew
            made = prepare(transforms, file, origin, system=system, beat=beat, at_once_bytes=at_once_bytes)
            sealed = () if sealer is None else sealer.seal(made.remembered)
            uids = made.sop_class_uid, made.sop_instance_uid, made.transfer_syntax_uid

            def fill(writer: SpoolWriter) -> None:
                def write(piece: bytes | memoryview) -> None:
                    watch.renew()
                    writer.write(piece)

                made.write(write)
                watch.rest()  # what is left is the disk's

            digest = chain.partition(CHAIN_DIGEST)[2]
            meta = ArrivalMeta(_NOBODY, *uids, received_at_ms)
            length = max(payload.length, made.about_bytes())
            copy = derive(spool, lease.instance_id, digest, meta, length, fill, maker)
    except TakesLong:
        return Derivation(chain, None, again=True)
    except (TransformError, HeaderError) as error:
        return Derivation(chain, None, str(error))
    except (SpoolMissing, SpoolCorrupt):
        raise
    except SpoolError as error:
        return Derivation(chain, None, str(error), again=True)
    except Exception as error:  # noqa: BLE001 - a bug holds what met it, and leaves all else flowing
        telemetry.problem("transform_error", error, instance_id=lease.instance_id, chain=chain)
        return Derivation(chain, None, f"an error in the gateway: {type(error).__name__}, see its log")
    return Derivation(chain, copy, remembered=sealed, steps=made.steps)
