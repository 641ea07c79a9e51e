"""`gateway queue`, `list` and `show`: what waits, and what became of what; whether the gateway runs or not."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import defaultdict
from collections.abc import Mapping

from gateway.cli.common import (
    Commands,
    Given,
    GivenToo,
    Unspoken,
    add_command,
    add_config,
    add_json,
    age,
    now_ms,
    open_ledger,
    plain,
    read_config,
    read_unspoken,
    show_facts,
    show_json,
    show_table,
    size,
    when,
    without_empty,
)
from gateway.console.services.orders import require_destinations
from gateway.console.services.queue import AGE_BOUNDS_S
from gateway.errors import UsageError
from gateway.ledger.base import DeliveryRow, InstanceFilter, InstanceRow
from gateway.model import DeliveryState, DestinationState, InstanceState, LedgerGauges, Role

MOST = 100_000
SHOWN = 10


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    queue = add_command(
        commands,
        "queue",
        _queue,
        "what waits: destination by age",
        "gateway queue",
        "One line a destination: what waits for it by age in minutes, and how it is. T is the sum.",
    )
    listing = add_command(
        commands,
        "list",
        _list,
        "studies with their instances and deliveries",
        "gateway list --patient-id -\n  gateway list --state held --instances",
    )
    listing.add_argument("--instances", action="store_true", help="a line an instance instead of a line a study")
    listing.add_argument("--limit", type=int, default=100, help="most instances to look at, newest first (100)")
    add_filter(listing)
    show = add_command(
        commands,
        "show",
        _show,
        "everything about one instance",
        "gateway show 1.2.840.113619.2.55.3",
        "Shows an instance by the gateway's instance id or by SOP Instance UID: facts, decision and deliveries.",
    )
    show.add_argument("instance", metavar="ID|UID", help="the gateway's instance id, or a SOP Instance UID")
    show.add_argument(
        "--limit", type=int, default=SHOWN, help=f"most arrivals of a UID to show, newest first ({SHOWN})"
    )
    for parser in (queue, listing, show):
        add_config(parser)
        add_json(parser)


def add_filter(parser: argparse.ArgumentParser) -> None:
    """The options that say which instances are meant."""
    group = parser.add_argument_group("which instances (all that is given must hold)")
    group.add_argument("--id", action=GivenToo, default=[], metavar="ID", help="the gateway's instance id; repeatable")
    group.add_argument("--uid", action=Given, default="", help="SOP Instance UID")
    group.add_argument("--study", action=Given, default="", metavar="UID", help="Study Instance UID")
    for option, metavar, name in (("--patient-id", "ID", "Patient ID"), ("--accession", "NUMBER", "Accession Number")):
        text = f"{name}; `-` reads it from standard input, so that it is no argument for others to see"
        group.add_argument(option, action=Unspoken, default="", metavar=metavar, help=text)
    group.add_argument("--source", action=Given, default="", metavar="NAME", help="an entry of `sources`")
    group.add_argument("--destination", action=Given, default="", metavar="NAME", help="those with a delivery to it")
    group.add_argument(
        "--code", action=Given, default="", metavar="WORD", help="outcome of a delivery, as `gateway show` has it"
    )
    group.add_argument(
        "--because", action=Given, default="", metavar="TEXT", help="reason of a delivery or instance, word for word"
    )
    states = dict.fromkeys([*map(str, InstanceState), *map(str, DeliveryState)])
    group.add_argument(
        "--state",
        action="append",
        default=[],
        choices=list(states),
        metavar="STATE",
        help="state of the instance, or of one of its deliveries; `held` means either; repeatable: any of them will "
        f"do; one of {', '.join(states)}",
    )


def filter_of(arguments: argparse.Namespace) -> InstanceFilter:
    """The options as a filter."""
    return InstanceFilter(
        instance_ids=tuple(arguments.id),
        states=tuple(state for state in InstanceState if state in arguments.state),
        delivery_states=tuple(state for state in DeliveryState if state in arguments.state),
        destination=arguments.destination,
        source=arguments.source,
        patient_id=arguments.patient_id,
        accession_number=arguments.accession,
        study_instance_uid=arguments.study,
        sop_instance_uid=arguments.uid,
        code=arguments.code,
        because=arguments.because,
    )


def _queue(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    with open_ledger(config) as ledger:
        buckets = ledger.queue_ages(AGE_BOUNDS_S, now_ms())
        gauges = ledger.gauges()
    ages: dict[str, dict[int, int]] = defaultdict(dict)
    for bucket in buckets:
        ages[bucket.destination][bucket.up_to_s] = bucket.count
    if arguments.json:
        show_json(_queue_as_json(gauges, ages))
    else:
        _show_queue(gauges, ages)
    return 0


def _show_queue(gauges: LedgerGauges, ages: Mapping[str, Mapping[int, int]]) -> None:
    minutes = [str(bound // 60) for bound in AGE_BOUNDS_S]
    columns = ["destination", "is", "T", *minutes, f"{minutes[-1]}+", "held", "dead"]
    depth = gauges.queue_depth
    rows = []
    shows_owner = len({each.host for each in gauges.processes if each.role is Role.FORWARDER}) > 1
    if shows_owner:
        columns.append("by")
    for state in gauges.destinations:
        cells = [ages.get(state.name, {}).get(bound, 0) for bound in (*AGE_BOUNDS_S, 0)]
        kept = [depth.get((state.name, kind), 0) for kind in (DeliveryState.HELD, DeliveryState.DEAD)]
        owner = [_served_by(state)] if shows_owner else []
        rows.append((state.name, _how(state), sum(cells), *(cell or "" for cell in [*cells, *kept]), *owner))
    show_table("what waits, by age in minutes", columns, rows, "no destinations yet: start the gateway once", gap=1)
    for state in gauges.destinations:
        if state.last_error:
            print(f"{state.name}: {plain(state.last_error)}")
    print(
        f"not yet routed {gauges.instances.get(InstanceState.RECEIVED, 0)}, "
        f"held without a route {gauges.instances.get(InstanceState.HELD, 0)}, "
        f"quarantined {gauges.instances.get(InstanceState.QUARANTINED, 0)}"
    )


def _queue_as_json(gauges: LedgerGauges, ages: Mapping[str, Mapping[int, int]]) -> dict[str, object]:
    return {
        "destinations": {
            state.name: {
                "breaker": state.breaker,
                "paused": state.paused,
                "configured": state.configured,
                "last_error": state.last_error,
                "served_by": _served_by(state),
                "by_age_s": {
                    str(bound or "older"): ages.get(state.name, {}).get(bound, 0) for bound in (*AGE_BOUNDS_S, 0)
                },
                "states": {str(kind): n for (name, kind), n in gauges.queue_depth.items() if name == state.name},
            }
            for state in gauges.destinations
        },
        "instances": {str(kind): n for kind, n in gauges.instances.items()},
        "rules_revision": gauges.rules_revision,
    }


def _served_by(state: DestinationState) -> str:
    return "" if state.owner is None else state.owner.host


def _how(state: DestinationState) -> str:
    if not state.configured:
        return "removed"
    return "paused" if state.paused else state.breaker.replace("_", "-")


def _limit(arguments: argparse.Namespace) -> int:
    return max(1, min(int(arguments.limit), MOST))


def _list(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    limit = _limit(arguments)
    read_unspoken(arguments)
    with open_ledger(config) as ledger:
        if arguments.destination:
            require_destinations(ledger, [arguments.destination])
        instances = ledger.list_instances(filter_of(arguments), limit)
        deliveries = ledger.deliveries_of([row.instance_id for row in instances])
    by_instance: dict[str, list[DeliveryRow]] = defaultdict(list)
    for delivery in deliveries:
        by_instance[delivery.instance_id].append(delivery)
    if arguments.json:
        show_json([_as_json(row, by_instance[row.instance_id]) for row in instances])
    elif arguments.instances:
        rows = [
            (
                row.instance_id,
                when(row.received_at_ms),
                row.source,
                row.modality,
                row.patient_id,
                row.sop_instance_uid,
                _state(row),
                _summary(by_instance[row.instance_id]),
            )
            for row in instances
        ]
        columns = ("id", "received", "source", "modality", "patient ID", "SOP instance", "state", "deliveries")
        show_table("", columns, rows, "no instance matches")
    else:
        _show_studies(instances, by_instance)
    if len(instances) == limit:
        print(f"only the newest {limit} instances were looked at; --limit looks at more", file=sys.stderr)
    return 0


def _show_studies(instances: list[InstanceRow], by_instance: dict[str, list[DeliveryRow]]) -> None:
    studies: dict[str, list[InstanceRow]] = defaultdict(list)
    for row in instances:
        studies[row.study_instance_uid].append(row)
    rows = []
    for uid, members in studies.items():
        first = members[0]
        states = ", ".join(sorted({_state(row) for row in members}))
        deliveries = [delivery for row in members for delivery in by_instance[row.instance_id]]
        rows.append(
            (
                when(max(row.received_at_ms for row in members)),
                first.patient_id,
                first.patient_name,
                first.accession_number,
                "/".join(sorted({row.modality for row in members if row.modality})),
                first.study_description,
                uid or "(not known)",
                len(members),
                states,
                _summary(deliveries),
            )
        )
    columns = (
        "last",
        "patient ID",
        "name",
        "accession",
        "modality",
        "description",
        "study",
        "n",
        "state",
        "deliveries",
    )
    show_table("", columns, rows, "no study matches")


def _show(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    limit = _limit(arguments)
    with open_ledger(config) as ledger:
        found = ledger.list_instances(InstanceFilter(instance_ids=(arguments.instance,)), 1)
        found = found or ledger.list_instances(InstanceFilter(sop_instance_uid=arguments.instance), limit + 1)
        more = len(found) > limit
        del found[limit:]
        deliveries = ledger.deliveries_of([row.instance_id for row in found])
    if not found:
        raise UsageError(
            f"no instance has the id or SOP Instance UID {arguments.instance!r}: `gateway list --instances` shows both"
        )
    if more:
        print(f"only the newest {limit} arrivals of this UID are shown; --limit shows more", file=sys.stderr)
    if arguments.json:
        show_json([_as_json(row, [d for d in deliveries if d.instance_id == row.instance_id]) for row in found])
        return 0
    for row in found:
        _show_one(row, [delivery for delivery in deliveries if delivery.instance_id == row.instance_id])
    return 0


def _show_one(row: InstanceRow, deliveries: list[DeliveryRow]) -> None:
    facts = {"received": when(row.received_at_ms), **without_empty(dataclasses.asdict(row))}
    del facts["instance_id"], facts["received_at_ms"]
    facts["length"] = size(row.length)
    facts["rules"] = ", ".join(row.rules) or "none matched"
    show_facts(f"instance {row.instance_id}", {name.replace("_", " "): value for name, value in facts.items()})
    rows = [
        (
            delivery.delivery_id,
            delivery.destination,
            delivery.chain or "original",
            delivery.state,
            delivery.code,
            "" if delivery.status is None else f"0x{delivery.status:04X}",
            delivery.attempts,
            age((now_ms() - delivery.created_at_ms) / 1000),
            when(delivery.due_at_ms) if delivery.state is DeliveryState.DEFERRED else "",
            delivery.reason,
        )
        for delivery in deliveries
    ]
    columns = ("delivery", "destination", "sent as", "state", "outcome", "status", "tries", "age", "next try", "reason")
    print()
    show_table("", columns, rows, "no deliveries")
    for chain, steps in {delivery.chain: delivery.steps for delivery in deliveries if delivery.steps}.items():
        told = [
            (step.transform, step.number, step.verb, "done" if step.done else "left out: its `when` did not hold")
            for step in steps
        ]
        print()
        show_table(f"steps of {chain}", ("transform", "step", "does", ""), told, "")


def _state(row: InstanceRow) -> str:
    return f"{row.state} ({row.reason})" if row.reason else str(row.state)


def _summary(deliveries: list[DeliveryRow]) -> str:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for delivery in deliveries:
        counts[delivery.destination, str(delivery.state)] += 1
    return ", ".join(
        f"{where}: {state}" + (f" × {count}" if count > 1 else "") for (where, state), count in sorted(counts.items())
    )


def _as_json(row: InstanceRow, deliveries: list[DeliveryRow]) -> dict[str, object]:
    return {**dataclasses.asdict(row), "deliveries": [dataclasses.asdict(delivery) for delivery in deliveries]}
