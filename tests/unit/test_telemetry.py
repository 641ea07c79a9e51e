"""What is told is told under the promised names, in bounded series, escaped, and without patient data."""

from __future__ import annotations

import errno
import inspect
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway import telemetry
from gateway.console.figures import HostFigures, SpoolFigures, text_of
from gateway.errors import SpoolFull
from gateway.model import DestinationState, LedgerGauges, StudyFacts
from gateway.telemetry import log, registry
from gateway.telemetry.exposition import exposition

PROMISED = {
    "associations_total": {"role", "result"},
    "associations_active": {"role"},
    "instances_received_total": {"source"},
    "received_bytes_total": {"source"},
    "store_seconds": set(),
    "instances_routed_total": {"rule"},
    "unrouted_instances": set(),
    "deliveries_total": {"destination", "outcome", "state"},
    "delivered_bytes_total": {"destination"},
    "delivery_seconds": {"destination"},
    "queue_depth": {"destination", "state"},
    "queue_oldest_age_seconds": {"destination"},
    "destination_up": {"destination"},
    "destination_window": {"destination"},
    "spool_bytes": set(),
    "spool_free_bytes": set(),
    "rules_info": {"revision"},
    "rules_reload_total": {"result"},
    "duplicates_total": {"kind"},
    "quarantined_instances": set(),
}


class FullDisk(io.BytesIO):
    def write(self, _data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    hooks = sys.excepthook, warnings.showwarning, logging.getLogger().handlers[:], logging.getLogger().level
    telemetry.configure("receiver-0", format="json", level="debug", stream=stream)
    yield stream
    logging.captureWarnings(False)
    sys.excepthook, warnings.showwarning = hooks[:2]
    logging.getLogger().handlers[:] = hooks[2]
    logging.getLogger().setLevel(hooks[3])
    telemetry.configure("test", stream=io.BytesIO())
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = hooks[2]


def said(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().decode().splitlines()]


def reject(**changes: Any) -> None:
    telemetry.association_rejected(
        **{
            "role": "acceptor",
            "association_id": "a1",
            "peer_host": "10.0.0.9",
            "calling": "CT1",
            "called": "GATEWAY",
            "text": "calling AE title not recognized",
            "label": "rejected_calling_ae_title",
            **changes,
        }
    )


def test_every_promised_metric_exists_with_its_labels() -> None:
    of_processes = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in registry.REGISTRY.collect()
    }
    labels = {
        metric._name: set(metric._labelnames) for metric in vars(registry).values() if hasattr(metric, "_labelnames")
    }
    gauges = LedgerGauges(destinations=(DestinationState("pacs"),), rules_revision="r1")
    of_the_host = text_of(HostFigures(0, 0, True, gauges, SpoolFigures(free_bytes=1)), 0).decode()
    for short, wanted in PROMISED.items():
        name = f"gateway_{short}"
        if name in of_processes:
            assert labels[name.removesuffix("_total")] == wanted, name
        else:
            line = re.search(rf"^{name}(?:\{{(.*)\}})? [\d.]+$", of_the_host, re.MULTILINE)
            assert line is not None, name
            assert set(re.findall(r'(\w+)="', line[1] or "")) == wanted, name


def test_a_string_of_a_peer_is_one_printable_line(lines: io.BytesIO) -> None:
    reject(calling="A\r\nB\x1b[31m\x00", called="\u202eevil" + "x" * 200, peer_host="h\tost\\")
    (raw,) = lines.getvalue().splitlines()
    assert raw.isascii() and raw.decode().isprintable()
    line = json.loads(raw)
    assert line["calling"] == r"A\r\nB\x1b[31m\x00"
    assert line["called"].startswith(r"\u202eevil") and len(line["called"]) == 64 and line["called"].endswith("...")
    assert line["peer_host"] == r"h\tost\\"
    assert line["process"] == "receiver-0" and line["association_id"] == "a1" and line["level"] == "warning"


def test_lone_surrogates_and_console_format_are_safe_too() -> None:
    stream = io.BytesIO()
    log.configure("receiver-0", "console", "info", stream, None)
    log.emit(
        "info", "x", {"calling": telemetry.escape("\udc80\n\x1b"), "raw": "\x1b]0;title\x07\nnext", "list": ["\n"]}
    )
    text = stream.getvalue().decode()
    assert text.count("\n") == 1 and "\x1b" not in text and "\x07" not in text


def test_fields_named_like_ours_do_not_break_a_line(lines: io.BytesIO) -> None:
    telemetry.event("x", event="y", level="z", name="n", time="t", process="p")
    (line,) = said(lines)
    assert (line["event"], line["level"], line["name"]) == ("x", "info", "n")


