"""The audit trail's files of a host: key, names, and the supervisor's own two messages. What the console does about
them is in `gateway.app.host_trail`.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from gateway import telemetry
from gateway.app.common import clock_ms, open_ledger_of, user_name
from gateway.app.home import home_of
from gateway.audit.chain import Head
from gateway.audit.files import files_in
from gateway.audit.server import Transport
from gateway.audit.trail import Trail
from gateway.audit.verify import Verdict, verify
from gateway.config import Config
from gateway.errors import ConfigurationError, GatewayError, Problem, TrailError
from gateway.flow.told import Names, noted, raise_alarm
from gateway.ledger.trail import Note, NoteKind, NoteTold, TrailHead

MIN_KEY_BYTES = 16
_MAX_KEY_BYTES = 64 * 1024


def trail_key(path: Path | None) -> bytes:
    """The secret that chains the trail; b"" where there is none. :raises ConfigurationError: it cannot be had."""
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            secret = file.read(_MAX_KEY_BYTES).rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError([Problem(str(path), 0, 0, f"audit.key cannot be read: {error.strerror}")]) from None
    if len(secret) < MIN_KEY_BYTES:
        message = f"audit.key has fewer than {MIN_KEY_BYTES} bytes: make one with `openssl rand -hex 32`"
        raise ConfigurationError([Problem(str(path), 0, 0, message)])
    return secret


def require_trail(config: Config) -> None:
    """See that what `audit` names can be used. :raises ConfigurationError: with everything that cannot."""
    problems: list[Problem] = []
    try:
        trail_key(config.audit.key)
    except ConfigurationError as error:
        problems += error.problems
    server = config.audit.syslog
    if server is not None and server.transport is Transport.TLS:
        from gateway.audit.syslog import tls_context  # with ssl, which nobody else here needs

        try:
            tls_context(server.ca, server.certificate, server.key)
        except (OSError, ValueError) as error:
            files = ", ".join(str(path) for path in (server.ca, server.certificate, server.key) if path is not None)
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            problems.append(Problem(files, 0, 0, f"audit.syslog: certificates or key cannot be used: {why}"))
    if problems:
        raise ConfigurationError(problems)


def names_of(config: Config) -> Names:
    """How messages call the gateway and its destinations."""
    return Names(
        host=config.host,
        ae_title=config.ae_title,
        source_id=config.audit.source_id,
        site_id=config.audit.site_id or "",
        trail_dir=str(config.audit.dir),
        destinations={name: (each.ae_title, each.host) for name, each in config.destinations.items()},
    )


def open_trail(config: Config, known: Head | None = None) -> Trail:
    """The files, to be written, which have to have a record that is known. :raises TrailError: they cannot be."""
    try:
        key = trail_key(config.audit.key)
    except ConfigurationError as error:
        raise TrailError(str(error.problems[0])) from error
    return Trail(config.audit.dir, clock_ms, key, config.audit.segment_size_bytes, known)


# ── the supervisor ────────────────────────────────────────────────────────────────────────────────────────────────────


def tell_host(config: Config, kind: NoteKind, *, has_console: bool) -> None:
    """The gateway on this host starts or stops: into the files, while no console has them. Elsewhere, where none ever
    has, into the ledger: another host writes it. What cannot be told is a problem, and stops nothing."""
    note = Note(kind, clock_ms(), actor=f"host:{user_name()}", subject=config.host)
    try:
        if not has_console:
            with closing(open_ledger_of(config, create=False)) as ledger:
                ledger.tell([note])
            return
        with closing(open_trail(config)) as trail:
            raise_alarm(trail, names_of(config), clock_ms())
            trail.append([noted(NoteTold(note, None, 0), names_of(config))])
    except GatewayError as error:
        telemetry.problem("audit_trail_waits", error, reason=f"not told that the gateway {kind.value}")


def verified(config: Config) -> Verdict:
    """Whether this host's files are as they were written. Blocks. :raises GatewayError: it cannot be said."""
    known = known_head(config)
    head = None if known is None else Head(known.seq, known.hash)
    return verify(files_in(config.audit.dir), trail_key(config.audit.key), head)


def known_head(config: Config) -> TrailHead | None:
    """How far the ledger knows this host's files to have got."""
    with closing(open_ledger_of(config, create=False)) as ledger:
        return ledger.trail_heads().get(home_of(config.state_dir))
