"""The files in deploy/ are right by the tools of those who read them, and keep to what is promised of them.

The commands in them are run by test_deploy_commands.py. No container engine is needed: nothing here builds the image.
"""

from __future__ import annotations

import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.config import load
from tests.harness.tools import Process, free_port, program, run
from tests.integration.deployed import (
    DEPLOY,
    ROOT,
    Site,
    compose,
    compose_commands,
    final_stage,
    health_check,
    instructions,
    is_workload,
    kubernetes_commands,
    manifests,
    systemd_command,
)

KUBERNETES = "1.33"  # the version whose schemas the manifests are held to
UNITS = ("gateway.service", "gateway@.service", "gateway.socket")


@pytest.fixture
def compose_folder(tmp_path: Path) -> Path:
    """A copy of deploy/compose with secrets in it."""
    folder = tmp_path / "deploy/compose"
    shutil.copytree(DEPLOY / "compose", folder)
    run([folder / "make-secrets"]).check()
    return folder


# ── by the tools of those who read them ──────────────────────────────────────────────────────────────────────────────


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    run([Path(sys.executable).parent / "hadolint", DEPLOY / "docker/Dockerfile"]).check()


def test_compose_takes_its_file(compose_folder: Path) -> None:
    run([program("docker-compose"), "--file", compose_folder / "compose.yaml", "config", "--quiet"]).check()


def test_systemd_takes_its_units(tmp_path: Path) -> None:
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/gateway/bin/gateway", "/bin/true"))
    names = [name.replace("@.", "@receiver.") for name in UNITS]
    done = run([program("systemd-analyze"), "verify", *(f"./{name}" for name in names)], cwd=tmp_path).check()
    assert done.output == ""


@pytest.mark.parametrize("name", UNITS[:2])
def test_systemd_finds_its_services_little_exposed(name: str) -> None:
    words = ["security", "--offline=yes", "--threshold=20", "--no-pager", DEPLOY / "systemd" / name]
    run([program("systemd-analyze"), *words]).check()  # 20 is 2.0 of 10; a service that says nothing has 9.6


def test_kubernetes_takes_every_manifest() -> None:
    assert len(manifests()) == 15
    for each in manifests():
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_prometheus_takes_its_configuration() -> None:
    run([program("promtool"), "check", "config", DEPLOY / "compose/prometheus.yml"]).check()


def test_redis_runs_with_its_configuration_and_wants_the_password(tmp_path: Path, compose_folder: Path) -> None:
    text, port = (compose_folder / "redis.conf").read_text(), free_port()
    moved = text.replace("/run/secrets", str(compose_folder / "secrets")).replace("dir /data", f"dir {tmp_path}")
    (tmp_path / "redis.conf").write_text(moved)
    client = [program("redis-cli"), "-p", str(port)]
    password = (compose_folder / "secrets/redis-password").read_text().strip()
    with Process([program("redis-server"), tmp_path / "redis.conf", "--port", str(port)], tmp_path) as server:
        server.wait_for_port(port)
        (check,) = compose()["services"]["redis"]["healthcheck"]["test"][1:]
        assert run(["sh", "-c", check.replace("redis-cli", " ".join(client))]).check()
        assert "NOAUTH" in run([*client, "config", "get", "maxmemory-policy"]).output
        said = run([*client, "config", "get", "maxmemory-policy"], env={"REDISCLI_AUTH": password})
        assert "noeviction" in said.output
    assert run(["sh", "-c", check.replace("redis-cli", " ".join(client))]).returncode != 0


