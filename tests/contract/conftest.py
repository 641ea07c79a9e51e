"""Fixtures of the contract suites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.ledger_scene import STORES, Opener, Scene


@pytest.fixture(params=sorted(STORES))
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the ledger under test; each call is another connection to the same one."""
    return STORES[request.param](tmp_path)


@pytest.fixture
def scene(opener: Opener) -> Iterator[Scene]:
    """A ledger under test, examined at the end."""
    scene = Scene(opener)
    yield scene
    scene.close()
