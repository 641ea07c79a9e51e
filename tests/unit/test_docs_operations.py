"""docs/operations.md knows every metric and every log event, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from gateway.console.access.told import AccessEvent
from gateway.console.figures import HostFigures, JobFigures, SpoolFigures, text_of
from gateway.model import DestinationState, LedgerGauges
from gateway.reasons import (
    DEAD_SECTION,
    HELD_SECTION,
    QUARANTINE_SECTION,
    UNROUTED_SECTION,
    Dead,
    Distrusted,
    Held,
    Unrouted,
)
from gateway.supervisor.child import Child, ChildSpec
from gateway.supervisor.metrics import SupervisorMetrics
from gateway.telemetry import registry

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LEVELS = {"debug", "info", "warning", "error"}


def rows(name: str) -> list[list[str]]:
    """The cells of a marked table."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", DOCUMENT, re.DOTALL)
    assert found
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found[1].splitlines()[2:]]


def sections() -> dict[str, str]:
    """Anchor → text of each section of the third level."""
    parts = re.split(r"^### (.+)\n", DOCUMENT, flags=re.MULTILINE)[1:]
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"): re.split(r"^## ", text, flags=re.MULTILINE)[0]
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _of_processes() -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    for metric in vars(registry).values():
        if isinstance(metric, MetricWrapperBase):
            name = f"{metric._name}_total" if metric._type == "counter" else metric._name
            yield name, (metric._type, tuple(metric._labelnames))


def _of_text(text: str, *left_out: str) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, (family.type, tuple(label for label in sample.labels if label not in left_out))


def _of_the_host() -> str:
    gauges = LedgerGauges(
        destinations=(DestinationState("pacs"),), rules_revision="0123", source_arrivals_ms={registry.UNKNOWN: 1}
    )
    spool = SpoolFigures(1, total_inodes=1)
    return text_of(HostFigures(0, 0, True, gauges, spool, JobFigures()), 0).decode()


def _of_the_supervisor(folder: Path) -> str:
    metrics = SupervisorMetrics(folder, [Child(ChildSpec("worker", 0, ("true",)))])
    try:
        return metrics._text()
    finally:
        metrics.close()


def test_every_metric_is_in_the_table_with_type_and_labels_and_no_other(tmp_path: Path) -> None:
    real = (
        dict(_of_processes()) | dict(_of_text(_of_the_host())) | dict(_of_text(_of_the_supervisor(tmp_path), "process"))
    )
    told = {name.strip("`"): (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows("metrics")}
    assert told == real


def test_every_outcome_of_an_association_and_reason_of_readiness_is_told() -> None:
    for word in registry.ASSOCIATION_RESULTS - {"rejected"}:
        assert f"`{word}`" in DOCUMENT, word
    for word in registry.NOT_READY_REASONS - {"starting"}:
        assert f"`{word}`" in DOCUMENT, word
    for word in registry.RELOAD_RESULTS:
        assert f"`{word}`" in DOCUMENT, word


@pytest.mark.parametrize(
    ("table", "reasons"), [("held", Held), ("dead", Dead), ("unrouted", Unrouted), ("quarantined", Distrusted)]
)
def test_every_reason_that_something_waits_for_a_person_is_told_of_and_no_other(
    table: str, reasons: Iterable[StrEnum]
) -> None:
    told = [re.sub(r"( \d+ times|: …)$", "", word) for cells in rows(table) for word in re.findall("`(.+?)`", cells[0])]
    told = [word for word in told if word != "hold"]  # the key of a rule whose words a reason may be
    assert sorted(told) == sorted(each.value for each in reasons)


@pytest.mark.parametrize("anchor", [HELD_SECTION, DEAD_SECTION, UNROUTED_SECTION, QUARANTINE_SECTION])
def test_each_kind_of_reason_has_a_section_that_says_how_to_see_it_and_what_to_do_and_not_to_do(anchor: str) -> None:
    text = sections()[anchor]
    assert "*See it*" in text and "*Don't*" in text
    assert "*Do*" in text or "| do |" in text


def _events() -> dict[str, str]:
    """event → level, from calls in the source: `problem("…")`, `Trouble("…")`, `event("…")`, `emit("level", "…")`."""
    found: dict[str, str] = {}
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                words = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
                trouble = {kw.arg: getattr(kw.value, "value", None) for kw in node.keywords}.get("trouble")
                if name in ("problem", "Trouble") and words and re.fullmatch(r"[a-z_]+", words[0]):
                    found[words[0]] = "warning"
                elif name == "event" and words:
                    found[words[0]] = "warning" if trouble is not False and "trouble" in ast.dump(node) else "info"
                elif name == "emit" and len(words) == 2 and words[0] in LEVELS:
                    found[words[1]] = words[0]
    found |= {f"console_{event}": "info" if event.is_good else "warning" for event in AccessEvent}
    # Made of two words at run time.
    return found | {"delivery_held": "warning", "delivery_dead": "warning", "library_message": "warning"}


def test_every_log_event_is_in_the_table_with_its_level_and_no_other() -> None:
    told = {name.strip("`"): level for name, level, _ in rows("events")}
    assert told == _events()