@pytest.mark.parametrize(
    ("configuration", "command"),
    [
        *(("compose", each) for each in compose_commands()),
        *(("kubernetes", each) for each in kubernetes_commands()),
        ("systemd", systemd_command("gateway.service")),
        *(("systemd", systemd_command("gateway@.service", role)) for role in ("receiver", "worker", "forwarder")),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_gateway_takes_each_configuration_with_its_environment(
    tmp_path: Path, configuration: str, command: Any
) -> None:
    site = Site(tmp_path, DEPLOY / configuration / "gateway.yaml", ROOT / "rules", shared=False)
    for place in ("run/secrets", "run/secrets/gateway"):
        (tmp_path / place / "ledger-url").write_text("postgresql://gateway@postgres/gateway\n")
        (tmp_path / place / "queue-url").write_text("redis://redis:6379/0\n")
    environment = {key: site.moved(value) for key, value in command.environment.items()}
    config = load(tmp_path / "etc/gateway/gateway.yaml", environment)
    assert (str(config.ledger.url) != "sqlite") == (configuration != "systemd")


# ── what is promised of them ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_image_is_made_in_two_stages_and_runs_as_a_user_of_its_own() -> None:
    stages = [text for word, text in instructions() if word == "FROM"]
    assert len(stages) == 2 and stages[0].endswith(" AS build")
    final = final_stage()
    assert final["USER"] == "10001:10001"
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert (final["ENTRYPOINT"], final["CMD"]) == ('["gateway"]', '["run"]')


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    ignored = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    seen = {line[1:] for line in ignored if line.startswith("!")}
    copied = [text.split()[:-1] for word, text in instructions() if word == "COPY" and "--from" not in text]
    assert {name for names in copied for name in names} == seen
    assert all((ROOT / name).exists() for name in seen)


def images() -> list[str]:
    services = [each["image"] for each in compose()["services"].values()]
    pods = [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in manifests() if is_workload(each)]
    return [*services, *pods, *(text.split()[0] for word, text in instructions() if word == "FROM")]


@pytest.mark.parametrize("image", sorted(set(images())))
def test_every_image_is_pinned(image: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+[\w.-]*", image), image


def test_only_dicom_is_published_beyond_the_loopback() -> None:
    published = {name: each["ports"] for name, each in compose()["services"].items() if "ports" in each}
    assert published.pop("receiver") == ["11112:11112"]
    assert published and all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_no_file_holds_a_password() -> None:
    told = re.compile(
        r"(?i)(password|passwd|requirepass|passphrase)\w*[ \t]*[:= ][ \t]*(?!/run/secrets)[\w'\"]{6,}$", re.M
    )
    url = re.compile(r"://[^\s/$]*:[^\s/$]+@")
    for path in (path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "make-secrets"):
        text = path.read_text()
        assert not url.search(text), path
        assert not told.search(text), (path, told.search(text))
    assert not [each for each in manifests() if each["kind"] == "Secret"]


def test_passwords_are_made_once_at_random_and_lie_in_a_folder_of_their_maker(compose_folder: Path) -> None:
    secrets = compose_folder / "secrets"
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    assert {Path(each["file"]).name for each in compose()["secrets"].values()} <= set(made)
    passwords = [text.strip() for name, text in made.items() if name.endswith("-password")]
    assert len(set(passwords)) == 3 and all(re.fullmatch("[0-9a-f]{48}", text) for text in passwords)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert run([compose_folder / "make-secrets"]).check().output == ""
    assert {path.name: path.read_text() for path in secrets.iterdir()} == made


def test_every_pod_is_locked_up() -> None:
    for each in filter(is_workload, manifests()):
        pod = each["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        inside = container["securityContext"]
        assert inside["readOnlyRootFilesystem"] and not inside["allowPrivilegeEscalation"]
        assert inside["capabilities"] == {"drop": ["ALL"]}


def test_probes_ask_the_listener_whose_places_no_browser_can_take() -> None:
    kinds = ("livenessProbe", "readinessProbe", "startupProbe")
    for each in filter(is_workload, manifests()):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        asked = [container[kind]["httpGet"] for kind in kinds if kind in container]
        assert asked and {probe["port"] for probe in asked} == {"metrics"}
    assert "127.0.0.1:9464/livez" in health_check()[-1]


def test_a_stop_fits_into_the_time_that_is_given_for_it() -> None:
    role_s, last_words_s = 20, 10  # gateway.app.host.STOP_S, and the supervisor's patience with its hooks
    for each in filter(is_workload, manifests()):
        pod = each["spec"]["template"]["spec"]
        before = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [""])[-1]
        drain_s = sum(map(int, re.findall(r"timeout (\d+)", before)))
        assert pod["terminationGracePeriodSeconds"] >= drain_s + 2 * role_s + last_words_s
    for name in UNITS[:2]:
        (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)s$", (DEPLOY / "systemd" / name).read_text(), re.MULTILINE)
        assert int(stop_s) >= 4 * role_s + last_words_s
    for each in compose()["services"].values():
        if "build" in each:
            assert int(each["stop_grace_period"].removesuffix("s")) >= 2 * role_s + last_words_s


def test_the_kustomization_names_every_manifest_and_what_pods_mount_is_there() -> None:
    folder = DEPLOY / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "gateway.yaml"}
    assert set(kustomization["resources"]) == files
    made = {each["name"]: each["files"] for each in kustomization["configMapGenerator"]}
    assert all((folder / name).is_file() for names in made.values() for name in names)
    mounted = {
        volume["configMap"]["name"]
        for each in filter(is_workload, manifests())
        for volume in each["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    }
    assert mounted == set(made)
