"""What `deidentify` remembers of an original, and what the worker has sealed of it: all, once, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.flow.derive import make_copy
from gateway.flow.dispatch import copy_lost
from gateway.flow.route import Router
from gateway.flow.seal import Sealer
from gateway.flow.watch import Watch
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import InstanceLease, Role, Routing, Sealed, Session
from gateway.spool import Spool
from gateway.transform import load
from gateway.transform.deidentify.keypair import make_pair, read_private
from gateway.transform.deidentify.remember import Remembered
from gateway.transform.deidentify.seal import unseal
from gateway.work.base import Stage
from gateway.work.local import LocalQueue
from tests.contract.ledger_scene import arrival
from tests.unit.samples import EXPLICIT, SOP, element, sample
from tests.unit.spool_kit import make_facts, make_intake, make_meta, make_spool, payload_of, store
from tests.unit.transform_kit import KEYS, before, reread, run_all, transform, transforms

STEP = "- deidentify: {key: site}"
KEY = read_private(make_pair()[0])
PATIENT = (
    element(0x00100010, "PN", b"Zebra^Zoe ") + element(0x00100020, "LO", b"Z7") + element(0x00100030, "DA", b"19500101")
)
STUDY = element(0x0020000D, "UI", b"1.2.840.1\0") + element(0x0020000E, "UI", b"1.2.840.11")


def remembered(data: bytes, steps: str, syntax: str = EXPLICIT) -> dict[str, dict[str, str]]:
    """Pseudonym → original, and each is once."""
    _, prepared = run_all(data, [transform(steps)], syntax)
    found = {each.pseudonym: dict(each.attributes) for each in prepared.remembered}
    assert len(found) == len(prepared.remembered)
    return found


# ── what the step remembers ───────────────────────────────────────────────────────────────────────────────────────


def test_patient_study_series_and_instance_are_found_by_what_the_copy_calls_them() -> None:
    each = sample("CT_small.dcm")
    original = before("CT_small.dcm")
    written, prepared = run_all(each.data_set, [transform(STEP)], each.transfer_syntax_uid)
    copy = reread(written, each.transfer_syntax_uid)
    assert {one.pseudonym: dict(one.attributes) for one in prepared.remembered} == {
        copy.PatientID: {"PatientID": original.PatientID, "PatientName": str(original.PatientName)},
        copy.StudyInstanceUID: {"StudyInstanceUID": original.StudyInstanceUID},
        copy.SeriesInstanceUID: {"SeriesInstanceUID": original.SeriesInstanceUID},
        copy.SOPInstanceUID: {"SOPInstanceUID": original.SOPInstanceUID},
    }
    assert all(original.PatientID not in repr(one) for one in prepared.remembered), "nothing of it is shown by mistake"


def test_all_of_the_patient_that_is_there_is_remembered() -> None:
    data = SOP + PATIENT[: -len(element(0x00100030, "DA", b"19500101"))]
    data += element(0x00100021, "LO", b"CLINIC") + element(0x00100030, "DA", b"19500101") + STUDY
    (patient,) = (each for each in remembered(data, STEP).values() if "PatientID" in each)
    assert patient == {
        "PatientID": "Z7",
        "IssuerOfPatientID": "CLINIC",
        "PatientName": "Zebra^Zoe",
        "PatientBirthDate": "19500101",
    }


def test_uids_that_stay_are_not_remembered() -> None:
    found = remembered(SOP + PATIENT + STUDY, "- deidentify: {key: site, options: [retain-uids]}")
    assert [set(each) for each in found.values()] == [{"PatientID", "PatientName", "PatientBirthDate"}]


def test_a_step_that_is_not_to_remember_does_not() -> None:
    assert remembered(SOP + PATIENT + STUDY, "- deidentify: {key: site, remember: false}") == {}
    assert remembered(SOP + PATIENT + STUDY, "- set: {PatientID: X}") == {}


def test_who_has_no_patient_id_is_found_by_the_study_that_the_pseudonym_stands_for() -> None:
    name = element(0x00100010, "PN", b"Zebra^Zoe ")
    (patient,) = (each for each in remembered(SOP + name + STUDY, STEP).values() if "PatientName" in each)
    assert patient == {"PatientName": "Zebra^Zoe", "StudyInstanceUID": "1.2.840.1"}


def test_later_steps_and_a_second_deidentify_change_the_name_and_not_the_original() -> None:
    steps = f'{STEP}\n- prefix: {{PatientID: "SITE7-"}}'
    plain, prefixed = remembered(SOP + PATIENT + STUDY, STEP), remembered(SOP + PATIENT + STUDY, steps)
    assert {f"SITE7-{name}" if "PatientID" in original else name: original for name, original in plain.items()} == (
        prefixed
    )
    chain = transforms(f"transforms: {{a: [{{{STEP[2:]}}}], b: [{{{STEP[2:]}}}]}}")
    written, prepared = run_all(SOP + PATIENT + STUDY, list(chain.values()))
    copy = reread(written)
    assert copy.PatientID not in plain
    assert {one.pseudonym: one.attributes.get("PatientID") for one in prepared.remembered}[copy.PatientID] == "Z7"


def test_a_name_that_cannot_be_read_is_kept_as_it_is_and_holds_nothing_up() -> None:
    data = SOP + element(0x00100010, "PN", b"Z\xf6e") + element(0x00100020, "LO", b"Z7") + STUDY
    (patient,) = (each for each in remembered(data, STEP).values() if "PatientID" in each)
    assert patient["PatientName"] == "Z\\xf6e"


def test_an_original_has_a_mark_that_only_the_secret_makes() -> None:
    def marks(data: bytes, steps: str = STEP) -> dict[str, str]:
        return {each.pseudonym: each.mark for each in run_all(data, [transform(steps)])[1].remembered}

    one, again = marks(SOP + PATIENT + STUDY), marks(SOP + PATIENT + STUDY)
    assert one == again
    other = marks(SOP + PATIENT.replace(b"Zoe ", b"Kim ") + STUDY)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == [next(iter(one))], "the patient has another name"
    assert KEYS["site"].pseudonym("original", "x") != KEYS["site"].pseudonym("patient", "x")


# ── what the worker has sealed ────────────────────────────────────────────────────────────────────────────────────


def some(name: str, original: str = "Z7", mark: str = "M") -> Remembered:
    return Remembered(name, mark, {"PatientID": original})


def test_what_is_recorded_is_not_sealed_again_and_what_is_not_is() -> None:
    sealer = Sealer(KEY.public)
    first = sealer.seal([some("A"), some("B")])
    assert [unseal(KEY, each.pseudonym, each.sealed) for each in first] == [{"PatientID": "Z7"}] * 2
    assert [each.pseudonym for each in sealer.seal([some("A"), some("B")])] == ["A", "B"], "nothing has it yet"
    sealer.recorded(first[:1])
    assert [each.pseudonym for each in sealer.seal([some("A"), some("B")])] == ["B"]
    assert [each.pseudonym for each in sealer.seal([some("A", "Y8", mark="N")])] == ["A"], "somebody else"


def test_what_it_knows_is_bounded_and_the_oldest_goes_first() -> None:
    sealer = Sealer(KEY.public, known=2)
    for name in "ABC":
        sealer.recorded(sealer.seal([some(name)]))
    assert [each.pseudonym for each in sealer.seal([some(name) for name in "ABC"])] == ["A"]
    sealer.recorded(sealer.seal([some("A")]))
    assert [each.pseudonym for each in sealer.seal([some(name) for name in "ABC"])] == ["B"]


def test_another_public_key_makes_another_entry() -> None:
    """Or whoever has lost a private key could never get at the patients of before again."""
    other = Sealer(read_private(make_pair()[0]).public)
    (mine,), (others,) = Sealer(KEY.public).seal([some("A")]), other.seal([some("A")])
    assert mine.mark != others.mark
    assert mine.mark == Sealer(KEY.public).seal([some("A")])[0].mark


RULES = """\
transforms:
  research: [{deidentify: {key: site}}]