def test_ten_thousand_strangers_make_no_series(lines: io.BytesIO) -> None:
    telemetry.declare(sources=["ct1"], destinations=["pacs"], rules=["all"])

    def tell(number: int) -> None:
        stranger = f"AE{number}"
        reject(calling=stranger, called=stranger, association_id=stranger, label=stranger, role=stranger)
        telemetry.store_refused(source=stranger, status=number, reason=stranger, association_id=stranger)
        telemetry.instance_received(
            source=stranger, size_bytes=1, seconds=0.1, association_id=stranger, instance_id=stranger
        )
        telemetry.delivery_outcome(
            destination=stranger,
            code="success",
            state="delivered",
            instance_id=stranger,
            size_bytes=1,
            attempt=1,
            seconds=1.0,
        )
        telemetry.instance_routed(instance_id=stranger, rules=[stranger], destinations=[stranger])
        telemetry.rules_reloaded(result=stranger, revision=stranger)
        telemetry.duplicate(kind=stranger, instance_id=stranger)
        telemetry.window(destination=stranger, value=number)
        telemetry.not_ready(stranger, True)

    tell(0)
    before = len(exposition(registry.REGISTRY, "receiver-0").splitlines())
    for number in range(1, 10_001):
        tell(number)
    # The statuses of DIMSE failures we know are a fixed set, and may have come up.
    assert len(exposition(registry.REGISTRY, "receiver-0").splitlines()) <= before + len(registry.STORE_STATUSES)


def test_before_anything_is_declared_a_label_is_bounded_too() -> None:
    label = registry.Bounded()
    assert len({label.value(f"name{number}") for number in range(10_000)}) <= 257
    assert label.value("a\nb") == "other"


def test_series_of_names_that_left_the_configuration_are_dropped(lines: io.BytesIO) -> None:
    telemetry.declare(destinations=["pacs", "old"])
    telemetry.window(destination="old", value=3)
    telemetry.window(destination="pacs", value=4)
    telemetry.delivery_outcome(
        destination="old", code="timeout", state="deferred", instance_id="i", size_bytes=1, attempt=1
    )
    telemetry.declare(destinations=["pacs"])
    text = exposition(registry.REGISTRY, "forwarder-0").decode()
    assert 'destination="old"' not in text
    assert 'gateway_destination_window{process="forwarder-0",destination="pacs"} 4.0' in text


def test_no_function_takes_patient_data() -> None:
    words = ("patient", "study", "series", "accession", "sop", "uid", "dataset", "data_set", "header", "birth")
    for name in telemetry.__all__:
        for parameter in inspect.signature(getattr(telemetry, name)).parameters:
            assert not any(word in parameter.lower() for word in words), f"{name}({parameter})"


def test_a_field_named_like_patient_data_is_withheld(lines: io.BytesIO) -> None:
    telemetry.event("oops", patient_name="CANARY", StudyDate="x", study_date="CANARY", sop_instance_uid="CANARY")
    assert b"CANARY" not in lines.getvalue()


def test_a_value_of_ours_that_holds_patient_data_is_named_not_shown(lines: io.BytesIO) -> None:
    facts = StudyFacts(patient_id="CANARY", patient_name="CANARY^CANARY")
    telemetry.event("x", facts=facts, many=[facts])
    assert b"CANARY" not in lines.getvalue() and said(lines)[0]["facts"] == "<StudyFacts>"


def test_words_of_foreign_exceptions_warnings_and_libraries_stay_out(lines: io.BytesIO) -> None:
    try:
        raise ValueError("CANARY")
    except ValueError as error:
        telemetry.problem("failed", error=error, part=error)
    warnings.warn("Invalid value for VR DA: 'CANARY'", UserWarning, stacklevel=1)
    logging.getLogger("pydicom").warning("odd value %s", "CANARY")
    logging.getLogger("pydicom").exception("CANARY", exc_info=ValueError("CANARY"))
    sys.excepthook(KeyError, KeyError("CANARY"), None)
    assert b"CANARY" not in lines.getvalue()
    told = said(lines)
    assert told[0]["error"] == "ValueError" and told[0]["error_place"].startswith("test_telemetry.py:")
    assert [line["event"] for line in told[1:]] == ["library_message"] * 3 + ["crashed"]


def test_words_of_our_own_exceptions_are_told(lines: io.BytesIO) -> None:
    telemetry.problem("refused", error=SpoolFull("2 GiB free, 5 GiB wanted"))
    assert said(lines)[0]["error_text"] == "2 GiB free, 5 GiB wanted"


