"""Several forwarders: each destination is served by one of them, within its own bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.values import Destination
from gateway.flow.forward import assigned
from tests.faults.delivering_kit import Delivering
from tests.harness.archive import OurArchive
from tests.harness.archivescript import Behaviour, StoreFacts
from tests.harness.data import make_instances
from tests.harness.gatewayconfig import send_everything_to
from tests.harness.tools import wait_until

LIMITS = {"pacs": 1, "dr": 1, "vna": 2}


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_each_destination_is_one_forwarders(processes: int) -> None:
    destinations = {
        f"archive-{number}": Destination(f"archive-{number}", "AE", "host", 104, "GW") for number in range(50)
    }
    shares = [assigned(destinations, index=index, processes=processes) for index in range(processes)]
    assert sorted(name for share in shares for name in share) == sorted(destinations)
    assert all(shares), "each of few has some of many"
    fewer = dict(list(destinations.items())[::2])
    for index, share in enumerate(shares):
        assert assigned(fewer, index=index, processes=processes).items() <= share.items(), "others do not move"


@pytest.mark.timeout(300)
def test_two_forwarders_keep_to_max_associations_and_deliver_everything(tmp_path: Path) -> None:
    """Also a destination that comes with a reload, which at the same time asks for another number of processes: that
    waits for a restart, and moves no destination until then."""
    keys = {name: {"max_associations": limit, "idle_timeout": "10 min"} for name, limit in LIMITS.items()}
    with Delivering(tmp_path, keys, processes={"forwarder": 2}) as scene:
        associations = {name: watched(archive) for name, archive in scene.archives.items()}
        document = scene.config.document
        late = document["destinations"].pop("vna")
        scene.config.rules = {"10-all.yaml": send_everything_to(["pacs", "dr"])}
        scene.start()
        assert len(scene.gateway.roles()["forwarder"]) == 2
        scene.send(make_instances(60, seed=1))
        for name in ("pacs", "dr"):
            scene.gateway.wait_delivered(60, name)

        document["destinations"]["vna"] = late
        document["processes"]["forwarder"] = 3
        scene.config.rules = {"10-all.yaml": send_everything_to(list(LIMITS))}
        loaded = len(scene.gateway.log_lines(event="rules_loaded"))
        scene.reload()
        wait_until(lambda: len(scene.gateway.log_lines(event="rules_loaded")) > loaded, 60, "the rules")
        scene.send(make_instances(60, seed=2))
        for name, count in (("pacs", 120), ("dr", 120), ("vna", 60)):
            scene.gateway.wait_delivered(count, name)
        assert {name: len(numbers) <= LIMITS[name] for name, numbers in associations.items()} == dict.fromkeys(
            LIMITS, True
        ), associations


def watched(archive: OurArchive) -> set[int]:
    """The associations that instances come over; the archive takes its time, so that another one would pay."""
    numbers: set[int] = set()

    def slowly(facts: StoreFacts) -> Behaviour:
        numbers.add(facts.association)
        return Behaviour(delay_s=0.03)

    archive.on_store = slowly
    return numbers
