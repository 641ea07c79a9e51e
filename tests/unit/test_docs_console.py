"""docs/console.md says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cli.users import TOKEN_DAYS
from gateway.config import load
from gateway.config.units import parse_duration
from gateway.console.access.passwords import LONGEST, SHORTEST
from gateway.console.access.roles import Role
from gateway.console.access.setup import GOOD_FOR_S
from gateway.console.access.throttle import ADDRESS_REFILL_S, ADDRESS_TRIES, NAME_TRIES
from gateway.console.access.tokens import LONGEST_DAYS
from gateway.console.tls import LOOK_S
from gateway.document import Table, parse

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
MINIMAL = """\
listeners: {main: {host: 127.0.0.1, port: 11112}}
sources: {ct1: {hosts: [127.0.0.1]}}
destinations: {pacs: {ae_title: PACS, host: 127.0.0.1, port: 104}}
"""


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.startswith("console:")])
def test_every_example_is_a_configuration(block: str, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    path = tmp_path / "gateway.yaml"
    path.write_text(MINIMAL + block)
    load(path, {})


def test_every_role_has_a_row_in_the_order_of_what_they_may() -> None:
    assert re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE) == [role.value for role in Role]


def test_the_example_of_a_users_file_has_the_keys_of_one() -> None:
    (block,) = (block for block in BLOCKS if block.startswith("users:"))
    root = parse(block, "example")
    assert isinstance(root, Table)
    users = root.get("users")
    assert isinstance(users, Table)
    mia = users.get("mia")
    assert isinstance(mia, Table) and list(mia.entries) == ["role", "password", "tokens"]


def test_the_numbers_are_those_of_the_program() -> None:
    for said in (
        f"{SHORTEST} to {LONGEST} characters",
        f"{ADDRESS_TRIES} of one address, then one each {ADDRESS_REFILL_S:.0f} seconds",
        f"{NAME_TRIES} of one name",
        f"`--days` ({TOKEN_DAYS}, at most {LONGEST_DAYS})",
    ):
        assert said in " ".join(DOCUMENT.split()), said
    assert parse_duration("1 h") == GOOD_FOR_S and "for an hour" in DOCUMENT
    assert LOOK_S == 10 and "within ten seconds" in DOCUMENT


def test_what_is_for_anybody_is_told() -> None:
    (told,) = re.findall(r"For anybody: (.*?)\.\n", DOCUMENT, re.DOTALL)
    assert set(re.findall(r"`(/[\w/]+)`", told)) == {
        "/livez", "/readyz", "/version", "/login", "/logout", "/setup", "/help", "/static", "/oidc/login",
        "/oidc/callback",
    }  # fmt: skip
