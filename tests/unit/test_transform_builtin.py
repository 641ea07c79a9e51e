"""The built-in transforms: what they are called, who may not be called so, and that they change the syntax alone."""

from __future__ import annotations

import pytest

from gateway.dicom.recoding import RECODINGS, Recoding, recoded
from gateway.model import transforms_of
from gateway.transform import load
from gateway.transform.builtin import BUILT_IN
from tests.unit.array_kit import array, decoded_image
from tests.unit.samples import sample
from tests.unit.transform_kit import problems_of, reread, run_all

RULES = """\
transforms:
  mark: [{set: {PatientComments: "seen"}}]
rules:
  - {name: a, send_to: [{destination: research, transform: mark}]}
"""
BOOK = load({"a.yaml": RULES})
CHAIN = BOOK.plan.rules[0].send_to[0].chain


@pytest.mark.parametrize("recoding", RECODINGS.values(), ids=lambda each: each.name)
def test_a_set_of_rules_has_them_behind_the_original_and_behind_each_of_its_chains(recoding: Recoding) -> None:
    assert BOOK.chain(recoded("", recoding)) == (BUILT_IN[recoding.name],)
    after = recoded(CHAIN, recoding)
    assert BOOK.chain(after) == (BOOK.transforms["mark"], BUILT_IN[recoding.name])
    assert BOOK.chain_of(transforms_of(after)) == after


def test_behind_a_chain_of_other_definitions_they_make_another_copy() -> None:
    other = load({"a.yaml": RULES.replace("seen", "corrected")})
    after = recoded(CHAIN, RECODINGS["as-rle-lossless"])
    assert other.chain(after) is None
    now = other.chain_of(transforms_of(after))
    assert now is not None and now != after and other.chain(now) is not None
    assert load({"a.yaml": "rules: [{name: a, send_to: [research]}]"}).chain_of(transforms_of(after)) is None


def test_nobody_may_define_one() -> None:
    (problem,) = problems_of("transforms:\n  as-rle-lossless: [{remove: [PatientComments]}]\n")
    assert "'as-rle-lossless' is the name of a built-in transform" in problem.message
    assert (problem.line, problem.column) == (2, 3)


@pytest.mark.parametrize("recoding", RECODINGS.values(), ids=lambda each: each.name)
@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle_2frame.dcm"])
def test_the_pixels_stay_and_so_does_the_rest(recoding: Recoding, name: str) -> None:
    each = sample(name)
    if each.transfer_syntax_uid == recoding.transfer_syntax_uid:
        return
    after, prepared = run_all(each.data_set, [BUILT_IN[recoding.name]], each.transfer_syntax_uid)
    assert prepared.transfer_syntax_uid == recoding.transfer_syntax_uid
    assert prepared.sop_instance_uid == reread(each.data_set, each.transfer_syntax_uid).SOPInstanceUID
    was, frames = decoded_image(each.data_set, each.transfer_syntax_uid)
    now, others = decoded_image(after, prepared.transfer_syntax_uid)
    for frame, other in zip(frames, others, strict=True):
        assert (array(was, frame) == array(now, other)).all()
    one, two = reread(each.data_set, each.transfer_syntax_uid), reread(after, prepared.transfer_syntax_uid)
    changed = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"}
    assert {e.tag for e in one if e.tag.element} == {e.tag for e in two}
    assert all(two[e.tag].value == e.value for e in one if e.keyword not in changed and e.tag.element)
