"""Every reason that something waits for a person comes from `gateway.reasons`: no other can slip in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.base import DERIVE
from gateway.reasons import Distrusted, Held, Unrouted, why_distrusted, why_unrouted

GATEWAY = Path(__file__).parents[2] / "gateway"
SQL = sorted((GATEWAY / "ledger" / "sql").rglob("*.sql"))


def calls(name: str, files: str = "*.py") -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function or class in the source, and where it stands."""
    for path in GATEWAY.rglob(files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
                yield f"{path.name}:{node.lineno}", node


def test_deliveries_are_stopped_for_reasons_of_the_list_alone() -> None:
    found = [(where, ast.unparse(call.args[2])) for where, call in calls("stop_picked")]
    assert len(found) >= 5
    assert all(re.fullmatch(r"Held\.[A-Z_]+", code) for _, code in found), found


def test_a_try_that_holds_a_delivery_gives_a_reason_of_the_list() -> None:
    found = [(where, ast.unparse(call.args[1])) for where, call in calls("_held", "dispatch.py")]
    assert len(found) >= 7
    assert all(code.startswith("Held") for _, code in found), found
    for where, call in calls("_outcome", "dispatch.py"):
        state, code = ast.unparse(call.args[1]), ast.unparse(call.args[2])
        assert state != "DeliveryState.HELD" or code == "why.value", where  # `_held` itself
        assert state != "DeliveryState.DEAD" or code.startswith("Dead."), where


def test_instances_are_quarantined_for_reasons_of_the_list_alone() -> None:
    found = [(where, ast.unparse(call.args[1])) for where, call in calls("Quarantine")]
    assert len(found) >= 6
    assert all("Distrusted." in reason or reason in ("wrong", "reason") for _, reason in found), found


@pytest.mark.parametrize("path", SQL, ids=lambda path: path.name)
def test_statements_know_no_other_code(path: Path) -> None:
    text = re.sub(r"^--.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lists = re.findall(r"\bcode (?:NOT )?IN \(([^)]*)\)|\bcode (?:=|<>) ('[a-z_]+')", text)
    codes = {code for pair in lists for part in pair for code in re.findall(r"'([a-z_]+)'", part)}
    assert codes <= {*map(str, Held), DERIVE}


def test_a_reason_is_known_again_by_how_it_begins() -> None:
    assert why_distrusted("the spool file is damaged: the checksum does not hold") is Distrusted.FILE_DAMAGED
    assert why_distrusted("the spool file is missing") is Distrusted.FILE_MISSING
    assert why_distrusted("spool: the checksum does not hold") is Distrusted.SPOOL
    assert why_distrusted("routing failed 5 times") is Distrusted.ROUTING_FAILED
    assert why_distrusted("because I say so") is None
    assert why_unrouted("no rule matches") is Unrouted.NO_RULE_MATCHES
    assert why_unrouted("a phantom") is None
