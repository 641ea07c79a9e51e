"""docs/api.md: every path is there with its right, every order has its way by each door, and there are examples.

`test_api_live` runs these.
"""

from __future__ import annotations

import re
from pathlib import Path

from gateway.cli import build_parser
from gateway.console.access.guard import GuardedRoute
from gateway.console.api import api_app
from gateway.console.services.orders import DestinationKind, Kind

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """The text below a heading."""
    return DOCUMENT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_path_is_in_the_table_with_its_right_and_no_other() -> None:
    told: dict[tuple[str, str], str] = {}
    for paths, rights in re.findall(r"^\| (`(?:GET|POST).*?) \| ([a-z, ]+) \| ", section("What there is"), re.M):
        method = ""
        cells = re.findall(r"`((?:GET|POST) )?(/[^`]*)`", paths)
        words = [right.strip() for right in rights.split(",")]
        for index, (given, path) in enumerate(cells):
            method = given.strip() or method
            told[method, path] = words[min(index, len(words) - 1)]
    orders = {("POST", path) for path in re.findall(r"`POST (/[^`]*)`", section("Orders"))}
    real = {}
    for route in api_app(None).routes:
        for each in getattr(getattr(route, "original_router", None), "routes", [route]):
            if isinstance(each, GuardedRoute):
                for method in each.methods:
                    real[method, each.path] = str(each.asks.right)
    ordered = {key: right for key, right in real.items() if right == "operate" and key not in told}
    assert {key: right for key, right in real.items() if key not in ordered} == told
    spelt = {path.replace("{order}", kind) for _, path in ordered for kind in DestinationKind}
    assert spelt <= {path for _, path in orders}


def test_every_order_can_be_given_by_the_api_and_by_a_command() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \|$", section("Orders"), re.M)[1:]
    by_api = {cells[1] for cells in rows}
    commands = {words.split()[1] for cells in rows for words in re.findall(r"`(gateway [a-z ]+)`", cells[2])}
    for kind in Kind:
        assert any(f'`"order": "{kind}"`' in cell for cell in by_api), kind
        assert kind.value in commands
    for each in DestinationKind:
        assert any(f"/{each}`" in cell for cell in by_api), each
        assert each.value in commands
    assert {"drain", "export", "rules", "check"} <= commands
    assert all(cells[2].strip() for cells in rows), "a row without a command"
    for name in commands:
        assert build_parser(name)
