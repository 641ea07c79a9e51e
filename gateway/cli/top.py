"""`gateway top`: how the gateway is, live on a terminal. Nothing but a client of the console's API.

One frame is what `/overview` says and the rates of the last samples of `/live`. What peers sent is shown as text.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.apiclient import DEFAULT_URL, TOKEN_VARIABLE, URL_VARIABLE, ApiClient, read_token
from gateway.cli.common import Commands, add_command, add_json, age, plain, show_json, size
from gateway.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

EVERY_S = 2.0
RATE_OVER_MS = 60_000
MOST_TROUBLE = 12
PIPE_WIDTH = 100_000  # whoever reads a pipe gets whole lines
_LAMPS = {
    "up": ("●", "green"),
    "half-open": ("◐", "yellow"),
    "down": ("○", "red"),
    "paused": ("‖", "yellow"),
    "removed": ("×", "dim"),
    "unserved": ("○", "red"),
}


def add_commands(commands: Commands) -> None:
    """Add this module's command."""
    top = add_command(
        commands,
        "top",
        _top,
        "how the gateway is, live on a terminal",
        "gateway top\n  gateway top --url https://gateway.example:8443 --token-file ~/.gateway-token",
        f"Asks the console's API each two seconds, with the API token in ${TOKEN_VARIABLE} or in a file. It needs no "
        "more than the role observer, and shows no patient data. Ctrl-C ends it.",
    )
    top.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE, DEFAULT_URL),
        help=f"the console's address (default: ${URL_VARIABLE}, else {DEFAULT_URL})",
    )
    top.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"holds the API token (default: ${TOKEN_VARIABLE})"
    )
    top.add_argument(
        "--ca", type=Path, metavar="FILE", help="certificate authorities to trust, PEM (default: the system's)"
    )
    top.add_argument("--once", action="store_true", help="show one frame and end")
    add_json(top)


def _top(arguments: argparse.Namespace) -> int:
    client = ApiClient(arguments.url, read_token(arguments.token_file), arguments.ca)
    if arguments.json:
        show_json(_look(client))
        return 0
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    if arguments.once or not console.is_terminal:
        console.print(_frame(_look(client)))
        return 0
    _live(client, console)
    return 0


