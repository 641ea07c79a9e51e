"""The configuration as people are shown it: all of it, and no secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.config import load
from gateway.console.services.system import MASK, configuration
from tests.harness.gatewayconfig import GatewayConfig

SECRET = "s3cret-4711"  # noqa: S105 - what must not be shown


class Given:
    """A context that has a configuration only."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        written = GatewayConfig(folder, {"pacs": 11113})
        written.document.update(sections)
        self._config = load(written.write(), os.environ)

    def config(self) -> Any:
        return self._config


def shown(folder: Path, **sections: Any) -> dict[str, Any]:
    return configuration(cast(Any, Given(folder, **sections)))


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        (f"postgresql://gateway:{SECRET}@db.example:5433/ledger", f"postgresql://{MASK}@db.example:5433/ledger"),
        (f"postgresql://db.example/ledger?password={SECRET}", "postgresql://db.example/ledger"),
        ("sqlite", "sqlite"),
    ],
)
def test_of_a_url_that_may_hold_a_password_nothing_is_shown_but_where_it_leads(
    tmp_path: Path, url: str, seen: str
) -> None:
    found = shown(tmp_path, ledger={"url": url})
    assert found["ledger"]["url"] == seen
    assert SECRET not in str(found)


def test_redis_and_the_provider_s_secret_are_masked(tmp_path: Path) -> None:
    oidc = {"issuer": "https://idp.example", "client_id": "gw", "client_secret": SECRET, "roles": {"x": "viewer"}}
    found = shown(tmp_path, queue={"url": f"redis://:{SECRET}@redis.example:6379/0"}, console={"oidc": oidc})
    assert SECRET not in str(found)
    assert found["queue"]["url"] == f"redis://{MASK}@redis.example:6379/0"
    assert found["console"]["oidc"]["client_secret"] == MASK


def test_all_else_is_shown_with_its_default(tmp_path: Path) -> None:
    found = shown(tmp_path)
    assert found["destinations"]["pacs"]["port"] == 11113
    assert found["destinations"]["pacs"]["give_up_after_s"] == 7 * 86400
    assert found["sources"]["loopback"]["hosts"] == ["127.0.0.0/8"]
    assert found["spool"]["dir"] == str(tmp_path / "state" / "spool")
