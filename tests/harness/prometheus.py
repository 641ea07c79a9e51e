"""A Prometheus of a test's own: it scrapes each second and evaluates rules, and is asked over its HTTP API.

with Prometheus(folder, {"gateway": [config.metrics_port]}, rules=[…]) as prometheus:
    prometheus.wait_for("up")
    samples = prometheus.query('sum by (source) (rate(gateway_instances_received_total[10s]))')
"""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.harness.tools import Process, free_port, program, wait_until

INTERVAL = "1s"


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer and its value now."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """See the module's docstring. `jobs`: job → ports on loopback; `rules`: files; `external_labels` as in its file."""

    def __init__(
        self,
        folder: Path,
        jobs: Mapping[str, Sequence[int]],
        rules: Sequence[Path] = (),
        external_labels: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        config = {
            "global": {
                "scrape_interval": INTERVAL,
                "scrape_timeout": INTERVAL,
                "evaluation_interval": INTERVAL,
                "external_labels": dict(external_labels or {}),
            },
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}
                for job, ports in jobs.items()
            ],
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        words = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        words += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        self.process = Process([program("prometheus"), *words], folder / "log", "prometheus")
        self.process.wait_for_port(self.port)
        wait_until(self._is_ready, 15, lambda: self.process.output()[-2000:])

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def api(self, path: str, **parameters: str) -> Any:
        """`data` of what its API answers; AssertionError with its words for a query that it does not take."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode(errors='replace')}") from None

    def query(self, expression: str) -> list[Sample]:
        """The series of an expression that have a number now."""
        found = self.api("query", query=expression)
        rows = [{"metric": {}, "value": found["result"]}] if found["resultType"] == "scalar" else found["result"]
        samples = [Sample(row["metric"], float(row["value"][1])) for row in rows]
        return [sample for sample in samples if not math.isnan(sample.value)]

    def wait_for(self, expression: str, timeout_s: float = 15.0) -> list[Sample]:
        """Wait until an expression has a series."""
        return wait_until(lambda: self.query(expression), timeout_s, f"{expression} to be there", 0.1)

    def alerts(self) -> dict[str, dict[str, Any]]:
        """Alerts that are pending or fire: name → one of that name, as the API tells it."""
        return {each["labels"]["alertname"]: each for each in self.api("alerts")["alerts"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
