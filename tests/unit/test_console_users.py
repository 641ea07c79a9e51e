"""The users file: what is kept of a user, what a person may write by hand, and what happens to a broken one."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.console.access.passwords import SHORTEST, refuse_weak
from gateway.console.access.roles import How, Person, Role
from gateway.console.access.tokens import DAY_MS, LONGEST_DAYS, person_of_token
from gateway.console.access.userfile import User, Users, read_users, text_of
from gateway.console.access.users import (
    NOBODY,
    UsersFile,
    with_password,
    with_role,
    with_token,
    with_user,
    without_token,
    without_user,
)
from gateway.errors import ConfigurationError, GatewayError, UsageError
from tests.harness.console import HASHER

NOW_MS = 1_790_000_000_000
HASH = HASHER.hash("seven green bicycles")


def users(*names: str, role: Role = Role.OPERATOR) -> Users:
    found = NOBODY
    for name in names:
        found = with_user(found, User(name, role, HASH))
    return found


def complaints(text: str) -> Sequence[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_users(text, "users.yaml")
    return [str(problem) for problem in caught.value.problems]


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_written_is_read_again() -> None:
    found, _ = with_token(users("mia", "noah"), "mia", "backup", Role.VIEWER, NOW_MS, 30)
    found = with_user(found, User("prometheus", Role.OBSERVER))
    assert read_users(text_of(found), "users.yaml") == found


def test_the_file_lets_nobody_in_who_reads_it() -> None:
    found, token = with_token(users("mia"), "mia", "backup", Role.VIEWER, NOW_MS, 30)
    text = text_of(found)
    assert "seven green bicycles" not in text and token not in text
    assert "$argon2id$" in text
    secret = token.rpartition("_")[2] if token.count("_") == 2 else token.split("_", 2)[2]
    assert secret not in text and hashlib.sha256(secret.encode()).hexdigest() in text


def test_no_repr_shows_a_hash() -> None:
    assert HASH not in repr(users("mia"))


def test_it_is_readable_by_its_owner_alone_and_replaced_whole(tmp_path: Path) -> None:
    file = UsersFile(tmp_path / "new" / "users.yaml")
    assert file.read() == NOBODY
    file.change(lambda found: with_user(found, User("mia", Role.VIEWER, HASH)))
    before = file.path.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600
    file.change(lambda found: with_user(found, User("noah", Role.VIEWER, HASH)))
    assert file.path.stat().st_ino != before.st_ino
    assert sorted(path.name for path in file.path.parent.iterdir()) == [".users.yaml.lock", "users.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for somebody else")
def test_what_root_adds_can_be_read_by_the_user_that_the_gateway_runs_as(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, 4711, 4712)
    file = UsersFile(folder / "users.yaml")
    for name in ("mia", "eva"):
        file.change(lambda found, name=name: with_user(found, User(name, Role.VIEWER)))  # type: ignore[misc]
        assert {(path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()} == {(4711, 4712)}


def test_a_link_in_place_of_the_lock_is_refused_and_gives_nothing_away(tmp_path: Path) -> None:
    folder, precious = tmp_path / "state", tmp_path / "shadow"
    folder.mkdir(mode=0o700)
    precious.write_text("root's own")
    before = precious.stat()
    if os.geteuid() == 0:
        os.chown(folder, 4711, 4712)
    (folder / ".users.yaml.lock").symlink_to(precious)
    with pytest.raises(GatewayError, match=r"users.yaml: cannot be written"):
        UsersFile(folder / "users.yaml").change(lambda found: with_user(found, User("mia", Role.VIEWER)))
    assert precious.stat() == before
    assert not (folder / "users.yaml").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_was_there_in_place_of_the_lock_stays_its_owners(tmp_path: Path) -> None:
    folder, precious = tmp_path / "state", tmp_path / "shadow"
    folder.mkdir(mode=0o700)
    precious.write_text("root's own")
    os.chown(folder, 4711, 4712)
    os.link(precious, folder / ".users.yaml.lock")
    UsersFile(folder / "users.yaml").change(lambda found: with_user(found, User("mia", Role.VIEWER)))
    assert (precious.stat().st_uid, precious.stat().st_gid) == (0, 0)


def test_of_changes_at_the_same_time_none_is_lost(tmp_path: Path) -> None:
    names = [f"user-{number}" for number in range(12)]

    def add(name: str) -> None:
        UsersFile(tmp_path / "users.yaml").change(lambda found: with_user(found, User(name, Role.VIEWER)))

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(UsersFile(tmp_path / "users.yaml").read()) == set(names)


def test_a_file_that_cannot_be_written_is_told_and_left(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("no folder")
    with pytest.raises(GatewayError, match=r"users.yaml: cannot be written: (File exists|Not a directory)"):
        UsersFile(tmp_path / "folder" / "users.yaml").change(lambda found: found)


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_made_by_hand_may_be_empty() -> None:
    for text in ("", "users:\n", "# nobody yet\nusers: {}\n"):
        assert read_users(text, "users.yaml") == {}


def test_everything_that_is_wrong_is_told_with_its_line_and_what_to_do() -> None:
    text = f"""\
