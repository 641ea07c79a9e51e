"""The secrets that pseudonyms are made with, from the files that gateway.yaml names.

Every process reads them once, at its start: a new secret makes other pseudonyms, so it comes with a restart, and never
by itself.
"""

from __future__ import annotations

from gateway import telemetry
from gateway.config import Config
from gateway.errors import ConfigurationError, Problem
from gateway.transform.deidentify.pseudonyms import MIN_KEY_BYTES, Key, KeysAtHand

_MAX_KEY_BYTES = 64 * 1024


def read_keys(config: Config) -> dict[str, Key]:
    """name → key, for whoever accepts rules.

    :raises ConfigurationError: a file cannot be read, or holds too little for a secret.
    """
    keys, problems = _read(config)
    if problems:
        raise ConfigurationError(problems)
    return keys


def keys_at_hand(config: Config) -> KeysAtHand:
    """name → key, for whoever runs rules that were accepted: a key that is lost since stops only what needs it."""
    keys, problems = _read(config)
    for problem in problems:
        telemetry.problem("pseudonym_key_lost", file=problem.file, reason=problem.message)
    return KeysAtHand(keys)


def _read(config: Config) -> tuple[dict[str, Key], list[Problem]]:
    keys: dict[str, Key] = {}
    problems: list[Problem] = []
    for name, entry in config.pseudonym_keys.items():
        try:
            with entry.file.open("rb") as file:
                secret = file.read(_MAX_KEY_BYTES).rstrip(b"\r\n")
        except OSError as error:
            problems.append(
                Problem(str(entry.file), 0, 0, f"the pseudonym key {name} cannot be read: {error.strerror}")
            )
            continue
        if len(secret) < MIN_KEY_BYTES:
            message = (
                f"the pseudonym key {name} has fewer than {MIN_KEY_BYTES} bytes: make one with `openssl rand -hex 32`"
            )
            problems.append(Problem(str(entry.file), 0, 0, message))
            continue
        keys[name] = Key(secret)
    return keys, problems
