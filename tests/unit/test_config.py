"""gateway.yaml → values: every key, every kind of error with its place, overrides, secrets, reloads."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.server import AuditRepository, Transport
from gateway.config import (
    Config,
    ConsoleConfig,
    ConsoleRole,
    Destination,
    Disposition,
    Duplicates,
    HttpAddress,
    LogFormat,
    LogLevel,
    Oidc,
    Priority,
    Source,
    TlsFiles,
    Transcode,
    load,
    reloadable_changes,
)
from gateway.config.check import network_file_system
from gateway.config.files import MAX_FILE_BYTES
from gateway.config.kinds import name_complaint, name_of
from gateway.config.sections import Section
from gateway.config.tables import ROOT, SECTIONS, TOP_KEYS
from gateway.config.units import (
    MAX_SIZE_BYTES,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from gateway.errors import ConfigurationError

MINIMAL = """\
listeners:
  main: {host: 0.0.0.0, port: 11112}
sources:
  ct1: {ae_titles: [CT1]}
destinations:
  pacs: {ae_title: PACS, host: archive.example.org, port: 104}
"""

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    (tmp_path / "rules").mkdir()

    def read(text: str = MINIMAL, **env: str) -> Config:
        path = tmp_path / "gateway.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, env)

    return read


@pytest.fixture
def complaints(read: Read, tmp_path: Path) -> Callable[..., list[str]]:
    def complaints(text: str = MINIMAL, **env: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read(text, **env)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return complaints


# ── what is read ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shortest_file_gets_the_defaults(read: Read, tmp_path: Path) -> None:
    config = read()
    assert config.ae_title == "GATEWAY"
    assert config.state_dir == tmp_path / "state"
    assert config.spool.dir == tmp_path / "state" / "spool"
    assert config.rules.dir == tmp_path / "rules"
    assert config.spool.min_free_bytes == 5 * 1024**3
    assert config.listeners["main"].ae_titles == ("GATEWAY",)
    assert config.listeners["main"].abstract_syntaxes is None
    assert config.destinations["pacs"] == Destination(
        name="pacs", ae_title="PACS", host="archive.example.org", port=104, calling_ae_title="GATEWAY"
    )
    assert config.metrics == HttpAddress("127.0.0.1", 9464)
    assert config.console == ConsoleConfig(config.state_dir / "users.yaml", "127.0.0.1", 8080)
    assert (config.processes.receiver, config.processes.worker, config.processes.forwarder) == (1, 1, 1)


# Each key with a value that is not its default, and what it becomes.
OTHER_VALUES: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "spool": {
        "dir": ("/srv/spool", Path("/srv/spool")),
        "min_free": ("1.5 GiB", 3 * 1024**3 // 2),
        "keep": ("2 d", 172_800.0),
        "ballast": ("1 MB", 1_000_000),
        "pool_size": ("8", 8),
        "shared": ("true", True),
    },
    "rules": {"dir": ("/", Path("/")), "history": ("1 d", 86_400.0), "history_size": ("1 MB", 1_000_000)},
    "pseudonym_keys": {"file": ("/srv/key", Path("/srv/key"))},
    "reidentification": {"public_key": ("/srv/reid.pub", Path("/srv/reid.pub"))},
    "listeners": {
        "host": ("'::'", "::"),
        "port": ("104", 104),
        "ae_titles": ("[]", ()),
        "accept_unknown": ("true", True),
        "abstract_syntaxes": (
            "[CTImageStorage, 1.2.3.4]",
            ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"),
        ),
        "transfer_syntaxes": (
            "[ExplicitVRLittleEndian, 1.2.840.10008.1.2]",
            ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"),
        ),
        "max_pdu_length": ("16 KiB", 16384),
        "max_associations": ("3", 3),
        "max_associations_per_host": ("2", 2),
        "artim_timeout": ("500 ms", 0.5),
        "idle_timeout": ("1 min", 60.0),
        "progress_timeout": ("5 s", 5.0),
        "max_object": ("1 GiB", 1024**3),
        "backlog": ("16", 16),
    },
    "sources": {
        "ae_titles": ("[CT1, 'CT 2', CT1]", ("CT1", "CT 2")),
        "hosts": (
            "[10.0.0.0/8, 127.0.0.1, 'fe80::/10']",
            tuple(ipaddress.ip_network(text) for text in ("10.0.0.0/8", "127.0.0.1/32", "fe80::/10")),
        ),
        "silent_after": ("2 h", 7200.0),
    },
    "destinations": {
        "type": ("dicom", "dicom"),
        "ae_title": ("' OTHER '", "OTHER"),
        "host": ("Archive-2.Example.ORG", "archive-2.example.org"),
        "port": ("4242", 4242),
        "calling_ae_title": ("$source", "$source"),
        "max_associations": ("2", 2),
        "max_pdu_length": ("64 KiB", 65536),
        "connect_timeout": ("1 s", 1.0),
        "association_timeout": ("2 s", 2.0),
        "response_timeout": ("3 min", 180.0),
        "progress_timeout": ("4 s", 4.0),
        "idle_timeout": ("0", 0.0),
        "give_up_after": ("30 d", 2_592_000.0),
        "retry_min": ("1 s", 1.0),
        "retry_max": ("2 h", 7200.0),
        "attempts": ("9", 9),
        "probe_min": ("2 s", 2.0),
        "probe_max": ("1 h", 3600.0),
        "duplicates": ("skip", Duplicates.SKIP),
        "priority": ("high", Priority.HIGH),
        "require_transform": ("anonymise-research", "anonymise-research"),
        "transcode": ("lossless", Transcode.LOSSLESS),
        "statuses": (
            "{0xA7xx: hold, 0xc001: retry}",
            {"0xA7xx": Disposition.HOLD, "0xC001": Disposition.RETRY},
        ),
    },
    "ledger": {"url": ("sqlite", "sqlite")},
    "queue": {"url": ("local", "local")},
    "metrics": {"host": ("0.0.0.0", "0.0.0.0"), "port": ("1", 1)},
    "console": {
        "host": ("localhost", "localhost"),
        "port": ("2", 2),
        "users": ("/srv/users.yaml", Path("/srv/users.yaml")),
        "host_names": ("[Console.Example.org]", ("console.example.org",)),
        "proxies": ("[10.0.0.1]", (ipaddress.ip_network("10.0.0.1/32"),)),
        "tls": ("{certificate: /c.pem, key: /k.pem}", TlsFiles(Path("/c.pem"), Path("/k.pem"))),
        "oidc": (
            "{issuer: 'https://id.example.org/', client_id: gw, roles: {Staff: viewer}}",
            Oidc("https://id.example.org", "gw", {"Staff": ConsoleRole.VIEWER}),
        ),
        "session_idle": ("10 min", 600.0),
        "session": ("1 d", 86_400.0),
    },
    "audit": {
        "dir": ("/srv/audit", Path("/srv/audit")),
        "key": ("/srv/audit.key", Path("/srv/audit.key")),
        "segment_size": ("1 MiB", 1024**2),
        "quiet": ("5 s", 5.0),
        "latest": ("1 min", 60.0),
        "source_id": ("gw-1", "gw-1"),
        "site_id": ("North", "North"),
        "syslog": ("{host: arr, transport: udp, port: 514}", AuditRepository("arr", 514, Transport.UDP)),
    },
    "processes": {"receiver": ("2", 2), "worker": ("3", 3), "forwarder": ("4", 4)},
    "worker": {"memory": ("512 MiB", 512 * 1024**2), "time": ("1 min", 60.0)},
    "log": {"format": ("json", LogFormat.JSON), "level": ("debug", LogLevel.DEBUG)},
}

EVERY_KEY = [(section, key.name) for section in SECTIONS.values() for key in section.keys]
NAMES = {"pseudonym_keys": "site", "listeners": "main", "sources": "ct1", "destinations": "pacs"}


def holder(config: Config, section: Section) -> Any:
    part = getattr(config, section.name)
    return part[NAMES[section.name]] if section.named else part


@pytest.mark.parametrize(("section", "key"), EVERY_KEY, ids=lambda value: getattr(value, "name", value))
def test_every_key_is_read_from_the_file_and_from_the_environment(read: Read, section: Section, key: str) -> None:
    text, expected = OTHER_VALUES[section.name][key]
    row = section.key(key)
    assert row is not None
    plain = text.strip("'") if not row.kind.structured else text
    way = f"{section.name}__{NAMES[section.name]}__{key}" if section.named else f"{section.name}__{key}"
    config = read(**{f"GATEWAY__{way.upper()}": plain})
    assert getattr(holder(config, section), section.field_of(row)) == expected
    if section.named:
        body = {"listeners": "port: 7777, host: 0.0.0.0", "destinations": "ae_title: A, host: h, port: 1"}
        entry = ", ".join(part for part in body.get(section.name, "").split(", ") if not part.startswith(f"{key}:"))
        if section.name == "sources" and key != "ae_titles":
            entry = "ae_titles: [X]"
        name = NAMES[section.name]
        replaced = f"{{{key}: {text}{', ' if entry else ''}{entry}}}"
        base = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(f"  {name}:"))
        head = f"{section.name}:"
        base = base if head in base else f"{base}\n{head}\n"
        written = base.replace(head, f"{head}\n  {name}: {replaced}")
    else:
        written = f"{MINIMAL}{section.name}: {{{key}: {text}}}\n"
    config = read(written)
    assert getattr(holder(config, section), section.field_of(row)) == expected


def test_the_table_above_leaves_no_key_out() -> None:
    assert {name: set(keys) for name, keys in OTHER_VALUES.items()} == {
        name: {key.name for key in section.keys} for name, section in SECTIONS.items()
    }


def test_every_field_has_a_key_and_every_key_a_field() -> None:
    for section in (ROOT, *SECTIONS.values()):
        filled = {section.field_of(key) for key in section.keys}
        known = {field.name for field in dataclasses.fields(section.model)}
        assert filled == known - {"name"} - (set(SECTIONS) if section is ROOT else set())


def test_the_ae_title_of_the_gateway_is_passed_down(read: Read) -> None:
    config = read("ae_title: HUB\n" + MINIMAL)
    assert config.listeners["main"].ae_titles == ("HUB",)
    assert config.destinations["pacs"].calling_ae_title == "HUB"


def test_a_spool_is_shared_where_the_ledger_can_be(read: Read) -> None:
    on_a_server = MINIMAL + "ledger: {url: 'postgresql://gateway@db/gateway'}\n"
    assert read().spool.shared is False
    assert read(on_a_server).spool.shared is True
    assert read(GATEWAY__LEDGER__URL="postgresql://gateway@db/gateway").spool.shared is True
    assert read(on_a_server + "spool: {shared: false}\n").spool.shared is False


def test_a_host_is_called_as_its_machine_or_as_it_is_told(read: Read) -> None:
    assert read().host == name_of(socket.gethostname())
    assert read("host: gw-1\n" + MINIMAL).host == "gw-1"
    assert read("host: gw-1\n" + MINIMAL, GATEWAY__HOST="gw-2").host == "gw-2"


def test_destination_defaults_lie_under_each_destination(read: Read) -> None:
    config = read(
        MINIMAL
        + """\
  dr: {ae_title: DR, host: h, port: 1, attempts: 3, statuses: {0xA700: hold}}
