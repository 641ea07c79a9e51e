"""The commands in deploy/ are run as they stand there: each starts, is ready, passes its checks, and stops in order.

What compose and Kubernetes run is the same, word by word, so it is run once, as Kubernetes does it.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

from tests.harness.tools import Process, free_port, program, require
from tests.integration.deployed import (
    DEPLOY,
    ROOT,
    Command,
    Running,
    Site,
    compose_commands,
    health_check,
    image_command,
    kubernetes_commands,
    systemd_command,
)

# PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN (prctl(2)), which children inherit: it forbids what MemoryDenyWriteExecute=
# forbids.
_NO_WRITABLE_CODE = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit("this kernel has no PR_SET_MDWE")
os.execv(sys.argv[1], sys.argv[1:])
"""


def see_it_run(running: list[Running]) -> None:
    """Each becomes ready and healthy; the first does what comes before a stop; each stops in order, by SIGTERM."""
    for each in running:
        each.wait_ready()
        each.run(health_check()).check()
    if running[0].command.before_stop:
        said = running[0].run(running[0].command.before_stop).check().stdout
        assert ": drained" in said and ": taking work again" in said
    for each in running:
        each.process.popen.terminate()
    for each in running:
        assert each.process.wait(40) == 0, each.process.output()[-3000:]
    assert running[0].run(health_check()).returncode != 0


def test_the_pods_of_kubernetes_run_side_by_side_and_are_drained_before_they_stop(tmp_path: Path) -> None:
    commands = kubernetes_commands()
    before = [" ".join(command.before_stop) for command in commands]
    assert len({re.sub(r"timeout \d+", "timeout N", text) for text in before[:3]}) == 1  # so one is run, the receiver's
    assert before[3] == ""
    site = Site(tmp_path, DEPLOY / "kubernetes/gateway.yaml", DEPLOY / "kubernetes/rules")
    with contextlib.ExitStack() as stack:
        running = [site.start(command) for command in commands]
        for each in running:
            stack.enter_context(each.process)
        see_it_run(running)


def test_the_services_of_compose_run_what_the_pods_of_kubernetes_run() -> None:
    pods = {command.name.removeprefix("gateway-"): command for command in kubernetes_commands()}
    services = {command.name: command for command in compose_commands()}
    assert {name: each.argv for name, each in services.items()} == {name: each.argv for name, each in pods.items()}
    kept = {"console": {"GATEWAY__CONSOLE__USERS", "GATEWAY__AUDIT__DIR"}}  # a pod has volumes for them
    for name, service in services.items():
        ours = set(pods[name].environment) - set(service.environment)
        assert ours == {"GATEWAY__HOST"} | kept.get(name, set())


def test_an_instance_of_the_systemd_template_runs_on_a_shared_ledger(tmp_path: Path) -> None:
    site = Site(tmp_path, DEPLOY / "systemd/gateway.yaml", ROOT / "rules")
    urls = {f"GATEWAY__{key}__URL_FILE": f"/run/secrets/{key.lower()}-url" for key in ("LEDGER", "QUEUE")}
    found = systemd_command("gateway@.service", "console")
    with (running := site.start(Command(found.name, found.argv, {**found.environment, **urls}))).process:
        see_it_run([running])
    assert (tmp_path / "var/lib/gateway-console/lock").exists()


def test_the_service_runs_with_the_socket_of_systemd_and_without_writable_code(tmp_path: Path) -> None:
    site = Site(tmp_path, DEPLOY / "systemd/gateway.yaml", ROOT / "rules", shared=False)
    port, (name,) = (
        free_port(),
        [
            line.partition("=")[2]
            for line in (DEPLOY / "systemd/gateway.socket").read_text().splitlines()
            if line.startswith("FileDescriptorName=")
        ],
    )
    activate = [program("systemd-socket-activate"), f"--listen=127.0.0.1:{port}", f"--fdname={name}"]
    passed = [f"--setenv={key}" for key in ("PYTHONPATH", "PATH", "GATEWAY__SPOOL__MIN_FREE")]
    ports = [f"--setenv=GATEWAY__{key}__PORT" for key in ("CONSOLE", "METRICS", "LISTENERS__MAIN")]
    wrapper = [*activate, *passed, *ports, sys.executable, "-c", _NO_WRITABLE_CODE]
    with (running := site.start(systemd_command("gateway.service"), wrapper)).process as process:
        process.wait_for_output("Listening on")
        echo = [sys.executable, "-m", "gateway", "echo", f"127.0.0.1:{port}", "--called", "GATEWAY", "--calling", "CT1"]
        with Process(echo, tmp_path / "log", "echo", env=running.environment) as sender:
            running.wait_ready()
            assert sender.wait() == 1
            assert "calling AE title not recognized" in sender.output()  # `sources` does not know this address
        see_it_run([running])


def test_the_image_runs_on_a_read_only_root_without_any_capability(tmp_path: Path) -> None:
    require("tmpfs", "setpriv")
    site = Site(tmp_path, DEPLOY / "systemd/gateway.yaml", ROOT / "rules", shared=False)
    only_here = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro / && ! touch /tmp/x && exec "$@"'
    locked = [program("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    wrapper = [program("unshare"), "--mount", "sh", "-c", only_here, "sh", *locked]
    with (running := site.start(image_command(), wrapper)).process:
        see_it_run([running])