def _live(client: ApiClient, console: Any) -> None:
    """Show frames until Ctrl-C. A console that goes away is waited for."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    frame: RenderableType = _frame(_look(client))  # what is wrong from the beginning ends the command
    with Live(frame, console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(EVERY_S)
            try:
                frame = shown = _frame(_look(client))
            except UsageError as error:
                shown = Group(Text(plain(error), style="bold red"), Text("as it was before:"), frame)
            live.update(shown, refresh=True)


def _look(client: ApiClient) -> dict[str, Any]:
    """What the API says, and the rates that follow from it."""
    try:
        overview = client.get("/overview")
        since_ms = int(overview["at_ms"]) - RATE_OVER_MS
        live = client.get(f"/live?since_ms={since_ms}")
        return {"overview": overview, "rates": rates(live["samples"])}
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{client.url}: what answers is no console, or one of another version") from None


def rates(samples: list[Mapping[str, Any]]) -> dict[str, float] | None:
    """Instances and bytes a second, in and out, between the first and the last sample; None where there are not two."""
    if len(samples) < 2 or samples[-1]["at_ms"] <= samples[0]["at_ms"]:
        return None
    first, last = samples[0], samples[-1]
    seconds = (last["at_ms"] - first["at_ms"]) / 1000
    return {
        "in_per_s": (last["received"] - first["received"]) / seconds,
        "out_per_s": (_sum(last["delivered"]) - _sum(first["delivered"])) / seconds,
        "in_bytes_per_s": (last["received_bytes"] - first["received_bytes"]) / seconds,
        "out_bytes_per_s": (_sum(last["delivered_bytes"]) - _sum(first["delivered_bytes"])) / seconds,
    }


def _sum(by_name: Mapping[str, float]) -> float:
    return sum(by_name.values())


# ── a frame ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _frame(looked: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    overview = looked["overview"]
    parts: list[RenderableType] = [
        _head(overview),
        _figures(overview, looked["rates"]),
        Text(),
        _destinations(overview),
    ]
    if overview["notices"]:
        parts += [Text(), *(Text(plain(each["text"]), "yellow") for each in overview["notices"])]
    if overview["trouble"]:
        parts += [Text(), _attention(overview)]
    return Group(*parts)


def _head(overview: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(overview["at_ms"] / 1000))
    head = Text(f"{plain(overview['host'])}  gateway {plain(overview['version'])}  {at}  ", style="bold")
    reasons = [plain(reason) for reason in overview["not_ready"]]
    head.append(f"not ready: {', '.join(reasons)}" if reasons else "ready", "bold red" if reasons else "green")
    return head


def _figures(overview: Mapping[str, Any], per_s: Mapping[str, float] | None) -> RenderableType:
    from rich.text import Text

    flow = "rates: in a moment"
    if per_s is not None:
        flow = (
            f"in {per_s['in_per_s']:.1f}/s {size(per_s['in_bytes_per_s'])}/s  "
            f"out {per_s['out_per_s']:.1f}/s {size(per_s['out_bytes_per_s'])}/s"
        )
    states = overview["instances"]
    free = overview["spool_free_bytes"]
    spool = f"spool {size(overview['spool_bytes'])}, free {'unknown' if free is None else size(free)}"
    text = Text(f"{flow}  waiting {overview['waiting']}  not yet routed {states.get('received', 0)}  ")
    text.append(spool, "bold red" if overview["spool_low"] else "")
    return text


def _destinations(overview: Mapping[str, Any]) -> Table:
    from rich.text import Text

    numbers = ("waiting", "oldest", "held", "dead", "out/s", "through in")
    rows = []
    for each in overview["destinations"]:
        condition = _condition(each)
        lamp, style = _LAMPS.get(condition, ("?", ""))
        oldest, rate, through = each["oldest_ms"], each["delivered_per_s"], each["through_in_s"]
        row = [
            Text(lamp, style),
            Text(plain(each["name"])),
            Text(condition, style),
            Text(str(each["waiting"] or "")),
            Text("" if oldest is None else age((overview["at_ms"] - oldest) / 1000)),
            Text(str(each["states"].get("held", "") or "")),
            Text(str(each["states"].get("dead", "") or "")),
            Text("" if rate is None else f"{rate:.1f}"),
            Text(age(through) if through and each["waiting"] else ""),
            Text(plain(each["last_error"])),
        ]
        rows.append(row)
    return _table(("", "destination", "is", *numbers, "last error"), numbers, rows)


def _condition(destination: Mapping[str, Any]) -> str:
    """How it is, in one word: of one that nobody serves the breaker says only how it was before."""
    condition = str(destination["condition"])
    return condition if destination["served_by"] or condition in ("paused", "removed") else "unserved"


def _attention(overview: Mapping[str, Any]) -> Table:
    from rich.text import Text

    rows = []
    for each in overview["trouble"][:MOST_TROUBLE]:
        count = f"{each['count']}{'+' if each['more'] else ''}"
        at = plain(each["destination"] or "no destination")
        because = plain(each["reason"] or each["code"])
        rows.append([Text(each["kind"], "red"), Text(count), Text(at), Text(because)])
    left = len(overview["trouble"]) - MOST_TROUBLE
    if left > 0:
        rows.append([Text(), Text(), Text(), Text(f"and {left} reasons more: see the console")])
    return _table(("attention", "", "at", "because"), ("",), rows)


def _table(names: Sequence[str], numbers: Collection[str], rows: Sequence[Sequence[Text]]) -> Table:
    """Columns side by side. Where there is no room for all, the last one gives way, and what is beyond is cut off: each
    of the others is as wide as what stands in it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for at, name in enumerate(names[:-1]):
        width = max(len(name), *(row[at].cell_len for row in rows)) if rows else len(name)
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True, min_width=width)
    table.add_column(names[-1])  # what may wrap is what rich makes narrower first; its cells do not wrap
    for row in rows:
        row[-1].no_wrap, row[-1].overflow = True, "ellipsis"
        table.add_row(*row)
    return table
