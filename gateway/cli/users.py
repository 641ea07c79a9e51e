"""`gateway user` and `gateway token`: who may use the console and its API.

They write the users file of the configuration (`console.users`), whether the gateway runs or not; a console that runs
takes the change with its next request. A password is asked for, or read from standard input, and never an argument.
"""

from __future__ import annotations

import argparse
import getpass
import sys

from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    can_ask,
    now_ms,
    read_config,
    read_line,
    show_json,
    show_table,
    when,
)
from gateway.config import ConsoleRole
from gateway.console.access.passwords import Passwords, refuse_weak
from gateway.console.access.roles import Role
from gateway.console.access.userfile import User, Users
from gateway.console.access.users import (
    UsersFile,
    with_password,
    with_role,
    with_token,
    with_user,
    without_token,
    without_user,
)
from gateway.errors import UsageError

ROLES = tuple(role.value for role in ConsoleRole)
TOKEN_DAYS = 90


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    _add_user(commands)
    _add_token(commands)


def _add_user(commands: Commands) -> None:
    group = commands.add_parser("user", help="who may use the console: add, list, remove, role, password")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = add_command(
        actions,
        "add",
        _user_add,
        "add a user of the console",
        "gateway user add mia --role operator",
        "The password is asked for on a terminal, or else read from standard input, a line.",
    )
    add.add_argument("name", metavar="NAME", help="small letters and digits, with single - or _ between them")
    add.add_argument("--role", choices=ROLES, required=True, help="what the user may")
    add.add_argument("--no-password", action="store_true", help="nobody logs in by this name: it only owns tokens")
    listed = add_command(actions, "list", _user_list, "show who there is", "gateway user list")
    add_json(listed)
    remove = add_command(actions, "remove", _user_remove, "remove a user and its tokens", "gateway user remove mia")
    role = add_command(actions, "role", _user_role, "give a user another role", "gateway user role mia viewer")
    password = add_command(actions, "password", _user_password, "set a password", "gateway user password mia")
    for parser in (remove, role, password):
        parser.add_argument("name", metavar="NAME", help="who, as `gateway user list` shows it")
    role.add_argument("role", choices=ROLES, metavar="ROLE", help=f"one of {', '.join(ROLES)}")
    for parser in (add, listed, remove, role, password):
        add_config(parser)


def _add_token(commands: Commands) -> None:
    group = commands.add_parser("token", help="API tokens of users of the console: add, list, remove")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = add_command(
        actions,
        "add",
        _token_add,
        "make an API token",
        "gateway token add mia backup --role viewer --days 30",
        "The token is shown now and never again: what is kept is a hash of it.",
    )
    add.add_argument("--role", choices=ROLES, help="what it may: no more than its owner (default: the same)")
    add.add_argument("--days", type=int, default=TOKEN_DAYS, help=f"how long it is good (default {TOKEN_DAYS})")
    listed = add_command(actions, "list", _token_list, "show which tokens there are", "gateway token list")
    add_json(listed)
    remove = add_command(actions, "remove", _token_remove, "remove a token", "gateway token remove mia backup")
    for parser in (add, remove):
        parser.add_argument("owner", metavar="USER", help="whose it is")
        parser.add_argument("name", metavar="NAME", help="what it is for; a name as those of users")
    for parser in (add, listed, remove):
        add_config(parser)


# ── users ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _user_add(arguments: argparse.Namespace) -> int:
    file, name = _file(arguments), arguments.name
    user = User(name, Role(arguments.role))
    with_user(file.read(), user)  # which refuses before a password is asked for
    hashed = "" if arguments.no_password else _new_password(name)
    file.change(lambda users: with_user(users, User(name, user.role, hashed)))
    print(f"{name} is {user.role}")
    return 0


def _user_list(arguments: argparse.Namespace) -> int:
    users = _file(arguments).read()
    if arguments.json:
        found = [
            {
                "name": user.name,
                "role": user.role.value,
                "password": bool(user.password),
                "tokens": sorted(user.tokens),
            }
            for user in users.values()
        ]
        show_json(found)
        return 0
    rows = [
        (user.name, user.role.value, "yes" if user.password else "no", ", ".join(user.tokens))
        for user in users.values()
    ]
    none = "there is no user: add one by `gateway user add NAME --role administrator`"
    show_table("", ("name", "role", "password", "tokens"), rows, none)
    return 0


def _user_remove(arguments: argparse.Namespace) -> int:
    _file(arguments).change(lambda users: without_user(users, arguments.name))
    print(f"{arguments.name} is removed, and logged out")
    return 0


def _user_role(arguments: argparse.Namespace) -> int:
    _file(arguments).change(lambda users: with_role(users, arguments.name, Role(arguments.role)))
    print(f"{arguments.name} is {arguments.role}, and logged out")
    return 0


def _user_password(arguments: argparse.Namespace) -> int:
    file, name = _file(arguments), arguments.name
    with_password(file.read(), name, "")  # which refuses a name that there is not
    hashed = _new_password(name)
    file.change(lambda users: with_password(users, name, hashed))
    print(f"{name} has another password, and is logged out")
    return 0


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _token_add(arguments: argparse.Namespace) -> int:
    shown: list[str] = []

    def add(users: Users) -> Users:
        owner = users.get(arguments.owner)
        role = Role(arguments.role) if arguments.role else owner.role if owner is not None else Role.OBSERVER
        changed, text = with_token(users, arguments.owner, arguments.name, role, now_ms(), arguments.days)
        shown.append(text)
        return changed

    _file(arguments).change(add)
    print(shown[0])
    return 0


def _token_list(arguments: argparse.Namespace) -> int:
    tokens = [(user, token) for user in _file(arguments).read().values() for token in user.tokens.values()]
    if arguments.json:
        found = [
            {
                "user": user.name,
                "name": token.name,
                "role": token.role.value,
                "made_ms": token.made_ms,
                "expires_ms": token.expires_ms,
                "expired": token.expires_ms <= now_ms(),
            }
            for user, token in tokens
        ]
        show_json(found)
        return 0
    rows = [
        (
            user.name,
            token.name,
            token.role.value,
            when(token.made_ms),
            when(token.expires_ms) + (" (expired)" if token.expires_ms <= now_ms() else ""),
        )
        for user, token in tokens
    ]
    none = "there is no token: make one by `gateway token add USER NAME`"
    show_table("", ("user", "name", "role", "made", "expires"), rows, none)
    return 0


def _token_remove(arguments: argparse.Namespace) -> int:
    _file(arguments).change(lambda users: without_token(users, arguments.owner, arguments.name))
    print(f"the token {arguments.name} of {arguments.owner} is removed")
    return 0


# ── what they share ───────────────────────────────────────────────────────────────────────────────────────────────


def _file(arguments: argparse.Namespace) -> UsersFile:
    return UsersFile(read_config(arguments).console.users)


def _new_password(name: str) -> str:
    """The hash of a password that a person types twice, or that comes on standard input."""
    if can_ask():
        password = _typed(f"password of {name}: ")
        refuse_weak(name, password)
        if _typed("the same again: ") != password:
            raise UsageError("the two are not the same: nothing was changed")
    else:
        password = read_line().rstrip("\r\n")
    return Passwords().hash(name, password)


def _typed(question: str) -> str:
    try:
        return getpass.getpass(question)
    except EOFError:
        print(file=sys.stderr)
        raise UsageError("no password was typed: nothing was changed") from None
