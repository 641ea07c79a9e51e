"""`gateway run`: prepares a host, then supervises its roles.

In this order, and nothing is served before the last: configuration → lock on the state folder → Redis (refused where
it evicts) → spool → ledger (damaged, or missing while the spool holds instances: refused, see `gateway recover`) →
sessions of earlier processes voided → destinations made equal to the configuration → what dead receivers left in the
spool adopted → rules → sockets → roles.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from gateway import telemetry
from gateway.app.audit_trail import require_trail, tell_host
from gateway.app.broker import require_broker
from gateway.app.claim import HomeClaim
from gateway.app.common import (
    SNAPSHOT_VARIABLE,
    clock_ms,
    ledger_path,
    open_ledger_of,
    open_spool,
    process_counts,
    run_dir,
    shares_ledger,
    snapshot_path,
    void_session,
)
from gateway.app.configured import sync_destinations
from gateway.app.doorstep import require_door
from gateway.app.home import home_of
from gateway.app.homes import (
    adopt_earlier,
    no_ledger,
    refuse_empty_spool,
    refuse_left_ledger,
    refuse_new_ledger,
    refuse_other_spool,
    refuse_twin,
    refuse_unshared_spool,
    remove_earlier_copies,
    void_earlier,
)
from gateway.app.keys import KEYS_VARIABLE, fingerprints, read_keys
from gateway.app.moved import refuse_moved
from gateway.app.reidentification import PUBLIC_KEY_VARIABLE, name_of, read_public_key
from gateway.config import Config, load, reloadable_changes
from gateway.errors import ConfigurationError, LeaseLost, LedgerDamaged
from gateway.flow import adopt
from gateway.flow.in_force import turn_waiting
from gateway.flow.reload import is_behind, read_rules, tell_behind, validate_rules
from gateway.ledger.base import Ledger, RuleSet
from gateway.ledger.trail import Note, NoteKind
from gateway.model import Role
from gateway.spool import FoundState, Spool, remove_half_made, scan
from gateway.supervisor import ChildSpec, ListenerAddress, StateLock, Supervisor, activated_sockets, bind_listeners
from gateway.transform import Keys
from gateway.transform import load as load_rules
from gateway.transform.deidentify.pseudonyms import KeysAtHand

CONSOLE_SOCKET, METRICS_SOCKET = "console", "metrics"
HANG_S = 20.0
# A worker's alarm ends it after `worker.time` with one instance; the supervisor only when that did not work.
WORKER_HANG_MARGIN_S = 15.0
STOP_S = 20.0
CONSOLE_MISSING = (
    "no console runs: nothing is purged and the spool fills up, the ledger's log grows without bound, changed rules "
    "are not taken, and there are no metrics; add `console` to --roles"
)


def run_host(config_path: Path, roles: Sequence[Role], workers: int | None = None) -> int:
    """Run this host until a signal stops it. Raises what keeps it from starting.

    :param workers: how many of them, instead of what the configuration says.
    """
    config = load(config_path, os.environ)
    lock = StateLock(config.state_dir)
    try:
        with closing(HomeClaim(config)) as claim:
            return _run_locked(config, config_path, roles, lock, claim, workers)
    finally:
        lock.release()


def _run_locked(
    config: Config, config_path: Path, roles: Sequence[Role], lock: StateLock, claim: HomeClaim, workers: int | None
) -> int:
    run_dir(config).mkdir(mode=0o700, parents=True, exist_ok=True)
    telemetry.configure("supervisor-0", format=config.log.format, level=config.log.level)
    keys = read_keys(config)
    in_force = {KEYS_VARIABLE: fingerprints(keys), PUBLIC_KEY_VARIABLE: name_of(read_public_key(config))}
    require_trail(config)
    require_broker(config)
    if Role.CONSOLE in roles:
        require_door(config)
    _write_snapshot(config, config_path.read_text(encoding="utf-8"))
    spool = open_spool(config)
    if not config.spool.shared:
        spool.prepare()
    _prepare_ledger(config, spool, keys, claim)
    sockets = bind_listeners(_addresses(config, roles), activated_sockets())
    counts = process_counts(config) | ({} if workers is None else {Role.WORKER: workers})
    children = _children(config, config_path, roles, sockets, in_force, counts)
    hooks = HostHooks(config, config_path, spool, claim)
    supervisor = Supervisor(children, hooks, lock=lock, run_folder=run_dir(config))
    telemetry.event("gateway_started", roles=[str(role) for role in roles], listeners=list(config.listeners))
    if lacks_console(config, roles):
        telemetry.problem("console_missing", reason=CONSOLE_MISSING)
    has_console = Role.CONSOLE in roles
    tell_host(config, NoteKind.STARTED, has_console=has_console)
    code = supervisor.run()
    tell_host(config, NoteKind.STOPPED, has_console=has_console)
    telemetry.event("gateway_stopped")
    return code


def lacks_console(config: Config, roles: Sequence[Role]) -> bool:
    """Whether these roles leave out the one that purges, checkpoints and watches the rules for all of them, and no
    other host can have it."""
    return Role.CONSOLE not in roles and config.ledger.url == "sqlite"


# ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_snapshot(config: Config, text: str) -> None:
    """Keep the accepted text: roles read this, not a file that somebody is editing."""
    path = snapshot_path(config)
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o600)
    fresh.replace(path)


def _prepare_ledger(config: Config, spool: Spool, keys: Keys, claim: HomeClaim) -> None:
    path = ledger_path(config)
    is_shared = shares_ledger(config)
    if not is_shared:
        refuse_moved(path)
    if not is_shared and not path.exists() and any(found.state is not FoundState.EMPTY for found in scan(spool)):
        raise LedgerDamaged(no_ledger(f"there is no ledger at {path}", spool))
    ledger = open_ledger_of(config, create=True)
    try:
        if problems := ledger.check(quick=True):
            raise LedgerDamaged(
                f"the ledger {path} is damaged; run `gateway recover`. It says: {'; '.join(problems[:3])}"
            )
        if is_shared:
            refuse_left_ledger(ledger, path)
        refuse_new_ledger(ledger, spool)
        if is_shared:
            refuse_unshared_spool(ledger, config)
            refuse_empty_spool(ledger, spool)
            claim.make(ledger)
            refuse_twin(ledger, config, own=claim.session)
            refuse_other_spool(ledger, spool)
        _void_earlier(ledger, config, claim)
        if config.spool.shared:
            spool.prepare(join=True)
        sync_destinations(ledger, config)
        adopt.tell(adopt_earlier(ledger, config, spool))
        for stray, error in remove_earlier_copies(ledger, config, spool).items():
            telemetry.problem("spool_file_not_removed", file=stray, reason=str(error))
        _store_rules(ledger, config, keys)
        _tell_drained(ledger, config)
        claim.require(ledger)
    finally:
        ledger.close()


def _void_earlier(ledger: Ledger, config: Config, claim: HomeClaim) -> None:
    try:
        void_earlier(ledger, config, claim.session)
    except LeaseLost as error:
        raise claim.lost() from error


def _tell_drained(ledger: Ledger, config: Config) -> None:
    """Whoever upgraded a host may have forgotten that it takes no work."""
    roles = [row.role.value for row in ledger.draining() if row.host == config.host]
    if roles:
        reason = f"these roles take no work here until `gateway drain {config.host} --undo`"
        telemetry.problem("host_drained", host=config.host, roles=roles, reason=reason)


def _store_rules(ledger: Ledger, config: Config, keys: Keys) -> None:
    """The folder's rules; broken ones only matter when there is no last good set."""
    try:
        files = read_rules(config.rules.dir)
        book = validate_rules(files, config.destinations, keys)
    except ConfigurationError as error:
        revision = ledger.current_revision()
        if not revision:
            raise
        telemetry.rules_reloaded(result="refused", revision=revision, problems=error.problems)
        _check_in_force(ledger, revision, keys)
        return
    if is_behind(ledger, book.revision, home_of(config.state_dir)):
        tell_behind(config.rules.dir, config.host, book.revision, ledger.current_revision())
        return
    ledger.store_rules(RuleSet(book.revision, files), clock_ms())
    turn_waiting(ledger, book, clock_ms)


