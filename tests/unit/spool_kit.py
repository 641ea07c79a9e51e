"""What the spool's tests share: a spool with a pool, and instances written into it."""

from __future__ import annotations

from pathlib import Path

from gateway.model import Arrival, AssociationFacts, PayloadFile
from gateway.spool import ArrivalMeta, Intake, Spool
from tests.harness.durable import flush

GENERATION = "0123abcd-0001"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"


def make_facts(**changes: str) -> AssociationFacts:
    values = {
        "association_id": "5f0c11aa22bb33cc",
        "listener": "main",
        "source": "ct1",
        "calling_ae_title": "CT1",
        "called_ae_title": "GATEWAY",
        "peer_host": "10.1.2.3",
    }
    return AssociationFacts(**{**values, **changes})


def make_meta(facts: AssociationFacts | None = None, **changes: object) -> ArrivalMeta:
    values: dict[str, object] = {
        "facts": facts or make_facts(),
        "sop_class_uid": CT,
        "sop_instance_uid": "1.2.3.4.5",
        "transfer_syntax_uid": EXPLICIT_LE,
        "received_at_ms": 1_760_000_000_123,
    }
    return ArrivalMeta(**{**values, **changes})  # type: ignore[arg-type]


def make_spool(folder: Path, min_free_bytes: int = 0, ballast_bytes: int = 0) -> Spool:
    spool = Spool(folder, min_free_bytes, ballast_bytes)
    spool.prepare()
    return spool


def make_intake(spool: Spool, generation: str = GENERATION, pool_size: int = 4) -> Intake:
    intake = Intake(spool, generation, pool_size)
    intake.fill()
    return intake


def store_many(intake: Intake, data: bytes, count: int) -> list[Arrival]:
    """So many of the same, made durable together: a flush by itself sets its ring up and down, for 30 ms."""
    writers = [intake.begin(make_meta()) for _ in range(count)]
    for writer in writers:
        writer.write(memoryview(data))
    arrivals = [writer.finish() for writer in writers]
    assert flush(writers) == [None] * count
    for writer in writers:
        writer.close()
    return arrivals


def store(intake: Intake, data: bytes, meta: ArrivalMeta | None = None, fragment: int = 16_384) -> Arrival:
    """Everything up to the acknowledgement."""
    writer = intake.begin(meta or make_meta())
    view = memoryview(data)
    for at in range(0, len(data), fragment):
        writer.write(view[at : at + fragment])
    arrival = writer.finish()
    assert flush([writer]) == [None]
    writer.close()
    return arrival


def payload_of(arrival: Arrival) -> PayloadFile:
    return PayloadFile(
        path=arrival.path,
        offset=arrival.offset,
        length=arrival.length,
        checksum=arrival.checksum,
        sop_class_uid=arrival.sop_class_uid,
        sop_instance_uid=arrival.sop_instance_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
    )


def files_in(spool: Spool) -> list[Path]:
    return sorted((spool.directory / "incoming").rglob("*.dcm"))


def folders_in(spool: Spool) -> list[str]:
    incoming = spool.directory / "incoming"
    return sorted(str(path.relative_to(incoming)) for path in incoming.rglob("*") if path.is_dir())
