"""gateway.yaml and the rules of a gateway under test.

What a test does not say has defaults that make faults show within seconds: short retries and probes, a small
watermark, every sender on loopback known, one rule that sends everything everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.harness import backends
from tests.harness.ledgerrows import Source
from tests.harness.tools import free_port

_FAST_DESTINATIONS: dict[str, Any] = {
    "retry_min": "200 ms",
    "retry_max": "1 s",
    "probe_min": "200 ms",
    "probe_max": "1 s",
    "connect_timeout": "2 s",
    "association_timeout": "5 s",
    "response_timeout": "10 s",
    "progress_timeout": "5 s",
}


class GatewayConfig:
    """A gateway.yaml and its rules, below `folder`.

    `destinations`: name → port on loopback, or a mapping of keys (host and ae_title have defaults). `rules`: file
    name → YAML text; left out, one rule sends everything everywhere. Other keywords are sections of gateway.yaml, laid
    over the defaults key by key: `spool={"min_free": "1 GiB"}`, `destination_defaults={"attempts": 2}`. Change
    `document` or `rules` and `write` again to try a reload.

    `host`: the address that it serves. Several of these with folders of their own, one `ledger={"url": …}`, one
    `queue={"url": …}` and one `spool={"dir": …}` are the hosts of one gateway.
    """

    def __init__(
        self,
        folder: Path,
        destinations: Mapping[str, int | Mapping[str, Any]],
        *,
        rules: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        **sections: Any,
    ) -> None:
        self.folder = folder
        self.path = folder / "gateway.yaml"
        self.host = host
        self.port = free_port()
        self.metrics_port = free_port()
        self.console_port = free_port()
        self.state_dir = folder / "state"
        self.spool_dir = self.state_dir / "spool"
        self.rules_dir = folder / "rules"
        self.rules = dict(rules) if rules is not None else {"10-all.yaml": send_everything_to(destinations)}
        self.document: dict[str, Any] = {
            "ae_title": "GATEWAY",
            "state_dir": str(self.state_dir),
            "spool": {"dir": str(self.spool_dir), "min_free": "8 MiB", "ballast": "1 MiB", "pool_size": 64},
            "rules": {"dir": str(self.rules_dir)},
            "listeners": {"main": {"host": host, "port": self.port, "ae_titles": []}},
            "sources": {"loopback": {"hosts": ["127.0.0.0/8"]}},
            "destination_defaults": dict(_FAST_DESTINATIONS),
            "destinations": {name: self._destination(name, one) for name, one in destinations.items()},
            "metrics": {"host": host, "port": self.metrics_port},
            "console": {"host": host, "port": self.console_port},
            "log": {"format": "json", "level": "debug"},
        }
        _lay_over(self.document, {**backends.sections(sections), **sections})
        self.state_dir = Path(self.document["state_dir"])
        self.spool_dir = Path(self.document["spool"]["dir"])

    @staticmethod
    def _destination(name: str, given: int | Mapping[str, Any]) -> dict[str, Any]:
        keys = {"port": given} if isinstance(given, int) else dict(given)
        title = re.sub(r"[^A-Z0-9]", "", name.upper())[:16]
        return {"host": "127.0.0.1", "ae_title": title, **keys}

    @property
    def ledger_path(self) -> Path:
        """The file of a SQLite ledger."""
        return self.state_dir / "ledger.db"

    @property
    def ledger_source(self) -> Source:
        """Where `ledgerrows` finds the ledger: the file, or the URL of PostgreSQL."""
        url = str(self.document.get("ledger", {}).get("url", "sqlite"))
        return self.ledger_path if url == "sqlite" else url

    def write(self) -> Path:
        """Write gateway.yaml and the rule files (files no longer in `rules` are removed); the path of gateway.yaml."""
        self.rules_dir.mkdir(parents=True, exist_ok=True)
        for old in self.rules_dir.glob("*.yaml"):
            if old.name not in self.rules:
                old.unlink()
        for name, text in self.rules.items():
            replace(self.rules_dir / name, text)
        replace(self.path, yaml.safe_dump(self.document, sort_keys=False))
        return self.path


def replace(path: Path, text: str) -> None:
    """Write a file so that nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


def send_everything_to(destinations: Sequence[str] | Mapping[str, Any]) -> str:
    """A rule file with one rule that matches everything."""
    return yaml.safe_dump({"rules": [{"name": "everything", "send_to": list(destinations)}]})


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _lay_over(below[key], value)
        else:
            below[key] = dict(value) if isinstance(value, Mapping) else value
