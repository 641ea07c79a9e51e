"""The public key of the ledger of originals, from the file that gateway.yaml names; the private one is never here.

Another key comes with a restart of the gateway. The supervisor reads it first, so that a gateway that could not keep
what it is told to keep does not start, and tells its children which it is. A worker that finds another one by then, or
none, makes no copy of which something would have to be kept.
"""

from __future__ import annotations

import os

from gateway import telemetry
from gateway.config import Config
from gateway.errors import ConfigurationError, Problem, SealError
from gateway.flow.seal import LostSealer, Sealer
from gateway.transform.deidentify.keypair import read_public
from gateway.transform.deidentify.seal import NOT_INSTALLED, PublicKey, is_installed

PUBLIC_KEY_VARIABLE = "GATEWAY_PUBLIC_KEY"  # tells a role which it is: its name, or nothing where there is none
CHANGED = "reidentification.public_key has changed since the gateway was started: restart it"
_MAX_BYTES = 64 * 1024


def read_public_key(config: Config) -> PublicKey | None:
    """The key to seal with; None where nothing is kept.

    :raises ConfigurationError: it cannot be read, is none, or what seals is not installed.
    """
    path = config.reidentification.public_key
    if path is None:
        return None
    if not is_installed():
        raise ConfigurationError([Problem(str(path), 0, 0, f"reidentification.public_key {NOT_INSTALLED}")])
    try:
        with path.open("rb") as file:
            return read_public(file.read(_MAX_BYTES))
    except OSError as error:
        message = f"reidentification.public_key cannot be read: {error.strerror}"
    except SealError as error:
        message = f"reidentification.public_key {error}"
    raise ConfigurationError([Problem(str(path), 0, 0, message)])


def name_of(public_key: PublicKey | None) -> str:
    """What `PUBLIC_KEY_VARIABLE` says."""
    return "" if public_key is None else public_key.key_id.hex()


def sealer_of(config: Config) -> Sealer | None:
    """What a worker seals with; None where nothing is kept."""
    expected = os.environ.get(PUBLIC_KEY_VARIABLE)
    if expected == "":
        return None  # one that was named since comes with a restart
    try:
        public_key, why = read_public_key(config), CHANGED
    except ConfigurationError as error:
        public_key, why = None, error.problems[0].message
        if expected is None:
            raise
    if expected is not None and name_of(public_key) != expected:
        telemetry.problem("public_key_lost", file=str(config.reidentification.public_key or ""), reason=why)
        return LostSealer(why)
    return None if public_key is None else Sealer(public_key)
