"""What the tests of the commands share: a site with a running gateway and two archives, and commands run on it.

Commands run as processes of their own, in the folder of the configuration, so that what is asserted is what a person
sees: exit code, standard output, standard error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.archive import OurArchive
from tests.harness.data import Instance, write_part10
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.tools import Completed, run, wait_until

ROOT = Path(__file__).resolve().parents[2]

RULES = """\
rules:
  - name: phantoms
    match: {PatientID: "QA*"}
    hold: "a phantom"
  - name: images
    match: {Modality: [CT, MR]}
    send_to: [pacs, dr]
tests:
  - name: a CT goes everywhere
    instance: {Modality: CT}
    expect: {destinations: [pacs, dr]}
"""


def command(
    *words: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
    stdin: int = subprocess.DEVNULL,
) -> Completed:
    """Run `gateway WORDS` to its end."""
    argv = [sys.executable, "-m", "gateway", *words]
    return run(argv, timeout_s, cwd=cwd, env={"PYTHONPATH": str(ROOT), **(env or {})}, stdin=stdin)


@contextmanager
def terminal(typed: str) -> Iterator[int]:
    """A terminal on which `typed` has been typed already, for `stdin`; "\x04" is Ctrl-D."""
    keyboard, screen = os.openpty()
    try:
        os.write(keyboard, typed.encode())
        yield screen
    finally:
        os.close(keyboard)
        os.close(screen)


@contextmanager
def piped(text: str) -> Iterator[int]:
    """A pipe that ends behind `text`, for `stdin`."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


class Site:
    """A gateway with the archives `pacs` and `dr`."""

    def __init__(self, folder: Path, gateway: GatewayProcess, pacs: OurArchive, dr: OurArchive) -> None:
        self.folder = folder
        self.gateway = gateway
        self.pacs = pacs
        self.dr = dr

    def run(self, *words: str | Path, stdin: int = subprocess.DEVNULL) -> Completed:
        """A command that takes `--config`."""
        return command(*words, "--config", self.gateway.config.path, cwd=self.folder, stdin=stdin)

    def json(self, *words: str) -> Any:
        """What a command prints with `--json`; it must succeed."""
        return json.loads(self.run(*words, "--json").check().stdout)

    def send(self, instances: Sequence[Instance], *options: str) -> Completed:
        """`gateway send` of instances as files, with the gateway as peer."""
        paths = [
            write_part10(self.folder / "inbox" / f"{instance.sop_instance_uid}.dcm", instance) for instance in instances
        ]
        port = self.gateway.config.port
        return command("send", *paths, "--to", f"127.0.0.1:{port}", "--called", "GATEWAY", *options, cwd=self.folder)

    def deliveries(self, uid: str) -> dict[str, str]:
        """Destination → state of an instance's newest delivery there, by `gateway list --json`."""
        found: dict[str, str] = {}
        for row in self.json("list", "--uid", uid):
            found |= {delivery["destination"]: delivery["state"] for delivery in row["deliveries"]}
        return found

    def wait_routed(self, uid: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until an instance has left `received`; its row as JSON."""

        def routed() -> dict[str, Any] | None:
            rows = self.json("list", "--uid", uid)
            return rows[0] if rows and rows[0]["state"] != "received" else None

        return wait_until(routed, timeout_s, f"{uid} to be routed")


@contextmanager
def running_site(folder: Path, **sections: Any) -> Iterator[Site]:
    """A site that is ended when the context ends. Sections as in `GatewayConfig`."""
    with OurArchive() as pacs, OurArchive() as dr:
        config = GatewayConfig(
            folder, {"pacs": pacs.port, "dr": dr.port}, rules={"10-site.yaml": RULES}, spool={"keep": "1 h"}, **sections
        )
        gateway = GatewayProcess(config)
        try:
            yield Site(folder, gateway.start(timeout_s=60), pacs, dr)
        finally:
            gateway.close()
