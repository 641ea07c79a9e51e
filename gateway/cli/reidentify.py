"""`gateway reidentify`: from a pseudonym back to the original, with a private key that is not the gateway's, audited.

The private key is read, and its passphrase asked for, before anything is looked up: what fails there leaves no trace.
From then on there is an audit row, whether anything was found and could be opened or not.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    ask,
    can_ask,
    now_ms,
    open_ledger,
    read_config,
    read_line,
    show_facts,
    show_json,
    show_table,
    when,
)
from gateway.cli.operate import actor
from gateway.errors import SealError, UsageError
from gateway.transform.deidentify.keypair import PassphraseNeeded, make_pair, read_private
from gateway.transform.deidentify.seal import NOT_INSTALLED, PrivateKey, is_installed, unseal

_ACTION = "reidentify"
_MAX_BYTES = 64 * 1024
_MOST = 100_000


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    parser = add_command(
        commands,
        "reidentify",
        _reidentify,
        "from a pseudonym back to the original; audited",
        "gateway reidentify 7M3K0QW5D2A9XVZT --private-key reid.key --reason 'incidental finding'",
        "Looks up what stands behind a Patient ID or a UID of a de-identified copy, where `reidentification` of the "
        "configuration has it kept. Each look is written into the audit trail, found or not.",
    )
    text = "a Patient ID, or a study's, series' or instance's UID, as it stands in the copy; `-` reads it from "
    parser.add_argument("pseudonym", metavar="PSEUDONYM|UID", nargs="?", help=text + "standard input")
    parser.add_argument("--private-key", type=Path, metavar="FILE", help="the private key (PEM)")
    parser.add_argument("--reason", help="why; for the audit trail")
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="the key's passphrase; by default it is asked for"
    )
    parser.add_argument("--log", action="store_true", help="who looked up what, when, why, and whether it was found")
    parser.add_argument("--limit", type=int, default=100, help="most looks to list with --log, newest first (100)")
    parser.add_argument(
        "--make-key", type=Path, metavar="FILE", help="make a pair of keys: the private one here, beside it FILE.pub"
    )
    add_config(parser)
    add_json(parser)


def _reidentify(arguments: argparse.Namespace) -> int:
    asked = [arguments.pseudonym is not None, arguments.log, arguments.make_key is not None]
    if sum(asked) != 1:
        raise UsageError("say one of PSEUDONYM|UID (`-` reads it from standard input), --log and --make-key FILE")
    if arguments.log:
        return _log(arguments)
    if not is_installed():
        raise UsageError(f"reidentify {NOT_INSTALLED}")
    return _look_up(arguments) if arguments.make_key is None else _make_key(arguments)


# ── looking up ────────────────────────────────────────────────────────────────────────────────────────────────────


def _look_up(arguments: argparse.Namespace) -> int:
    if arguments.private_key is None or not (arguments.reason or "").strip():
        raise UsageError("to look up an original give --private-key FILE, and --reason, for the audit trail")
    config = read_config(arguments)
    pseudonym = _pseudonym(arguments.pseudonym)
    key = _private_key(arguments.private_key, arguments.passphrase_file)
    with open_ledger(config) as ledger:
        boxes = ledger.originals_of(pseudonym, actor(), arguments.reason, now_ms())
    found: list[dict[str, str]] = []
    problems: list[str] = []
    for box in boxes:
        try:
            found.append(unseal(key, pseudonym, box))
        except SealError as error:
            problems.append(str(error))
    if not boxes:
        problems.append(
            "nothing is kept of this pseudonym: it is none of this gateway's, or it was made before `reidentification` "
            "was configured or by a step with `remember: false`"
        )
    if len(found) > 1:
        problems.append(f"this pseudonym stands for {len(found)} originals: look at which of them is meant")
    if arguments.json:
        show_json({"originals": found, "problems": problems})
    else:
        for number, original in enumerate(found, 1):
            show_facts("original" + (f" {number} of {len(found)}" if len(found) > 1 else ""), original)
    for problem in dict.fromkeys(problems):
        print(f"gateway: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _pseudonym(given: str) -> str:
    """What to look up. :raises UsageError: `-`, and standard input has no line."""
    if given == "-":
        given = ask("Patient ID or UID in the copy: ") if can_ask() else read_line()
    if not given.strip():
        raise UsageError("there is no pseudonym to look up: standard input had no line for it, or it is empty")
    return given.strip()


def _private_key(path: Path, passphrase_file: Path | None) -> PrivateKey:
    """:raises UsageError: it cannot be read or opened."""
    pem = _read(path, "the private key")
    try:
        try:
            return read_private(pem, _passphrase(passphrase_file))
        except PassphraseNeeded:
            if passphrase_file is not None or not can_ask():
                raise UsageError(f"{path} is encrypted: give --passphrase-file, with a passphrase in it") from None
            return read_private(pem, _typed(f"passphrase of {path}: "))
    except SealError as error:
        raise UsageError(f"{path}: {error}") from None


def _typed(question: str) -> bytes:
    """What a person types, without showing it. :raises UsageError: Ctrl-D."""
    try:
        return os.fsencode(getpass.getpass(question))
    except EOFError:
        raise UsageError("no passphrase was typed") from None


def _passphrase(path: Path | None) -> bytes:
    """The first line of a file; b"" for none. :raises UsageError: it cannot be read."""
    return b"" if path is None else _read(path, "the passphrase").partition(b"\n")[0].rstrip(b"\r")


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise UsageError(f"{what} cannot be read from {path}: {error.strerror}") from None


# ── the audit trail ───────────────────────────────────────────────────────────────────────────────────────────────


def _log(arguments: argparse.Namespace) -> int:
    with open_ledger(read_config(arguments)) as ledger:
        rows = ledger.audited(_ACTION, max(1, min(int(arguments.limit), _MOST)))
    told = [(row.at_ms, row.actor, str(row.which.get("pseudonym", "")), row.count, row.reason) for row in rows]
    if arguments.json:
        keys = ("at_ms", "actor", "pseudonym", "found", "reason")
        show_json([dict(zip(keys, row, strict=True)) for row in told])
        return 0
    columns = ("when", "who", "pseudonym", "found", "why")
    show_table("", columns, [(when(at_ms), *rest) for at_ms, *rest in told], "nobody has looked up an original")
    return 0


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _make_key(arguments: argparse.Namespace) -> int:
    private: Path = arguments.make_key
    public = private.with_name(private.name + ".pub")
    for path in (private, public):
        if path.exists():
            raise UsageError(f"{path} is there already, and no key is ever written over: name another file")
    passphrase = _new_passphrase(arguments.passphrase_file)
    private_pem, public_pem = make_pair(passphrase)
    _write(private, private_pem, 0o600)
    try:
        _write(public, public_pem, 0o644)
    except UsageError:
        private.unlink()
        raise
    if arguments.json:
        show_json({"private_key": str(private), "public_key": str(public), "encrypted": bool(passphrase)})
    else:
        print(f"private key  {private}: keep it away from the gateway, and a copy of it in a safe")
        print(f"public key   {public}: for reidentification.public_key of the gateway")
    if not passphrase:
        print(f"{private} is not encrypted: whoever reads it can open every original", file=sys.stderr)
    return 0


def _new_passphrase(path: Path | None) -> bytes:
    """:raises UsageError: it was not typed twice alike, or the file has none."""
    if path is not None:
        found = _passphrase(path)
        if not found:
            raise UsageError(f"{path} has no passphrase in its first line")
        return found
    if not can_ask():
        return b""
    first = _typed("passphrase for the private key (an empty one leaves it unencrypted): ")
    if first != _typed("the same again: "):
        raise UsageError("these were two different passphrases: no key was made")
    return first


def _write(path: Path, text: bytes, mode: int) -> None:
    """Write a new file, durably. :raises UsageError: it is there already, or cannot be written."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
