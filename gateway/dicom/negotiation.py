"""Presentation-context negotiation (PS3.8 7.1.1.13-14, PS3.7 Annex D.3), both sides, as pure functions.

Acceptor: `refusal` says whether the request must be rejected for what PS3.8 itself asks, `negotiate` answers it.
  - An abstract syntax is accepted if the policy names it, or, with no names, if it is not a known non-storage class:
    private and future storage classes come in. Verification is accepted always, in any transfer syntax.
  - Of the transfer syntaxes proposed for one context the first in the policy's order wins; with no order given, the
    proposer's. What is no UID is not accepted.
  - Roles: this side is the SCP. A proposed SCU role is granted, an SCP role is not; a context whose proposer wants to
    be SCP only is refused (user-rejection).
  - Asynchronous operations are answered with one invoked and one performed (no window).
  - SOP class extended negotiation is not answered: for every service class an absent answer means the default
    behaviour (PS3.7 D.3.3.5.2), which is what is done here. It stays in the request for those who want to read it.
  - User identity: a positive response is given when it was asked for. It says that the identity was taken note of.

Requestor: `propose` makes the contexts for what is to be sent, `accepted_contexts` reads the answer.

Called by `gateway.net` (through the flows) and by `association`. 128 contexts take a fraction of a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from gateway.dicom.pdu import (
    APPLICATION_CONTEXT_NAME,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
    RoleSelection,
    is_uid,
)
from gateway.dicom.sop_classes import NON_STORAGE_SOP_CLASSES, VERIFICATION

IMPLEMENTATION_CLASS_UID = "2.25.219012988328733999818151662228965903187"
IMPLEMENTATION_VERSION_NAME = "DICOM_GATEWAY_01"

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
NATIVE_TRANSFER_SYNTAXES = frozenset(
    {
        IMPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    }
)
MAX_CONTEXTS = 128  # odd IDs, 1-255


class Result(IntEnum):
    """Result of one presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context that both sides agreed on."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AcceptorPolicy:
    """What a listener takes. `abstract_syntaxes` None: anything that is not a known non-storage class.
    `transfer_syntaxes` in order of preference; empty: any, in the proposer's order. `max_pdu_length` in bytes, 0 = no
    limit, is announced to the proposer."""

    abstract_syntaxes: frozenset[str] | None = None
    transfer_syntaxes: tuple[str, ...] = ()
    max_pdu_length: int = 262_144


def is_storage_class(uid: str) -> bool:
    """Whether `uid` may be the UID of a storage SOP class: well-formed, and none that is known to be another's."""
    return uid not in NON_STORAGE_SOP_CLASSES and uid != VERIFICATION and is_uid(uid)


def refusal(request: AssociateRQ) -> AssociateRJ | None:
    """The rejection that PS3.8 itself asks for, or None. `Association` sends it unasked."""
    if not request.protocol_version & 1:
        return AssociateRJ(1, 2, 2)  # PS3.8 9.3.2: only bit 0 is tested; provider (ACSE): version not supported
    if request.application_context_name != APPLICATION_CONTEXT_NAME:
        return AssociateRJ(1, 1, 2)
    if not request.contexts:
        return AssociateRJ(1, 1, 1)  # PS3.8 9.3.2: one or more presentation contexts
    return None


def negotiate(request: AssociateRQ, policy: AcceptorPolicy) -> AssociateAC:
    """The answer to `request` under `policy`: one result per proposed context, in the request's order."""
    not_scu = {role.sop_class_uid for role in request.roles if not role.scu_role}
    results = tuple(_answer(context, policy, not_scu) for context in request.contexts)
    served = {
        context.abstract_syntax
        for context, result in zip(request.contexts, results, strict=True)
        if result.result == Result.ACCEPTANCE
    }
    identity = request.user_identity
    return AssociateAC(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        results=results,
        max_pdu_length=policy.max_pdu_length,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        asynchronous_operations=None if request.asynchronous_operations is None else (1, 1),
        roles=tuple(
            # Once a class: the request may repeat itself until its answer would not fit an item any more.
            {
                role.sop_class_uid: RoleSelection(role.sop_class_uid, role.scu_role, False)
                for role in request.roles
                if role.sop_class_uid in served
            }.values()
        ),
        user_identity_response=b"" if identity is not None and identity.positive_response_requested else None,
    )


