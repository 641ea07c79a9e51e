"""The operator's commands on a running gateway: what is shown is so, and what is ordered happens at the archives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.harness.archive import Behaviour
from tests.harness.backends import about_sqlite
from tests.harness.data import make_instance, make_instances
from tests.harness.ledgerrows import look
from tests.harness.tools import wait_until
from tests.integration.cli_site import Site, piped, running_site, terminal


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


def audit(site: Site) -> list[tuple[str, str, str, int]]:
    """(actor, action, reason, count) of every order, in order."""
    with look(site.gateway.config.ledger_source) as ask:
        return ask("SELECT actor, action, reason, count FROM audit ORDER BY audit_key")  # type: ignore[return-value]


def test_what_was_sent_is_listed_by_study_and_by_instance_and_shown_with_its_deliveries(site: Site) -> None:
    instance, other = make_instances(2, seed=11, patients=2)
    sent = site.send([instance, other]).check()
    assert sent.stdout.startswith("2 of 2 stored, ")
    assert sent.stderr == ""
    site.gateway.wait_idle()

    with piped(f"{instance.canaries[1]}\n") as stdin:
        studies = site.run("list", "--patient-id", "-", stdin=stdin).check().stdout
    assert instance.study_instance_uid in studies
    assert "dr: delivered, pacs: delivered" in studies
    assert other.study_instance_uid not in studies

    listed = site.run("list", "--instances", "--study", instance.study_instance_uid).check().stdout
    assert [line.split()[-4:] for line in listed.splitlines()[2:]] == [["dr:", "delivered,", "pacs:", "delivered"]]

    shown = site.run("show", instance.sop_instance_uid).check().stdout
    for text in (instance.sop_instance_uid, instance.canaries[0], "loopback", "images", "0x0000", "success"):
        assert text in shown, text
    (row,) = site.json("show", instance.sop_instance_uid)
    assert row["state"] == "settled"
    assert {one["destination"]: one["state"] for one in row["deliveries"]} == {"pacs": "delivered", "dr": "delivered"}
    assert site.json("show", row["instance_id"]) == [row]


def test_what_is_not_there_is_said_and_not_silently_nothing(site: Site) -> None:
    missing = site.run("show", "1.2.3.4")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "'1.2.3.4'" in missing.stderr
    assert site.run("list", "--study", "1.2.3.4").check().stdout == "no study matches\n"
    misspelt = site.run("list", "--destination", "pcas")
    assert misspelt.returncode == 2
    assert "there is no destination 'pcas' (there are: dr, pacs)" in misspelt.stderr
    assert site.run("pause", "pcas").returncode == 2
    assert "pcas" in site.run("resend", "--uid", "1.2", "--to", "pcas", "--yes").stderr
    nothing_named = site.run("cancel", "--reason", "x", "--yes")
    assert nothing_named.returncode == 2
    assert "--all" in nothing_named.stderr


def test_a_list_says_when_it_shows_the_newest_only(site: Site) -> None:
    site.send(list(make_instances(2, seed=12))).check()
    site.gateway.wait_idle()
    cut = site.run("list", "--instances", "--limit", "1")
    assert len(cut.check().stdout.splitlines()) == 3
    assert "only the newest 1 " in cut.stderr


@pytest.mark.parametrize("source", [piped, terminal])
def test_a_patient_is_named_on_standard_input_a_line_an_option_in_the_order_given(
    site: Site, source: Callable[[str], AbstractContextManager[int]]
) -> None:
    one = make_instance(seed=23, PatientID="CANARY 23", AccessionNumber="A-23")
    other = make_instance(seed=24, PatientID="CANARY 23", AccessionNumber="A-24")
    site.send([one, other]).check()
    site.gateway.wait_idle()
    for options, lines in (
        (("--patient-id", "-", "--accession", "-"), "CANARY 23\nA-24\n"),
        (("--accession", "-", "--patient-id", "-"), "A-24\nCANARY 23\n"),
        (("--accession", "-", "--patient-id", "CANARY 23"), "A-24\n"),
    ):
        with source(lines) as stdin:
            said = site.run("list", "--json", *options, stdin=stdin).check()
        assert {row["sop_instance_uid"] for row in json.loads(said.stdout)} == {other.sop_instance_uid}
        assert ("Patient ID: " in said.stderr) == (source is terminal and lines.count("CANARY") == 1)
    with source("CANARY 23\ny\n") as stdin:
        yes = ("--yes",) if source is piped else ()
        held = site.run("hold", "--patient-id", "-", "--reason", "x", *yes, stdin=stdin).check()
    assert held.stdout == "0 held\n", "both were delivered already"


@pytest.mark.parametrize("source", [piped, terminal])
@pytest.mark.parametrize("given", ["", "\n", " \n"])
def test_no_patient_on_standard_input_is_not_every_patient(
    site: Site, source: Callable[[str], AbstractContextManager[int]], given: str
) -> None:
    before = audit(site)
    with source(given or ("\x04" if source is terminal else "")) as stdin:
        said = site.run("cancel", "--patient-id", "-", "--reason", "x", "--yes", stdin=stdin)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.endswith("gateway: --patient-id -: standard input had no line for it\n")
    assert audit(site) == before


def test_show_says_when_it_shows_the_newest_arrivals_only(site: Site) -> None:
    (instance,) = make_instances(1, seed=22)
    uid = instance.sop_instance_uid
    site.send([instance] * 11).check()
    site.gateway.wait_idle()
    cut = site.run("show", uid).check()
    assert cut.stdout.count("\ninstance ") == 9, "each but the first after another"
    assert cut.stderr == "only the newest 10 arrivals of this UID are shown; --limit shows more\n"
    assert len(json.loads(site.run("show", uid, "--json").check().stdout)) == 10
    whole = site.run("show", uid, "--limit", "11", "--json").check()
    assert len(json.loads(whole.stdout)) == 11
    assert whole.stderr == ""


def test_a_pause_keeps_instances_waiting_and_the_queue_shows_them(site: Site) -> None:
    assert site.run("pause", "dr").check().stdout == "dr: paused\n"
    try:
        (instance,) = make_instances(1, seed=13)
        site.send([instance]).check()
        site.wait_routed(instance.sop_instance_uid)
        wait_until(lambda: instance.sop_instance_uid in site.pacs.contents(), 30)
        queue = site.json("queue")
        assert queue["destinations"]["dr"]["paused"] is True
        assert queue["destinations"]["dr"]["states"]["ready"] == 1
        assert queue["destinations"]["dr"]["by_age_s"]["300"] == 1
        assert queue["instances"]["routed"] == 1
        lines = site.run("queue").check().stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert any(line.split()[:4] == ["dr", "paused", "1", "1"] for line in lines)
        assert site.gateway.metric("gateway_destination_paused", destination="dr") == 1
        assert instance.sop_instance_uid not in site.dr.contents()
    finally:
        assert site.run("resume", "dr").check().stdout == "dr: resumed\n"
    wait_until(lambda: instance.sop_instance_uid in site.dr.contents(), 30)
    assert [(action, reason) for _, action, reason, _ in audit(site) if "pause" in action][-2:] == [
        ("pause", ""),
        ("unpause", ""),
    ]


def test_what_is_held_is_not_sent_until_it_is_released(site: Site) -> None:
    site.run("pause", "dr").check()
    (instance,) = make_instances(1, seed=14)
    site.send([instance]).check()
    site.wait_routed(instance.sop_instance_uid)
    which = ("--study", instance.study_instance_uid, "--destination", "dr")
    asked = site.run("hold", *which, "--reason", "wrong patient")
    assert asked.returncode == 2, "nobody can be asked here, and --yes was not given"
    assert "1 instance meant" in asked.stderr
    assert "--yes" in asked.stderr
    assert site.json("hold", *which, "--reason", "wrong patient", "--yes") == {"held": 1, "claimed": 0}
    site.run("resume", "dr").check()
    assert site.deliveries(instance.sop_instance_uid)["dr"] == "held"
    assert "wrong patient" in site.run("show", instance.sop_instance_uid).check().stdout
    assert [row["sop_instance_uid"] for row in site.json("list", "--state", "held", "--destination", "dr")] == [
        instance.sop_instance_uid
    ]
    # What is behind it goes on: so the held one was passed over, not merely not yet reached.
    (behind,) = make_instances(1, seed=15)
    site.send([behind]).check()
    wait_until(lambda: behind.sop_instance_uid in site.dr.contents(), 30)
    assert instance.sop_instance_uid not in site.dr.contents()
    assert site.run("release", *which, "--yes").check().stdout == "1 released\n"
    wait_until(lambda: site.dr.contents().get(instance.sop_instance_uid) == [instance.sha256], 30)
    orders = audit(site)[-4:]
    assert ("hold", "wrong patient", 1) in [order[1:] for order in orders]
    assert all(actor.startswith("cli") for actor, *_ in orders)


@pytest.mark.parametrize("answer", ["\x04", "\n", "n\n", "yes please\n"])
def test_an_order_is_not_carried_out_unless_a_person_says_yes(site: Site, answer: str) -> None:
    before = audit(site)
    with terminal(answer) as stdin:
        said = site.run("cancel", "--all", "--reason", "no", stdin=stdin)
    assert (said.returncode, said.stdout) == (2, "")
    question, refusal = said.stderr.split("[y/N] ")
    assert question.endswith("meant; go on? ")
    assert refusal.strip() == "gateway: nothing was changed"
    assert audit(site) == before


def test_a_yes_on_the_terminal_will_do(site: Site) -> None:
    with terminal("y\n") as stdin:
        said = site.run("hold", "--uid", "1.2.3.4", "--reason", "nothing", stdin=stdin).check()
    assert said.stdout == "0 held\n"


def test_what_is_resent_arrives_a_second_time_where_it_is_wanted_and_nowhere_else(site: Site) -> None:
    (instance,) = make_instances(1, seed=16)
    site.send([instance]).check()
    uid = instance.sop_instance_uid
    wait_until(lambda: uid in site.pacs.contents() and uid in site.dr.contents(), 30)
    site.gateway.wait_idle()
    assert site.run("resend", "--uid", uid, "--to", "dr", "--yes").check().stdout == "1 to be sent again\n"
    wait_until(lambda: site.dr.contents()[uid] == [instance.sha256] * 2, 30)
    site.gateway.wait_idle()
    assert site.pacs.contents()[uid] == [instance.sha256]


def test_what_is_cancelled_is_never_sent_and_the_instance_is_settled(site: Site) -> None:
    site.run("pause", "dr").check()
    (instance,) = make_instances(1, seed=17)
    uid = instance.sop_instance_uid
    site.send([instance]).check()
    wait_until(lambda: uid in site.pacs.contents(), 30)
    cancelled = site.json("cancel", "--uid", uid, "--destination", "dr", "--reason", "consent withdrawn", "--yes")
    assert cancelled == {"cancelled": 1, "claimed": 0}
    site.run("resume", "dr").check()
    wait_until(lambda: site.wait_routed(uid)["state"] == "settled", 30)
    assert site.deliveries(uid) == {"pacs": "delivered", "dr": "cancelled"}
    (behind,) = make_instances(1, seed=18)
    site.send([behind]).check()
    wait_until(lambda: behind.sop_instance_uid in site.dr.contents(), 30)
    assert uid not in site.dr.contents()


def test_an_order_tells_of_what_a_forwarder_has_claimed_and_a_pause_makes_it_reach_that(site: Site) -> None:
    gate, as_before = threading.Event(), site.dr.on_store
    site.dr.on_store = lambda facts: Behaviour(wait_for=gate)
    instances = list(make_instances(12, seed=23, patients=1))
    order = ("cancel", "--destination", "dr", "--patient-id", instances[0].canaries[1], "--reason", "test", "--yes")
    try:
        site.send(instances).check()
        wait_until(lambda: site.json("queue")["destinations"]["dr"]["states"].get("leased") == 12, 30, "the claims")
        ordered = site.run(*order)
        assert (ordered.returncode, ordered.stdout) == (1, "0 cancelled\n")
        assert ordered.stderr.startswith("12 more are claimed by a forwarder and were not touched")
        site.run("pause", "dr").check()
        wait_until(lambda: site.json("queue")["destinations"]["dr"]["states"].get("ready", 0) >= 4, 30, "the give-back")
        ordered = site.run(*order, "--json")
        assert ordered.returncode == 1, "some are being sent"
        told = json.loads(ordered.stdout)
        assert told["cancelled"] >= 4
        assert sum(told.values()) == 12
    finally:
        gate.set()
        site.dr.on_store = as_before
        site.run("resume", "dr").check()
    site.gateway.wait_idle()
    assert len({one.sop_instance_uid for one in instances} & set(site.dr.contents())) == told["claimed"]


def test_an_instance_that_no_rule_sends_is_held_and_goes_when_the_rules_are_better_and_it_is_released(
    site: Site,
) -> None:
    unthought = make_instance(seed=19, Modality="DX")
    site.send([unthought]).check()
    assert site.wait_routed(unthought.sop_instance_uid)["reason"] == "no rule matches"
    assert "held without a route 1" in site.run("queue").check().stdout
    config = site.gateway.config
    before = site.json("queue")["rules_revision"]
    (config.rules_dir / "20-radiographs.yaml").write_text(
        "rules:\n  - name: radiographs\n    match: {Modality: DX}\n    send_to: [pacs]\n"
    )
    wait_until(lambda: site.json("queue")["rules_revision"] != before, 30, "the rules to be taken")
    site.run("release", "--uid", unthought.sop_instance_uid, "--yes").check()
    wait_until(lambda: unthought.sop_instance_uid in site.pacs.contents(), 30)


HOSTILE = (
    "\x1b[31mRED\x1b[0m^ESC",
    "CR\r\nLF^SPLIT",
    "[bold]MARKUP[/bold]^RICH",
    "<script>^X",
    "Müller^Jörg",
    "\u202eLTR^BIDI",
)


def test_hostile_names_are_shown_as_text_and_foreign_ones_as_they_are(site: Site) -> None:
    hostile = [
        make_instance(
            seed=100 + index, PatientName=name, StudyDescription=f":smile: {name}", SpecificCharacterSet="ISO_IR 192"
        )
        for index, name in enumerate(HOSTILE)
    ]
    site.send(hostile, "--calling", "[red]EVIL[/red]").check()
    site.gateway.wait_idle()
    listing = site.run("list").check().stdout + site.run("list", "--instances").check().stdout
    showing = "".join(site.run("show", one.sop_instance_uid).check().stdout for one in hostile)
    path = site.folder / "inbox" / f"{hostile[0].sop_instance_uid}.dcm"
    site.gateway.config.rules_dir.joinpath("05-names.yaml").write_text(
        "rules:\n  - name: names\n    match: {PatientName: nobody}\n    send_to: [pacs]\n"
    )
    explained = site.run("rules", "explain", path).check().stdout
    for text in (listing, showing, explained):
        assert not [char for char in text if not char.isprintable() and char != "\n"]
    for text in (listing, showing):
        assert "\\x1b[31mRED" in text
        assert "CR\\r\\nLF^SPLIT" in text
        assert "[bold]MARKUP[/bold]^RICH" in text
        assert "Müller^Jörg" in text
        assert "\\u202eLTR^BIDI" in text
    assert "[red]EVIL[/red]" in showing
    assert ":smile:" in showing
    assert "\\x1b[31mRED" in explained
    rows = [line for line in site.run("list", "--instances").check().stdout.splitlines() if line[:1].isdigit()]
    assert len(rows) == len(site.json("list", "--instances")), "a row is a line, whatever is in it"
    assert json.dumps(site.json("list")).isascii()


def test_a_release_tells_what_it_leaves_because_the_instance_or_the_destination_does_not_allow_it(
    tmp_path: Path,
) -> None:
    damaged, good = make_instances(2, seed=41)
    with running_site(tmp_path) as site:
        config = site.gateway.config
        for name in ("pacs", "dr"):
            site.run("pause", name).check()
        site.send([damaged, good]).check()
        for one in (damaged, good):
            site.wait_routed(one.sop_instance_uid)
        (row,) = site.json("list", "--uid", damaged.sop_instance_uid)
        next(config.spool_dir.glob(f"incoming/*/*/{row['instance_id']}.dcm")).unlink()
        site.run("resume", "pacs").check()
        wait_until(lambda: set(site.deliveries(damaged.sop_instance_uid).values()) == {"held"}, 30, "the quarantine")
        (config.rules_dir / "10-site.yaml").write_text("rules:\n  - {name: images, send_to: [pacs]}\n")
        del config.document["destinations"]["dr"]
        assert site.gateway.stop() == 0
        config.write()
        site.gateway.start()
        assert site.deliveries(good.sop_instance_uid) == {"pacs": "delivered", "dr": "held"}

        released = site.run("release", "--all", "--yes")
        assert (released.returncode, released.stdout) == (1, "0 released\n")
        assert "2 more stay as they are: an instance that is quarantined is released by its id alone" in released.stderr
        assert "1 more stay as they are: their destination is not configured" in released.stderr
        rehearsed = site.run("release", "--state", "held", "--destination", "dr", "--dry-run", "--json")
        told = {"released": 0, "overtaken": 0, "unconfigured": 1, "quarantined": 1, "dry_run": True}
        assert (rehearsed.returncode, json.loads(rehearsed.stdout)) == (1, told)


def test_recover_is_refused_while_the_gateway_runs(site: Site) -> None:
    refused = site.run("recover")
    assert refused.returncode == 2
    assert f"process {site.gateway.supervisor_pid()}" in refused.stderr
    assert "stop it first" in refused.stderr


@about_sqlite
def test_a_lost_ledger_is_rebuilt_and_what_it_held_is_sent_after_a_release(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        for name in ("pacs", "dr"):
            site.run("pause", name).check()
        instances = list(make_instances(3, seed=21))
        site.send(instances).check()
        wait_until(lambda: site.json("queue")["instances"].get("routed") == 3, 30, "all to be routed")
        assert site.gateway.stop() == 0
        ledger = site.gateway.config.ledger_path
        for part in ledger.parent.glob("ledger.db*"):
            part.unlink()
        started = site.run("run")
        assert started.returncode == 2
        assert "gateway recover" in started.stderr
        assert site.json("recover") == {"put_aside": "", "recovered": 3, "damaged": []}
        again = site.run("recover").check().stdout
        assert "the old ledger is kept as" in again
        assert "3 instances in the new ledger, held (recovered)" in again
        site.gateway.start(timeout_s=60)
        assert site.json("queue")["instances"]["held"] == 3
        assert site.pacs.count == 0
        assert site.run("release", "--state", "held", "--yes").check().stdout == "3 released\n"
        wait_until(lambda: len(site.pacs.contents()) == 3 and len(site.dr.contents()) == 3, 60)
        assert {uid: shas[0] for uid, shas in site.pacs.contents().items()} == {
            one.sop_instance_uid: one.sha256 for one in instances
        }


def test_an_order_is_rehearsed_and_reasons_of_orders_are_kept(site: Site) -> None:
    site.run("pause", "dr", "--reason", "a new disk").check()
    try:
        (instance,) = make_instances(1, seed=31)
        site.send([instance]).check()
        site.wait_routed(instance.sop_instance_uid)
        which = ("--uid", instance.sop_instance_uid, "--destination", "dr")
        rehearsed = site.run("cancel", *which, "--reason", "test", "--dry-run").check()
        assert rehearsed.stdout == "1 would be cancelled\n"
        assert site.deliveries(instance.sop_instance_uid)["dr"] == "ready"
        site.run("hold", *which, "--reason", "look at it first", "--yes").check()
        because = ("--state", "held", "--because", "look at it first", "--code", "operator")
        assert json.loads(site.run("release", *because, "--dry-run", "--json").check().stdout) == {
            "released": 1,
            "overtaken": 0,
            "unconfigured": 0,
            "quarantined": 0,
            "dry_run": True,
        }
        assert site.run("release", *because, "--reason", "looked at", "--yes").check().stdout == "1 released\n"
    finally:
        site.run("resume", "dr").check()
    wait_until(lambda: instance.sop_instance_uid in site.dr.contents(), 30)
    given = {(action, reason) for _, action, reason, _ in audit(site)}
    assert {("pause", "a new disk"), ("hold", "look at it first"), ("release", "looked at")} <= given


def test_a_destination_that_is_up_is_not_probed_and_what_is_not_deferred_is_not_tried(site: Site) -> None:
    assert site.run("probe", "dr", "--reason", "x").check().stdout == "dr: is not down: nothing to probe\n"
    assert site.run("retry", "dr").check().stdout == "dr: 0 tried now, that would have waited\n"
    assert site.run("probe", "rd").returncode == 2


def test_instances_are_exported_whole_for_their_owner_alone_and_the_audit_trail_says_why(site: Site) -> None:
    instances = list(make_instances(2, seed=33))
    site.send(instances).check()
    site.gateway.wait_idle()
    folder = site.folder / "exported"
    which = ("--study", instances[0].study_instance_uid, "--to", folder, "--reason", "second opinion")
    said = site.run("export", *which).check().stdout
    assert said.startswith("2 instances exported into ")
    by_uid = {dcmread(path).SOPInstanceUID: path for path in folder.iterdir()}
    for instance in instances:
        path = by_uid[instance.sop_instance_uid]
        assert path.read_bytes().endswith(instance.data)
        assert path.stat().st_mode & 0o777 == 0o600
    assert [row[1:] for row in audit(site)[-2:]] == [("download", "second opinion", 1)] * 2
    again = site.run("export", *which)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    other = site.run(
        "export", "--uid", instances[0].sop_instance_uid, "--chain", "x~1", "--to", folder, "--reason", "x"
    )
    assert other.returncode == 1
    assert "not exported" in other.stderr
