"""Workloads that are stored and forwarded: `ct`, `small`, `cpu`, `fanout`, `parallel` (see `bench.workloads`)."""

from __future__ import annotations

import functools
from contextlib import ExitStack

from bench.dcmsend import Closings, make_files, send_at_once
from bench.goals import Figures, Found, Goal, Verdict, judge
from bench.measure import CT_BYTES, SMALL_BYTES, Meter, Scale, folder_of, forwarded, tell
from bench.peers import GatewaySide, OrthancSide, Side, SocatSide, StorescpSide
from bench.report import in_turn

ORTHANC_DIVISOR = 8
LOADS = {"ct": (400, CT_BYTES), "small": (1000, SMALL_BYTES)}
SENDERS = 20


def ct(scale: Scale) -> list[Verdict]:
    """CTs over one association, to one archive."""
    goals = [Goal("gateway", "wall ms", 1.25, "socat"), Goal("gateway", "wall ms", 1 / 3, "orthanc")]
    return tell("ct", _through(scale, "ct"), goals)


def small(scale: Scale) -> list[Verdict]:
    """Small instances over one association, to one archive."""
    goals = [Goal("gateway", "wall ms", 1.6, "socat"), Goal("gateway", "wall ms", 1 / 20, "orthanc")]
    return tell("small", _through(scale, "small"), goals)


def cpu(scale: Scale) -> list[Verdict]:
    """CPU of the same two; in a run that has measured them already, those figures."""
    goals = {
        "small": [Goal("gateway", "CPU ms", 1.0), Goal("gateway", "CPU ms", 1 / 8, "orthanc")],
        "ct": [Goal("gateway", "CPU ms", 1.6), Goal("gateway", "CPU ms", 1 / 4, "orthanc")],
    }
    return [verdict for load, each in goals.items() for verdict in judge(f"cpu {load}", _through(scale, load), each)]


def fanout(scale: Scale) -> list[Verdict]:
    """CTs to three archives, beside one."""
    with ExitStack() as stack:
        folder = folder_of(stack)
        archives = [stack.enter_context(StorescpSide(folder / f"archive-{number}")) for number in range(3)]
        one = stack.enter_context(GatewaySide(folder / "one", [archives[0].port]))
        three = stack.enter_context(GatewaySide(folder / "three", [archive.port for archive in archives]))
        files = make_files(folder / "files", scale(400), CT_BYTES, seed=3)
        found = in_turn(
            {
                "three archives": lambda: forwarded(three, archives, files),
                "one archive": lambda: forwarded(one, archives[:1], files),
            },
            scale.rounds,
        )
    goals = [
        Goal("three archives", "wall ms", 2.0, "one archive"),
        Goal("three archives", "CPU ms", 2.2, "one archive"),
    ]
    return tell("fanout", found, goals)


def parallel(scale: Scale) -> list[Verdict]:
    """Twenty senders at once, beside one with all of it."""
    with ExitStack() as stack:
        folder = folder_of(stack)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        side = stack.enter_context(GatewaySide(folder / "gateway", [archive.port]))
        files = make_files(folder / "files", SENDERS * scale(50), CT_BYTES, seed=4)
        shares = [files.paths[number::SENDERS] for number in range(SENDERS)]

        def many() -> Figures:
            files.renew()
            with Closings([archive.directory]) as closings:
                meter = Meter(side)
                runs = send_at_once(shares, side.port)
                ended_s = closings.wait(len(files.paths))
            began_s = min(run.began_s for run in runs)
            found = meter.read(len(files.paths), ended_s - began_s)
            times = [run.ended_s - began_s for run in runs]
            archive.clear()
            return found | {"slowest / fastest sender": max(times) / min(times)}

        found = in_turn({"20 senders": many, "one sender": lambda: forwarded(side, [archive], files)}, scale.rounds)
    goals = [Goal("20 senders", "wall ms", 1.0, "one sender"), Goal("20 senders", "slowest / fastest sender", 1.5)]
    return tell("parallel", found, goals)


@functools.cache
def _through(scale: Scale, load: str) -> Found:
    """One load through the gateway, socat and Orthanc, which gets a part of it: it takes long for each."""
    count, pixel_bytes = LOADS[load]
    with ExitStack() as stack:
        folder = folder_of(stack)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        sides: dict[str, Side] = {
            "gateway": GatewaySide(folder / "gateway", [archive.port]),
            "socat": SocatSide(folder, archive.port),
            "orthanc": OrthancSide(folder, archive.port),
        }
        for side in sides.values():
            stack.enter_context(side)
        files = make_files(folder / "files", scale(count), pixel_bytes, seed=1)
        part = dict.fromkeys(sides, len(files.paths)) | {"orthanc": max(2, len(files.paths) // ORTHANC_DIVISOR)}
        measures = {
            name: functools.partial(forwarded, side, [archive], files, part[name]) for name, side in sides.items()
        }
        return in_turn(measures, scale.rounds)