def test_of_a_group_of_exceptions_what_they_were_is_told(lines: io.BytesIO) -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("CNRY"), SpoolFull("no room")])])
    telemetry.problem("failed", error=group)
    told = lines.getvalue().decode()
    assert "KeyError; SpoolFull no room" in told
    assert "CNRY" not in told


def test_a_line_that_cannot_be_written_is_counted_and_no_error() -> None:
    before = registry.log_lines_lost._value.get()
    log.configure("receiver-0", "json", "info", FullDisk(), registry.log_lines_lost)
    telemetry.event("anything")
    assert registry.log_lines_lost._value.get() == before + 1


def test_level_and_active_associations(lines: io.BytesIO) -> None:
    log.configure("receiver-0", "json", "warning", lines, None)
    for number in range(3):
        telemetry.association_accepted(
            role="acceptor", association_id=f"x{number}", peer_host="h", calling="C", called="G", source="ct1"
        )
    telemetry.association_closed(role="acceptor", association_id="x0", result="released", seconds=1.5)
    telemetry.association_closed(role="acceptor", association_id="never-accepted", result="lost", seconds=0.1)
    assert 'gateway_associations_active{process="p",role="acceptor"} 2.0' in exposition(registry.REGISTRY, "p").decode()
    assert lines.getvalue() == b""


def test_readiness_is_told_once_a_change(lines: io.BytesIO) -> None:
    for active in (True, True, False, False):
        telemetry.not_ready("intake_closed", active, "fdatasync failed")
    assert [line["event"] for line in said(lines)] == ["not_ready", "ready_again"]
    for low in (True, True, False):
        telemetry.spool_room(free_bytes=1, total_bytes=2, low=low)
    assert [line["event"] for line in said(lines)[2:]] == ["spool_low", "not_ready", "spool_has_room", "ready_again"]


def test_a_redis_that_evicts_is_told_of_once_a_change(lines: io.BytesIO) -> None:
    for reason in ("its policy", "its policy", "", ""):
        telemetry.redis_evicts(reason=reason)
    assert [line["event"] for line in said(lines)] == ["redis_evicts", "redis_keeps"]


def test_lines_go_to_standard_error_alone() -> None:
    script = "from gateway import telemetry; telemetry.configure('w-0', format='auto'); telemetry.event('hello', n=1)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"" and json.loads(done.stderr)["event"] == "hello"


def test_a_reader_that_stops_costs_lines_and_no_time() -> None:
    reading, writing = os.pipe()
    pipe = log.Pipe(writing)
    began, lost = time.monotonic(), 0
    for number in range(1000):
        try:
            pipe.write(b"%05d %s\n" % (number, b"x" * 993))
        except BlockingIOError:
            lost += 1
    assert lost > 900
    assert time.monotonic() - began < 10
    os.set_blocking(reading, False)
    held = b"".join(iter(lambda: _read(reading), b""))
    pipe.write(b"it reads again\n")
    held += _read(reading)
    # What was taken in part is finished first: each line is whole, and the last one is there.
    *lines, last, end = held.split(b"\n")
    assert {len(line) for line in lines} == {999}
    assert (last, end) == (b"it reads again", b"")
    os.close(reading)
    os.close(writing)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


def test_whatever_is_told_as_a_warning_or_an_error_counts_as_a_problem(lines: io.BytesIO) -> None:
    def counted(tell: Callable[[], object]) -> float:
        before = registry.REGISTRY.get_sample_value("gateway_problems_total") or 0.0
        tell()
        return (registry.REGISTRY.get_sample_value("gateway_problems_total") or 0.0) - before

    def crash() -> None:
        error = RuntimeError("lost")
        sys.excepthook(RuntimeError, error, None)

    def crash_thread() -> None:
        thread = threading.Thread(target=lambda: {}["lost"])
        thread.start()
        thread.join()

    def access(good: bool) -> None:
        telemetry.access("logged_in", good=good, person="p", role="viewer", how="session", address="a", reason="")

    assert counted(lambda: telemetry.problem("spool_room")) == 1
    assert counted(lambda: logging.getLogger("library").error("words")) == 1
    assert counted(crash) == 1
    assert counted(crash_thread) == 1
    assert counted(lambda: access(good=False)) == 1
    assert counted(lambda: access(good=True)) == 0
    assert counted(lambda: telemetry.event("draining")) == 0
    assert {each["event"] for each in said(lines)} >= {"library_message", "crashed", "thread_crashed"}
