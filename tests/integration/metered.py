"""A process with metrics of its own, for the tests that join several.

    python -m tests.integration.metered <run folder> <process> <destinations> <instances>

Prints `ready` when its socket answers, and lives until standard input ends.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from gateway import telemetry


def main(folder: Path, process: str, destinations: int, instances: int) -> None:
    telemetry.configure(process, format="json", stream=io.BytesIO())
    names = [f"archive-{number}" for number in range(destinations)]
    telemetry.declare(sources=["ct1"], destinations=names, rules=["all"])
    for name in names:
        telemetry.destination_changed(name=name, breaker="up")
        telemetry.window(destination=name, value=4)
    for number in range(instances):
        telemetry.instance_received(
            source="ct1", size_bytes=1000, seconds=0.01, association_id="a", instance_id=f"i{number}"
        )
        for name in names:
            telemetry.delivery_outcome(
                destination=name,
                code="success",
                state="delivered",
                instance_id=f"i{number}",
                size_bytes=1000,
                attempt=1,
                seconds=0.5,
            )
    if process.startswith("receiver"):
        telemetry.not_ready("intake_closed", True, "fdatasync failed")
    socket = telemetry.serve_metrics(folder)
    print("ready", flush=True)
    sys.stdin.read()
    socket.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
