"""The console's look at what receivers of other hosts have left."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from gateway.app.common import ledger_path, open_spool
from gateway.app.leftovers import adopt_leftovers
from gateway.config import load
from gateway.ledger.sqlite import SqliteLedger
from tests.unit.spool_kit import make_intake, store
from tests.unit.test_app_rules import CONFIG


def test_what_nobody_owns_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    config = load(tmp_path / "gateway.yaml", {})
    config = replace(config, spool=replace(config.spool, shared=True))
    spool = open_spool(config)
    spool.prepare(join=True)
    arrival = store(make_intake(spool), b"acknowledged by a receiver that was taken for dead")

    async def until_known(ledger: SqliteLedger) -> None:
        looking = asyncio.create_task(adopt_leftovers(config, spool))
        async with asyncio.timeout(60):
            while not ledger.known_instances([arrival.instance_id]):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)
        looking.cancel()
        await asyncio.wait([looking])

    with closing(SqliteLedger.open(ledger_path(config))) as ledger:
        asyncio.run(until_known(ledger))