destination_defaults: {attempts: 7, response_timeout: 2 s, statuses: {0xA700: retry, 0xCxxx: hold}}
"""
    )
    pacs, dr = config.destinations["pacs"], config.destinations["dr"]
    assert (pacs.attempts, dr.attempts) == (7, 3)
    assert pacs.response_timeout_s == dr.response_timeout_s == 2.0
    assert pacs.statuses == {"0xA700": Disposition.RETRY, "0xCxxx": Disposition.HOLD}
    assert dr.statuses == {"0xA700": Disposition.HOLD, "0xCxxx": Disposition.HOLD}


def test_values_cannot_be_changed(read: Read) -> None:
    config = read()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ae_title = "X"  # type: ignore[misc]
    for mapping in (config.listeners, config.sources, config.destinations, config.destinations["pacs"].statuses):
        assert isinstance(mapping, MappingProxyType)


def test_names_keep_the_order_of_the_file(read: Read) -> None:
    text = MINIMAL + "  zz: {ae_title: Z, host: h, port: 1}\n  aa: {ae_title: A, host: h, port: 1}\n"
    assert list(read(text).destinations) == ["pacs", "zz", "aa"]


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "rules").mkdir()
    path = tmp_path / "deploy" / "gateway.yaml"
    path.write_text("state_dir: ../state\nrules: {dir: ../rules}\n" + MINIMAL)
    config = load(path, {"GATEWAY__SPOOL__DIR": "../../spool"})
    assert config.state_dir == tmp_path / "state"
    assert config.rules.dir == tmp_path / "rules"
    assert config.spool.dir == tmp_path.parent / "spool"


def test_priority_codes_are_those_of_the_standard() -> None:
    assert [priority.code for priority in (Priority.MEDIUM, Priority.HIGH, Priority.LOW)] == [0, 1, 2]


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        # The minimal file has six lines: what is added here begins in line 7.
        ("ae_titel: X", "7:1: unknown key 'ae_titel'; did you mean 'ae_title'?"),
        ("colour: red", "7:1: unknown key 'colour'; there are: ae_title, state_dir, host, spool, rules,"),
        ("spool: {min-free: 1 B}", "7:9: spool: unknown key 'min-free'; did you mean 'min_free'?"),
        ("spool: 5 GiB", "7:8: spool: must be a mapping, one `key: value` a line"),
        ("spool: [a]", "7:8: spool: must be a mapping"),
        ("spool:\n  min_free:", "8:12: spool.min_free: has no value; leave the line out to get the default"),
        ("spool:\n  min_free: [1]", "8:13: spool.min_free: must be one value (size, 0 B to 1024 TiB)"),
        ("spool: {min_free: 5}", "7:19: spool.min_free: '5' is not a size without a unit: write one of B,"),
        ("spool: {min_free: 5 gb}", "7:19: spool.min_free: '5 gb' is not a size: the unit must be one of"),
        ("spool: {min_free: lots}", "7:19: spool.min_free: 'lots' is not a size: write a number and a unit"),
        ("spool: {min_free: -1 B}", "7:19: spool.min_free: '-1 B' is not a size"),
        ("spool: {min_free: 0.5 B}", "7:19: spool.min_free: '0.5 B' is not a whole number of bytes"),
        ("spool: {keep: 5 m}", "7:15: spool.keep: '5 m' is not a time: the unit must be one of ms, s, min, h, d;"),
        ("spool: {keep: 999999 d}", "7:15: spool.keep: '999999 d' is longer than a hundred years"),
        ("spool: {keep: 400 d}", "7:15: spool.keep: '400 d' is out of bounds: 0 s to 366 d"),
        ("spool: {dir: ~/x}", "7:14: spool.dir: '~/x' is not expanded"),
        ('spool: {dir: "a\\0b"}', "7:14: spool.dir: 'a\\x00b' is not a path"),
        ("rules: {dir: nowhere}", "7:9: rules.dir: there is no folder"),
        ("rules: {dir: gateway.yaml}", "7:9: rules.dir: there is no folder"),
        ("spool: {dir: gateway.yaml}", "7:9: spool.dir: 'gateway.yaml' is there and is not a folder"),
        ("state_dir: gateway.yaml", "7:1: state_dir: 'gateway.yaml' is there and is not a folder"),
        ("processes: {worker: 0}", "7:21: processes.worker: '0' is out of bounds: 1 to 64"),
        ("processes: {worker: two}", "7:21: processes.worker: 'two' is not a whole number"),
        ("log: {format: yaml}", "7:15: log.format: 'yaml' is not known here; there are: auto, json, console"),
        ("log: {level: warn}", "7:14: log.level: 'warn' is not known here; did you mean 'warning'?"),
        (
            "ledger: {url: x}",
            "7:15: ledger.url: the value must be 'sqlite' or postgresql://user@host/database",
        ),
        (
            "ledger: {url: mysql://h/d}",
            "7:15: ledger.url: the value must be 'sqlite' or postgresql://user@host/database",
        ),
        ("queue: {url: redis://}", "7:14: queue.url: the value names no host; it must be redis://host:6379/0"),
        ("queue: {url: http://h/0}", "7:14: queue.url: the value must be 'local' or redis://host:6379/0"),
        ("metrics: {port: 8080}", "7:11: metrics.port: port 8080 is taken by console already"),
        ("console: {port: 11112}", "7:11: console.port: port 11112 is taken by listeners.main already"),
        ("ae_title: 12345678901234567", "7:11: ae_title: '12345678901234567' is not an AE title: it must have 1 to 16"),
        ("ae_title: A\\B", "7:11: ae_title: 'A\\\\B' is not an AE title: only printable ASCII characters"),
        ("ae_title: Ä", "7:11: ae_title: 'Ä' is not an AE title"),
        ('ae_title: "A\\e[31m"', "7:11: ae_title: 'A\\x1b[31m' is not an AE title"),
        ('ae_title: "  "', "7:11: ae_title: has no value"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(complaints: Callable[..., list[str]], more: str, complaint: str) -> None:
    told = complaints(MINIMAL + more)
    assert len(told) == 1, told
    assert told[0].startswith(f"gateway.yaml:{complaint}")


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        # One more destination, in line 7: the complaint begins with the column.
        ("PACS2: {ae_title: A, host: h, port: 1}", "3: destinations: the name 'PACS2' must be at most 63 small"),
        ("a__b: {ae_title: A, host: h, port: 1}", "3: destinations: the name 'a__b' must be at most 63 small"),
        ("x: {host: h, port: 1}", "3: destinations.x: ae_title is missing"),
        ("x: hello", "6: destinations.x: must be a mapping"),
        ("x: {ae_title: A, host: h, port: 70000}", "35: destinations.x.port: '70000' is out of bounds: 1 to 65535"),
        ("x: {ae_title: A, host: 'h:104', port: 1}", "26: destinations.x.host: 'h:104' is not a host: write the"),
        ("x: {ae_title: A, host: http://h/, port: 1}", "26: destinations.x.host: 'http://h/' is not a host"),
        ("x: {ae_title: A, host: 10.0.0.256, port: 1}", "26: destinations.x.host: '10.0.0.256' is neither an IP"),
        ("x: {ae_title: A, host: 'a b', port: 1}", "26: destinations.x.host: 'a b' is neither an IP address nor"),
        (
            "x: {ae_title: A, host: h, port: 1, type: stow}",
            "44: destinations.x.type: 'stow' comes with a later release",
        ),
        ("x: {ae_title: A, host: h, port: 1, type: http}", "44: destinations.x.type: 'http' is not known here"),
        (
            "x: {ae_title: A, host: h, port: 1, calling_ae_title: $sender}",
            "56: destinations.x.calling_ae_title: '$sender' is not known here; write $source",
        ),
        (
            "x: {ae_title: A, host: h, port: 1, retry_min: 2 h}",
            "38: destinations.x.retry_min: 2 h is longer than retry_max, 1 h",
        ),
        (
            "x: {ae_title: A, host: h, port: 1, probe_max: 1 s}",
            "3: destinations.x.probe_min: 5 s is longer than probe_max, 1 s",
        ),
        (
            "x: {ae_title: A, host: localhost, port: 11112}",
            "37: destinations.x.port: is the gateway's own listener main: instances would go round for ever",
        ),
        (
            "x: {ae_title: A, host: 127.0.0.2, port: 11112}",
            "37: destinations.x.port: is the gateway's own listener main",
        ),
        (
            "x: {ae_title: A, host: h, port: 1, statuses: {0xA7: hold}}",
            "49: destinations.x.statuses: '0xA7' is not a status pattern: write 0x and four digits",
        ),
        (
            "x: {ae_title: A, host: h, port: 1, statuses: {0x00xx: hold}}",
            "49: destinations.x.statuses: '0x00xx' would match 0x0000",
        ),
        (
            "x: {ae_title: A, host: h, port: 1, statuses: {0xA700: drop}}",
            "57: destinations.x.statuses.0xA700: 'drop' is not known here; there are: delivered, retry, throttle,",
        ),
        (
            "x: {ae_title: A, host: h, port: 1, statuses: {0xA700: hold, 0XA700: hold}}",
            "63: destinations.x.statuses: 0xA700 stands here twice",
        ),
        (
            "x: {ae_title: A, host: h, port: 1, require_transform: Anon}",
            "57: destinations.x.require_transform: 'Anon' must be at most 63 small letters",
        ),
    ],
)
def test_a_wrong_destination_is_told_with_its_place(
    complaints: Callable[..., list[str]], more: str, complaint: str
) -> None:
    told = complaints(MINIMAL + "  " + more)
    assert len(told) == 1, told
    assert told[0].startswith(f"gateway.yaml:7:{complaint}")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("ct1: {ae_titles: ['CT*']}", "21: sources.ct1.ae_titles: 'CT*' is taken letter by letter here"),
        ("ct1: {hosts: [ct1.local]}", "17: sources.ct1.hosts: 'ct1.local' is not an IP address or network"),
        ("ct1: {hosts: [10.1.2.3/8]}", "17: sources.ct1.hosts: '10.1.2.3/8' is not a network: it has bits beyond the"),
        ("ct1: {hosts: {a: b}}", "16: sources.ct1.hosts: must be a list"),
        ("ct1: {hosts:}", "15: sources.ct1.hosts: has no value"),
        ("ct1:", "3: sources.ct1: would be anybody: give ae_titles or hosts"),
        ("ct1: {ae_titles: [], hosts: []}", "3: sources.ct1: would be anybody"),
        ("unknown: {ae_titles: [A]}", "3: sources: the name 'unknown' is what senders without an entry are called"),
    ],
)
def test_a_wrong_source_is_told_with_its_place(complaints: Callable[..., list[str]], line: str, complaint: str) -> None:
    told = complaints(MINIMAL.replace("ct1: {ae_titles: [CT1]}", line))
    assert len(told) == 1, told
    assert told[0].startswith(f"gateway.yaml:4:{complaint}")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("main: {port: 1}", "2:3: listeners.main: host is missing"),
        ("main: {host: h, port: 1, accept_unknown: yes}", "2:44: listeners.main.accept_unknown: 'yes' must be true or"),
        (
            "main: {host: h, port: 1, abstract_syntaxes: [CTImageStorag]}",
            "2:48: listeners.main.abstract_syntaxes: 'CTImageStorag' is not the keyword of a SOP class; did you mean "
            "'CTImageStorage'?",
        ),
        (
            "main: {host: h, port: 1, abstract_syntaxes: [1.2.840.10008.1.2]}",
            "2:48: listeners.main.abstract_syntaxes: '1.2.840.10008.1.2' is not a SOP class: it is Implicit VR Little",
        ),
        (
            "main: {host: h, port: 1, transfer_syntaxes: [1.02.3]}",
            "2:48: listeners.main.transfer_syntaxes: '1.02.3' is not a UID: numbers without leading zeros",
        ),
        (
            f"main: {{host: h, port: 1, transfer_syntaxes: [1.{'2' * 64}]}}",
            f"2:48: listeners.main.transfer_syntaxes: '1.{'2' * 61}…' is not a UID: it has more than 64 characters",
        ),
        (
            "main: {host: 127.0.0.1, port: 1}\n  b: {host: 0.0.0.0, port: 1}",
            "3:22: listeners.b.port: port 1 is taken by listeners.main already",
        ),
    ],
)
def test_a_wrong_listener_is_told_with_its_place(
    complaints: Callable[..., list[str]], line: str, complaint: str
) -> None:
    told = complaints(MINIMAL.replace("main: {host: 0.0.0.0, port: 11112}", line))
    assert len(told) == 1, told
    assert told[0].startswith(f"gateway.yaml:{complaint}")


def test_two_listeners_may_share_a_port_on_two_addresses(read: Read) -> None:
    text = MINIMAL.replace("0.0.0.0, port: 11112}", "127.0.0.1, port: 11112}\n  b: {host: 127.0.0.2, port: 11112}")
    assert len(read(text).listeners) == 2


def test_without_sources_nobody_could_send(complaints: Callable[..., list[str]], read: Read) -> None:
    text = MINIMAL.replace("  ct1: {ae_titles: [CT1]}\n", "")
    assert complaints(text) == [
        "gateway.yaml:3:1: sources: there is none, and no listener has accept_unknown: true: nobody could send"
    ]
    assert read(text.replace("port: 11112", "port: 11112, accept_unknown: true")).sources == {}


def test_an_empty_file_says_what_is_missing(complaints: Callable[..., list[str]]) -> None:
    for text in ("", "# nothing\n", "---\n", "~"):
        assert complaints(text) == [
            "gateway.yaml:1:1: listeners: there is none: the gateway could not receive anything"
        ]


def test_a_file_that_is_no_mapping_is_refused(complaints: Callable[..., list[str]]) -> None:
    assert complaints("- a")[0].startswith("gateway.yaml:1:1: must be a mapping")


def test_everything_is_told_at_once_in_file_order(complaints: Callable[..., list[str]]) -> None:
    told = complaints(
        "ae_title: TOO_LONG_FOR_A_TITLE\n"
        "spool: {min_free: 5, kep: 1 d}\n"
        "listeners:\n  main: {host: 0.0.0.0, port: 0}\n"
        "sources:\n  ct1: {hosts: [x, y]}\n"
        "destination_defaults: {attempts: many}\n"
        "destinations:\n  a: {ae_title: A}\n  b: {ae_title: B, host: h, port: 1, retry_min: 9 d}\n",
        GATEWAY__LOG__LEVEL="loud",
    )
    assert [": ".join(line.split(": ")[:2]) for line in told] == [
        "gateway.yaml:1:11: ae_title",
        "gateway.yaml:2:19: spool.min_free",
        "gateway.yaml:2:22: spool",
        "gateway.yaml:4:31: listeners.main.port",
        "gateway.yaml:6:17: sources.ct1.hosts",
        "gateway.yaml:6:20: sources.ct1.hosts",
        "gateway.yaml:7:34: destination_defaults.attempts",
        "gateway.yaml:9:3: destinations.a",
        "gateway.yaml:9:3: destinations.a",
        "gateway.yaml:10:49: destinations.b.retry_min",
        "environment GATEWAY__LOG__LEVEL:1:1: log.level",
    ]


def test_a_wrong_default_of_destinations_is_told_once(complaints: Callable[..., list[str]]) -> None:
    told = complaints(MINIMAL + "  dr: {ae_title: DR, host: h, port: 1}\ndestination_defaults: {port: x}")
    assert told == ["gateway.yaml:8:30: destination_defaults.port: 'x' is not a whole number"]


def test_files_that_cannot_be_read_are_problems_too(tmp_path: Path) -> None:
    def told(path: Path) -> str:
        with pytest.raises(ConfigurationError) as caught:
            load(path, {})
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert told(tmp_path / "none.yaml") == "none.yaml:0:0: cannot be read: No such file or directory"
    assert told(Path(f"{tmp_path}/a\0b")).endswith("cannot be read: the name has a NUL in it")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: 1\nb: \xff\n")
    assert told(bad) == "bad.yaml:2:4: is not UTF-8: byte 0xff"
    bad.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert "is larger than" in told(bad)


def test_a_byte_order_mark_shifts_no_column(complaints: Callable[..., list[str]]) -> None:
    assert complaints("\ufeffae_title: 12345678901234567\n" + MINIMAL)[0].startswith("gateway.yaml:1:11: ")


KEYS = [key for section in (ROOT, *SECTIONS.values()) for key in (section.name, *(row.name for row in section.keys))]
SCALARS = st.one_of(
    st.sampled_from(
        ["", "~", "0", "-1", "1 s", "5 GiB", "a", "A", "10.0.0.0/8", "::1", "0xA7xx", "$source", "true", "/", "1.2.840"]
    ),
    st.text(max_size=10),
    st.text(alphabet="x", min_size=5000, max_size=5000),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*TOP_KEYS, "x"]), TREES, max_size=6),
    st.dictionaries(
        st.sampled_from(["SPOOL__DIR", "SOURCES__A", "X", "_FILE", "AE_TITLE_FILE", ""]), st.text(max_size=9)
    ),
)
def test_anything_gives_a_configuration_or_its_own_error(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], variables: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(tree))
    try:
        config = load(path, {f"GATEWAY__{name}": value for name, value in variables.items()})
    except ConfigurationError as error:
        assert error.problems
        assert all(problem.message.isprintable() for problem in error.problems)
    else:
        assert isinstance(config, Config)


def test_a_folder_that_may_not_be_looked_at_is_no_traceback(complaints: Callable[..., list[str]]) -> None:
    name = "x" * 300
    assert complaints(MINIMAL + f"rules: {{dir: {name}}}")[0].startswith(
        "gateway.yaml:7:9: rules.dir: there is no folder"
    )


# ── the environment ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_environment_wins_over_the_file(read: Read) -> None:
    config = read(MINIMAL, GATEWAY__DESTINATIONS__PACS__PORT="105", GATEWAY__AE_TITLE="HUB", PATH="/bin")
    assert config.destinations["pacs"].port == 105
    assert config.destinations["pacs"].host == "archive.example.org"
    assert config.ae_title == "HUB"


def test_names_in_the_environment_are_case_insensitive_and_know_no_hyphen(read: Read) -> None:
    text = MINIMAL + "  long-term_store: {ae_title: L, host: h, port: 1}\n"
    config = read(text, gateway__Destinations__LONG_TERM_STORE__port="2")
    assert config.destinations["long-term_store"].port == 2


def test_the_environment_can_add_an_entry(read: Read) -> None:
    config = read(
        MINIMAL,
        GATEWAY__DESTINATIONS__DR="{ae_title: DR, host: h}",
        GATEWAY__DESTINATIONS__DR__PORT="7",
        GATEWAY__SOURCES__MR1__HOSTS="10.0.0.1",
        GATEWAY__SOURCES__MR2__HOSTS="['::1', 10.0.0.0/8]",
        GATEWAY__DESTINATION_DEFAULTS__ATTEMPTS="2",
        GATEWAY__DESTINATIONS__DR__STATUSES__0XA7XX="hold",
    )
    assert config.destinations["dr"].port == 7
    assert config.destinations["dr"].attempts == config.destinations["pacs"].attempts == 2
    assert config.destinations["dr"].statuses == {"0xA7xx": Disposition.HOLD}
    assert config.sources["mr1"] == Source("mr1", (), (ipaddress.ip_network("10.0.0.1/32"),))
    assert len(config.sources["mr2"].hosts) == 2


def test_a_section_can_be_given_whole(read: Read) -> None:
    config = read(GATEWAY__LOG="{format: json, level: error}", GATEWAY__LOG__LEVEL="debug")
    assert (config.log.format, config.log.level) == (LogFormat.JSON, LogLevel.DEBUG)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("GATEWAY__SPOOL__MIN_FRE", "1 B", "spool: unknown key 'min_fre'; did you mean 'min_free'?"),
        ("GATEWAY__SPOL__MIN_FREE", "1 B", "unknown key 'spol'; did you mean 'spool'?"),
        ("GATEWAY__SPOOL__MIN_FREE", "much", "spool.min_free: 'much' is not a size"),
        ("GATEWAY__SPOOL__MIN_FREE", "", "spool.min_free: has no value"),
        ("GATEWAY__SPOOL__MIN_FREE__X", "1", "spool.min_free: must be one value"),
        ("GATEWAY____SPOOL", "1", "the parts between two __ must not be empty"),
        ("GATEWAY___FILE", "x", "names no value"),
        ("GATEWAY__SPOOL", "[", "not valid YAML: while parsing a flow node"),
        ("GATEWAY__SPOOL__DIR_FILE", "nowhere", "the file nowhere cannot be read: No such file or directory"),
        ("GATEWAY__DESTINATIONS__B-__PORT", "1", "destinations: the name 'b-' must be at most 63 small letters"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(
    complaints: Callable[..., list[str]], variable: str, value: str, complaint: str
) -> None:
    told = [line for line in complaints(**{variable: value}) if f": {complaint}" in line]
    assert len(told) == 1
    assert told[0].startswith(f"environment {variable}:1:")


def test_two_variables_for_one_value_are_a_problem(complaints: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "port").write_text("1")
    told = complaints(GATEWAY__METRICS__PORT="1", GATEWAY__METRICS__PORT_FILE=f"{tmp_path}/port")
    assert told == [
        "environment GATEWAY__METRICS__PORT_FILE:1:1: GATEWAY__METRICS__PORT sets the same value: unset one of them"
    ]


def test_a_value_can_stand_in_a_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "title").write_text("FROMFILE\r\n")
    (tmp_path / "hosts").write_text("- 10.0.0.0/8\n- 11.0.0.0/8\n")
    config = read(GATEWAY__AE_TITLE_FILE="title", GATEWAY__SOURCES__CT1__HOSTS_FILE=f"{tmp_path}/hosts")
    assert config.ae_title == "FROMFILE"
    assert len(config.sources["ct1"].hosts) == 2


def test_a_name_that_ends_in_file_is_a_name(read: Read) -> None:
    text = MINIMAL + "  to_file: {ae_title: L, host: h, port: 1}\n"
    config = read(text, GATEWAY__DESTINATIONS__TO_FILE="{ae_title: M, host: h, port: 2}")
    assert config.destinations["to_file"].ae_title == "M"


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/d", "hunter2", "http://:hunter2@h", "hunter2://x", "postgresql:hunter2"]
)
@pytest.mark.parametrize("section", ["ledger", "queue"])
@pytest.mark.parametrize("way", ["file", "variable", "secret file"])
def test_a_password_in_a_url_is_in_no_message(read: Read, tmp_path: Path, section: str, url: str, way: str) -> None:
    (tmp_path / "secret").write_text(url + "\n")
    text, env = MINIMAL, {}
    if way == "file":
        text += f"{section}: {{url: '{url}'}}\n"
    elif way == "variable":
        env[f"GATEWAY__{section.upper()}__URL"] = url
    else:
        env[f"GATEWAY__{section.upper()}__URL_FILE"] = "secret"
    with pytest.raises(ConfigurationError) as caught:
        read(text, **env)
    assert "hunter2" not in str(caught.value) + repr(caught.value)


def test_what_stands_in_a_secret_file_is_in_no_message(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2 \\ hunter2")
    with pytest.raises(ConfigurationError) as caught:
        read(GATEWAY__AE_TITLE_FILE="secret")
    assert "hunter2" not in str(caught.value)


def test_urls_are_in_no_repr(read: Read) -> None:
    config = read()
    assert config.ledger.url == "sqlite"
    assert config.queue.url == "local"
    assert "sqlite" not in repr(config)
    assert "local'" not in repr(config.queue)


# ── units, names, file systems ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("0 B", 0), ("1B", 1), ("5 GiB", 5 * 2**30), ("100 MB", 10**8), ("1.5 kB", 1500), ("2 TiB", 2**41)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("500 ms", 0.5), ("60s", 60.0), ("1.5 h", 5400.0), ("5 min", 300.0), ("7 d", 604_800.0)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(0, MAX_SIZE_BYTES))
def test_a_size_is_read_as_it_is_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 3_000_000_000_000))
def test_a_time_is_read_as_it_is_written(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_a_sentence(text: str) -> None:
    for parse in (parse_size, parse_duration):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert str(error).startswith("is ")


@pytest.mark.parametrize("name", ["a", "0", "pacs-2", "a_b-c", "x" * 63])
def test_names(name: str) -> None:
    assert name_complaint(name) is None


@pytest.mark.parametrize("name", ["", "-a", "_a", "a-", "a__b", "a-_b", "A", "ä", "a.b", "a b", "a\n", "x" * 64])
def test_what_is_no_name(name: str) -> None:
    assert name_complaint(name) is not None


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/share rw - nfs4 server:/export rw
31 30 8:2 / /mnt/share/local rw - xfs /dev/sdb rw
32 22 0:41 / /mnt/with\\040space rw shared:1 - cifs //server/x rw
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/state", None),
        ("/mnt/share/state", "nfs4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/shared", None),
        ("/mnt/share/local/state", None),
        ("/mnt/with space/state", "cifs"),
    ],
)
def test_a_network_share_is_known_by_its_mount(path: str, kind: str | None) -> None:
    assert network_file_system(Path(path), MOUNTS) == kind


def test_the_ledger_is_not_put_on_a_network_share(
    complaints: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:1 / {tmp_path}/state rw - nfs4 server:/x rw\n")
    monkeypatch.setattr("gateway.config.check._MOUNTS", mounts)
    assert "state_dir: 'state' is on a network share (nfs4): the ledger needs a local disk" in complaints()[0]


# ── reloads ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_destinations_and_sources_reload_and_the_rest_waits(read: Read) -> None:
    old = read()
    assert reloadable_changes(old, read()) == (False, [])
    assert reloadable_changes(old, read(GATEWAY__DESTINATIONS__PACS__PORT="105")) == (True, [])
    assert reloadable_changes(old, read(GATEWAY__SOURCES__MR__AE_TITLES="[MR]")) == (True, [])
    assert reloadable_changes(old, read(GATEWAY__DESTINATION_DEFAULTS__ATTEMPTS="2")) == (True, [])
    assert reloadable_changes(old, read(GATEWAY__AE_TITLE="HUB")) == (
        True,
        ["ae_title", "listeners.main.ae_titles"],
    )
    assert reloadable_changes(
        old,
        read(
            GATEWAY__SPOOL__MIN_FREE="1 GiB",
            GATEWAY__LISTENERS__MAIN__PORT="104",
            GATEWAY__LISTENERS__TWO="{host: h, port: 1}",
            GATEWAY__WORKER__TIME="5 s",
        ),
    ) == (False, ["spool.min_free", "listeners.main.port", "listeners.two", "worker.time"])