def _answer(context: ProposedContext, policy: AcceptorPolicy, not_scu: set[str]) -> ContextResult:
    uid = context.abstract_syntax
    proposed = context.transfer_syntaxes
    chosen = ""
    if uid == VERIFICATION:
        result, chosen = _choose(proposed, ())
    elif not (is_storage_class(uid) if policy.abstract_syntaxes is None else uid in policy.abstract_syntaxes):
        result = Result.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif uid in not_scu:
        result = Result.USER_REJECTION
    else:
        result, chosen = _choose(proposed, policy.transfer_syntaxes)
    # A refused context still carries a transfer syntax sub-item (PS3.8 Table 9-18), which nobody reads: the
    # proposer's first where that is a UID, as an empty one upsets old parsers.
    if not chosen:
        chosen = proposed[0] if proposed and is_uid(proposed[0]) else IMPLICIT_VR_LITTLE_ENDIAN
    return ContextResult(context.context_id, result, chosen)


def _choose(proposed: Sequence[str], preferred: Sequence[str]) -> tuple[Result, str]:
    if preferred:
        uid = next((uid for uid in preferred if uid in proposed), "")
    else:
        uid = next((uid for uid in proposed if is_uid(uid)), "")
    return (Result.ACCEPTANCE, uid) if uid else (Result.TRANSFER_SYNTAXES_NOT_SUPPORTED, "")


def accepted_contexts(request: AssociateRQ, answer: AssociateAC) -> dict[int, AcceptedContext]:
    """The usable contexts by ID. A result for an ID never proposed, or with a transfer syntax never proposed for it,
    makes no context usable."""
    proposed = {context.context_id: context for context in request.contexts}
    usable: dict[int, AcceptedContext] = {}
    for result in answer.results:
        context = proposed.get(result.context_id)
        if (
            context is not None
            and result.result == Result.ACCEPTANCE
            and result.transfer_syntax in context.transfer_syntaxes
        ):
            usable[context.context_id] = AcceptedContext(
                context.context_id, context.abstract_syntax, result.transfer_syntax
            )
    return usable


def propose(pairs: Iterable[tuple[str, str]]) -> tuple[list[ProposedContext], ...]:
    """Contexts for sending (SOP class UID, transfer syntax UID) pairs, in batches of at most 128, one an association.

    One context per pair, so that the answer says of each syntax whether it is taken; and for a class with a native
    (not compressed) syntax one with Implicit VR Little Endian, which every proposal for such data must offer (PS3.5
    10.1). A class's contexts stay in one batch. Duplicates are proposed once; order is kept.
    """
    by_class: dict[str, dict[str, None]] = {}
    for sop_class, transfer_syntax in pairs:
        by_class.setdefault(sop_class, {})[transfer_syntax] = None
    batches: list[list[ProposedContext]] = []
    for sop_class, syntaxes in by_class.items():
        if not NATIVE_TRANSFER_SYNTAXES.isdisjoint(syntaxes):
            syntaxes[IMPLICIT_VR_LITTLE_ENDIAN] = None
        if not batches or (len(batches[-1]) + len(syntaxes) > MAX_CONTEXTS and batches[-1]):
            batches.append([])
        for transfer_syntax in syntaxes:
            if len(batches[-1]) == MAX_CONTEXTS:  # one class in more than 128 syntaxes
                batches.append([])
            batches[-1].append(ProposedContext(2 * len(batches[-1]) + 1, sop_class, (transfer_syntax,)))
    return tuple(batches)


def verification_context(context_id: int = 1) -> ProposedContext:
    """The context of a C-ECHO."""
    return ProposedContext(context_id, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,))
