"""The audit trail of a real gateway, and its commands: what moved and was ordered stands in it, once."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit.files import files_in
from gateway.audit.read import TrailFilter, TrailRecord, page
from gateway.audit.verify import verify
from gateway.config.kinds import name_of
from tests.harness.checker import find_canaries
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.rawpeer import RawScu, Rejected
from tests.harness.syslogserver import SyslogServer
from tests.harness.tools import wait_until
from tests.integration.cli_site import Site, command, piped, running_site
from tests.unit.audit_schema import violations

QUICK = {"quiet": "300 ms", "latest": "2 s"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), audit=QUICK) as site:
        yield site


def folder_of(gateway: GatewayProcess) -> Path:
    return gateway.config.folder / "state" / "audit"


def records(gateway: GatewayProcess, *kinds: str) -> list[TrailRecord]:
    """The trail, the oldest first; every message is as the standard has it, and the chain is whole."""
    folder = folder_of(gateway)
    rows = list(reversed(page(folder, TrailFilter(kinds=kinds), 10_000).rows))
    assert [violations(row.xml) for row in rows if row.xml] == [[] for row in rows if row.xml]
    return rows


def moved(gateway: GatewayProcess) -> Counter[tuple[str, str, str, str]]:
    """Instances by (kind, who, about, patient) of all transfers."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for row in records(gateway, "begin", "transferred"):
        found[row.kind, row.who, row.about, row.patient_id] += row.instances
    return found


def settled(gateway: GatewayProcess, out: int) -> None:
    """Wait until so many instances are told to have gone out."""

    def count() -> int:
        return sum(n for (kind, who, *_), n in moved(gateway).items() if kind == "transferred" and "gateway" in who)

    wait_until(lambda: count() >= out, 20, lambda: f"{count()} of {out} went out")


def test_a_whole_day_of_a_gateway_is_in_its_trail(site: Site) -> None:
    instances = list(make_instances(6, seed=31, patients=2))
    site.send(instances).check()
    site.gateway.wait_idle()
    settled(site.gateway, 12)
    patients = Counter(one.canaries[1] for one in instances)
    host = name_of(socket.gethostname())
    found = moved(site.gateway)
    for patient, count in patients.items():
        assert found["transferred", "loopback", f"gateway@{host}", patient] == count
        for destination in ("pacs", "dr"):
            assert found["begin", f"gateway@{host}", destination, patient] == count
            assert found["transferred", f"gateway@{host}", destination, patient] == count
    one_each = Counter((row.kind, row.about, row.patient_id) for row in records(site.gateway, "begin", "transferred"))
    assert set(one_each.values()) == {1}, "one message an association, study, direction and destination"
    assert records(site.gateway)[0].kind == "application"


def test_orders_are_told_with_who_gave_them_and_whom_they_touched(site: Site) -> None:
    (instance,) = make_instances(1, seed=32)
    site.send([instance]).check()
    site.gateway.wait_idle()
    site.run("resend", "--study", instance.study_instance_uid, "--to", "dr", "--yes").check()
    site.run("pause", "dr").check()
    site.run("resume", "dr").check()

    def told() -> list[tuple[str, str, str]]:
        return [(row.kind, row.what, row.patient_id) for row in records(site.gateway, "accessed", "alert")]

    expected = [("accessed", "resend", instance.canaries[1]), ("alert", "pause", ""), ("alert", "unpause", "")]
    wait_until(lambda: [row for row in told() if row in expected] == expected, 15, lambda: str(told()))


def test_a_sender_that_nobody_knows_raises_an_alert(site: Site) -> None:
    with pytest.raises(Rejected), RawScu(site.gateway.config.port) as stranger:
        stranger.associate([("1.2.840.10008.1.1", "1.2.840.10008.1.2")], calling=b" " * 16)

    def told() -> list[tuple[str, str, int]]:
        return [(row.what, row.address, row.outcome) for row in records(site.gateway, "alert") if row.outcome]

    wait_until(lambda: told() == [("unknown sender", "127.0.0.1", 8)], 15, lambda: str(told()))


def test_patient_data_is_in_the_trail_and_at_the_syslog_server_and_nowhere_else(tmp_path: Path) -> None:
    with SyslogServer() as server:
        syslog = {"host": "127.0.0.1", "port": server.port, "transport": "tcp"}
        with running_site(tmp_path, audit={**QUICK, "syslog": syslog}) as site:
            instances = list(make_instances(4, seed=36, patients=2))
            site.send(instances).check()
            site.gateway.wait_idle()
            settled(site.gateway, 8)
            site.run("hold", "--study", instances[0].study_instance_uid, "--reason", "look", "--yes").check()
            site.gateway.metrics()
            site.gateway.stop()
            folder = folder_of(site.gateway)
            trail = b"".join(path.read_bytes() for path in files_in(folder))
            sent = "".join(server.messages)
            for instance in instances:
                name, patient = instance.canaries[:2]
                assert patient.encode() in trail and patient in sent
                assert name.encode() in trail and name in sent
            assert server.problems == []
            assert [violations(message) for message in server.messages] == [[] for _ in server.messages]
            told = records(site.gateway)
            assert server.messages == [row.xml for row in told[:-1]], "that it stopped is sent by the next start"
            config = site.gateway.config
            site.gateway.sinks.add_state_dir(config.folder / "state", config.folder / "state" / "spool")
            assert find_canaries(site.gateway.sinks.texts()) == []


