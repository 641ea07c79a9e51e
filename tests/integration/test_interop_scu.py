"""Our SCU beside pynetdicom, DCMTK and a counting archive: what each destination gets, and how it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.archive import Admission, OurArchive
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.dcmtk import DcmtkStorescp
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.pynet import PynetdicomScp
from tests.harness.rawpeer import RawScu
from tests.harness.tools import require, wait_until
from tests.harness.wire import CT_IMAGE_STORAGE, EXPLICIT_BE, EXPLICIT_LE
from tests.integration.interop import settle

PRIVATE_STORAGE = "1.2.826.0.1.3680043.9.7777.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
JPEG_2000 = "1.2.840.10008.1.2.4.90"


def _store(gateway: GatewayProcess, instances: list[Instance], calling: str = "CT1") -> None:
    """Send instances over one association, or as many as their contexts need; each must be answered with Success."""
    contexts = list(dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in instances))
    for start in range(0, len(contexts), 128):
        part = contexts[start : start + 128]
        with RawScu(gateway.config.port) as scu:
            scu.associate(part, calling=calling)
            for one in instances:
                if (one.sop_class_uid, one.transfer_syntax_uid) in part:
                    number = scu.context_for(one.sop_class_uid, one.transfer_syntax_uid)
                    assert scu.store(number, one.sop_class_uid, one.sop_instance_uid, one.data) == 0x0000
            scu.release()


def _contents(instances: list[Instance]) -> dict[str, list[str]]:
    return {one.sop_instance_uid: [one.sha256] for one in instances}


# ── PDU lengths ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_receivers_of_every_pdu_length_get_every_byte(tmp_path: Path) -> None:
    """pynetdicom and storescp, 4,096, 16,384 and no limit; no PDU is ever longer than the peer's maximum."""
    require("storescp")
    instances = list(make_instances(6, pixel_bytes=700_001 // 2 * 2, seed=31))
    instances += list(make_instances(6, pixel_bytes=100_000, seed=32, transfer_syntax_uid=EXPLICIT_BE))
    counting = {size: OurArchive(max_pdu=size) for size in (4096, 16384, 0)}
    scps = {size: PynetdicomScp(max_pdu=size) for size in (4096, 16384, 0)}
    storescps = {size: DcmtkStorescp(tmp_path / f"storescp{size}", max_pdu=size) for size in (4096, 16384)}
    started = [peer.start() for peer in (*counting.values(), *scps.values(), *storescps.values())]
    try:
        destinations: dict[str, object] = {f"pynetdicom{size}": scp.port for size, scp in scps.items()}
        destinations |= {f"counting{size}": archive.port for size, archive in counting.items()}
        # A storescp without --fork serves one association after another.
        destinations |= {
            f"storescp{size}": {"port": scp.port, "max_associations": 1} for size, scp in storescps.items()
        }
        with GatewayProcess(GatewayConfig(tmp_path / "gateway", destinations)) as gateway:  # type: ignore[arg-type]
            _store(gateway, instances)
            settle(gateway)
            for peer in started:
                assert peer.contents() == _contents(instances)
            assert {name: state for name, state in gateway.deliveries() if state != "delivered"} == {}
        assert counting[4096].tally.most_pdu_bytes <= 4096
        assert 4096 < counting[16384].tally.most_pdu_bytes <= 16384
        assert counting[0].tally.most_pdu_bytes > 16384
    finally:
        for peer in started:
            peer.stop()


# ── presentation contexts ─────────────────────────────────────────────────────────────────────────────────────────────


RULES = """
rules:
  - name: everything
    send_to: [plain, as-source, skipping]
  - name: research
    match: {calling_ae_title: RESEARCH}
    send_to: [requiring]
  - name: picky
    match: {calling_ae_title: FORPICKY}
    send_to: [picky]
"""


@dataclass(slots=True)
class Scene:
    """A gateway in front of archives that are asked in different ways."""

    gateway: GatewayProcess
    plain: OurArchive
    as_source: OurArchive
    skipping: OurArchive
    requiring: OurArchive
    picky: OurArchive


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    refused = Admission(accept=frozenset({EXPLICIT_LE}), refuse_classes=frozenset({SECONDARY_CAPTURE}))
    plain, as_source, skipping, requiring = (OurArchive().start() for _ in range(4))
    picky = OurArchive(on_associate=lambda request, number: refused).start()
    destinations = {
        "plain": {"port": plain.port, "ae_title": "PLAIN ARCHIVE", "calling_ae_title": "HOSPITAL"},
        "as-source": {"port": as_source.port, "calling_ae_title": "$source"},
        "skipping": {"port": skipping.port, "duplicates": "skip"},
        "requiring": {"port": requiring.port, "require_transform": "anonymise"},
        "picky": {"port": picky.port},
    }
    try:
        config = GatewayConfig(tmp_path_factory.mktemp("scu"), destinations, rules={"10-rules.yaml": RULES})
        with GatewayProcess(config) as gateway:
            yield Scene(gateway, plain, as_source, skipping, requiring, picky)
    finally:
        for archive in (plain, as_source, skipping, requiring, picky):
            archive.close()


def test_more_than_128_contexts_are_split_over_associations(scene: Scene) -> None:
    """150 classes wait for a paused destination: when it is resumed it is never proposed more than 128 contexts."""
    scene.gateway.cli("pause", "plain")
    instances = [
        make_instance(seed=1000 + number, SOPClassUID=f"{PRIVATE_STORAGE}.{number}", pixel_bytes=64)
        for number in range(150)
    ]
    _store(scene.gateway, instances)
    wait_until(
        lambda: scene.gateway.deliveries().get(("as-source", "delivered"), 0) >= 150, 60, "the others to have them"
    )
    assert not set(scene.plain.contents()) & set(_contents(instances))
    before = len(scene.plain.tally.associations)
    scene.gateway.cli("resume", "plain")
    wait_until(lambda: set(_contents(instances)) <= set(scene.plain.contents()), 60, "all 150 at the archive")
    asked = scene.plain.tally.associations[before:]
    assert len(asked) >= 2
    assert max(len(one.contexts) for one in asked) <= 128
    assert max(len(one.contexts) for one in asked) > 64  # and not one association an instance either
    for uid, sha in _contents(instances).items():
        assert scene.plain.contents()[uid] == sha


def test_implicit_little_endian_is_offered_wherever_the_data_is_not_compressed(scene: Scene) -> None:
    """PS3.5 10.1; a compressed data set is offered as it is, because it is not converted."""
    native, compressed = make_instance(seed=41), make_instance(seed=42, transfer_syntax_uid=JPEG_2000)
    _store(scene.gateway, [native, compressed])
    wait_until(lambda: compressed.sop_instance_uid in scene.plain.contents(), 60, "the compressed one")
    proposed = {
        (context.abstract_syntax, context.transfer_syntaxes)
        for one in scene.plain.tally.associations
        for context in one.contexts
    }
    assert {(CT_IMAGE_STORAGE, (EXPLICIT_LE,)), (CT_IMAGE_STORAGE, ("1.2.840.10008.1.2",))} <= proposed
    assert (CT_IMAGE_STORAGE, (JPEG_2000,)) in proposed


def test_only_what_a_destination_does_not_accept_is_held_and_named(scene: Scene) -> None:
    fine, wrong_syntax = make_instance(seed=43), make_instance(seed=44, transfer_syntax_uid=JPEG_2000)
    wrong_class = make_instance(seed=45, SOPClassUID=SECONDARY_CAPTURE)
    _store(scene.gateway, [wrong_syntax, wrong_class, fine], "FORPICKY")
    settle(scene.gateway)
    assert scene.picky.contents()[fine.sop_instance_uid] == [fine.sha256]
    for instance in (wrong_syntax, wrong_class):
        (shown,) = json.loads(scene.gateway.cli("show", instance.sop_instance_uid, "--json").stdout)
        (delivery,) = (one for one in shown["deliveries"] if one["destination"] == "picky")
        assert (delivery["state"], delivery["code"]) == ("held", "not_accepted")
        assert instance.sop_class_uid in delivery["reason"]
        assert instance.transfer_syntax_uid in delivery["reason"]
        assert scene.plain.contents()[instance.sop_instance_uid] == [instance.sha256]


# ── how a destination is asked ────────────────────────────────────────────────────────────────────────────────────────


def test_the_calling_ae_title_is_the_configured_one_or_the_senders_own(scene: Scene) -> None:
    by_sender = {
        calling: make_instance(seed=50 + index) for index, calling in enumerate(("CT1", "MR 2", "SIXTEEN-BYTES-16"))
    }
    for calling, instance in by_sender.items():
        _store(scene.gateway, [instance], calling)
    settle(scene.gateway)
    for calling, instance in by_sender.items():
        assert [one.calling for one in scene.as_source.stored(instance.sop_instance_uid)] == [calling]
        (stored,) = scene.plain.stored(instance.sop_instance_uid)
        assert (stored.calling, stored.called) == ("HOSPITAL", "PLAIN ARCHIVE")


def test_exact_duplicates_are_skipped_where_that_is_asked_for_and_nowhere_else(scene: Scene) -> None:
    instance = make_instance(seed=60)
    changed = make_instance(seed=60, StudyDescription="CHANGED")
    assert instance.sop_instance_uid == changed.sop_instance_uid
    exact = scene.gateway.metric("gateway_duplicates_total", kind="exact")
    other = scene.gateway.metric("gateway_duplicates_total", kind="changed")
    for _ in range(3):
        _store(scene.gateway, [instance])
        settle(scene.gateway)
    _store(scene.gateway, [changed])
    settle(scene.gateway)
    uid = instance.sop_instance_uid
    assert scene.plain.contents()[uid] == [instance.sha256] * 3 + [changed.sha256]
    assert scene.skipping.contents()[uid] == [instance.sha256, changed.sha256]
    assert scene.gateway.metric("gateway_duplicates_total", kind="exact") == exact + 2
    assert scene.gateway.metric("gateway_duplicates_total", kind="changed") == other + 1
    shown = json.loads(scene.gateway.cli("show", uid, "--json").stdout)
    assert sorted(one["duplicate"] for one in shown) == ["changed", "exact", "exact", "none"]


def test_a_destination_that_requires_a_transform_is_never_even_connected_to(scene: Scene) -> None:
    instance = make_instance(seed=61)
    _store(scene.gateway, [instance], "RESEARCH")
    settle(scene.gateway)
    (shown,) = json.loads(scene.gateway.cli("show", instance.sop_instance_uid, "--json").stdout)
    (delivery,) = (one for one in shown["deliveries"] if one["destination"] == "requiring")
    assert (delivery["state"], delivery["code"]) == ("held", "transform_required")
    assert "anonymise" in delivery["reason"]
    # A person who releases it does not get past the promise either.
    done = scene.gateway.cli("release", "--uid", instance.sop_instance_uid, "--destination", "requiring", "--yes")
    assert done.returncode == 0, done.output

    def held_again() -> bool:
        (row,) = json.loads(scene.gateway.cli("show", instance.sop_instance_uid, "--json").stdout)
        (one,) = (one for one in row["deliveries"] if one["destination"] == "requiring")
        return bool(one["state"] == "held" and one["updated_at_ms"] > delivery["updated_at_ms"])

    wait_until(held_again, 60, "the released delivery to be held again")
    assert scene.requiring.tally.connections == 0
