"""What the tests of de-identification have in common: a profile from options, run over bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain, combinations

from gateway.transform import Prepared, Transform, prepare
from gateway.transform.deidentify.cleaning import Cleaner
from gateway.transform.deidentify.private import safe_with
from gateway.transform.deidentify.profile import Profile, Subjects
from gateway.transform.deidentify.pseudonyms import Key
from gateway.transform.deidentify.step import Deidentify
from gateway.transform.deidentify.table import Actions, Option
from gateway.transform.pixels.mask import ShowsNothing
from gateway.transform.schema import Step
from gateway.transform.steps import Origin
from tests.unit.samples import EXPLICIT, MemorySource
from tests.unit.transform_kit import CT_IMAGE, FACTS, RECEIVED_AT_MS

KEY = Key(b"a key that only the tests know")
FULL_DATES = Option.RETAIN_LONGITUDINAL_FULL_DATES
MODIFIED_DATES = Option.RETAIN_LONGITUDINAL_MODIFIED_DATES
ALL = frozenset(Option) - {FULL_DATES}  # of the two ways with dates, one


def combinations_of_options() -> list[frozenset[Option]]:
    """All that can be chosen: 1,536, as dates are either kept or moved."""
    each = chain.from_iterable(combinations(Option, count) for count in range(len(Option) + 1))
    return [options for chosen in each if not (options := frozenset(chosen)) >= {FULL_DATES, MODIFIED_DATES}]


def profile(
    options: Collection[Option] = (),
    *,
    key: Key = KEY,
    patient_id: str = "{pseudonym}",
    patient_name: str = "{pseudonym}",
    subjects: Subjects | None = None,
    shift_days: tuple[int, int] = (1, 3650),
    caps_age: bool = False,
    moves_birth_date: bool = False,
    safe_private: Iterable[tuple[str, int]] = (),
    words: Collection[str] = (),
) -> Profile:
    """What a rule file without any other key than `options` asks for, and what is said besides."""
    chosen = frozenset(options)
    return Profile(
        chosen,
        Actions(chosen),
        key,
        patient_id,
        patient_name,
        subjects,
        shift_days,
        caps_age,
        moves_birth_date,
        safe_with(safe_private),
        Cleaner(words),
    )


def step_of(asked: Profile) -> Transform:
    """A transform that does nothing else."""
    return Transform("deidentifying", (Step(1, "deidentify", Deidentify(asked)),), "d1")


LOOKED_AT = Transform("looked-at", (Step(1, "mask", ShowsNothing()),), "d0")
"""Somebody has said that the pixels show nothing."""


def deidentified(
    data: bytes,
    asked: Profile | None = None,
    transfer_syntax_uid: str = EXPLICIT,
    sop_class_uid: str = CT_IMAGE,
) -> tuple[bytes, Prepared]:
    """The bytes that come out, and what is said of them. The pixels were looked at."""
    origin = Origin(FACTS, sop_class_uid, "1.2.3.4", transfer_syntax_uid, RECEIVED_AT_MS)
    prepared = prepare([LOOKED_AT, step_of(asked or profile())], MemorySource(data), origin, system="gateway")
    pieces: list[bytes] = []
    prepared.write(lambda piece: pieces.append(bytes(piece)))
    return b"".join(pieces), prepared