def _check_in_force(ledger: Ledger, revision: str, keys: Keys) -> None:
    """Say what is wrong with the set in force where no worker will be able to load it: another version took it."""
    try:
        load_rules(ledger.load_rules(revision).files, None, KeysAtHand(keys))
    except ConfigurationError as error:
        problems = [str(problem) for problem in error.problems]
        telemetry.problem("rules_in_force_not_loaded", revision=revision, problems=problems)


# ── children ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _addresses(config: Config, roles: Sequence[Role]) -> list[ListenerAddress]:
    wanted: list[ListenerAddress] = []
    if Role.RECEIVER in roles:
        wanted += [ListenerAddress(item.name, item.host, item.port, item.backlog) for item in config.listeners.values()]
    if Role.CONSOLE in roles:
        for name, address in ((CONSOLE_SOCKET, config.console), (METRICS_SOCKET, config.metrics)):
            wanted.append(ListenerAddress(f"http-{name}", address.host, address.port, 64))
    return wanted


def _children(
    config: Config,
    config_path: Path,
    roles: Sequence[Role],
    sockets: Mapping[str, socket.socket],
    in_force: Mapping[str, str],
    counts: Mapping[Role, int],
) -> list[ChildSpec]:
    """What to start. `in_force`: variables that tell each role which keys the start has found."""
    hang_s = {Role.WORKER: config.worker.time_s + WORKER_HANG_MARGIN_S}
    listening = {name: sock for name, sock in sockets.items() if not name.startswith("http-")}
    serving = {name: sock for name, sock in sockets.items() if name.startswith("http-")}
    handed = {Role.RECEIVER: listening, Role.CONSOLE: serving}
    return [
        ChildSpec(
            role=role,
            index=index,
            # -P: nothing is imported from the folder that the gateway happens to be started in.
            argv=(sys.executable, "-P", "-m", "gateway", "_role", role, str(index), "--config", str(config_path)),
            sockets=handed.get(role, {}),
            environment={
                SNAPSHOT_VARIABLE: str(snapshot_path(config)),
                **in_force,
            },
            hang_timeout_s=hang_s.get(role, HANG_S),
            stop_timeout_s=STOP_S,
        )
        for role in roles
        for index in range(counts[role])
    ]


