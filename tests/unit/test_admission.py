"""Admission: who may send, from where, and what is no AE title."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.config.values import Listener, Source
from gateway.dicom.pdu import AssociateRJ, AssociateRQ
from gateway.flow.admission import Rejection, admit

BY_HOST = {"ward": Source("ward", hosts=(ip_network("10.0.0.0/8"),))}
ANY_NAME = Listener("main", "0.0.0.0", 11112)


def _answer(
    called: str, calling: str, host: str = "10.1.2.3", listener: Listener = ANY_NAME, intake_open: bool = True
) -> str | AssociateRJ:
    verdict = admit(AssociateRQ(called, calling, ()), host, listener, BY_HOST, 0, 0, intake_open)
    return verdict.answer if isinstance(verdict, Rejection) else verdict


@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_source_without_titles_is_known_by_its_host(host: str) -> None:
    assert _answer("ANY", "WHOEVER", host) == "ward"


@pytest.mark.parametrize("host", ["11.1.2.3", "::1", "not an address"])
def test_from_another_host_it_is_unknown(host: str) -> None:
    assert _answer("ANY", "WHOEVER", host) == AssociateRJ(1, 1, 3)


@pytest.mark.parametrize("title", ["A\r\nB", "A\x1b[2J", "A\x00B", "A\\B", "\xe9", "X" * 17])
def test_what_is_no_ae_title_is_rejected_also_from_a_known_host(title: str) -> None:
    assert _answer("ANY", title) == AssociateRJ(1, 1, 3)
    assert _answer(title, "WHOEVER") == AssociateRJ(1, 1, 7)


def test_a_blank_title_is_nobody_to_send_and_anybody_to_call() -> None:
    assert _answer("ANY", "") == AssociateRJ(1, 1, 3)
    assert _answer("", "WHOEVER") == "ward"
    named = Listener("main", "0.0.0.0", 11112, ae_titles=("GATEWAY",))
    assert _answer("", "WHOEVER", listener=named) == AssociateRJ(1, 1, 7)


def test_closed_intake_is_a_reason_that_passes() -> None:
    assert _answer("ANY", "WHOEVER", intake_open=False) == AssociateRJ(2, 3, 1)


def test_a_host_that_drains_turns_away_whom_it_knows_for_a_while_and_others_as_ever() -> None:
    def answer(calling: str, host: str) -> str | AssociateRJ:
        verdict = admit(AssociateRQ("ANY", calling, ()), host, ANY_NAME, BY_HOST, 0, 0, True, draining=True)
        return verdict.answer if isinstance(verdict, Rejection) else verdict

    assert answer("CT1", "10.1.2.3") == AssociateRJ(2, 3, 1)
    assert answer("CT1", "11.1.2.3") == AssociateRJ(1, 1, 3)
