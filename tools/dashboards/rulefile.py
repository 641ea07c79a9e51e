"""An alert, and a file of them, as Prometheus has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from tools.dashboards.panels import Json

CRITICAL, WARNING = "critical", "warning"
# Where docs/operations.md is: the console shows it to everybody, without a login.
RUNBOOKS = "{{ with $externalLabels.gateway_console }}{{ . }}/help{{ else }}docs/operations.md{{ end }}"


@dataclass(frozen=True)
class Alert:
    """One alert. `patience` is how long it must be so; `section` the anchor in docs/operations.md."""

    name: str
    value: str
    when: str
    patience: str
    severity: str
    summary: str
    description: str
    section: str

    @property
    def expression(self) -> str:
        """What Prometheus evaluates."""
        return f"{self.value} {self.when}"

    def json(self) -> Json:
        """The rule, as Prometheus has it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.patience,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}#{self.section}",
            },
        }


@dataclass(frozen=True)
class Group:
    """Alerts of one subject: a file. `head` is the comment on top of it."""

    name: str
    head: str
    alerts: Sequence[Alert]

    def text(self) -> str:
        """The file."""
        document = {"groups": [{"name": f"gateway-{self.name}", "rules": [alert.json() for alert in self.alerts]}]}
        body = yaml.dump(document, sort_keys=False, width=116, allow_unicode=True, Dumper=_Dumper)
        return f"# {self.head}\n# Made by `python -m tools.dashboards` from tools/dashboards/alerts.py.\n{body}"


class _Dumper(yaml.SafeDumper):
    """Long texts folded, so that they can be read."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists stand deeper than their key."""
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=">" if len(value) > 80 else None)


_Dumper.add_representer(str, _text)
