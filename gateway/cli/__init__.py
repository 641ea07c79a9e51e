"""The `gateway` command. Thin: reads arguments, calls what does the work, shows what came of it.

Exit codes: 0 all is well; 1 it was done and something is not well (a destination does not answer, a file was refused);
2 it could not be done (bad arguments, bad configuration, no ledger); 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from importlib import import_module

from gateway import __version__
from gateway.cli.lean import hide_codecs
from gateway.errors import ConfigurationError, GatewayError

OK, NOT_WELL, NOT_DONE, INTERRUPTED = 0, 1, 2, 130

# Which module has a command. Only that one is imported to run it: a command answers at once, and a role's process,
# which is started as a command too, holds nothing that it does not use.
MODULES = {
    "service": ("run", "worker", "recover", "demo", "_role"),
    "check": ("check",),
    "peers": ("echo", "send"),
    "rules": ("rules",),
    "trial": ("_explain",),
    "schema": ("schema",),
    "ask": ("queue", "list", "show"),
    "operate": ("hold", "release", "resend", "cancel", "pause", "resume", "probe", "retry"),
    "export": ("export",),
    "hosts": ("hosts", "drain"),
    "top": ("top",),
    "reidentify": ("reidentify",),
    "ledger": ("ledger",),
    "audit": ("audit",),
    "users": ("user", "token"),
}


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The command line: of one command, or, when `command` is none, of all."""
    parser = argparse.ArgumentParser(
        prog="gateway",
        description="Receives DICOM instances, makes them durable, routes them by rules and forwards them.",
        epilog="`gateway COMMAND --help` explains a command, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"gateway {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = [module for module, names in MODULES.items() if command in names] or list(MODULES)
    for module in wanted:
        import_module(f"gateway.cli.{module}").add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    if arguments is None:
        hide_codecs()
    given = sys.argv[1:] if arguments is None else list(arguments)
    parsed = build_parser(given[0] if given else "").parse_args(given)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name in another script must not end a listing on an old terminal
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(parsed.run(parsed))
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        count = len(error.problems)
        print(f"gateway: {count} problem{'s' if count != 1 else ''}; nothing was changed", file=sys.stderr)
        return NOT_DONE
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return NOT_DONE
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stderr.close()
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
