"""`gateway check`, `echo`, `send` and `rules` as a person runs them: what they print, where, and their exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.app.checked import findings
from gateway.cli import main
from gateway.console.services.system import Level
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Role
from gateway.spool import shared
from tests.harness.archive import ACCEPT, Admission, Behaviour, OurArchive, by_uid
from tests.harness.archivescript import StoreFacts
from tests.harness.certificates import CertificateAuthority
from tests.harness.data import make_instance, make_instances, write_part10
from tests.harness.gatewayprocess import GatewayConfig
from tests.harness.syslogserver import SyslogServer
from tests.harness.tools import Completed, free_port
from tests.integration.cli_site import RULES, command


@pytest.fixture
def archive() -> Iterator[OurArchive]:
    with OurArchive() as archive:
        yield archive


@pytest.fixture
def config(tmp_path: Path, archive: OurArchive) -> GatewayConfig:
    config = GatewayConfig(tmp_path, {"pacs": archive.port, "dr": archive.port}, rules={"10-site.yaml": RULES})
    config.write()
    return config


def on(config: GatewayConfig, *words: str | Path) -> Completed:
    return command(*words, "--config", config.path, cwd=config.folder)


# ── check ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_configuration_is_called_good_and_every_destination_is_asked(
    config: GatewayConfig, archive: OurArchive
) -> None:
    said = on(config, "check").check()
    assert f"{config.path}: good" in said.stdout
    assert "2 rules and 1 test in 1 file, good" in said.stdout
    assert said.stdout.count(" answers ") == 2
    assert said.stderr == ""
    assert archive.tally.echoes == 2


def test_a_destination_that_does_not_answer_is_exit_code_1_and_named(config: GatewayConfig) -> None:
    config.document["destinations"]["dr"]["port"] = nobody = free_port()
    config.write()
    said = on(config, "check")
    assert said.returncode == 1
    (line,) = [line for line in said.stdout.splitlines() if "does not answer" in line]
    assert line.split()[:2] == ["dr", f"DR@127.0.0.1:{nobody}"]
    report = json.loads(on(config, "check", "--json").stdout)
    assert report["problems"] == []
    assert report["destinations"]["pacs"]["reachable"] is True
    assert report["destinations"]["dr"]["reachable"] is False
    assert report["rules"]["files"] == ["10-site.yaml"]
    unasked = on(config, "check", "--no-echo").check()
    assert "not contacted" in unasked.stdout


def test_the_syslog_server_of_the_audit_trail_is_asked_for_and_gets_nothing(
    config: GatewayConfig, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    stranger = CertificateAuthority(tmp_path / "other").issue("stranger")
    with SyslogServer(authority.issue("server"), authority) as server:
        syslog: dict[str, object] = {"host": "127.0.0.1", "port": server.port, "ca": str(authority.path)}
        config.document["audit"] = {"syslog": syslog}
        for issued, answers in ((authority.issue("gateway"), True), (stranger, False)):
            syslog |= {"certificate": str(issued.certificate), "key": str(issued.key)}
            config.write()
            report = on(config, "check", "--json")
            assert report.returncode == int(not answers)
            assert json.loads(report.stdout)["audit"]["reachable"] is answers, report.stdout
            assert json.loads(on(config, "check", "--json", "--no-echo").check().stdout)["audit"] is None
        assert server.messages == []
    said = on(config, "check")
    assert said.returncode == 1
    assert "\naudit          error: the syslog server cannot be reached: Connection refused" in said.stdout
    (finding,) = [each for each in findings(config.path, echo=True) if each.about == "audit"]
    assert finding.level is Level.ERROR and "cannot be reached" in finding.text


def test_a_ledger_on_a_server_that_does_not_fit_is_exit_code_1_and_named(config: GatewayConfig) -> None:
    config.document["ledger"] = {"url": f"postgresql://gateway:secret-word@127.0.0.1:{free_port()}/gateway"}
    config.document["spool"]["shared"] = False
    config.write()
    said = on(config, "check", "--no-echo")
    assert said.returncode == 1
    (line,) = [line for line in said.stdout.splitlines() if line.startswith("ledger ")]
    assert line.startswith("ledger         error: ")
    assert line.endswith("no server listens there: look at host and port, and at the server")
    report = on(config, "check", "--no-echo", "--json")
    assert report.returncode == 1
    assert len(json.loads(report.stdout)["ledger"]["errors"]) == 1
    assert "secret-word" not in said.stdout + said.stderr + report.stdout


def test_a_host_that_has_another_spool_is_exit_code_1_and_named(config: GatewayConfig) -> None:
    config.document["spool"]["shared"] = True
    config.write()
    assert "nobody knows of other hosts" in on(config, "check").check().stdout, "there is no ledger yet"
    config.state_dir.mkdir()
    ledger = SqliteLedger.open(config.ledger_path)
    ledger.open_session(Role.CONSOLE, "reading-room", 1, 1, "", "b" * 32)
    ledger.close()
    said = on(config, "check", "--no-echo")
    assert said.returncode == 1
    assert "hosts          error: host reading-room runs, and does not show itself" in said.stdout
    report = json.loads(on(config, "check", "--no-echo", "--json").stdout)
    assert "reading-room" in report["hosts"]["errors"][0]
    assert not (config.state_dir / "home").exists(), "a check makes nothing"
    shared.join(config.spool_dir, "b" * 32)
    shared.show(config.spool_dir, "b" * 32, 1)
    on(config, "check", "--no-echo").check()


def test_everything_that_is_wrong_is_said_at_once_each_with_its_place(config: GatewayConfig) -> None:
    config.path.write_text(
        "ae_title: MUCH_TOO_LONG_A_TITLE\n"
        "spool: {min_free: 5}\n"
        "rules: {dir: ./rules}\n"
        "listeners:\n"
        "  main: {host: 127.0.0.1, port: 70000}\n"
        "destinations:\n"
        "  pacs: {ae_title: PACS, host: 127.0.0.1, port: 104, retry: 5 s}\n"
    )
    (config.rules_dir / "10-site.yaml").write_text(
        "rules:\n  - name: a\n    match: {Modalty: CT}\n    send_to: [pacs]\n  - name: b\n    send_to: [nowhere]\n"
    )
    said = on(config, "check")
    assert said.returncode == 2
    assert said.stdout == ""
    problems = said.stderr.splitlines()
    rules = config.rules_dir / "10-site.yaml"
    for place, words in (
        (f"{config.path}:1:11: ", "ae_title"),
        (f"{config.path}:2:19: ", "spool.min_free"),
        (f"{config.path}:5:33: ", "70000"),
        (f"{config.path}:7:", "retry"),
        (f"{rules}:3:13: ", "Modality"),
        (f"{rules}:6:15: ", "nowhere"),
    ):
        assert any(line.startswith(place) and words in line for line in problems), (place, words, problems)
    assert problems[-1] == f"gateway: {len(problems) - 1} problems; nothing was changed"
    as_json = on(config, "check", "--json")
    assert as_json.returncode == 2
    found = json.loads(as_json.stdout)["problems"]
    assert [f"{one['file']}:{one['line']}:{one['column']}: {one['message']}" for one in found] == problems[:-1]


def test_a_rule_test_that_fails_is_a_problem_with_a_place(config: GatewayConfig) -> None:
    config.rules["20-more.yaml"] = (
        "tests:\n  - name: an MR stays away from dr\n    instance: {Modality: MR}\n    expect: {destinations: [pacs]}\n"
    )
    config.write()
    said = on(config, "check", "--no-echo")
    assert said.returncode == 2
    assert f"{config.rules_dir / '20-more.yaml'}:2:" in said.stderr
    assert "expected sent to pacs, got sent to dr, pacs" in said.stderr


def test_no_configuration_says_where_it_was_looked_for_and_how_to_name_one(tmp_path: Path) -> None:
    said = command("check", cwd=tmp_path)
    assert said.returncode == 2
    assert said.stderr.startswith("gateway.yaml:0:0: there is no such file: name one with --config")


# ── echo ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_echo_takes_a_destination_or_an_address(config: GatewayConfig, archive: OurArchive) -> None:
    assert on(config, "echo", "pacs").check().stdout.startswith("0x0000 ")
    address = f"127.0.0.1:{archive.port}"
    assert command("echo", address, "--called", "X", "--calling", "ME", cwd=config.folder).check().stdout
    assert archive.tally.associations[-1].calling == "ME"
    assert archive.tally.echoes == 2


def test_echo_counts_a_peer_without_verification_as_reachable(config: GatewayConfig, archive: OurArchive) -> None:
    archive.on_associate = lambda request, number: Admission(refuse_verification=True)
    assert "does not accept Verification" in on(config, "echo", "pacs").check().stdout


def test_echo_says_why_there_is_none(config: GatewayConfig, archive: OurArchive) -> None:
    archive.on_associate = lambda request, number: Admission(reject=(1, 1, 7))
    rejected = on(config, "echo", "pacs")
    assert rejected.returncode == 1
    assert "called AE title not recognized" in rejected.stdout
    nobody = command("echo", f"127.0.0.1:{free_port()}", cwd=config.folder)
    assert nobody.returncode == 1
    assert nobody.stdout.endswith(": no connection (Connection refused)\n")
    unknown = on(config, "echo", "pcas")
    assert unknown.returncode == 2
    assert "there is no destination 'pcas' (there are: pacs, dr)" in unknown.stderr
    assert command("echo", "here:99999", cwd=config.folder).returncode == 2


@pytest.mark.parametrize("option", ["--called", "--calling"])
@pytest.mark.parametrize("title", ["SEVENTEEN_LETTERS", "A\nB", "A\\B", "É", "", "  "])
@pytest.mark.parametrize("words", [("echo", "127.0.0.1:104"), ("send", "x.dcm", "--to", "127.0.0.1:104")])
def test_what_is_no_ae_title_is_refused_before_anything_is_sent(
    words: tuple[str, ...], title: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, option, title])
    assert ended.value.code == 2
    assert f"argument {option}: {title!r} is not an AE title: " in capsys.readouterr().err


@pytest.mark.parametrize("port", ["²", "1²", "٣", "0", "65536", "+104", "1_0", " 104", "-1", ""])
def test_what_is_no_port_is_no_address(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["echo", f"127.0.0.1:{port}"]) == 2
    assert "write HOST:PORT" in capsys.readouterr().err


# ── send ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_send_names_what_was_refused_and_stores_the_rest_unaltered(archive: OurArchive, tmp_path: Path) -> None:
    instances = list(make_instances(5, seed=31))
    for instance in instances:
        write_part10(tmp_path / "in" / f"{instance.sop_instance_uid[-6:]}.dcm", instance)
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    unwanted = instances[3].sop_instance_uid
    archive.on_store = by_uid({unwanted: Behaviour(status=0xA900, store=False)})
    words = ("send", "in", "--to", f"127.0.0.1:{archive.port}", "--called", "A", "--calling", "ME")
    said = command(*words, cwd=tmp_path)
    assert said.returncode == 1
    assert said.stdout.startswith("4 of 6 stored, ")
    lines = said.stderr.splitlines()
    assert len(lines) == 2
    assert any(line.startswith("not sent: in/notes.txt: ") for line in lines)
    assert any(line.startswith(f"not stored: in/{unwanted[-6:]}.dcm: 0xA900 ") for line in lines)
    assert archive.contents() == {one.sop_instance_uid: [one.sha256] for one in instances if one is not instances[3]}

    report = json.loads(command(*words, "--json", cwd=tmp_path).stdout)
    assert [item["stored"] for item in report["sent"]].count(True) == 4
    assert [item["status"] for item in report["sent"] if not item["stored"]] == [0xA900]
    assert [item["file"] for item in report["refused"]] == ["in/notes.txt"]


def test_send_to_nobody_ends_at_once_and_says_it_once_for_many_files(tmp_path: Path) -> None:
    for instance in make_instances(30, seed=32):
        write_part10(tmp_path / "in" / f"{instance.sop_instance_uid}.dcm", instance)
    said = command("send", "in", "--to", f"127.0.0.1:{free_port()}", cwd=tmp_path)
    assert said.returncode == 1
    assert said.stdout.startswith("0 of 30 stored")
    lines = said.stderr.splitlines()
    assert len(lines) == 21
    assert all("no connection" in line for line in lines)
    assert lines[-1].startswith("not stored: 10 more files: ")


def test_send_goes_on_after_a_peer_broke_off(archive: OurArchive, tmp_path: Path) -> None:
    instances = list(make_instances(4, seed=33))
    for number, instance in enumerate(instances):
        write_part10(tmp_path / "in" / f"{number}.dcm", instance)
    archive.on_store = by_uid({instances[1].sop_instance_uid: Behaviour(store=False, respond=False, end="abort")})
    said = command("send", "in", "--to", f"127.0.0.1:{archive.port}", cwd=tmp_path)
    assert said.returncode == 1
    assert said.stdout.startswith("3 of 4 stored")
    assert said.stderr.startswith("not stored: in/1.dcm: ")
    archive.on_associate = lambda request, number: Admission(reject=(1, 1, 3))
    rejected = command("send", "in", "--to", f"127.0.0.1:{archive.port}", cwd=tmp_path)
    assert rejected.stdout.startswith("0 of 4 stored")
    assert "calling AE title not recognized" in rejected.stderr
    assert archive.on_associate is not ACCEPT


def test_send_names_a_file_that_is_gone_or_cut_meanwhile_and_goes_on(archive: OurArchive, tmp_path: Path) -> None:
    instances = list(make_instances(4, seed=38))
    paths = [write_part10(tmp_path / "in" / f"{number}.dcm", one) for number, one in enumerate(instances)]

    def spoil(facts: StoreFacts) -> Behaviour:
        paths[1].unlink(missing_ok=True)
        os.truncate(paths[2], paths[2].stat().st_size - 2)
        return Behaviour()

    archive.on_store = spoil
    said = command("send", "in", "--to", f"127.0.0.1:{archive.port}", cwd=tmp_path)
    assert said.returncode == 1
    assert said.stdout.startswith("2 of 4 stored")
    assert said.stderr.splitlines() == [
        "not stored: in/1.dcm: cannot be read: No such file or directory",
        "not stored: in/2.dcm: cannot be read: it became shorter while it was sent",
    ]
    whole = (instances[0], instances[3])
    assert archive.contents() == {one.sop_instance_uid: [one.sha256] for one in whole}


def test_send_wants_an_address_and_a_file(tmp_path: Path) -> None:
    assert "write HOST:PORT" in command("send", "x.dcm", "--to", "localhost", cwd=tmp_path).stderr
    missing = command("send", "x.dcm", "--to", "127.0.0.1:104", cwd=tmp_path)
    assert missing.returncode == 1
    assert "not sent: x.dcm: cannot be read: No such file or directory" in missing.stderr


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rules_test_counts_and_names_what_fails(config: GatewayConfig) -> None:
    assert on(config, "rules", "test").check().stdout == "1 passed, 0 failed\n"
    config.rules["20-more.yaml"] = (
        "tests:\n  - name: an MR stays away from dr\n    instance: {Modality: MR}\n    expect: {destinations: [pacs]}\n"
    )
    config.write()
    failed = on(config, "rules", "test")
    assert failed.returncode == 1
    first, last = failed.stdout.splitlines()
    assert first.startswith(f"{config.rules_dir / '20-more.yaml'}:2:")
    assert "an MR stays away from dr: expected sent to pacs, got sent to dr, pacs" in first
    assert last == "1 passed, 1 failed"
    report = json.loads(on(config, "rules", "test", "--json").stdout)
    assert [item["passed"] for item in report] == [True, False]


def test_rules_of_another_folder_are_tried_before_they_are_put_in_place(config: GatewayConfig, tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    draft.mkdir()
    (draft / "10.yaml").write_text("rules:\n  - name: x\n    send_to: [nowhere]\n")
    said = on(config, "rules", "test", "--rules", draft)
    assert said.returncode == 2
    assert said.stderr.startswith(f"{draft / '10.yaml'}:3:15: ")


def test_rules_explain_says_rule_by_rule_what_becomes_of_a_file(config: GatewayConfig, tmp_path: Path) -> None:
    phantom = write_part10(tmp_path / "qa.dcm", make_instance(seed=34, PatientID="QA7"))
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=35))
    other = write_part10(tmp_path / "us.dcm", make_instance(seed=36, Modality="US"))
    assert on(config, "rules", "explain", phantom).check().stdout.endswith("held: a phantom\n")
    assert on(config, "rules", "explain", image).check().stdout.endswith("goes to: pacs, dr\n")
    unrouted = on(config, "rules", "explain", other).check().stdout
    assert unrouted.endswith("held: no rule matches\n")
    assert "does not match" in unrouted
    assert "'US'" in unrouted
    report = json.loads(on(config, "rules", "explain", image, "--json").stdout)
    assert report["destinations"] == ["pacs", "dr"]
    assert [(rule["rule"], rule["matched"]) for rule in report["rules"]] == [("phantoms", False), ("images", True)]


def test_rules_explain_shows_what_a_transform_changes_or_why_it_cannot(config: GatewayConfig, tmp_path: Path) -> None:
    rules: dict[str, object] = {
        "transforms": {
            "mark": [{"set": {"StationName": "seen"}}, {"remove": ["StudyID"]}, {"record": "false"}],
            "long": [{"set": {"AccessionNumber": "{SOPInstanceUID}"}}],
        },
        "rules": [
            {"name": "a", "send_to": ["pacs", {"destination": "dr", "transform": "mark"}]},
            {"name": "b", "match": {"Modality": "MR"}, "send_to": [{"destination": "dr", "transform": "mark"}]},
        ],
    }
    config.rules = {"10.yaml": yaml.safe_dump(rules)}
    config.write()
    image = write_part10(tmp_path / "ct.dcm", make_instance(Modality="CT", StudyID="77"))
    said = on(config, "rules", "explain", image).check().stdout
    assert "goes to: pacs, dr (through mark~" in said
    assert [line.split() for line in said.splitlines()[-2:]] == [
        ["StudyID", "77", "absent"],
        ["StationName", "absent", "seen"],
    ]
    report = json.loads(on(config, "rules", "explain", image, "--json").stdout)
    ((chain, changed),) = report["changes"].items()
    assert report["chains"] == ["", chain]
    assert ["StudyID", "77", "absent"] in changed
    rules["rules"] = [{"name": "a", "send_to": "dr", "transform": "long"}]
    config.rules = {"10.yaml": yaml.safe_dump(rules)}
    config.write()
    said = on(config, "rules", "explain", image).check().stdout
    assert "cannot be made, so that it would be held: transform long, step 1 (set): AccessionNumber" in said


def test_rules_explain_says_by_which_group_a_destination_is_named(config: GatewayConfig, tmp_path: Path) -> None:
    text = "groups: {archives: [pacs, dr]}\nrules: [{name: a, send_to: [dr, archives]}]\n"
    config.rules = {"10.yaml": text}
    config.write()
    image = write_part10(tmp_path / "ct.dcm", make_instance())
    said = on(config, "rules", "explain", image).check().stdout
    assert said.endswith("goes to: dr, pacs (by the group archives)\n")
    report = json.loads(on(config, "rules", "explain", image, "--json").stdout)
    assert report["groups"] == {"pacs": "archives"}


def test_rules_explain_supposes_a_time_and_otherwise_now(config: GatewayConfig, tmp_path: Path) -> None:
    (config.rules_dir / "00-when.yaml").write_text(
        "rules:\n"
        "  - name: saturday\n    match: {received: {weekdays: sat}}\n    hold: saturday\n"
        "  - name: any-time\n    match: {received: {from: 00:00}}\n    hold: some other day\n"
    )
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=38))
    for received, outcome in (("2026-01-31 19:30", "saturday"), ("2026-01-30 19:30", "some other day")):
        explained = on(config, "rules", "explain", image, "--received", received).check().stdout
        assert explained.endswith(f"held: {outcome}\n")
    assert "held: s" in on(config, "rules", "explain", image).check().stdout
    wrong = on(config, "rules", "explain", image, "--received", "tomorrow")
    assert wrong.returncode == 2
    assert "--received tomorrow: not a date and time, as in '2026-01-31 19:30'" in wrong.stderr


def test_rules_explain_says_what_it_cannot_read(config: GatewayConfig, tmp_path: Path) -> None:
    whole = write_part10(tmp_path / "ct.dcm", make_instance(seed=37)).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-100])
    cut = on(config, "rules", "explain", tmp_path / "cut.dcm")
    assert cut.returncode == 2
    assert "the gateway would quarantine it" in cut.stderr
    assert "cannot be read" in on(config, "rules", "explain", tmp_path / "none.dcm").stderr
