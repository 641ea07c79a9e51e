"""The console's process: health, version and metrics over HTTP; the sweeper, and the watches over rules and hosts."""

from __future__ import annotations

import asyncio
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
from gateway.console.live import Live
from gateway.console.metrics import HostMetrics
from gateway.console.services.system import Checker
from gateway.console.site import site
from gateway.flow import adopt
from gateway.flow.hosts import HostWatcher, Silences
from gateway.flow.reload import RuleWatcher
from gateway.flow.sweep import Sweeper
from gateway.ledger.base import Ledger, OpenSession, Voided
from gateway.ledger.thread import LedgerThread
from gateway.model import Role
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


async def _serve(process: Process) -> None:
    config = process.config
    ledger = LedgerThread(partial(open_ledger_of, config, create=False))
    session = await open_session(process, ledger, Role.CONSOLE)
    look = open_look_of(config)
    spool = open_spool(config)
    queue = work_queue(config)
    rules = config.rules
    sweeper = Sweeper(ledger, spool, config.spool.keep_s, clock_ms, rules.history_s, rules.history_size_bytes)

    def loaded(plan: Plan) -> None:
        queue.notify(Stage.ROUTE)

    at_hand = keys_at_hand(config)
    keys = dict(at_hand)  # new rules must have theirs
    home = home_of(config.state_dir)
    watcher = RuleWatcher(
        ledger, config.rules.dir, tuple(config.destinations), clock_ms, loaded, keys, home, config.host
    )

    def reload() -> None:
        changed = reload_config(process)
        if changed is not None:
            watcher.destinations = tuple(changed.destinations)
            watcher.look_again()

    telemetry.watching()
    signals = Signals(reload)
    trail = HostTrail(lambda: process.config, ledger, session)
    host = HostMetrics(run_dir(config), look.gauges, partial(spool_figures, spool), clock_ms, look_at_jobs(config))
    sockets = process.control.sockets()
    live = Live(look.totals, host, clock_ms)
    context = Context(
        config=lambda: process.config,
        look=look,
        ledger=ledger,
        spool=spool,
        host=host,
        clock_ms=clock_ms,
        wake=queue.notify,
        keys=at_hand,
        config_path=process.config_path,
        door=open_door(config, trail.access),
        notes=trail.notes,
        live=live,
        stopping=signals.stop,
        verify_trail=lambda: verified(process.config),
        checker=Checker(lambda echo: findings(process.config_path, echo=echo), clock_ms),
        provider=provider_of(config),
    )
    certificate = certificate_of(config)
    tls = certificate.context if certificate is not None else None
    apps = [
        Served(site(context), sockets["http-console"], tls),
        Served(metrics_app(host.exposition, host.reasons_not_ready), sockets["http-metrics"]),
    ]
    async with asyncio.TaskGroup() as tasks:
        serving = [
            tasks.create_task(serve(apps, signals.stop), name="http"),
            tasks.create_task(sweeper.run(), name="sweeper"),
            tasks.create_task(watcher.run(), name="rule watcher"),
            tasks.create_task(host_watcher(config, ledger, spool).run(), name="host watcher"),
            tasks.create_task(trail.notes.run(), name="audit notes"),
            tasks.create_task(trail.keeper.run(), name="audit trail"),
            tasks.create_task(LedgerBeat(ledger, session).run(signals.stop.set), name="ledger beat"),
            tasks.create_task(live.run(), name="live figures"),
            process.control.start_beating(tasks, telemetry.loop_late),
        ]
        if certificate is not None:
            serving.append(tasks.create_task(certificate.watch(), name="certificate"))
        if is_redis(config.queue.url):
            serving.append(tasks.create_task(watch_broker(config), name="broker"))
        if shares_ledger(config):
            serving.append(tasks.create_task(adopt_leftovers(config, spool), name="leftovers"))
            serving.append(tasks.create_task(keep_configured(ledger), name="own destinations"))
        process.ready()
        await signals.stop.wait()
        await serving[0]
        for task in serving[1:]:
            task.cancel()
    host.close()
    await look.close()
    await trail.finish()
    await ledger.call(lambda opened: opened.void_session(session.session_id, clock_ms()))
    await ledger.close()
    queue.close()
    process.metrics.close()
