"""A frame of `gateway top`: what matters can be read at any usual width, and a pipe gets whole lines."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gateway.cli import build_parser, top

ERROR = "association rejected: calling AE title not recognized; [red]the archive was asked for the tenth time"
REASON = "the data set cannot be read: it ends in the middle of the element (0008,0018), after 132 bytes of 1000"


def destination(name: str, condition: str, last_error: str) -> dict[str, Any]:
    return {
        "name": name,
        "condition": condition,
        "waiting": 12345,
        "oldest_ms": 0,
        "states": {"held": 321, "dead": 17},
        "delivered_per_s": 12.3,
        "through_in_s": 4000.0,
        "last_error": last_error,
        "served_by": "gw1",
    }


def looked() -> dict[str, Any]:
    overview = {
        "at_ms": 100_000_000,
        "host": "gw1",
        "version": "1.0",
        "not_ready": [],
        "instances": {},
        "spool_bytes": 0,
        "spool_free_bytes": None,
        "spool_low": False,
        "waiting": 24690,
        "notices": [],
        "destinations": [destination("pacs", "up", ""), destination("archive-two", "half-open", ERROR)],
        "trouble": [
            {"kind": "quarantined", "count": 10000, "more": True, "destination": "", "reason": REASON, "code": ""},
            {"kind": "held", "count": 7, "more": False, "destination": "pacs", "reason": "", "code": "refused"},
        ],
    }
    return {"overview": overview, "rates": None}


def frame(width: int, found: dict[str, Any] | None = None) -> list[str]:
    shown = io.StringIO()
    Console(file=shown, width=width, highlight=False).print(top._frame(found or looked()))
    return shown.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_however_long_the_last_error_is_all_else_can_be_read(width: int) -> None:
    lines = frame(width)
    assert max(map(len, lines)) <= width
    (pacs,) = (line for line in lines if " pacs " in line and "up" in line)
    (archive,) = (line for line in lines if "archive-two" in line)
    for line, lamp, condition in ((pacs, "●", "up"), (archive, "◐", "half-open")):
        head = [
            lamp,
            line.split()[1],
            condition,
            "12345",
            "1",
            "d",
            "3",
            "h",
            "321",
            "17",
            "12.3",
            "1",
            "h",
            "6",
            "min",
        ]
        assert line.split()[:15] == head
    assert "associa" in archive and archive.rstrip().endswith("…"), "the error gives way, and says so"
    (quarantined,) = (line for line in lines if line.startswith("quarantined"))
    assert quarantined.startswith("quarantined 10000+ no destination the data set cannot be read")
    assert quarantined.endswith("…")


def test_of_a_destination_that_nobody_serves_nothing_is_known_but_that() -> None:
    shown = {}
    for condition in ("up", "half-open", "down", "paused", "removed"):
        found = looked()
        found["overview"]["destinations"] = [{**destination("pacs", condition, ""), "served_by": ""}]
        shown[condition] = frame(80, found)[4].split()[2]
    assert shown == {**dict.fromkeys(("up", "half-open", "down"), "unserved"), "paused": "paused", "removed": "removed"}


def test_a_pipe_gets_whole_lines_however_narrow_the_terminal_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("GATEWAY_TOKEN", "gwt_" + "a" * 40)
    monkeypatch.setattr(top, "_look", lambda client: looked())
    arguments = build_parser("top").parse_args(["top"])
    assert arguments.run(arguments) == 0
    text = capsys.readouterr().out
    assert ERROR in text and REASON in text and "…" not in text
