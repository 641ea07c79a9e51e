"""`python -m bench` knows what it can run, judges as its goals say, and what it shares with the tests fits together."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pydicom import dcmread

from bench.__main__ import PARTS
from bench.dcmsend import make_files
from bench.goals import Goal, Verdict, judge
from bench.measure import SMOKE, Scale, scale_of
from bench.plot import picture
from bench.scu import Load
from bench.workloads import WORKLOADS
from bench.workloads import run as run_workloads
from tests.harness.archive import OurArchive
from tests.harness.tools import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", PARTS)
def test_every_part_can_be_measured_by_its_name(name: str) -> None:
    """It loads, and has a `main` that takes options."""
    assert callable(importlib.import_module(f"bench.{name}").main)


def test_unknown_benchmark_is_refused_and_the_known_ones_are_named() -> None:
    done = run([sys.executable, "-m", "bench", "nonsense"], cwd=ROOT)
    assert done.returncode == 2
    assert all(name in done.stderr for name in (*WORKLOADS, *PARTS))


def test_a_goal_is_met_by_the_median_of_its_rounds() -> None:
    """As it is with its unit, or as the ratio of two sides round by round."""
    found = {
        "gateway": [
            {"wall ms": 2.0, "rise MiB": 8.0},
            {"wall ms": 3.0, "rise MiB": 64.0},
            {"wall ms": 4.0, "rise MiB": 9.0},
        ],
        "socat": [{"wall ms": 2.0}, {"wall ms": 2.0}, {"wall ms": 2.0}],
    }
    goals = [Goal("gateway", "wall ms", 1.25, "socat"), Goal("gateway", "rise MiB", 32)]
    ratio, rise = judge("ct", found, goals)
    assert (ratio.label, ratio.unit, ratio.values, ratio.met) == (
        "ct: wall, gateway / socat",
        "",
        (1.0, 1.5, 2.0),
        False,
    )
    assert (rise.label, rise.unit, rise.median, rise.met) == ("ct: rise, gateway", "MiB", 9.0, True)


def test_the_picture_is_the_same_for_the_same_figures() -> None:
    """It is XML, has a row for each goal, and stays within its frame whatever the figures are."""
    verdicts = [
        Verdict("ct", Goal("gateway", "wall ms", 1.25, "socat"), (2.4, 2.6, 2.9)),
        Verdict("stock & more", Goal("gateway", "wall ms", 1 / 80, "storescp"), (0.0, 0.03, 4000.0)),
    ]
    drawn = picture(verdicts)
    assert drawn == picture(verdicts)
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {one.label for one in verdicts} <= set(texts)
    places = [float(one.get("cx", 0)) for one in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(places) == 2 and all(0 < place < float(root.get("width", 0)) for place in places)


def test_a_run_ends_with_every_goal_as_table_json_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a workload fails, the run fails, and those before it are told all the same."""

    def broken(scale: Scale) -> list[Verdict]:
        raise OSError("no room")

    verdict = Verdict("idle", Goal("all", "PSS MB", 200), (180.0, 220.0, 210.0))
    monkeypatch.setattr("bench.report.RESULTS", tmp_path)
    monkeypatch.setattr("bench.workloads.WORKLOADS", {"idle": lambda scale: [verdict], "broken": broken})
    with pytest.raises(OSError, match="no room"):
        run_workloads(["idle", "broken"], Scale())
    told = capsys.readouterr().out
    assert all(word in told for word in (verdict.label, "210 (180 - 220) MB", "200 MB", "NOT MET"))
    (saved,) = tmp_path.glob("goals-*.json")
    assert json.loads(saved.read_text())["figures"]["goals"] == [json.loads(json.dumps(verdict.as_json()))]
    (drawn,) = tmp_path.glob("goals-*.svg")
    assert drawn.read_text() == picture([verdict])


def test_files_have_other_uids_in_every_run(tmp_path: Path) -> None:
    """Both places in a file change, and it is as long as before."""
    files = make_files(tmp_path / "files", 2, 2_000, seed=1)
    seen, lengths = set(), {path.stat().st_size for path in files.paths}
    for _ in range(3):
        files.renew()
        for dataset in map(dcmread, files.paths):
            assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
            seen.add(str(dataset.SOPInstanceUID))
    assert len(seen) == 6
    assert {path.stat().st_size for path in files.paths} == lengths


def test_a_load_sends_everything_and_knows_how_long_it_took() -> None:
    """Three associations share ten instances; each acknowledgement was timed."""
    with OurArchive() as archive, Load(archive.port, 10, 2_000, 3) as load:
        sent = load.run()
        assert archive.count == 10
    assert [len(each) for each in sent.latencies_s] == [4, 3, 3]
    assert 0 < max(sent.all_latencies_ms) / 1000 <= sent.seconds


def test_a_load_can_be_stopped_in_its_middle() -> None:
    """It ends by itself, in order, with what it has sent by then."""
    with OurArchive() as archive, Load(archive.port, 20_000, 2_000, 2) as load:
        load.go()
        sent = load.stop()
    assert len(sent.all_latencies_ms) < 20_000


def test_how_much_is_measured_can_be_asked_for() -> None:
    """So many rounds, a part of each workload; anything else is refused."""
    size = scale_of(["--rounds=3", "--part=4"])
    assert (size.rounds, size(2_000)) == (3, 500)
    assert (scale_of(["--smoke"]), scale_of([])) == (SMOKE, Scale())
    for wrong in ("--rounds=0", "--part", "--part=half", "--loud"):
        with pytest.raises(ValueError, match=wrong):
            scale_of([wrong])
