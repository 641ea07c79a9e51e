"""What destinations answer, how they end an association and what they accept: each has its one consequence."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from tests.faults.delivering_kit import Delivering
from tests.harness import wire
from tests.harness.archive import Admission, Behaviour, StoreFacts, by_uid, first
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.tools import wait_until

ATTEMPTS = 3
LARGE = 8 << 20  # more than the kernels hold, so that the middle is the middle
ACCEPTED = {0x0000: "success", 0xB000: "warning", 0xB006: "warning", 0xB007: "warning", 0x0107: "warning"}
ACCEPTED[0x0116] = "warning"
REFUSED = (0x0110, 0xA900, 0xA9FF, 0xC000, 0xC123, 0x0117, 0x0122, 0x0124, 0x0111, 0x4242)
THROTTLED = (0xA700, 0xA7FF, 0x0213)
MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
RLE = "1.2.840.10008.1.2.5"


def test_every_status_has_its_disposition_in_ledger_metrics_and_commands(tmp_path: Path) -> None:
    instances = list(make_instances(len(ACCEPTED) + len(REFUSED)))
    status_of = dict(zip((one.sop_instance_uid for one in instances), (*ACCEPTED, *REFUSED), strict=True))
    with Delivering(tmp_path, {"pacs": {"attempts": ATTEMPTS}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = by_uid(
            {uid: Behaviour(status=status, store=status in ACCEPTED) for uid, status in status_of.items()}
        )
        scene.start()
        scene.send(instances)
        scene.settle()
        for uid, found in scene.deliveries("pacs").items():
            status = status_of[uid]
            if status in ACCEPTED:
                assert (found.state, found.code, pacs.tally.requests[uid]) == ("delivered", ACCEPTED[status], 1), found
            else:
                assert (found.state, found.code, pacs.tally.requests[uid]) == ("held", "refused", ATTEMPTS), found
                assert f"0x{status:04X}" in found.reason
                assert found.attempts == ATTEMPTS
            assert found.status == status
        scene.judge().assert_clean()
        metric = scene.gateway.metric
        assert metric("gateway_deliveries_total", destination="pacs", outcome="success") == 1
        assert metric("gateway_deliveries_total", destination="pacs", outcome="warning") == len(ACCEPTED) - 1
        assert metric("gateway_deliveries_total", destination="pacs", outcome="refused") == ATTEMPTS * len(REFUSED)
        assert metric("gateway_queue_depth", destination="pacs", state="held") == len(REFUSED)
        assert len(json.loads(scene.cli("list", "--state", "held", "--json"))) == len(REFUSED)
        refused = next(uid for uid, status in status_of.items() if status == 0xC123)
        shown = json.loads(scene.cli("show", refused, "--json"))[0]["deliveries"][0]
        assert (shown["state"], shown["status"], shown["attempts"]) == ("held", 0xC123, ATTEMPTS)


def test_a_destination_out_of_resources_is_throttled_and_no_instance_is_blamed(tmp_path: Path) -> None:
    instances = list(make_instances(len(THROTTLED) + 1))
    status_of = dict(zip((one.sop_instance_uid for one in instances), (*THROTTLED, 0xC000), strict=True))
    tries = 4

    def answer(facts: StoreFacts) -> Behaviour:
        status = status_of[facts.sop_instance_uid]
        if status == 0xC000:  # a refusal at last: it must be the first that counts
            status = 0xA700 if facts.attempt <= tries else 0xC000 if facts.attempt == tries + 1 else 0
        elif facts.attempt > tries:
            status = 0
        return Behaviour(status=status, store=status == 0)

    with Delivering(tmp_path, {"pacs": {"attempts": 2, "probe_min": "50 ms", "probe_max": "50 ms"}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = answer
        scene.start()
        scene.send(instances)
        report = scene.judge_all_delivered()
        assert report.duplicates.total() == 0
        for uid, found in scene.deliveries("pacs").items():
            assert (found.state, found.code) == ("delivered", "success")
            assert pacs.tally.requests[uid] > tries > 2
        assert scene.gateway.metric("gateway_deliveries_total", destination="pacs", outcome="throttled") >= 4 * tries
        assert [line for line in scene.gateway.log_lines(event="destination_down") if "0xA7" in line["reason"]]


def test_the_administrators_table_goes_before_ours(tmp_path: Path) -> None:
    instances = list(make_instances(3))
    statuses = (0xC001, 0xA702, 0xB000)
    table = {"0xC0xx": "delivered", "0xA7xx": "hold", "0xB000": "retry"}
    with Delivering(tmp_path, {"pacs": {"attempts": 2, "statuses": table}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = by_uid(
            {one.sop_instance_uid: Behaviour(status=status) for one, status in zip(instances, statuses, strict=True)}
        )
        scene.start()
        scene.send(instances)
        scene.settle()
        found = [scene.deliveries("pacs")[one.sop_instance_uid] for one in instances]
        assert [(one.state, pacs.tally.requests[one.sop_instance_uid]) for one in found] == [
            ("delivered", 1),
            ("held", 1),
            ("held", 2),
        ]


WRONG = {
    "another message ID": Behaviour(store=False, message_id_offset=1),
    "a C-ECHO response": Behaviour(store=False, command_field=wire.C_ECHO_RSP),
    "a request in the place of a response": Behaviour(store=False, command_field=wire.C_STORE_RQ),
    "another SOP instance": Behaviour(store=False, sop_instance_uid="1.2.3"),
    "another SOP class": Behaviour(store=False, sop_class_uid=MR_STORAGE),
}


def test_a_response_that_does_not_answer_us_is_no_success_and_ends_the_association(tmp_path: Path) -> None:
    """A response without UIDs is fine: they are optional, and real peers leave them out."""
    instances = list(make_instances(len(WRONG) + 1))
    wrong = dict(zip((one.sop_instance_uid for one in instances), WRONG.values(), strict=False))
    with Delivering(tmp_path, {"pacs": {"response_timeout": "2 s"}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = lambda facts: (
            wrong.get(facts.sop_instance_uid, Behaviour(omit_uids=True))
            if facts.attempt == 1
            else Behaviour(omit_uids=True)
        )
        scene.start()
        scene.send(instances)
        report = scene.judge_all_delivered()
        assert report.duplicates.total() == 0
        for uid in wrong:
            assert pacs.tally.requests[uid] == 2, "tried again, because the wrong answer was not believed"
        assert pacs.tally.requests[instances[-1].sop_instance_uid] == 1
        assert pacs.tally.aborts_received == len(WRONG)


def test_a_response_before_the_end_of_the_message_is_no_success(tmp_path: Path) -> None:
    """A peer that answers Success to half an instance: it is aborted, and the instance sent again, whole."""
    large = make_instance(pixel_bytes=LARGE)
    with Delivering(tmp_path, {"pacs": {}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = first(1, Behaviour(early_response_after=65536, store=False))
        scene.start()
        scene.send([large])
        scene.judge_all_delivered()
        assert pacs.tally.requests[large.sop_instance_uid] == 2


ENDS = {
    "stored, never answered": (Behaviour(respond=False), True),
    "stored, then A-ABORT": (Behaviour(respond=False, end="abort"), True),
    "stored, then A-P-ABORT": (Behaviour(respond=False, end="p-abort"), True),
    "stored, then RST": (Behaviour(respond=False, end="rst"), True),
    "stored, then FIN": (Behaviour(respond=False, end="fin"), True),
    "A-ABORT in the middle": (Behaviour(cut="abort", cut_after=5000), False),
    "A-P-ABORT in the middle": (Behaviour(cut="p-abort", cut_after=5000), False),
    "RST in the middle": (Behaviour(cut="rst", cut_after=5000), False),
    "FIN in the middle": (Behaviour(cut="fin", cut_after=5000), False),
}


def test_what_got_no_answer_is_tried_again_and_a_duplicate_is_the_worst_of_it(tmp_path: Path) -> None:
    instances = list(make_instances(len(ENDS), pixel_bytes=LARGE))
    ends = dict(zip((one.sop_instance_uid for one in instances), ENDS.values(), strict=True))
    with Delivering(tmp_path, {"pacs": {"response_timeout": "1 s"}, "dr": {}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = lambda facts: ends[facts.sop_instance_uid][0] if facts.attempt == 1 else Behaviour()
        scene.start()
        scene.send(instances)
        scene.wait_states("dr", delivered=len(instances))
        scene.judge_all_delivered()
        for uid, (_, stored) in ends.items():
            assert len(pacs.stored(uid)) == (2 if stored else 1)
            assert scene.deliveries("pacs")[uid].uncertain is stored, "uncertain is what the peer may have, only that"


def test_already_there_counts_as_delivered_only_when_we_may_have_put_it_there(tmp_path: Path) -> None:
    """0x0111 after a try that was stored and not answered, and 0x0111 after one that was cut in the middle."""
    stored, cut = make_instances(2, pixel_bytes=LARGE)
    with Delivering(tmp_path, {"pacs": {"response_timeout": "1 s", "attempts": ATTEMPTS}}) as scene:
        again = Behaviour(status=0x0111, store=False)
        lost, broken = Behaviour(respond=False), Behaviour(cut="rst", cut_after=5000)
        pacs = scene.archive("pacs")
        pacs.on_store = lambda facts: (
            again if facts.attempt > 1 else lost if facts.sop_instance_uid == stored.sop_instance_uid else broken
        )
        scene.start()
        scene.send([stored, cut])
        scene.settle()
        found = scene.deliveries("pacs")
        assert (found[stored.sop_instance_uid].state, found[stored.sop_instance_uid].code) == ("delivered", "accepted")
        assert found[cut.sop_instance_uid].state == "held", "the archive has something, but not from us"
        scene.judge().assert_clean()


REJECTIONS = {
    "congested": (2, 3, 1),
    "limited": (2, 3, 2),
    "not-me": (1, 1, 7),
    "not-you": (1, 1, 3),
    "no-reason": (1, 1, 1),
}


def test_rejected_associations_heal_by_themselves_and_no_instance_is_held(tmp_path: Path) -> None:
    """Transient and permanent ones: the destination is down and says why, and everything goes there afterwards."""
    instances = list(make_instances(20))
    with Delivering(tmp_path, [*REJECTIONS, "dr"]) as scene:
        for name, rejection in REJECTIONS.items():
            scene.archive(name).on_associate = lambda request, number, rj=rejection: Admission(reject=rj)  # type: ignore[misc]
        scene.start()
        scene.send(instances)
        scene.wait_states("dr", delivered=len(instances))
        for name in REJECTIONS:
            scene.wait_states(name, ready=len(instances))  # untried
        told = json.loads(scene.cli("queue", "--json"))["destinations"]
        for name, (result, _, _) in REJECTIONS.items():
            assert told[name]["breaker"] == "down"
            assert f"rejected {'permanently' if result == 1 else 'for now'}" in told[name]["last_error"]
            assert scene.gateway.metric("gateway_destination_up", destination=name) == 0
            scene.archive(name).on_associate = lambda request, number: Admission()
        scene.judge_all_delivered()
        for name in REJECTIONS:
            assert {one.attempts for one in scene.deliveries(name).values()} == {1}


@pytest.mark.parametrize("refusal", [Admission(reject=(1, 1, 1)), Admission(abort=(2, 0)), Admission(close="fin")])
def test_an_instance_whose_context_the_peer_cannot_bear_keeps_nobody_out(tmp_path: Path, refusal: Admission) -> None:
    """A peer that answers no association with one SOP class in it gets all else; that one is held at last."""
    bad = make_instance(SOPClassUID="1.3.6.1.4.1.5962.99.1", seed=50)
    others = list(make_instances(60))
    with Delivering(tmp_path, {"pacs": {"retry_max": "300 ms", "probe_max": "300 ms"}}) as scene:
        scene.archive("pacs").on_associate = lambda request, number: (
            refusal if any(c.abstract_syntax == bad.sop_class_uid for c in request.contexts) else Admission()
        )
        scene.start()
        scene.send([bad, *others[:20]])
        scene.gateway.wait_delivered(20, "pacs")
        rest = others[20:]

        def held() -> bool:
            found = scene.deliveries("pacs")[bad.sop_instance_uid]
            if found.state == "held":
                return True
            if rest:  # somebody must succeed meanwhile, else it is the peer that is to blame
                scene.send([rest.pop()])
            return False

        wait_until(held, 60, lambda: f"it to be held: {scene.deliveries('pacs')[bad.sop_instance_uid]}", interval_s=0.4)
        scene.settle()
        states = scene.states("pacs")
        assert states == {"held": 1, "delivered": sum(states.values()) - 1}
        assert "alone, while other instances succeed" in scene.deliveries("pacs")[bad.sop_instance_uid].reason
        scene.judge().assert_clean()


@pytest.mark.parametrize("refusal", [(2, 3, 2), (1, 1, 1)])
def test_a_peer_that_allows_one_association_is_not_asked_for_more_again_and_again(
    tmp_path: Path, refusal: tuple[int, int, int]
) -> None:
    """For now or for good, it says: it serves us on the one, so that it is neither down nor any instance to blame."""
    instances = list(make_instances(400, pixel_bytes=20_000))
    with Delivering(tmp_path, {"pacs": {"probe_min": "1 s"}}) as scene:
        pacs = scene.archive("pacs")
        rejected = []

        def admit(request: object, number: int) -> Admission:
            if pacs.tally.released + len(rejected) + 1 < number:
                rejected.append(number)
                return Admission(reject=refusal)
            return Admission()

        pacs.on_associate = admit
        pacs.on_store = lambda facts: Behaviour(delay_s=0.005)
        scene.start()
        began = time.monotonic()
        scene.send(instances, associations=4)
        scene.settle()
        assert scene.states("pacs") == {"delivered": 400}
        # Put off for 1 s, 2 s, 4 s, …: of a machine that is slow it is asked a few times more.
        assert len(rejected) <= 3 + math.log2(2 + time.monotonic() - began), rejected
        assert not scene.gateway.log_lines(event="destination_down")
        scene.judge().assert_clean()


def test_only_what_a_destination_does_not_accept_is_held_and_named(tmp_path: Path) -> None:
    taken = list(make_instances(10))
    wrong_class = make_instance(SOPClassUID=MR_STORAGE, Modality="MR", seed=50)
    wrong_syntax = make_instance(transfer_syntax_uid=RLE, seed=51)
    with Delivering(tmp_path, {"pacs": {}, "dr": {}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_associate = lambda request, number: Admission(
            refuse_classes=frozenset({MR_STORAGE}), accept=frozenset({wire.EXPLICIT_LE, wire.IMPLICIT_LE})
        )
        scene.start()
        scene.send([*taken[:5], wrong_class, wrong_syntax, *taken[5:]])
        scene.settle()
        found = scene.deliveries("pacs")
        for one, name in ((wrong_class, MR_STORAGE), (wrong_syntax, RLE)):
            held = found.pop(one.sop_instance_uid)
            assert (held.state, held.code) == ("held", "not_accepted")
            assert name in held.reason
            assert name in scene.cli("show", one.sop_instance_uid, "--json")
        assert {one.state for one in found.values()} == {"delivered"}
        assert scene.states("dr") == {"delivered": 12}
        scene.judge().assert_clean()


def test_where_the_senders_title_is_passed_on_a_rejected_sender_holds_up_nobody_else(tmp_path: Path) -> None:
    good, bad = list(make_instances(10)), list(make_instances(2, seed=2))
    with Delivering(tmp_path, {"pacs": {"calling_ae_title": "$source", "attempts": 2}}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_associate = lambda request, number: (
            Admission(reject=(1, 1, 3)) if request.calling != "GOOD" else Admission()
        )
        scene.start()
        scene.send(bad, calling="BAD")
        scene.send(good, calling="GOOD")
        scene.settle()
        found = scene.deliveries("pacs")
        assert {found[one.sop_instance_uid].state for one in good} == {"delivered"}
        for one in bad:
            assert (found[one.sop_instance_uid].state, found[one.sop_instance_uid].code) == ("held", "rejected")
        assert {stored.calling for stored in pacs.all_stored()} == {"GOOD"}
        scene.judge().assert_clean()


LIMITS = {"unlimited": 0, "four-gib": 0xFFFFFFFF, "large": 131072, "small": 4096, "tiny": 128, "smallest": 8}


def test_no_pdu_is_longer_than_the_peers_maximum_and_no_limit_works(tmp_path: Path) -> None:
    """The smallest that can be used is 8, a PDV header and two bytes; a peer that says 7 gets nothing."""
    large = make_instance(pixel_bytes=3 << 20)
    small = make_instance(pixel_bytes=2000, seed=2)
    rule = "rules:\n- {name: small, match: {Rows: '1'}, send_to: [%s]}\n- {name: large, send_to: [%s]}\n"
    slow = ("smallest", "unusable")
    fast = [name for name in LIMITS if name not in slow]
    with Delivering(
        tmp_path, [*LIMITS, "unusable"], rules={"1.yaml": rule % (", ".join([*LIMITS, *slow[1:]]), ", ".join(fast))}
    ) as scene:
        for name, limit in (*LIMITS.items(), ("unusable", 7)):
            scene.archive(name).max_pdu = limit
        scene.start()
        scene.send([large, small])
        sent: list[Instance] = [large, small]
        for name in LIMITS:
            scene.gateway.wait_delivered(1 if name in slow else 2, name)
        for name, limit in LIMITS.items():
            most = scene.archive(name).tally.most_pdu_bytes
            assert 0 < most <= (limit or 0xFFFFFFFF), name
            assert most <= 1 << 20, "and never more than we care to send"
        assert scene.archive("small").tally.most_pdu_bytes == 4096, "the peer's room is used"
        wait_until(lambda: scene.states("unusable") in ({"deferred": 1}, {"ready": 1}), 30, "unusable to wait")
        for uid in (one.sop_instance_uid for one in sent):
            assert scene.archive("unusable").stored(uid) == []
        scene.judge(routing=lambda uid: fast if uid == large.sop_instance_uid else list(LIMITS)).assert_clean(
            delivered=True
        )
