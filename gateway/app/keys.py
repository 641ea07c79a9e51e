"""The secrets that pseudonyms are made with, from the files that gateway.yaml names.

A new secret makes other pseudonyms, so it comes with a restart of the gateway, and never by itself: the supervisor
reads all of them at its start and tells its children their fingerprints. A child, which may start much later, reads its
own, and treats one that is another by then as lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from gateway import telemetry
from gateway.config import Config
from gateway.errors import ConfigurationError, Problem
from gateway.transform.deidentify.pseudonyms import MIN_KEY_BYTES, Key, KeysAtHand

KEYS_VARIABLE = "GATEWAY_KEYS"  # tells a role the fingerprint of each key, as they were at the start
CHANGED = "has changed since the gateway was started: restart it"
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
    lost: dict[str, str] = {}
    told = os.environ.get(KEYS_VARIABLE)
    if told is not None:
        expected = json.loads(told)
        lost = {name: CHANGED for name, key in keys.items() if key.fingerprint != expected.get(name)}
    for name, why in lost.items():
        del keys[name]
        file = str(config.pseudonym_keys[name].file)
        problems.append(Problem(file, 0, 0, f"the pseudonym key {name} {why}, and release what is held"))
    for problem in problems:
        telemetry.problem("pseudonym_key_lost", file=problem.file, reason=problem.message)
    return KeysAtHand(keys, lost)


def fingerprints(keys: Mapping[str, Key]) -> str:
    """What `KEYS_VARIABLE` says: no secret."""
    return json.dumps({name: key.fingerprint for name, key in keys.items()})


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
