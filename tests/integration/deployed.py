"""What stands in deploy/, as a test runs it: the commands of the image, of compose, of systemd and of Kubernetes.

A `Site` is a folder in which the paths of deploy/ lie: `/etc/gateway`, `/run/secrets`, `/var/lib/gateway` and
`/var/spool/gateway` are below it, `gateway` and `python` are this project's. A `Command` is taken from a file of
deploy/, word by word and with its environment; only those paths, and ports that others may use, are put in others'
place. Servers are real ones.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer
from tests.harness.tools import Completed, Process, free_port, run, wait_until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
_PATHS = ("/etc/gateway", "/run/secrets", "/var/lib/gateway", "/var/spool/gateway", "/opt/gateway/bin")


@dataclass(frozen=True)
class Command:
    """A gateway that runs for long: `name` is its service, `before_stop` what is run before it is told to end."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    before_stop: Sequence[str] = ()


# ── what stands in the files ──────────────────────────────────────────────────────────────────────────────────────────


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and what they are given, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "docker/Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def final_stage() -> dict[str, str]:
    """The last of each instruction of the image itself."""
    every = instructions()
    start = max(index for index, (word, _) in enumerate(every) if word == "FROM")
    return dict(every[start:])


def health_check() -> list[str]:
    """The words of the image's health check."""
    words: list[str] = yaml.safe_load(final_stage()["HEALTHCHECK"].partition("CMD ")[2])
    return words


def image_environment() -> dict[str, str]:
    """GATEWAY_CONFIG of the image: the rest of its environment is Python's, and PATH."""
    pairs = dict(word.split("=", 1) for word in shlex.split(final_stage()["ENV"]))
    return {"GATEWAY_CONFIG": pairs["GATEWAY_CONFIG"]}


def _entry() -> list[str]:
    words: list[str] = yaml.safe_load(final_stage()["ENTRYPOINT"])
    return words


def image_command() -> Command:
    """What the image runs by itself."""
    return Command("image", [*_entry(), *yaml.safe_load(final_stage()["CMD"])], image_environment())


def compose() -> dict[str, Any]:
    """compose.yaml."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    return document


def compose_commands() -> list[Command]:
    """The gateway's services."""
    services = {name: each for name, each in compose()["services"].items() if "build" in each}
    return [
        Command(name, [*_entry(), *each["command"]], {**image_environment(), **each["environment"]})
        for name, each in services.items()
    ]


def manifests() -> list[dict[str, Any]]:
    """Every Kubernetes object of the resources that the kustomization names."""
    folder = DEPLOY / "kubernetes"
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [each for name in names for each in yaml.safe_load_all((folder / name).read_text())]


def is_workload(document: Mapping[str, Any]) -> bool:
    """Whether this object is one that makes pods."""
    return document["kind"] in ("Deployment", "StatefulSet")


def kubernetes_commands() -> list[Command]:
    """The container of each deployment, with the pod's name as Kubernetes would give it."""
    found = []
    for each in manifests():
        if not is_workload(each):
            continue
        name, (container,) = each["metadata"]["name"], each["spec"]["template"]["spec"]["containers"]
        environment = {item["name"]: item.get("value", f"{name}-5d9f8c7b6-x2x4z") for item in container["env"]}
        before = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        found.append(Command(name, [*_entry(), *container["args"]], {**image_environment(), **environment}, before))
    return found


def systemd_command(unit: str, instance: str = "") -> Command:
    """ExecStart= of a unit, with Environment= and the instance's file of deploy/systemd, specifiers filled in."""
    text = (DEPLOY / "systemd" / unit).read_text()
    text = text.replace("%i", instance).replace("%S", "/var/lib").replace("%l", "myhost")
    environment = dict(re.findall(r"^Environment=([A-Z_]+)=(.*)$", text, re.MULTILINE))
    if instance:
        lines = (DEPLOY / "systemd" / f"{instance}.env").read_text().splitlines()
        environment |= dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    argv = [re.sub(r"\$\{(\w+)\}", lambda match: environment[match[1]], word) for word in shlex.split(start)]
    return Command(f"{unit}-{instance}", argv, environment)


# ── where it runs ─────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def servers() -> tuple[PostgresServer, RedisServer]:
    """PostgreSQL and Redis, of this test process."""
    return PostgresServer(), RedisServer()


class Site:
    """See the module's docstring. `configuration` and `rules` are of deploy/ or the project."""

    def __init__(self, folder: Path, configuration: Path, rules: Path, *, shared: bool = True) -> None:
        self.folder = folder
        etc, binaries, secrets = (folder / path for path in ("etc/gateway", "opt/gateway/bin", "run/secrets/gateway"))
        for each in (etc, binaries, secrets):
            each.mkdir(parents=True)
        (etc / "gateway.yaml").write_text(self.moved(configuration.read_text()))
        shutil.copytree(rules, etc / "rules")
        shim = binaries / "gateway"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m gateway "$@"\n')
        shim.chmod(0o755)
        self.binaries = binaries
        if shared:
            postgres, redis = servers()
            urls = {"ledger-url": postgres.url(postgres.create_database()), "queue-url": redis.url()}
            for place in (secrets, secrets.parent):  # Kubernetes' and compose's
                for name, url in urls.items():
                    (place / name).write_text(url + "\n")

    def moved(self, text: str) -> str:
        """The text with the paths of deploy/ below this folder."""
        for path in _PATHS:
            text = re.sub(rf"(?<![\w/]){path}(?![a-z])", f"{self.folder}{path}", text)
        return text

    def environment(self, given: Mapping[str, str], ports: Sequence[int], name: str) -> dict[str, str]:
        """The environment of a command, `ports` for DICOM, console and metrics; a state folder of its own."""
        path = f"{self.binaries}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        ours = {"PYTHONPATH": str(ROOT), "PATH": path, "GATEWAY__SPOOL__MIN_FREE": "8 MiB"}
        for key, port in zip(("LISTENERS__MAIN", "CONSOLE", "METRICS"), ports, strict=True):
            ours[f"GATEWAY__{key}__PORT"] = str(port)
        apart = {"GATEWAY__STATE_DIR": f"/var/lib/gateway-{name}", "GATEWAY__HOST": f"host-{name.replace('.', '-')}"}
        return {key: self.moved(value) for key, value in {**apart, **given, **ours}.items()}

    def start(self, command: Command, wrapper: Sequence[str] = ()) -> Running:
        """Start a command."""
        ports = [free_port() for _ in range(3)]
        environment = self.environment(command.environment, ports, command.name)
        argv = [self.moved(word) for word in command.argv]
        if argv[0] == "gateway":
            argv[0] = str(self.binaries / "gateway")
        process = Process([*wrapper, *argv], self.folder / "log", command.name, env=environment)
        return Running(self, command, process, environment, ports[2])


@dataclass
class Running:
    """A command that was started."""

    site: Site
    command: Command
    process: Process
    environment: dict[str, str]
    metrics_port: int

    def is_ready(self) -> bool:
        """What /readyz says."""
        said = self.process.output()
        assert self.process.running, f"{self.command.name} exited with {self.process.returncode}:\n{said[-3000:]}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self) -> None:
        wait_until(self.is_ready, 60, lambda: f"{self.command.name}:\n{self.process.output()[-3000:]}", 0.05)

    def run(self, argv: Sequence[str]) -> Completed:
        """Run a command beside it, in its environment, with its metrics' port in the place of 9464."""
        words = [word.replace("127.0.0.1:9464", f"127.0.0.1:{self.metrics_port}") for word in argv]
        if words[0] == "python":
            words[0] = sys.executable
        return run(words, 60, env=self.environment)
