"""The id of a state folder, and the name of a host."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.app.home import home_of
from gateway.config.kinds import name_complaint, name_of
from gateway.errors import GatewayError


def test_a_state_folder_keeps_its_id(tmp_path: Path) -> None:
    first = home_of(tmp_path / "state")
    assert len(first) == 32
    assert home_of(tmp_path / "state") == first
    assert home_of(tmp_path / "other") != first
    assert (tmp_path / "state" / "home").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path / "state") == ["home"]


def test_all_who_make_the_id_at_once_take_the_same(tmp_path: Path) -> None:
    for number in range(20):
        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(home_of, [tmp_path / str(number)] * 8))) == 1


def test_a_file_that_holds_no_id_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(GatewayError, match="remove the file"):
        home_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pacs-gw1", "pacs-gw1"),
        ("GW1.Radiology.Example", "gw1-radiology-example"),
        ("a__b--c", "a-b-c"),
        ("…", "host"),
        ("x" * 62 + ".y", "x" * 62),
    ],
)
def test_the_host_name_of_a_machine_becomes_a_name(text: str, name: str) -> None:
    assert name_of(text) == name
    assert name_complaint(name) is None
