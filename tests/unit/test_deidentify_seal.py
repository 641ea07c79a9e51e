"""Sealed boxes and their keys: what goes in comes out with the right key and its own pseudonym, and not otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SealError
from gateway.transform.deidentify.keypair import PassphraseNeeded, make_pair, read_private, read_public
from gateway.transform.deidentify.seal import PrivateKey, seal, unseal
from tests.harness.tools import require

ORIGINAL = {"PatientID": "ZEBRA7", "PatientName": "Zebra^Zoë=斑馬"}
PSEUDONYM = "7M3K0QW5D2A9XVZT"


def key() -> PrivateKey:
    return read_private(make_pair()[0])


MINE = key()


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_what_goes_in_comes_out(pseudonym: str, original: dict[str, str]) -> None:
    assert unseal(MINE, pseudonym, seal(MINE.public, pseudonym, original)) == original


def test_a_box_shows_nothing_and_no_two_are_alike() -> None:
    boxes = {seal(MINE.public, PSEUDONYM, ORIGINAL) for _ in range(8)}
    assert len({box[9:] for box in boxes}) == 8
    assert len({box[9:41] for box in boxes}) == 8, "each has a key of its own"
    assert not any(b"ZEBRA" in box or b"Zebra" in box or b"Patient" in box for box in boxes)


def test_whatever_is_changed_of_a_box_keeps_it_shut() -> None:
    box = seal(MINE.public, PSEUDONYM, ORIGINAL)
    for at in range(len(box)):
        with pytest.raises(SealError) as caught:
            unseal(MINE, PSEUDONYM, box[:at] + bytes([box[at] ^ 0x80]) + box[at + 1 :])
        assert "ZEBRA" not in str(caught.value)
        with pytest.raises(SealError):
            unseal(MINE, PSEUDONYM, box[:at])
    with pytest.raises(SealError):
        unseal(MINE, PSEUDONYM, box + b"\0")


def test_a_box_is_not_passed_off_as_that_of_another_pseudonym() -> None:
    box = seal(MINE.public, PSEUDONYM, ORIGINAL)
    with pytest.raises(SealError, match="damaged, or was kept of another one"):
        unseal(MINE, PSEUDONYM + " ", box)


def test_another_key_does_not_open_it_and_is_told_which_one_does() -> None:
    other = key()
    with pytest.raises(SealError) as caught:
        unseal(other, PSEUDONYM, seal(MINE.public, PSEUDONYM, ORIGINAL))
    assert MINE.public.key_id.hex() in str(caught.value)
    assert other.public.key_id.hex() in str(caught.value)
    # Who writes another key's name on the box has no key either.
    box = seal(MINE.public, PSEUDONYM, ORIGINAL)
    with pytest.raises(SealError, match="damaged"):
        unseal(other, PSEUDONYM, box[:1] + other.public.key_id + box[9:])


def test_a_point_of_low_order_in_place_of_the_boxs_key_opens_nothing() -> None:
    box = seal(MINE.public, PSEUDONYM, ORIGINAL)
    with pytest.raises(SealError, match="damaged"):
        unseal(MINE, PSEUDONYM, box[:9] + bytes(32) + box[41:])


def test_a_private_key_is_never_shown() -> None:
    assert MINE.raw.hex() not in repr(MINE) and repr(MINE.raw) not in repr(MINE)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pair_of_keys_belongs_together() -> None:
    private, public = make_pair()
    assert private.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert read_private(private).public == read_public(public)


def test_an_encrypted_key_opens_with_its_passphrase_alone() -> None:
    private, public = make_pair(b"correct horse")
    assert private.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with pytest.raises(PassphraseNeeded):
        read_private(private)
    with pytest.raises(SealError, match="the passphrase is not the one"):
        read_private(private, b"wrong horse")
    assert read_private(private, b"correct horse").public == read_public(public)


def test_what_is_no_key_of_this_kind_is_refused() -> None:
    private, public = make_pair()
    for wrong in (b"", b"junk", private, private.replace(b"M", b"A")):
        with pytest.raises(SealError, match="no X25519 public key"):
            read_public(wrong)
    for wrong in (b"", b"junk", public):
        with pytest.raises(SealError, match="no X25519 private key"):
            read_private(wrong)


def test_keys_that_openssl_makes_are_taken(tmp_path: Path) -> None:
    require("openssl")
    private, public = tmp_path / "reid.key", tmp_path / "reid.pub"
    for words in (
        ["genpkey", "-algorithm", "X25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *words], check=True)
    assert read_private(private.read_bytes()).public == read_public(public.read_bytes())


def test_the_package_is_imported_by_nobody_who_seals_nothing() -> None:
    program = "import sys; import gateway.transform, gateway.flow.route, gateway.cli.reidentify; "
    program += "sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
