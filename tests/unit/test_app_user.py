"""Who gives an order on a host is whose process it is, whatever its environment says."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from gateway.app.audit_trail import tell_host
from gateway.audit.read import TrailFilter, page
from gateway.cli.operate import actor
from gateway.config import load
from gateway.ledger.trail import NoteKind
from tests.harness.gatewayconfig import GatewayConfig


@pytest.fixture(autouse=True)
def of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "anna")


def test_an_order_is_of_the_process_s_user() -> None:
    assert actor() == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1_999_999_999)
    assert actor() == "cli:1999999999"


def test_a_start_is_told_of_the_process_s_user(tmp_path: Path) -> None:
    written = GatewayConfig(tmp_path, {"pacs": 1})
    written.write()
    config = load(written.path, {})
    tell_host(config, NoteKind.STARTED, has_console=True)
    (row,) = page(config.audit.dir, TrailFilter(), 10).rows
    assert f"host:{pwd.getpwuid(os.getuid()).pw_name}" in row.xml and "anna" not in row.xml