rules:
  - {name: a, send_to: [{destination: research, transform: research}]}
"""


class Resting(Watch):
    """A watch without an alarm."""

    def __init__(self) -> None:
        super().__init__(lambda: None, 0)

    def renew(self) -> None: ...

    def rest(self) -> None: ...


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


def test_a_copy_carries_what_is_sealed_where_there_is_a_key_and_nothing_where_there_is_none(spool: Spool) -> None:
    book = load({"a.yaml": RULES}, None, KEYS)
    chain = book.plan.rules[0].send_to[0].chain
    payload = payload_of(store(make_intake(spool), SOP + PATIENT + STUDY, make_meta()))
    lease = InstanceLease("0198c0de" + "0" * 24, 1, 1, 1_700_000_000_000, payload, make_facts())
    assert make_copy(book, spool, lease, chain, Resting()).remembered == ()
    made = make_copy(book, spool, lease, chain, Resting(), 0, Sealer(KEY.public))
    assert made.payload is not None
    opened = [unseal(KEY, each.pseudonym, each.sealed) for each in made.remembered]
    assert [next(iter(each)) for each in opened] == [
        *("PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    ]
    assert b"Zebra" not in b"".join(each.sealed for each in made.remembered)


class Forgetful(SqliteLedger):
    """A ledger whose first routing comes too late: its worker was taken for dead."""

    too_late = True

    def record_routings(self, session: Session, routings: list[Routing], now_ms: int) -> list:  # type: ignore[override, type-arg]
        if self.too_late:
            self.too_late = False
            self.void_session(session.session_id, now_ms)
            self.lost = [each for routing in routings for made in routing.derived for each in made.remembered]
        return super().record_routings(session, routings, now_ms)


def test_a_worker_whose_lease_was_lost_does_not_take_its_entries_for_recorded(tmp_path: Path, spool: Spool) -> None:
    book = load({"a.yaml": RULES}, None, KEYS)
    data = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    payload = payload_of(store(make_intake(spool), data + PATIENT + STUDY, make_meta(sop_instance_uid="1.2.3.4")))
    ledger = Forgetful.open(tmp_path / "ledger.db")
    ledger.sync_destinations({"research": False}, 1)
    ledger.store_rules(RuleSet(book.revision, {"a.yaml": RULES}), 1)
    queue = LocalQueue(tmp_path / "run", Stage.ROUTE)
    sealer = Sealer(KEY.public)
    one = arrival("0198c0de" + "0" * 24)._replace(
        **{name: getattr(payload, name) for name in payload._fields}  # type: ignore[arg-type]
    )
    ledger.record_arrivals([one], 1)

    def work() -> None:
        session = ledger.open_session(Role.WORKER, "host", 1, 1)
        turns = iter((False, False, True, True, True))
        queue.notify(Stage.ROUTE)
        router = Router(ledger, session, spool, queue, lambda: 1_700_000_000_000, 60.0, KEYS, sealer)
        try:
            router.run(lambda: None, lambda: next(turns))
        finally:
            ledger.void_session(session.session_id, 1)

    def kept(entry: Sealed) -> bool:
        return bool(ledger.originals_of(entry.pseudonym, "me", "test", 1))

    try:
        work()
        assert len(ledger.lost) == 4 and not any(map(kept, ledger.lost))
        work()  # it is routed without its copy, which is made when a forwarder has asked for it
        forwarder = ledger.open_session(Role.FORWARDER, "host", 2, 1)
        (delivery,) = ledger.claim_deliveries(forwarder, "research", 1, 1_700_000_000_000)
        ledger.record_outcomes(forwarder, [copy_lost(delivery, "there is none", 1_700_000_000_000)], 1_700_000_000_000)
        work()
        assert all(map(kept, ledger.lost))
    finally:
        queue.close()
        ledger.close()
