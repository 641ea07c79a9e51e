"""The secrets that pseudonyms are made with, from the files that gateway.yaml names.

Every process reads them once, at its start: a new secret makes other pseudonyms, so it comes with a restart, and never
by itself.
"""

from __future__ import annotations

from gateway.config import Config
from gateway.errors import ConfigurationError, Problem
from gateway.transform.deidentify.pseudonyms import MIN_KEY_BYTES, Key

_MAX_KEY_BYTES = 64 * 1024


def read_keys(config: Config) -> dict[str, Key]:
    """name → key.

    :raises ConfigurationError: a file cannot be read, or holds too little for a secret.
    """
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
    if problems:
        raise ConfigurationError(problems)
    return keys
