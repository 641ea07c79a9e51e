"""The public key of the ledger of originals, from the file that gateway.yaml names; the private one is never here.

Read at a start: another key comes with a restart. The supervisor reads it first, so that a gateway that could not keep
what it is told to keep does not start.
"""

from __future__ import annotations

from gateway.config import Config
from gateway.errors import ConfigurationError, Problem, SealError
from gateway.transform.deidentify.keypair import read_public
from gateway.transform.deidentify.seal import NOT_INSTALLED, PublicKey, is_installed

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