def test_people_look_at_it_and_that_is_told_too(site: Site) -> None:
    (instance,) = make_instances(1, seed=33)
    site.send([instance]).check()
    site.gateway.wait_idle()
    wait_until(
        lambda: any(row.patient_id == instance.canaries[1] for row in records(site.gateway, "transferred")),
        15,
        lambda: "",
    )
    with piped(f"{instance.canaries[1]}\n") as stdin:
        shown = site.run("audit", "show", "--patient-id", "-", "--kind", "transferred", stdin=stdin).check().stdout
    assert instance.study_instance_uid in shown and "loopback" in shown
    found = site.json("audit", "show", "--study", instance.study_instance_uid, "--limit", "1")
    assert len(found) == 1 and found[0]["patient_id"] == instance.canaries[1]
    assert "AuditMessage" in site.run("audit", "show", "--xml", "--limit", "1").check().stdout
    wait_until(lambda: len(records(site.gateway, "trail-read")) >= 3, 15, lambda: "three looks")
    refused = site.run("audit", "show", "--from", "yesterday")
    assert refused.returncode == 2 and "2026-01-31" in refused.stderr


def test_the_trail_is_verified_and_what_was_changed_is_found(site: Site, tmp_path: Path) -> None:
    verified = site.run("audit", "verify").check().stdout
    assert "are as they were written" in verified
    copies = []
    for path in files_in(folder_of(site.gateway)):
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes())
    raw = copies[0].read_bytes()
    copies[0].write_bytes(raw.replace(b"loopback", b"elsewher", 1))
    changed = command("audit", "verify", *copies, cwd=tmp_path)
    assert changed.returncode == 1
    assert "BROKEN: trail-000000000001.jsonl, line " in changed.stdout and "was changed" in changed.stdout
    as_json = command("audit", "verify", *copies, "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["fault"]["file"] == "trail-000000000001.jsonl"
    gone = command("audit", "verify", tmp_path / "nowhere", cwd=tmp_path)
    assert (gone.returncode, gone.stdout) == (2, "")


def test_a_stop_is_told_behind_all_that_moved_and_a_start_finds_what_was_changed_meanwhile(tmp_path: Path) -> None:
    with running_site(tmp_path, audit={"quiet": "1 h", "latest": "24 h"}) as site:
        instances = list(make_instances(3, seed=34))
        site.send(instances).check()

        def states() -> list[str]:
            return [state for one in instances for state in site.deliveries(one.sop_instance_uid).values()]

        wait_until(lambda: states() == ["delivered"] * 6, 30, lambda: f"{states()}")
        site.gateway.stop()
        rows = records(site.gateway)
        assert (rows[0].kind, rows[-1].kind) == ("application", "application"), rows
        told = Counter[str]()
        for row in rows:
            told[row.patient_id] += row.instances if row.kind == "transferred" else 0
        assert +told == Counter(instance.canaries[1] for instance in instances * 3), rows  # in, and out to two
        assert "Application Stop" in rows[-1].xml
        head = site.run("audit", "verify", "--json").check().stdout
        assert json.loads(head)["last"] == rows[-1].seq

        (path,) = files_in(folder_of(site.gateway))
        path.write_bytes(path.read_bytes().replace(b"loopback", b"elsewher", 1))
        site.gateway.start()
        alerts = ["rules changed", "trail broken"]
        wait_until(lambda: [row.what for row in records(site.gateway, "alert")] == alerts, 15, lambda: "an alert")
        assert site.run("audit", "verify").returncode == 1


def test_a_transfer_is_told_once_whoever_is_killed_right_after(tmp_path: Path) -> None:
    with running_site(tmp_path, audit=QUICK) as site:
        sent = 0
        for role in ("console", "worker", "forwarder"):
            instances = list(make_instances(4, seed=40 + sent))
            site.send(instances).check()
            sent += len(instances)
            site.gateway.kill_role(role)
            site.gateway.wait_ready()
        site.gateway.wait_idle()
        settled(site.gateway, 2 * sent)
        site.gateway.stop()
        came = sum(row.instances for row in records(site.gateway, "transferred") if row.who == "loopback")
        assert came == sent
        assert verify(files_in(folder_of(site.gateway))).fault is None


def test_a_gateway_whose_key_is_missing_does_not_start(tmp_path: Path) -> None:
    config = GatewayConfig(tmp_path, {"pacs": 1}, audit={"key": str(tmp_path / "none")})
    config.write()
    refused = command("run", "--config", config.path, cwd=tmp_path)
    assert refused.returncode == 2 and "audit.key cannot be read" in refused.stderr
