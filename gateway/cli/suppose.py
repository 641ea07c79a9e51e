"""What commands suppose of files that no association brought: how they came, and when."""

from __future__ import annotations

import argparse

from gateway.cli.common import now_ms
from gateway.config import Config
from gateway.errors import UsageError
from gateway.model import AssociationFacts
from gateway.rules.subject import Received
from gateway.rules.windows import read_received

FACTS = ("calling", "called", "source", "host", "listener", "received")


def add_facts(parser: argparse.ArgumentParser) -> None:
    """The options that say how a file came."""
    parser.add_argument("--calling", default="", metavar="AET", help="calling AE title to suppose")
    parser.add_argument("--called", default="", metavar="AET", help="called AE title (default: the gateway's)")
    parser.add_argument("--source", default="", metavar="NAME", help="entry of `sources` to suppose")
    parser.add_argument("--host", default="", metavar="ADDRESS", help="address of the sender to suppose")
    parser.add_argument("--listener", default="", metavar="NAME", help="listener to suppose")
    parser.add_argument(
        "--received",
        default="",
        metavar="TIME",
        help="when to suppose it came, as in '2026-01-31 19:30' (default: now)",
    )


def supposed_facts(arguments: argparse.Namespace, config: Config) -> AssociationFacts:
    """The association that the options tell of."""
    return AssociationFacts(
        association_id="",
        listener=arguments.listener,
        source=arguments.source,
        calling_ae_title=arguments.calling,
        called_ae_title=arguments.called or config.ae_title,
        peer_host=arguments.host,
    )


def supposed_time(text: str) -> Received:
    """The time that `--received` tells, or now. :raises UsageError: it is none."""
    if not text:
        return now_ms()
    received = read_received(text)
    if received is None:
        raise UsageError(
            f"--received {text}: not a date and time, as in '2026-01-31 19:30' or '2026-01-31 19:30+01:00'"
        )
    return received


class Bytes:
    """A data set that is held, as a `ByteSource`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteSource`."""
        return self._data[offset : offset + length]
