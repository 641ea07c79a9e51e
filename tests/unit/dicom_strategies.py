"""Hypothesis strategies for PDUs, commands and the streams of bytes they make."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from gateway.dicom.dimse import Command, CommandField
from gateway.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    CommonExtendedNegotiation,
    ContextResult,
    ExtendedNegotiation,
    PDataTF,
    PresentationDataValue,
    ProposedContext,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    UserIdentity,
)

bytes_8 = st.integers(0, 0xFF)
numbers_16 = st.integers(0, 0xFFFF)
numbers_32 = st.integers(0, 0xFFFF_FFFF)
uids = st.lists(st.integers(0, 99999), min_size=2, max_size=9).map(lambda parts: ".".join(map(str, parts)))
_printable = st.text(string.ascii_letters + string.digits + " _-^\\\x1b\r\n\xe9", max_size=16)
titles = _printable.map(lambda text: text.strip(" \0"))
names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=16)
odd_ids = st.integers(0, 127).map(lambda number: 2 * number + 1)

proposed_contexts = st.builds(
    ProposedContext, odd_ids, st.one_of(uids, st.just("")), st.lists(uids, max_size=4).map(tuple)
)
context_results = st.builds(ContextResult, odd_ids, st.integers(0, 4), st.one_of(uids, st.just("")))
roles = st.builds(RoleSelection, uids, st.booleans(), st.booleans())
extended = st.builds(ExtendedNegotiation, uids, st.binary(max_size=20))
common_extended = st.builds(CommonExtendedNegotiation, uids, uids, st.lists(uids, max_size=3).map(tuple))
identities = st.builds(UserIdentity, st.integers(1, 5), st.booleans(), st.binary(max_size=50), st.binary(max_size=20))
windows = st.none() | st.tuples(numbers_16, numbers_16)


requests = st.builds(
    AssociateRQ,
    titles,
    titles,
    st.lists(proposed_contexts, max_size=6, unique_by=lambda context: context.context_id).map(tuple),
    numbers_32,
    st.just("") | uids,
    st.just("") | names,
    windows,
    st.lists(roles, max_size=3).map(tuple),
    st.lists(extended, max_size=3).map(tuple),
    st.lists(common_extended, max_size=3).map(tuple),
    st.none() | identities,
    uids,
    numbers_16,
)
answers = st.builds(
    AssociateAC,
    titles,
    titles,
    st.lists(context_results, max_size=6, unique_by=lambda result: result.context_id).map(tuple),
    numbers_32,
    st.just("") | uids,
    st.just("") | names,
    windows,
    st.lists(roles, max_size=3).map(tuple),
    st.lists(extended, max_size=3).map(tuple),
    st.none() | st.binary(max_size=40),
    uids,
    numbers_16,
)
rejections = st.builds(AssociateRJ, bytes_8, bytes_8, bytes_8)
aborts = st.builds(Abort, bytes_8, bytes_8)
values = st.builds(PresentationDataValue, bytes_8, st.booleans(), st.booleans(), st.binary(max_size=60))
p_data = st.builds(PDataTF, st.lists(values, min_size=1, max_size=4).map(tuple))
pdus = st.one_of(requests, answers, rejections, aborts, p_data, st.just(ReleaseRQ()), st.just(ReleaseRP()))

_TYPED = {0x0000, 0x0002, 0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x0902, 0x1000, 0x1030, 0x1031}
_others = st.dictionaries(
    st.integers(1, 0xFFFF).filter(lambda element: element not in _TYPED),
    st.binary(max_size=12).map(lambda value: value + b"\0" * (len(value) & 1)),
    max_size=3,
)
_comments = st.text(string.ascii_letters + string.digits, max_size=64)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """Any command that PS3.7 allows, and a few that it does not."""
    field = draw(st.sampled_from(CommandField) | numbers_16)
    is_response, is_cancel = bool(field & 0x8000), field == 0x0FFF
    return Command(
        int(field),
        0 if is_response or is_cancel else draw(numbers_16),
        draw(numbers_16 if is_response or is_cancel else st.none() | numbers_16),
        draw(st.just("") | uids),
        draw(st.just("") | uids),
        draw(st.integers(0, 2)),
        draw(numbers_16) if is_response else None,
        draw(st.booleans()),
        draw(st.just("") | names),
        draw(st.none() | numbers_16),
        draw(_comments),
        draw(_others),
    )
