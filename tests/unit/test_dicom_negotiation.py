"""What is proposed and what is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.negotiation import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    AcceptedContext,
    AcceptorPolicy,
    Result,
    accepted_contexts,
    is_storage_class,
    negotiate,
    propose,
    refusal,
    verification_context,
)
from gateway.dicom.pdu import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    encode,
    is_uid,
)
from gateway.dicom.sop_classes import NON_STORAGE_SOP_CLASSES, VERIFICATION
from tests.unit import dicom_strategies as dicom

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PRIVATE = "1.3.12.2.1107.5.9.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.70"


def request(*contexts: tuple[str, tuple[str, ...]], **more: object) -> AssociateRQ:
    """A request with these abstract syntaxes and their transfer syntaxes, IDs 1, 3, …"""
    proposed = tuple(ProposedContext(2 * n + 1, uid, syntaxes) for n, (uid, syntaxes) in enumerate(contexts))
    return AssociateRQ("GATEWAY", "CT1", proposed, 16384, **more)  # type: ignore[arg-type]


def test_storage_private_and_verification_are_accepted_and_queries_are_not() -> None:
    answer = negotiate(
        request((CT, (IMPLICIT,)), (PRIVATE, (EXPLICIT,)), (VERIFICATION, (IMPLICIT,)), (FIND, (IMPLICIT,))),
        AcceptorPolicy(),
    )
    assert [result.result for result in answer.results] == [0, 0, 0, Result.ABSTRACT_SYNTAX_NOT_SUPPORTED]
    assert [result.context_id for result in answer.results] == [1, 3, 5, 7]
    assert (answer.called_ae_title, answer.calling_ae_title) == ("GATEWAY", "CT1")


def test_the_proposers_order_decides_when_the_policy_has_none() -> None:
    answer = negotiate(request((CT, (JPEG, EXPLICIT, IMPLICIT))), AcceptorPolicy())
    assert answer.results == (ContextResult(1, 0, JPEG),)


def test_the_policys_order_decides_when_it_has_one() -> None:
    policy = AcceptorPolicy(transfer_syntaxes=(EXPLICIT, IMPLICIT))
    answer = negotiate(request((CT, (JPEG, IMPLICIT, EXPLICIT)), (CT, (JPEG,))), policy)
    assert answer.results[0] == ContextResult(1, 0, EXPLICIT)
    assert answer.results[1].result == Result.TRANSFER_SYNTAXES_NOT_SUPPORTED


def test_a_restricted_listener_takes_what_it_names_and_verification() -> None:
    policy = AcceptorPolicy(frozenset({MR}), (JPEG,))
    answer = negotiate(request((CT, (JPEG,)), (MR, (JPEG,)), (VERIFICATION, (IMPLICIT,))), policy)
    assert [result.result for result in answer.results] == [3, 0, 0]


@pytest.mark.parametrize("uid", ["", "../../x", "1.2\r\n", "x" * 64, "1." * 40 + "1"])
def test_what_is_no_uid_is_not_accepted_and_not_echoed(uid: str) -> None:
    answer = negotiate(request((uid, (IMPLICIT,)), (CT, (uid,))), AcceptorPolicy())
    assert [result.result for result in answer.results] == [3, 4]
    assert all(is_uid(result.transfer_syntax) for result in answer.results)


def test_a_context_without_transfer_syntaxes_is_refused() -> None:
    assert negotiate(request((CT, ())), AcceptorPolicy()).results[0].result == Result.TRANSFER_SYNTAXES_NOT_SUPPORTED


def test_the_scu_role_is_granted_and_the_scp_role_is_not() -> None:
    asked = request(
        (CT, (IMPLICIT,)),
        (MR, (IMPLICIT,)),
        (FIND, (IMPLICIT,)),
        roles=(RoleSelection(CT, True, True), RoleSelection(MR, False, True), RoleSelection(FIND, True, True)) * 2,
    )
    answer = negotiate(asked, AcceptorPolicy())
    assert [result.result for result in answer.results] == [0, Result.USER_REJECTION, 3]
    assert answer.roles == (RoleSelection(CT, True, False),)


def test_the_asynchronous_window_is_one_when_proposed() -> None:
    assert negotiate(request((CT, (IMPLICIT,))), AcceptorPolicy()).asynchronous_operations is None
    asked = request((CT, (IMPLICIT,)), asynchronous_operations=(0, 8))
    assert negotiate(asked, AcceptorPolicy()).asynchronous_operations == (1, 1)


@pytest.mark.parametrize(("asked_for", "answer"), [(True, b""), (False, None)])
def test_a_user_identity_is_acknowledged_when_asked_for(asked_for: bool, answer: bytes | None) -> None:
    asked = request((CT, (IMPLICIT,)), user_identity=UserIdentity(1, asked_for, b"alice"))
    assert negotiate(asked, AcceptorPolicy()).user_identity_response == answer


def test_we_say_who_we_are() -> None:
    answer = negotiate(request((CT, (IMPLICIT,))), AcceptorPolicy(max_pdu_length=65536))
    assert (answer.implementation_class_uid, answer.max_pdu_length) == (IMPLEMENTATION_CLASS_UID, 65536)
    assert is_uid(IMPLEMENTATION_CLASS_UID)
    assert 0 < len(IMPLEMENTATION_VERSION_NAME) <= 16


def test_what_ps3_8_itself_refuses() -> None:
    good = request((CT, (IMPLICIT,)))
    assert refusal(good) is None
    assert refusal(request((CT, (IMPLICIT,)), protocol_version=3)) is None
    assert refusal(request((CT, (IMPLICIT,)), protocol_version=2)) == AssociateRJ(1, 2, 2)
    assert refusal(request((CT, (IMPLICIT,)), application_context_name="1.2.3")) == AssociateRJ(1, 1, 2)
    assert refusal(request()) == AssociateRJ(1, 1, 1)


@given(dicom.requests)
def test_every_request_gets_an_answer_that_can_be_sent(asked: AssociateRQ) -> None:
    answer = negotiate(asked, AcceptorPolicy())
    assert [result.context_id for result in answer.results] == [context.context_id for context in asked.contexts]
    encode(answer)
    usable = accepted_contexts(asked, answer)
    assert set(usable) == {result.context_id for result in answer.results if result.result == 0}


def test_only_what_was_proposed_is_usable() -> None:
    asked = request((CT, (IMPLICIT, EXPLICIT)), (MR, (IMPLICIT,)), (MR, (EXPLICIT,)))
    answer = AssociateAC(
        "GATEWAY",
        "CT1",
        (
            ContextResult(1, 0, EXPLICIT),
            ContextResult(3, 0, JPEG),
            ContextResult(5, 4, EXPLICIT),
            ContextResult(9, 0, EXPLICIT),
        ),
    )
    assert accepted_contexts(asked, answer) == {1: AcceptedContext(1, CT, EXPLICIT)}


def test_native_data_is_also_proposed_in_implicit_little_endian() -> None:
    (batch,) = propose([(CT, EXPLICIT), (CT, JPEG), (MR, JPEG), (CT, EXPLICIT)])
    assert batch == [
        ProposedContext(1, CT, (EXPLICIT,)),
        ProposedContext(3, CT, (JPEG,)),
        ProposedContext(5, CT, (IMPLICIT,)),
        ProposedContext(7, MR, (JPEG,)),
    ]


@pytest.mark.parametrize("native", [IMPLICIT, EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_each_native_syntax_brings_implicit(native: str) -> None:
    (batch,) = propose([(CT, native)])
    assert {context.transfer_syntaxes[0] for context in batch} == {native, IMPLICIT}


@given(st.lists(st.tuples(dicom.uids, st.sampled_from([IMPLICIT, EXPLICIT, JPEG, "1.2.3"])), max_size=400))
def test_batches_hold_every_pair_in_at_most_128_contexts(pairs: list[tuple[str, str]]) -> None:
    batches = propose(pairs)
    assert all(0 < len(batch) <= 128 for batch in batches)
    assert all([context.context_id for context in batch] == [*range(1, 2 * len(batch), 2)] for batch in batches)
    proposed = {(context.abstract_syntax, context.transfer_syntaxes[0]) for batch in batches for context in batch}
    assert set(pairs) <= proposed


def test_a_class_in_more_syntaxes_than_one_association_holds_is_split() -> None:
    batches = propose([(CT, f"1.2.{n}") for n in range(300)])
    assert [len(batch) for batch in batches] == [128, 128, 44]
    assert propose([]) == ()


def test_verification_is_proposed_in_implicit_little_endian() -> None:
    assert verification_context(3) == ProposedContext(3, VERIFICATION, (IMPLICIT,))


def test_the_non_storage_classes_are_those_of_the_standard() -> None:
    registry = pytest.importorskip("pydicom._uid_dict").UID_dictionary
    not_storing = {"Storage Commitment", "Storage Service Class", "Media Storage Directory"}
    nameless_but_storage = {"1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40"}
    expected = {
        uid
        for uid, (name, kind, *_) in registry.items()
        if kind in {"SOP Class", "Meta SOP Class", "Service Class"}
        and ("Storage" not in name or any(words in name for words in not_storing))
        and uid not in nameless_but_storage
    }
    assert expected - {VERIFICATION} == NON_STORAGE_SOP_CLASSES


def test_pynetdicom_agrees_on_what_storage_is() -> None:
    sop_class = pytest.importorskip("pynetdicom.sop_class")
    assert all(is_storage_class(uid) for uid in sop_class._STORAGE_CLASSES.values())
    groups = [
        name
        for name in vars(sop_class)
        if name.endswith("_CLASSES") and name not in {"_STORAGE_CLASSES", "_SERVICE_CLASSES"}
    ]
    others = {uid: word for name in groups for word, uid in getattr(sop_class, name).items()}
    storing = {word for uid, word in others.items() if is_storage_class(uid)}
    assert len(groups) > 15
    # pynetdicom keeps the storage classes of its non-patient and inventory services in those services' groups.
    assert all(word.endswith("Storage") for word in storing), storing
