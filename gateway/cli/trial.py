"""`gateway _explain`: how the console has an uploaded file explained, by a process that a hostile one may end.

Who tries rules must not learn so what a patient is called elsewhere: pseudonyms are made with secrets of the moment.

Rules and suppositions come on standard input, the file is a descriptor; what is found goes to standard output, as JSON
(`gateway.console.services.trial`). Not for people, and not in the help.
"""

from __future__ import annotations

import argparse
import json
import resource
import secrets
import signal
import sys
from pathlib import Path

from gateway.app.common import clock_ms, read_in_force, set_limits
from gateway.app.keys import keys_at_hand
from gateway.cli.common import Commands
from gateway.console.services.explained import explain_file, to_document
from gateway.console.services.trial import NAME, Supposed
from gateway.errors import GatewayError
from gateway.rules.windows import read_received
from gateway.transform import load
from gateway.transform.deidentify.pseudonyms import MIN_KEY_BYTES

FILE_SIZE_MAX_BYTES = 2 << 30  # of what copies are compared in


def add_commands(commands: Commands) -> None:
    """Add this module's command."""
    explain = commands.add_parser("_explain")
    explain.add_argument("--config", type=Path, required=True)
    explain.add_argument("--file", type=int, required=True)
    explain.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    config = read_in_force(arguments.config)
    request = json.loads(sys.stdin.read())
    supposed = Supposed(**request["supposed"])
    book = load(request["files"], None, keys_at_hand(config).made_up(secrets.token_bytes(MIN_KEY_BYTES)))
    received = read_received(supposed.received) if supposed.received else None
    set_limits()
    memory, time_s = config.worker.memory_bytes, config.worker.time_s
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE_MAX_BYTES, FILE_SIZE_MAX_BYTES))
    signal.setitimer(signal.ITIMER_REAL, time_s)
    path = Path(f"/dev/fd/{arguments.file}")
    try:
        now_ms = clock_ms()
        when = now_ms if received is None else received
        found = explain_file(book, path, supposed.facts(config), when, now_ms, NAME, config.state_dir)
    except GatewayError as error:
        answer: dict[str, object] = {"refused": str(error)}
    else:
        answer = to_document(found)
    json.dump(answer, sys.stdout)
    return 0
