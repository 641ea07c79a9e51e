"""Which transfer syntaxes a destination takes, learnt from what it answers."""

from __future__ import annotations

from gateway.dicom.negotiation import MAX_CONTEXTS, AcceptedContext, propose
from gateway.dicom.recoding import COMPRESSED_RECODINGS, Recoding, substitutes
from gateway.flow.accepts import Accepts, is_installed, possible, with_substitutes
from gateway.transform.pixels.codecs import CODECS

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
J2K, VIDEO = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.102"


def asked_for(uid: str, syntax: str) -> list[tuple[str, str]]:
    return [(uid, each.transfer_syntax_uid) for each in substitutes(syntax)]


def test_what_waits_comes_first_and_what_may_stand_for_it_behind() -> None:
    wanted = [(CT, J2K), (MR, EXPLICIT), (CT, VIDEO)]
    asked = with_substitutes(wanted)
    assert asked[:3] == wanted
    assert set(asked[3:]) == {*asked_for(CT, J2K), *asked_for(MR, EXPLICIT)}


def test_nothing_that_waits_is_displaced_where_there_is_little_room() -> None:
    wanted = [(f"1.2.840.10008.5.1.4.1.1.{n}", EXPLICIT) for n in range(60)]
    batches = propose(with_substitutes(wanted))
    assert len(batches) == 1 and len(batches[0]) <= MAX_CONTEXTS
    assert {context.abstract_syntax for context in batches[0]} == {uid for uid, _ in wanted}


def test_the_first_is_always_asked_about_whatever_waits_behind_it() -> None:
    wanted = [(CT, J2K), *((f"1.2.3.{n}", J2K) for n in range(400))]
    (first, *_) = propose(with_substitutes(wanted))
    assert {context.transfer_syntaxes[0] for context in first if context.abstract_syntax == CT} == {
        J2K,
        *(each.transfer_syntax_uid for each in substitutes(J2K)),
    }


def test_the_best_of_what_is_taken_is_chosen_for_each_class() -> None:
    accepts = Accepts()
    offered = with_substitutes([(CT, J2K), (MR, J2K)])
    assert not accepts.knows((CT, J2K))
    refused = accepts.learn(offered, [AcceptedContext(1, CT, IMPLICIT), AcceptedContext(3, MR, J2K)])
    assert (CT, J2K) in refused and (MR, J2K) not in refused
    assert accepts.knows((CT, J2K))
    chosen = accepts.instead_of((CT, J2K))
    assert chosen is not None and chosen.transfer_syntax_uid == IMPLICIT
    assert accepts.instead_of((MR, J2K)) is None
    accepts.learn(offered, [AcceptedContext(1, CT, IMPLICIT), AcceptedContext(3, CT, EXPLICIT)])
    chosen = accepts.instead_of((CT, J2K))
    assert chosen is not None and chosen.transfer_syntax_uid == EXPLICIT


def test_nothing_is_asked_for_that_no_codec_could_make() -> None:
    assert not is_installed(Recoding("as-something", "1.2.3", "x1", "no_module_of_this_name"))
    assert possible(J2K) == tuple(each for each in substitutes(J2K) if is_installed(each))
    for each in COMPRESSED_RECODINGS:
        assert each.codec == CODECS[each.transfer_syntax_uid][0].partition(".")[0], "the one that the transform needs"


def test_what_was_said_of_a_syntax_is_remembered_until_it_is_asked_for_again() -> None:
    accepts = Accepts()
    accepts.learn([(CT, J2K), (CT, EXPLICIT)], [AcceptedContext(3, CT, EXPLICIT)])
    accepts.learn([(CT, J2K)], [])
    chosen = accepts.instead_of((CT, J2K))
    assert chosen is not None and chosen.transfer_syntax_uid == EXPLICIT
    accepts.learn([(CT, EXPLICIT)], [])
    assert accepts.instead_of((CT, J2K)) is None