def _configuration_read(config: Config, path: Path) -> Note:
    """For the audit trail."""
    what = "configuration changed"
    return Note(NoteKind.ALERT, clock_ms(), what=what, subject=config.host, text=f"{path} was read again")


class HostHooks:
    """What the supervisor asks of its owner. Ledgers are opened for each call: calls come from different threads."""

    def __init__(self, config: Config, config_path: Path, spool: Spool, claim: HomeClaim) -> None:
        self._claim = claim
        self._config = config
        self._config_path = config_path
        self._spool = spool

    def void(self, session_id: int) -> None:
        """Free what a dead process held."""
        with closing(open_ledger_of(self._config, create=False)) as ledger:
            voided = void_session(self._config, ledger, session_id)
        if voided is not None and (voided.instances or voided.deliveries):
            telemetry.event("leases_voided", instances=voided.instances, deliveries=voided.deliveries)
        for path, error in remove_half_made(self._spool, session_id).items():
            telemetry.problem("spool_file_not_removed", file=path, reason=str(error))

    def adopt(self, generation: str) -> None:
        """Adopt what a dead receiver left in the spool."""
        with closing(open_ledger_of(self._config, create=False)) as ledger:
            adopt.tell(adopt.adopt(self._spool, ledger, [generation], clock_ms()))

    def event(self, name: str, *, trouble: bool, error: BaseException | None = None, **fields: object) -> None:
        """Log what the supervisor does, and what went wrong. With the first role that is ready, which beats, the
        start's claim is over."""
        if name == "child_ready":
            self._claim.end()
        if trouble:
            telemetry.problem(name, error, **fields)
        else:
            telemetry.event(name, **fields)

    def beat(self) -> None:
        """Tell of the log lines that were left out, where it is time."""
        telemetry.tell_due()

    def reload(self) -> bool:
        """SIGHUP: take a changed configuration if it is good. True when the children shall read it."""
        try:
            text = self._config_path.read_text(encoding="utf-8")
            config = load(self._config_path, os.environ, text=text)
        except (ConfigurationError, OSError, UnicodeDecodeError) as error:
            problems = error.problems if isinstance(error, ConfigurationError) else (str(error),)
            telemetry.problem("configuration_refused", problems=[str(problem) for problem in problems])
            return False
        _, needs_restart = reloadable_changes(self._config, config)
        if needs_restart:
            telemetry.problem(
                "restart_needed", keys=needs_restart, reason="these changes take effect at the next start"
            )
        ledger = open_ledger_of(self._config, create=False)
        try:
            sync_destinations(ledger, config)
            if config != self._config:
                ledger.tell([_configuration_read(config, self._config_path)])
        finally:
            ledger.close()
        _write_snapshot(self._config, text)
        self._config = config
        return True
