"""Which transfer syntaxes a destination takes, learnt from what it answers."""

from __future__ import annotations

from gateway.dicom.negotiation import MAX_CONTEXTS, AcceptedContext, propose
from gateway.dicom.recoding import COMPRESSED_RECODINGS, RECODINGS, Recoding, recoded, substitutes
from gateway.flow.accepts import Accepts, Wanted, is_installed, wanted_by, with_substitutes
from gateway.model import DeliveryLease, PayloadFile
from gateway.transform.pixels.codecs import CODECS

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
J2K, VIDEO = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.102"


def wanted(uid: str, syntax: str, chain: str = "", original: str = "", before: str = "") -> Wanted:
    payload = PayloadFile("x", 0, 1, b"", uid, "1.2", syntax)
    lease = DeliveryLease(1, 1, "pacs", "0" * 32, 1, False, 0, 0, chain, payload, "CT1")
    return wanted_by(lease._replace(original_syntax_uid=original, before_syntax_uid=before))


def asked_for(uid: str, syntax: str) -> list[tuple[str, str]]:
    return [(uid, each.transfer_syntax_uid) for each in substitutes(syntax)]


def test_what_waits_comes_first_and_what_may_stand_for_it_behind() -> None:
    contexts = [(CT, J2K), (MR, EXPLICIT), (CT, VIDEO)]
    asked = with_substitutes([wanted(*each) for each in contexts])
    assert asked[:3] == contexts
    assert set(asked[3:]) == {*asked_for(CT, J2K), *asked_for(MR, EXPLICIT)}


def test_nothing_that_waits_is_displaced_where_there_is_little_room() -> None:
    classes = [f"1.2.840.10008.5.1.4.1.1.{n}" for n in range(60)]
    batches = propose(with_substitutes([wanted(uid, EXPLICIT) for uid in classes]))
    assert len(batches) == 1 and len(batches[0]) <= MAX_CONTEXTS
    assert {context.abstract_syntax for context in batches[0]} == set(classes)


def test_the_first_is_always_asked_about_whatever_waits_behind_it() -> None:
    many = [wanted(CT, J2K), *(wanted(f"1.2.3.{n}", J2K) for n in range(400))]
    (first, *_) = propose(with_substitutes(many))
    assert {context.transfer_syntaxes[0] for context in first if context.abstract_syntax == CT} == {
        J2K,
        *(each.transfer_syntax_uid for each in substitutes(J2K)),
    }


def test_the_best_of_what_is_taken_is_chosen_for_each_class() -> None:
    accepts = Accepts()
    offered = with_substitutes([wanted(CT, J2K), wanted(MR, J2K)])
    assert not accepts.knows(wanted(CT, J2K))
    refused = accepts.learn(offered, [AcceptedContext(1, CT, IMPLICIT), AcceptedContext(3, MR, J2K)])
    assert (CT, J2K) in refused and (MR, J2K) not in refused
    assert accepts.knows(wanted(CT, J2K))
    chosen = accepts.instead_of(wanted(CT, J2K))
    assert chosen is not None and chosen.transfer_syntax_uid == IMPLICIT
    assert accepts.instead_of(wanted(MR, J2K)) is None
    accepts.learn(offered, [AcceptedContext(1, CT, IMPLICIT), AcceptedContext(3, CT, EXPLICIT)])
    chosen = accepts.instead_of(wanted(CT, J2K))
    assert chosen is not None and chosen.transfer_syntax_uid == EXPLICIT


def test_nothing_is_asked_for_that_no_codec_could_make() -> None:
    assert not is_installed(Recoding("as-something", "1.2.3", "x1", "no_module_of_this_name"))
    assert wanted(CT, J2K).contexts() == [
        (CT, each.transfer_syntax_uid) for each in substitutes(J2K) if is_installed(each)
    ]
    for each in COMPRESSED_RECODINGS:
        assert each.codec == CODECS[each.transfer_syntax_uid][0].partition(".")[0], "the one that the transform needs"


def test_what_was_said_of_a_syntax_is_remembered_until_it_is_asked_for_again() -> None:
    accepts = Accepts()
    accepts.learn([(CT, J2K), (CT, EXPLICIT)], [AcceptedContext(3, CT, EXPLICIT)])
    accepts.learn([(CT, J2K)], [])
    chosen = accepts.instead_of(wanted(CT, J2K))
    assert chosen is not None and chosen.transfer_syntax_uid == EXPLICIT
    accepts.learn([(CT, EXPLICIT)], [])
    assert accepts.instead_of(wanted(CT, J2K)) is None


def test_a_copy_that_is_not_taken_asks_for_what_it_was_made_of_before_all_others() -> None:
    copy = wanted(CT, EXPLICIT, recoded("", RECODINGS["as-explicit-vr-little-endian"]), J2K, J2K)
    assert with_substitutes([copy])[:2] == [(CT, EXPLICIT), (CT, J2K)]
    accepts = Accepts()
    accepts.learn(with_substitutes([copy]), [AcceptedContext(1, CT, J2K), AcceptedContext(3, CT, IMPLICIT)])
    chosen = accepts.instead_of(copy)
    assert chosen is not None and (chosen.transfer_syntax_uid, chosen.recoding) == (J2K, None)


def test_contexts_are_asked_for_once_though_what_may_go_instead_differs() -> None:
    copy = wanted(CT, EXPLICIT, "masked~0a1b2c3d", J2K)
    asked = with_substitutes([wanted(CT, EXPLICIT), copy])
    assert len(asked) == len(set(asked))