users:
  mia:
    role: operater
    pasword: x
  Noah:
    role: viewer
  eva:
    password: hunter2 hunter2
    role: viewer
    tokens:
      t1: {{role: operator, id: 0123456789ab, digest: {"0" * 64}, made: 2026-01-01T00:00:00Z, expires: tomorrow}}
      t2: {{role: viewer, id: xyz, digest: abc, made: 2026-01-01T00:00:00Z, expires: 2026-01-01T00:00:00}}
  tom: viewer
  ann: {{}}
extra: 1
"""
    found = complaints(text)
    remedy = "was not made by `gateway token add`: remove it and make another"
    assert [re.sub(r"^users.yaml:(\d+):\d+:", r"\1", complaint) for complaint in found] == [
        "3 users.mia.role: 'operater' is no role; did you mean 'operator'?",
        "4 users.mia: unknown key 'pasword'; did you mean 'password'?",
        "5 users: the name 'Noah' must be at most 63 small letters and digits, with single - or _ between them",
        "8 users.eva: password is no argon2id hash: set it by `gateway user password eva`",
        "11 users.eva.tokens.t1: expires must be a time such as 2027-01-31T12:00:00Z",
        f"12 users.eva.tokens.t2: id {remedy}",
        f"12 users.eva.tokens.t2: digest {remedy}",
        "12 users.eva.tokens.t2: expires must be a time such as 2027-01-31T12:00:00Z",
        "13 users.tom: must be a mapping with at least a role",
        "14 users.ann: role is missing; there are: observer, viewer, operator, administrator",
        "15 the file: unknown key 'extra'; there are: users",
    ]
    assert found[0].startswith("users.yaml:3:11: ")
    assert "hunter2" not in "".join(found)


def test_a_token_that_may_more_than_its_owner_is_refused() -> None:
    found, _ = with_token(users("mia"), "mia", "backup", Role.OPERATOR, NOW_MS, 30)
    text = text_of(found).replace("role: operator", "role: viewer", 1)
    assert complaints(text) == [
        f"users.yaml:{text.splitlines().index('      backup:') + 1}:7: users.mia.tokens.backup: its role operator may "
        "more than mia, viewer"
    ]


def test_a_token_that_was_copied_is_refused() -> None:
    found, _ = with_token(users("mia"), "mia", "backup", Role.VIEWER, NOW_MS, 30)
    text = text_of(found)
    entry = text[text.index("      backup:") :]
    (complaint,) = complaints(text + entry.replace("backup", "copied"))
    assert re.search(r"users.mia.tokens.copied: the id stands here twice \(first in line \d+\): remove one", complaint)


def test_a_user_that_stands_there_twice_is_refused() -> None:
    assert "stands here twice" in complaints("users:\n  mia: {role: viewer}\n  mia: {role: viewer}\n")[0]


def test_a_broken_file_leaves_the_users_that_were_read_before_and_is_told_once(tmp_path: Path) -> None:
    file = UsersFile(tmp_path / "users.yaml")
    told: list[ConfigurationError] = []
    file.change(lambda found: with_user(found, User("mia", Role.VIEWER, HASH)))
    assert set(file.current(told.append)) == {"mia"}
    file.path.write_text("users: [\n")
    assert set(file.current(told.append)) == {"mia"} and set(file.current(told.append)) == {"mia"}
    assert len(told) == 1 and "users.yaml:" in str(told[0])
    file.path.write_text("users: {noah: {role: viewer}}\n")
    assert set(file.current(told.append)) == {"noah"}


def test_a_file_that_cannot_be_looked_at_puts_nobody_out(tmp_path: Path) -> None:
    file = UsersFile(tmp_path / "users.yaml")
    told: list[ConfigurationError] = []
    file.change(lambda found: with_user(found, User("mia", Role.VIEWER, HASH)))
    assert set(file.current(told.append)) == {"mia"}
    kept = file.path.rename(tmp_path / "kept.yaml")
    file.path.symlink_to(file.path)  # a loop: stat fails
    assert set(file.current(told.append)) == {"mia"} and set(file.current(told.append)) == {"mia"}
    assert len(told) == 1 and "cannot be read" in str(told[0])
    kept.rename(file.path)
    assert set(file.current(told.append)) == {"mia"} and len(told) == 1
    file.path.unlink()
    assert file.current(told.append) == NOBODY


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = UsersFile(tmp_path / "users.yaml")
    file.path.write_text("users: {mallory: {role: administrator}}\n")
    file.path.chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"others than its owner may write it \(0666\): chmod 600"):
        file.read()
    told: list[ConfigurationError] = []
    assert file.current(told.append) == NOBODY and len(told) == 1
    file.path.chmod(0o600)
    assert set(file.current(told.append)) == {"mallory"}


# ── what may be changed ───────────────────────────────────────────────────────────────────────────────────────────


def test_orders_that_make_no_sense_are_refused() -> None:
    found, _ = with_token(users("mia"), "mia", "backup", Role.VIEWER, NOW_MS, 30)
    for change, said in (
        (lambda: with_user(found, User("mia", Role.VIEWER)), "there is a user mia already"),
        (lambda: with_user(found, User("Mia!", Role.VIEWER)), "the name 'Mia!' must be at most 63 small letters"),
        (lambda: without_user(found, "mja"), "there is no user 'mja'; did you mean 'mia'?"),
        (lambda: with_role(found, "noah", Role.VIEWER), "there is no user 'noah'"),
        (lambda: with_password(NOBODY, "mia", HASH), "there is no user 'mia'"),
        (lambda: with_token(found, "mia", "backup", Role.VIEWER, NOW_MS, 1), "mia has a token backup already"),
        (lambda: with_token(found, "mia", "b", Role.ADMINISTRATOR, NOW_MS, 1), "would be administrator and may more"),
        (lambda: with_token(found, "mia", "b", Role.VIEWER, NOW_MS, 0), f"for 1 to {LONGEST_DAYS} days"),
        (lambda: with_token(found, "mia", "b", Role.VIEWER, NOW_MS, 367), f"for 1 to {LONGEST_DAYS} days"),
        (lambda: without_token(found, "mia", "bakup"), "mia has no token 'bakup'; did you mean 'backup'?"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)):
            change()


def test_who_is_removed_takes_his_tokens_along() -> None:
    found, token = with_token(users("mia"), "mia", "backup", Role.VIEWER, NOW_MS, 30)
    assert person_of_token(found, token, NOW_MS) == Person("mia", Role.VIEWER, How.TOKEN, "backup")
    assert person_of_token(without_user(found, "mia"), token, NOW_MS) is None
    assert person_of_token(without_token(found, "mia", "backup"), token, NOW_MS) is None


def test_a_token_may_no_more_than_its_owner_may_now() -> None:
    found, token = with_token(users("mia"), "mia", "backup", Role.OPERATOR, NOW_MS, 30)
    lowered = with_role(found, "mia", Role.OBSERVER)
    person = person_of_token(lowered, token, NOW_MS)
    assert person is not None and person.role is Role.OBSERVER
    assert read_users(text_of(lowered), "users.yaml") == lowered
    raised = person_of_token(with_role(found, "mia", Role.ADMINISTRATOR), token, NOW_MS)
    assert raised is not None and raised.role is Role.OPERATOR


def test_a_token_expires() -> None:
    found, token = with_token(users("mia"), "mia", "backup", Role.VIEWER, NOW_MS, 30)
    assert person_of_token(found, token, NOW_MS + 30 * DAY_MS - 1) is not None
    assert person_of_token(found, token, NOW_MS + 30 * DAY_MS) is None


def test_what_is_almost_a_token_is_nobodys() -> None:
    found, token = with_token(users("mia"), "mia", "backup", Role.VIEWER, NOW_MS, 30)
    for text in ("", "gwt_", token[:-1], token[:-1] + ("a" if token[-1] != "a" else "b"), token + "a", token.upper()):
        assert person_of_token(found, text, NOW_MS) is None


# ── passwords ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("password", ["", "short", "x" * SHORTEST, "abababababab", "mia-mia-mia-1", "y" * 1025])
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(UsageError):
        refuse_weak("mia", password)


def test_a_phrase_is_taken() -> None:
    refuse_weak("mia", "seven green bicycles")
