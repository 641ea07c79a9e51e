"""The console's process: health, version and metrics over HTTP; the sweeper, and the watches over rules and hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from gateway import telemetry
from gateway.app.audit_trail import verified
from gateway.app.beat import LedgerBeat
from gateway.app.broker import watch_broker
from gateway.app.checked import findings
from gateway.app.common import (
    Process,
    Signals,
    begin,
    clock_ms,
    open_ledger_of,
    open_look_of,
    open_session,
    open_spool,
    reload_config,
    run_dir,
    run_loop,
    shares_ledger,
    void_session,
    work_queue,
)
from gateway.app.configured import keep_configured
from gateway.app.door import certificate_of, open_door, provider_of
from gateway.app.figures import look_at_jobs, spool_figures
from gateway.app.home import home_of
from gateway.app.host_trail import HostTrail
from gateway.app.keys import keys_at_hand
from gateway.app.leftovers import adopt_leftovers
from gateway.config import Config
from gateway.console.app import Served, metrics_app, serve
from gateway.console.context import Context
from gateway.console.late import late_site
from gateway.console.live import Live
from gateway.console.metrics import HostMetrics
from gateway.console.services.system import Checker
from gateway.flow import adopt
from gateway.flow.hosts import HostWatcher, Silences
from gateway.flow.reload import RuleWatcher
from gateway.flow.sweep import Sweeper
from gateway.ledger.base import Ledger, OpenSession, Voided
from gateway.ledger.thread import LedgerThread
from gateway.model import Role, Session
from gateway.rules.plan import Plan
from gateway.spool import Spool
from gateway.work.base import Stage
from gateway.work.redis_url import is_redis


def main(index: int, config_path: Path) -> int:
    """Be the console."""
    process = begin(Role.CONSOLE, index, config_path)
    return run_loop(partial(_serve, process))


def host_watcher(config: Config, ledger: LedgerThread, spool: Spool) -> HostWatcher:
    """The watch over the processes of other hosts."""

    def void(opened: Ledger, found: OpenSession) -> Voided | None:
        return void_session(config, opened, found.session.session_id, found.home, found.beats)

    def adopt_from(found: OpenSession) -> None:
        with closing(open_ledger_of(config, create=False)) as opened:
            adopt.tell(adopt.adopt_of_others(spool, opened, found.generation, clock_ms()))

    silences = Silences(home_of(config.state_dir), config.worker.time_s)
    return HostWatcher(ledger, silences, void, adopt_from)


class _Console:
    """What the role is made of, by name, until it stops."""

    def __init__(self, process: Process, ledger: LedgerThread, session: Session) -> None:
        self.process, self.ledger, self.session = process, ledger, session
        config = process.config
        self.look = open_look_of(config)
        self.spool = open_spool(config)
        self.queue = work_queue(config)
        self.keys = keys_at_hand(config)
        self.watcher = self._rule_watcher(config)
        self.signals = Signals(self._reload)
        self.trail = HostTrail(lambda: process.config, ledger, session)
        figures = partial(spool_figures, self.spool)
        self.host = HostMetrics(run_dir(config), self.look.gauges, figures, clock_ms, look_at_jobs(config))
        self.live = Live(self.look.totals, self.host, clock_ms)
        self.certificate = certificate_of(config)

    def _rule_watcher(self, config: Config) -> RuleWatcher:
        def loaded(plan: Plan) -> None:
            self.queue.notify(Stage.ROUTE)

        keys = dict(self.keys)  # new rules must have theirs
        home = home_of(config.state_dir)
        return RuleWatcher(
            self.ledger, config.rules.dir, tuple(config.destinations), clock_ms, loaded, keys, home, config.host
        )

    def _reload(self) -> None:
        changed = reload_config(self.process)
        if changed is not None:
            self.watcher.destinations = tuple(changed.destinations)
            self.watcher.look_again()

    def context(self) -> Context:
        """What the pages and the API work with."""
        process = self.process
        return Context(
            config=lambda: process.config,
            look=self.look,
            ledger=self.ledger,
            spool=self.spool,
            host=self.host,
            clock_ms=clock_ms,
            wake=self.queue.notify,
            keys=self.keys,
            config_path=process.config_path,
            door=open_door(process.config, self.trail.access),
            notes=self.trail.notes,
            live=self.live,
            stopping=self.signals.stop,
            verify_trail=lambda: verified(process.config),
            checker=Checker(lambda echo: findings(process.config_path, echo=echo), clock_ms),
            provider=provider_of(process.config),
        )

    def apps(self) -> list[Served]:
        """What is served on which socket."""
        sockets = self.process.control.sockets()
        tls = self.certificate.context if self.certificate is not None else None
        return [
            Served(late_site(self.context()), sockets["http-console"], tls),
            Served(metrics_app(self.host.exposition, self.host.reasons_not_ready), sockets["http-metrics"]),
        ]

    def duties(self) -> Iterator[tuple[str, Coroutine[object, object, None]]]:
        """What runs beside the serving, each by the name of its task."""
        config, ledger, spool, trail = self.process.config, self.ledger, self.spool, self.trail
        rules = config.rules
        sweeper = Sweeper(ledger, spool, config.spool.keep_s, clock_ms, rules.history_s, rules.history_size_bytes)
        yield "sweeper", sweeper.run()
        yield "rule watcher", self.watcher.run()
        yield "host watcher", host_watcher(config, ledger, spool).run()
        yield "audit notes", trail.notes.run()
        yield "audit trail", trail.keeper.run()
        yield "ledger beat", LedgerBeat(ledger, self.session).run(self.signals.stop.set)
        yield "live figures", self.live.run()
        if self.certificate is not None:
            yield "certificate", self.certificate.watch()
        if is_redis(config.queue.url):
            yield "broker", watch_broker(config)
        if shares_ledger(config):
            yield "leftovers", adopt_leftovers(config, spool)
            yield "own destinations", keep_configured(ledger)

    async def close(self) -> None:
        """Tell the trail of the end, give up the session, and let go of everything."""
        self.host.close()
        await self.look.close()
        await self.trail.finish()
        await self.ledger.call(lambda opened: opened.void_session(self.session.session_id, clock_ms()))
        await self.ledger.close()
        self.queue.close()
        self.process.metrics.close()


async def _serve(process: Process) -> None:
    ledger = LedgerThread(partial(open_ledger_of, process.config, create=False))
    console = _Console(process, ledger, await open_session(process, ledger, Role.CONSOLE))
    telemetry.watching()
    stop = console.signals.stop
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve(console.apps(), stop), name="http")
        duties = [tasks.create_task(duty, name=name) for name, duty in console.duties()]
        duties.append(process.control.start_beating(tasks, telemetry.loop_late))
        process.ready()
        await stop.wait()
        await serving
        for duty in duties:
            duty.cancel()
    await console.close()
