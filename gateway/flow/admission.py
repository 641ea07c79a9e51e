"""Who may send: called AE title, calling AE title with its host, limits. Pure decisions on values handed in.

A rejection is one of PS3.8 Table 9-21. The order of the checks is the order in which a person would want to hear
about them: whom do you call, who are you, is there room. What PS3.8 itself rejects (`negotiation.refusal`) was answered
before anybody is asked here; `unsupported` is what to tell of it.

=================================================  ======  ======  ======  =========================
what is wrong                                      result  source  reason  metric label
=================================================  ======  ======  ======  =========================
PS3.8: protocol version                            1       2       2       rejected_unsupported
PS3.8: application context is not DICOM's          1       1       2       rejected_unsupported
PS3.8: no presentation context is proposed         1       1       1       rejected_unsupported
called AE title is none of the listener's, or      1       1       7       rejected_called_ae_title
no AE title at all
calling AE title unknown, or not from this host,   1       1       3       rejected_calling_ae_title
or no AE title at all
too many associations, in all or of this host      2       3       2       rejected_limit
intake is closed (ledger or spool in trouble),     2       3       1       rejected_congestion
or this host drains
=================================================  ======  ======  ======  =========================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.config.values import UNKNOWN_SOURCE, Listener, Source
from gateway.dicom.pdu import AssociateRJ, AssociateRQ, is_ae_title


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refusal: the PDU to answer with, a fixed word for the metric, and a sentence for the log."""

    answer: AssociateRJ
    label: str
    text: str

    @property
    def is_stranger(self) -> bool:
        """Nobody knows who asked."""
        return self is _CALLING


_UNSUPPORTED = {
    AssociateRJ(1, 2, 2): "the protocol version is not the one there is",
    AssociateRJ(1, 1, 2): "the application context is not DICOM's",
    AssociateRJ(1, 1, 1): "no presentation context is proposed",
}
_CALLED = Rejection(
    AssociateRJ(1, 1, 7), "rejected_called_ae_title", "the called AE title is none of the listener's ae_titles"
)
_CALLING = Rejection(
    AssociateRJ(1, 1, 3),
    "rejected_calling_ae_title",
    "no entry of `sources` has this calling AE title and host: add one, or correct the sender's AE title",
)
_LIMIT = Rejection(AssociateRJ(2, 3, 2), "rejected_limit", "too many associations, of this host or in all")
_CONGESTION = Rejection(AssociateRJ(2, 3, 1), "rejected_congestion", "intake is closed")
_DRAINING = Rejection(AssociateRJ(2, 3, 1), "rejected_congestion", "this host is drained, see `gateway drain`")


def admit(
    request: AssociateRQ,
    peer_host: str,
    listener: Listener,
    sources: Mapping[str, Source],
    open_associations: int,
    open_of_host: int,
    intake_open: bool,
    draining: bool = False,
) -> str | Rejection:
    """Decide about an A-ASSOCIATE-RQ.

    :param open_associations: associations admitted on this host's receiver now.
    :param open_of_host: those of `peer_host`.
    :returns: the name of the source (`unknown` where the listener accepts unknown senders), or the rejection.
    """
    called, calling = request.called_ae_title, request.calling_ae_title
    if listener.ae_titles and called not in listener.ae_titles:
        return _CALLED
    if called and not is_ae_title(called):  # a blank one is for a listener that answers to any
        return _CALLED
    source = find_source(calling, peer_host, sources) if is_ae_title(calling) else None
    if source is None:
        if not listener.accept_unknown or not is_ae_title(calling):
            return _CALLING
        source = UNKNOWN_SOURCE
    if open_associations >= listener.max_associations or open_of_host >= listener.max_associations_per_host:
        return _LIMIT
    if not intake_open:
        return _CONGESTION
    if draining:
        return _DRAINING
    return source


def unsupported(answer: AssociateRJ) -> Rejection:
    """The rejection that PS3.8 itself has answered with."""
    return Rejection(answer, "rejected_unsupported", _UNSUPPORTED[answer])


def find_source(calling_ae_title: str, peer_host: str, sources: Mapping[str, Source]) -> str | None:
    """The first source that names this calling AE title and this host."""
    address = _address(peer_host)
    for source in sources.values():
        if source.ae_titles and calling_ae_title not in source.ae_titles:
            continue
        if source.hosts and (address is None or not any(address in network for network in source.hosts)):
            continue
        return source.name
    return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
