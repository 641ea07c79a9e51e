"""`gateway run` refused, `gateway recover` on damage, and the help of every command."""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli import build_parser, main
from tests.harness.backends import about_sqlite
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.sender import Journal, JournalSender
from tests.harness.tools import Completed, free_port, wait_until
from tests.integration.cli_site import command
from tests.unit.spool_kit import make_intake, make_meta, make_spool, store


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command a person can call: its words and its parser."""

    def below(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for name, child in (item for group in groups for item in group.choices.items()):
            if not name.startswith("_"):
                yield from below(child, (*words, name))
        if words and not groups:
            yield " ".join(words), parser

    yield from below(build_parser(), ())


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_every_command_has_help_with_an_example_that_parses(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    explained, examples = text.split("example:\n", 1)
    assert max(map(len, explained.splitlines())) <= 80
    assert examples.strip()
    for example in examples.splitlines():
        assert example.strip().startswith(f"gateway {words}")
        build_parser().parse_args(shlex.split(example)[1:])


def test_every_option_is_explained() -> None:
    silent = [
        f"{words} {action.dest}"
        for words, parser in commands()
        for action in parser._actions
        if not action.help and action.dest != "help"
    ]
    assert silent == []


def test_what_the_supervisor_calls_is_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "_role" not in capsys.readouterr().out


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    config = GatewayConfig(tmp_path, {"pacs": free_port()})
    config.write()
    return config


def run(config: GatewayConfig) -> Completed:
    """`gateway run`, which must end by itself."""
    return command("run", "--config", config.path, cwd=config.folder, timeout_s=60)


def test_a_broken_configuration_starts_nothing(config: GatewayConfig) -> None:
    config.document["destinations"]["pacs"]["port"] = "many"
    config.write()
    said = run(config)
    assert said.returncode == 2
    assert said.stderr.startswith(f"{config.path}:")
    assert "destinations.pacs.port" in said.stderr
    assert not config.state_dir.exists()


def test_broken_rules_at_the_first_start_are_named_with_their_place(config: GatewayConfig) -> None:
    config.rules = {"10-all.yaml": "rules:\n  - name: a\n    send_to: [nowhere]\n"}
    config.write()
    said = run(config)
    assert said.returncode == 2
    assert f"{config.rules_dir / '10-all.yaml'}:3:15: " in said.stderr


def test_an_occupied_port_is_named_with_what_to_do(config: GatewayConfig) -> None:
    with socket.create_server(("127.0.0.1", config.port)):
        said = run(config)
    assert said.returncode == 2
    assert f"cannot listen on 127.0.0.1:{config.port}: Address already in use" in said.stderr
    assert "main" in said.stderr
    assert "ss -ltnp" in said.stderr


def test_a_second_gateway_ends_at_once_and_names_the_first(config: GatewayConfig) -> None:
    first = GatewayProcess(config)
    try:
        first.start(timeout_s=60)
        began = time.monotonic()
        said = run(config)
        assert said.returncode == 2
        assert f"another gateway, process {first.supervisor_pid()}, holds {config.state_dir / 'lock'}" in said.stderr
        assert "stop it first" in said.stderr
        assert time.monotonic() - began < 20, "the limit itself, 2 s, is the lock's: this includes a loaded machine"
        assert first.readiness()[0] == 200, "the first one is not disturbed"
    finally:
        first.close()


def test_a_role_that_does_not_exist_is_named(config: GatewayConfig) -> None:
    said = command("run", "--roles", "receiver,janitor", "--config", config.path, cwd=config.folder)
    assert said.returncode == 2
    assert "janitor" in said.stderr
    assert "receiver, worker, forwarder, console" in said.stderr


@pytest.mark.parametrize("roles", ["receiver", "receiver,worker,forwarder,console"])
def test_a_start_without_a_console_is_warned_of(config: GatewayConfig, roles: str) -> None:
    with closing(GatewayProcess(config, options=["--roles", roles]).start(ready=False)) as gateway:
        wait_until(lambda: gateway.log_lines(event="child_ready", child="receiver-0"), 60, "a receiver")
        said = [line for line in gateway.log().splitlines() if line.startswith("gateway: warning: no console runs")]
        told = gateway.log_lines(event="console_missing", level="warning")
        assert (len(said), len(told)) == ((0, 0) if "console" in roles else (1, 1))


@pytest.mark.parametrize("role", ["supervisor", "cli"])
def test_what_is_no_role_of_a_gateway_is_not_started(config: GatewayConfig, role: str) -> None:
    said = command("run", "--roles", role, "--config", config.path, cwd=config.folder, timeout_s=20)
    assert said.returncode == 2
    assert f"'{role}'" in said.stderr
    assert "receiver, worker, forwarder, console" in said.stderr


@about_sqlite
def test_no_ledger_and_a_damaged_ledger_are_said_with_the_way_out(config: GatewayConfig) -> None:
    for words in (("queue",), ("list",), ("show", "1.2"), ("release", "--all", "--yes"), ("pause", "pacs")):
        said = command(*words, "--config", config.path, cwd=config.folder)
        assert said.returncode == 2, words
        assert said.stdout == ""
        assert str(config.ledger_path) in said.stderr
        assert len(said.stderr.splitlines()) == 1
    config.state_dir.mkdir(exist_ok=True)
    config.ledger_path.write_bytes(b"not a ledger at all" * 1000)
    damaged = run(config)
    assert damaged.returncode == 2
    assert "gateway recover" in damaged.stderr
    recovered = command("recover", "--config", config.path, cwd=config.folder).check()
    assert "0 instances in the new ledger" in recovered.stdout
    assert "the old ledger is kept as" in recovered.stdout


@about_sqlite
def test_recover_names_a_file_that_is_not_whole_and_leaves_it(config: GatewayConfig) -> None:
    gateway = GatewayProcess(config)
    try:
        gateway.start(timeout_s=60)
        with Journal(config.folder / "journal") as journal:
            JournalSender(config.port, journal, list(make_instances(2, seed=41)), associations=1).run()
        assert gateway.stop() == 0
    finally:
        gateway.close()
    first, second = sorted(path for path in config.spool_dir.rglob("*.dcm") if path.stat().st_size)
    with first.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    said = command("recover", "--config", config.path, cwd=config.folder)
    assert said.returncode == 1
    assert "1 instance in the new ledger" in said.stdout
    (line,) = said.stderr.splitlines()
    assert line.startswith(f"left where it is, not whole: {first.relative_to(config.spool_dir)}: ")
    assert first.exists()
    assert second.exists()


@about_sqlite
def test_what_recover_names_is_there_after_the_next_start(config: GatewayConfig) -> None:
    spool = make_spool(config.spool_dir)
    intake = make_intake(spool, pool_size=3)
    damaged = spool.path(store(intake, b"data set").path)
    writer = intake.begin(make_meta())
    writer.write(bytes(100_000))
    writer.close()
    cut_short = spool.path(writer.relative)
    with damaged.open("r+b") as file:
        file.seek(300)
        byte = file.read(1)
        file.seek(300)
        file.write(bytes([byte[0] ^ 1]))
    said = command("recover", "--config", config.path, cwd=config.folder)
    assert said.returncode == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith(
        f"left where it is, not whole: {damaged.relative_to(config.spool_dir)}: the header is damaged"
    )
    with GatewayProcess(config) as gateway:
        (left,) = gateway.log_lines(event="damaged_file_left")
        assert left["file"] == str(damaged.relative_to(config.spool_dir))
        assert damaged.exists() and not cut_short.exists()
