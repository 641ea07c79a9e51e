"""`gateway user` and `gateway token`: what they say, what they write, and what they refuse."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.console.access.roles import How, Person, Role
from gateway.console.access.tokens import person_of_token
from gateway.console.access.userfile import Users
from gateway.console.access.users import UsersFile
from tests.harness.gatewayconfig import GatewayConfig
from tests.harness.terminal import typing

PHRASE = "seven green bicycles"


class Commands:
    """Commands run on a configuration; `typed` is what comes on standard input."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = str(GatewayConfig(folder, {"pacs": 11113}).write())
        self.path = folder / "state" / "users.yaml"
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = main([*words, "--config", self.config])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def users(self) -> Users:
        return UsersFile(self.path).read()


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, monkeypatch, capsys)


def test_a_user_is_added_changed_shown_and_removed(gateway: Commands) -> None:
    assert gateway.run("user", "list") == (
        0, "there is no user: add one by `gateway user add NAME --role administrator`\n", "",
    )  # fmt: skip
    assert gateway.run("user", "add", "mia", "--role", "operator", typed=PHRASE + "\n") == (0, "mia is operator\n", "")
    first = gateway.users()["mia"]
    assert first.role is Role.OPERATOR and first.password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert gateway.run("user", "password", "mia", typed="another green bicycle\n")[0] == 0
    assert gateway.users()["mia"].password != first.password
    assert gateway.run("user", "role", "mia", "viewer") == (0, "mia is viewer, and logged out\n", "")
    assert gateway.run("user", "add", "scraper", "--role", "observer", "--no-password")[0] == 0
    _, listed, _ = gateway.run("user", "list")
    assert re.search(r"^mia +viewer +yes", listed, re.MULTILINE)
    assert re.search(r"^scraper +observer +no", listed, re.MULTILINE)
    assert json.loads(gateway.run("user", "list", "--json")[1])[0] == {
        "name": "mia", "role": "viewer", "password": True, "tokens": [],
    }  # fmt: skip
    assert gateway.run("user", "remove", "mia") == (0, "mia is removed, and logged out\n", "")
    assert set(gateway.users()) == {"scraper"}


def test_a_token_is_shown_once_and_works(gateway: Commands) -> None:
    gateway.run("user", "add", "mia", "--role", "operator", "--no-password")
    code, token, _ = gateway.run("token", "add", "mia", "backup", "--role", "viewer", "--days", "30")
    assert code == 0
    person = person_of_token(gateway.users(), token.strip(), 0)
    assert person == Person("mia", Role.VIEWER, How.TOKEN, "backup")
    assert token.strip() not in gateway.path.read_text()
    listed = gateway.run("token", "list")[1] + gateway.run("token", "list", "--json")[1]
    assert "backup" in listed and token.strip() not in listed
    (row,) = json.loads(gateway.run("token", "list", "--json")[1])
    assert row["expires_ms"] - row["made_ms"] == 30 * 86_400_000 and row["expired"] is False
    assert gateway.run("token", "remove", "mia", "backup")[1] == "the token backup of mia is removed\n"
    assert person_of_token(gateway.users(), token.strip(), 0) is None
    assert "there is no token" in gateway.run("token", "list")[1]


def test_a_token_may_as_much_as_its_owner_where_nothing_is_said(gateway: Commands) -> None:
    gateway.run("user", "add", "mia", "--role", "operator", "--no-password")
    assert gateway.run("token", "add", "mia", "all")[0] == 0
    assert gateway.users()["mia"].tokens["all"].role is Role.OPERATOR


def test_what_cannot_be_done_changes_nothing(gateway: Commands) -> None:
    gateway.run("user", "add", "mia", "--role", "viewer", "--no-password")
    before = gateway.path.read_text()
    for words, typed, said in (
        (("user", "add", "mia", "--role", "viewer"), PHRASE, "there is a user mia already"),
        (("user", "add", "Mia", "--role", "viewer"), PHRASE, "the name 'Mia' must be"),
        (("user", "add", "eva", "--role", "viewer"), "short", "a password has 12 to 1024 characters"),
        (("user", "add", "eva", "--role", "viewer"), "", "a password has 12 to 1024 characters"),
        (("user", "password", "eva"), PHRASE, "there is no user 'eva'"),
        (("user", "remove", "eva"), "", "there is no user 'eva'"),
        (("token", "add", "mia", "t", "--role", "operator"), "", "may more than mia, who is viewer"),
        (("token", "add", "eva", "t"), "", "there is no user 'eva'"),
        (("token", "add", "mia", "t", "--days", "1000"), "", "a token lives for 1 to 366 days"),
        (("token", "remove", "mia", "t"), "", "mia has no token 't'"),
    ):
        code, out, err = gateway.run(*words, typed=typed)
        assert (code, out) == (2, "") and said in err, words
    assert gateway.path.read_text() == before


def test_a_password_is_asked_for_twice_on_a_terminal_and_never_shown(gateway: Commands, tmp_path: Path) -> None:
    words = ("user", "add", "mia", "--role", "viewer", "--config", gateway.config)
    code, said = typing(tmp_path, *words, answers=[f"{PHRASE}\n", "something else entirely\n"])
    assert code == 2 and "the two are not the same" in said and not gateway.path.exists()
    code, said = typing(tmp_path, *words, answers=["\x04"])
    assert code == 2 and "no password was typed" in said
    code, said = typing(tmp_path, *words, answers=[f"{PHRASE}\n", f"{PHRASE}\n"])
    assert code == 0 and "mia is viewer" in said and PHRASE not in said
    assert gateway.users()["mia"].password


def test_a_broken_file_is_told_by_line_and_left_alone(gateway: Commands) -> None:
    gateway.path.parent.mkdir(exist_ok=True)
    gateway.path.write_text("users:\n  mia: {role: boss}\n")
    code, _, err = gateway.run("user", "add", "eva", "--role", "viewer", "--no-password")
    assert code == 2 and f"{gateway.path}:2:15: users.mia.role: 'boss' is no role" in err
    assert gateway.path.read_text() == "users:\n  mia: {role: boss}\n"
    code, _, err = gateway.run("check", "--no-echo")
    assert code == 2 and "'boss' is no role" in err
