"""What goes on in the demo while somebody looks at its console: new studies, and an archive that is off now and then.

Studies are pydicom's samples with new UIDs, of today: a few instances each few seconds. Every OFF_EACH_S the archive
`dr` is switched off for OFF_FOR_S, so that its lamp, what waits for it, and how it drains by itself can be seen. The
archives forget what they get here as soon as they have it: nothing fills the disk.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

from gateway.config.values import Destination
from gateway.demo.archive import Archive, Stored
from gateway.flow.scu import FileToSend, Sent, look_at, send_files

PAUSE_S = 2.0
INSTANCES = 4  # of a study, at most
SMALL_BYTES = 200_000
OFF_EACH_S, OFF_FOR_S = 120.0, 30.0


def forget(stored: Stored) -> None:
    """What an archive does with an instance of the traffic."""
    stored.path.unlink(missing_ok=True)


async def traffic(files: Sequence[FileToSend], port: int, archive: Archive) -> None:
    """Send until cancelled. `archive` is the one that is off now and then; it is on again at the end."""
    small = [file for file in files if file.size_bytes <= SMALL_BYTES]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_send(small, port), name="traffic")
        tasks.create_task(_switch(archive), name="switch")


async def _send(files: Sequence[FileToSend], port: int) -> None:
    peer = Destination(name="gateway", ae_title="GATEWAY", host="127.0.0.1", port=port, calling_ae_title="MODALITY")
    with tempfile.TemporaryDirectory(prefix="gateway-demo-traffic-") as name:
        folder = Path(name)
        while True:
            study = await asyncio.to_thread(new_study, random.choice(files), folder)  # noqa: S311 - a show
            await send_files(study, peer, _sent)
            await asyncio.sleep(PAUSE_S)


def _sent(sent: Sent) -> None:
    """Whether it was taken is to be seen on the console."""
    sent.file.path.unlink(missing_ok=True)


def new_study(sample: FileToSend, folder: Path) -> list[FileToSend]:
    """A new study: copies of a sample with UIDs of their own. A sample that cannot be written again is left out."""
    study_uid, series_uid = generate_uid(), generate_uid()
    made = []
    for number in range(1, random.randint(1, INSTANCES) + 1):  # noqa: S311 - a show
        path = folder / f"{number}.dcm"
        with suppress(TypeError, ValueError):  # one of the samples is broken on purpose: pydicom cannot write it
            data = dcmread(sample.path)
            data.StudyInstanceUID, data.SeriesInstanceUID = study_uid, series_uid
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            data.InstanceNumber = number
            data.StudyDate = datetime.now().strftime("%Y%m%d")
            data.save_as(path)
            made.append(look_at(path))
    return made


async def _switch(archive: Archive) -> None:
    while True:
        await asyncio.sleep(OFF_EACH_S)
        await archive.stop()
        try:
            await asyncio.sleep(OFF_FOR_S)
        finally:
            with suppress(OSError):  # somebody has its port: it is on again after the next time
                archive.start()
