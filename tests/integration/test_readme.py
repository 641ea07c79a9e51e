"""The ten minutes of README.md, walked: every shell command in it is run, in order, beside a gateway that runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.harness.archive import OurArchive
from tests.harness.tools import Process, free_port, run, wait_until

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
TARGETS = dict(re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The example configuration and rules, with ports of the test's own and no archive that answers."""
    for name in ("deploy", "rules"):
        shutil.copytree(ROOT / name, tmp_path / name)
    ports = {
        "LISTENERS__MAIN__PORT": free_port(),
        "METRICS__PORT": free_port(),
        "CONSOLE__PORT": free_port(),
        "DESTINATIONS__PACS__PORT": free_port(),
        "DESTINATIONS__DR__PORT": free_port(),
    }
    env = {f"GATEWAY__{name}": str(port) for name, port in ports.items()}
    env |= {"GATEWAY_CONFIG": "deploy/gateway.yaml", "PYTHONPATH": str(ROOT), "GATEWAY__SPOOL__MIN_FREE": "8 MiB"}
    env["GATEWAY__DESTINATION_DEFAULTS__PROBE_MAX"] = "1 s"
    env["GATEWAY__DESTINATION_DEFAULTS__PROBE_MIN"] = "500 ms"
    yield tmp_path, env


def words_of(line: str, env: dict[str, str]) -> list[str]:
    """A `gateway …` line of the README as it is run here: the sample files and the port are those of this machine."""
    files = str(Path(pydicom.__file__).parent)
    line = re.sub(r"\.venv/lib/python3\*/site-packages/pydicom", files, line)
    line = line.replace(":11112", f":{env['GATEWAY__LISTENERS__MAIN__PORT']}")
    return [sys.executable, "-m", *shlex.split(line)]


def test_every_make_target_that_is_named_is_there() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named <= set(TARGETS) | {"help"}
    assert {"demo", "test", "run", "check", "chaos", "fuzz", "bench"} <= named


def test_the_ten_minutes_work_as_they_are_written(place: tuple[Path, dict[str, str]]) -> None:
    folder, env = place
    lines = [line for line in COMMANDS if line.startswith("gateway ")]
    assert [line.split()[1] for line in lines] == ["check", "rules", "send", "queue", "list", "list"]
    others = [line for line in COMMANDS if not line.startswith(("gateway ", "make ", "export "))]
    assert others == [], "a command that is not run here"

    def ready() -> bool:
        port = env["GATEWAY__CONSOLE__PORT"]
        probe = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
        return run([sys.executable, "-c", probe, f"http://127.0.0.1:{port}/readyz"]).returncode == 0

    recipe = "gateway run --config deploy/gateway.yaml"
    assert f"$(BIN)/{recipe}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in lines[:2]:
        run(words_of(line, env), cwd=folder, env=env).check()
    gateway = Process([sys.executable, "-m", *recipe.split()], folder / "log", "gateway", cwd=folder, env=env)
    try:
        wait_until(ready, 60, gateway.output, interval_s=0.2)
        said = {line: run(words_of(line, env), cwd=folder, env=env).check().stdout for line in lines[2:]}
        sent = re.match(r"(\d+) of (\d+) stored", said[lines[2]])
        assert sent
        assert sent[1] == sent[2]
        assert "pacs" in said[lines[3]]
        assert "pacs: " in said[lines[4]]
        assert said[lines[5]] == "no instance matches\n"
        # Step 6: an archive comes up, and what waits for it goes by itself.
        with OurArchive(port=int(env["GATEWAY__DESTINATIONS__PACS__PORT"])) as archive:
            wait_until(lambda: archive.count >= int(sent[1]), 60, gateway.output)
    finally:
        os.kill(gateway.pid, signal.SIGTERM)
        assert gateway.wait(60) == 0
