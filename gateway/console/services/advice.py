"""What is wrong, whose fault it is, what is at risk, and what to do: in sentences for somebody who did not install the
gateway. Each names a section of docs/operations.md, which the console shows at /help; a test holds them to it.

Pure: what a look at the ledger and at the host gave, and the time, go in. No sentence holds patient data; reasons of
rules and of peers are shown beside them, not in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol
from urllib.parse import urlencode

from gateway.console.notices import CERTIFICATE_URGENT_S, Notice, NoticeKind
from gateway.ledger.look import Trouble, TroubleKind, TroubleOf
from gateway.model import Breaker, DestinationState
from gateway.reasons import (
    DEAD_SECTION,
    HELD_SECTION,
    QUARANTINE_SECTION,
    RECOVER_SECTION,
    UNROUTED_SECTION,
    Distrusted,
    Unrouted,
    why_distrusted,
    why_unrouted,
)
from gateway.words import age, counted

OLD_S = 3600.0  # what waits longer than this for a destination that is up is worth a look
ITEMS = "/attention/items"
_RANK = {"bad": 0, "warn": 1}


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to look after.

    :ivar tone: `bad` where work stands still or images are at risk, `warn` where somebody should look in good time.
    :ivar section: the heading's anchor in docs/operations.md.
    :ivar detail: in the words of a rule, a peer or the gateway; "" where there are none.
    :ivar href: the page that shows it.
    """

    tone: str
    what: str
    whose: str
    risk: str
    do: str
    section: str
    detail: str = ""
    href: str = ""


class Queued(Protocol):
    """A destination, how much waits for it, and since when."""

    @property
    def state(self) -> DestinationState: ...

    @property
    def waiting(self) -> int: ...

    @property
    def oldest_ms(self) -> int | None: ...


def advise(
    reasons: Sequence[str],
    notices: Iterable[Notice],
    queues: Iterable[Queued],
    troubles: Iterable[Trouble],
    now_ms: int,
) -> list[Advice]:
    """All there is to look after, the worst first."""
    found = [
        *map(of_host, reasons),
        *map(of_notice, notices),
        *(each for each in (of_destination(queue, now_ms) for queue in queues) if each is not None),
        *map(of_trouble, troubles),
    ]
    return sorted(found, key=lambda each: _RANK[each.tone])


# ── the host ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_ALL_KEPT = "What was acknowledged is kept. New images stay with their senders until then."
# reason of /readyz → (what, whose, risk, do, section)
_HOST = {
    "starting": (
        "The gateway is starting",
        "Nobody's",
        "Nothing: senders try again.",
        "Wait a minute. If it stays so, read the log.",
        "a-role-dies-or-hangs-again-and-again",
    ),
    "intake_closed": (
        "No images are taken",
        "This gateway: its ledger",
        _ALL_KEPT,
        "Look at the disk of the ledger; it opens again by itself when the ledger keeps up. If the ledger failed, "
        "stop the gateway, copy the state folder, start it.",
        "intake-is-closed",
    ),
    "spool_low": (
        "The spool is nearly full: new images are refused",
        "This gateway's disk, or the archive that takes nothing",
        _ALL_KEPT + " Sending goes on.",
        "Bring the destination back that most waits for, or give the disk more room. Delete nothing by hand.",
        "the-spool-is-low-or-full",
    ),
    "spool_unreachable": (
        "The spool cannot be read",
        "This gateway: its disk, or the mount",
        "Images in the spool, as long as the disk is not back.",
        "See whether the disk is mounted and sound. Do not start with an empty folder in its place.",
        "the-spools-disk-was-replaced-or-not-mounted",
    ),
    "ledger_unreachable": (
        "The ledger does not answer",
        "This gateway, or the database server",
        "Nothing that was acknowledged. Nothing is sent meanwhile.",
        "Look at the database and its disk first; `gateway recover` is the last resort.",
        "the-ledger-is-lost-or-damaged",
    ),
    "no_rules": (
        "There are no rules: nothing is routed",
        "Whoever writes the rules",
        "Nothing: what comes in waits for rules.",
        "Run `gateway check`, mend what it names; the rules are taken within seconds.",
        "the-configuration-or-the-rules-are-refused",
    ),
    "no_descriptors": (
        "The receiver has no descriptors left: who connects is hung up on",
        "This gateway: its limit of open files, or a sender that opens without end",
        _ALL_KEPT,
        "Raise the limit of open files (LimitNOFILE), and see which sender holds associations open.",
        "senders-are-rejected",
    ),
    "drained": (
        "This host is drained: it takes no associations",
        "Somebody's order",
        "What waits for its destinations stays, if no other host serves them. Senders go to other hosts, or wait.",
        "When the work on it is done: `gateway drain HOST --undo`, or take it back on the page System.",
        "a-host-is-not-ready",
    ),
}


def of_host(reason: str) -> Advice:
    """A reason why the host is not ready."""
    word, _, name = reason.partition(": ")
    if word in ("down", "silent"):
        what = f"A process does not run: {name}" if word == "down" else f"A process does not answer: {name}"
        return Advice(
            "bad",
            what,
            "This gateway",
            "Nothing: what it held is freed, what it received is adopted.",
            "It is started again by itself. If it dies again and again, the log's line `crashed` says where.",
            "a-role-dies-or-hangs-again-and-again" if word == "down" else "a-process-is-silent",
            href="/system",
        )
    what, whose, risk, do, section = _HOST.get(
        word,
        (
            f"The host is not ready: {reason.replace('_', ' ')}",
            "This gateway",
            "See the log.",
            "Read the log's last lines.",
            "a-host-is-not-ready",
        ),
    )
    tone = "warn" if word in ("starting", "drained") else "bad"
    return Advice(tone, what, whose, risk, do, section, href="/system")


# kind → (whose, risk, do, section)
_NOTICES = {
    NoticeKind.SOURCE_SILENT: (
        "Whoever runs it, or the network to it; or it is turned away here",
        "What it made and did not send. Nothing that is here.",
        "See in the log whether it is turned away; if not, ask whether it is on and sends to this address.",
        "a-source-is-silent",
    ),
    NoticeKind.CERTIFICATE_EXPIRES: (
        "Whoever issues certificates here",
        "Nothing that was acknowledged. Whoever checks it refuses the connection from then on.",
        "Have it renewed, and put certificate and key in the place of the old files, both at once.",
        "a-certificate-expires",
    ),
    NoticeKind.TRAIL_STOPPED: (
        "This gateway: the trail's folder, or its disk",
        "Nothing: what is to be told waits in the ledger.",
        "See in the log's `audit_trail_waits` what is wrong with the folder: room, rights, a process that holds it.",
        "the-audit-trail-is-not-written",
    ),
    NoticeKind.SYSLOG_BEHIND: (
        "The syslog server, or the network to it",
        "Nothing: all is in the trail's files, and is sent when the server is back.",
        "See whether the server takes messages, and whether the certificates of both sides hold.",
        "the-audit-repository-is-behind",
    ),
    NoticeKind.RULES_REFUSED: (
        "Whoever changed the rule files",
        "Nothing that is here. Images go by the last good rules, without the change that somebody wanted.",
        "Run `gateway check` and mend what it names: it is taken within seconds. Restart nothing.",
        "the-configuration-or-the-rules-are-refused",
    ),
    NoticeKind.CONFIGURATION_REFUSED: (
        "Whoever changed the configuration",
        "Nothing that is here. Until it is mended, a gateway that ends does not start again.",
        "Run `gateway check`, mend what it names, and send SIGHUP again. Do not restart before that.",
        "the-configuration-or-the-rules-are-refused",
    ),
    NoticeKind.ROUTING_OLD: (
        "This gateway: no worker runs, all are drained, or they cannot load the rules",
        "Nothing is lost: what waits is in the spool. None of it is sent meanwhile.",
        "See under System whether workers run and are not drained; if so, read in the log why they route nothing.",
        "nothing-is-routed",
    ),
}


def of_notice(notice: Notice) -> Advice:
    """What is wrong although the host is ready."""
    whose, risk, do, section = _NOTICES[notice.kind]
    urgent = notice.kind is NoticeKind.CERTIFICATE_EXPIRES and notice.seconds < CERTIFICATE_URGENT_S
    urgent = urgent or notice.kind is NoticeKind.ROUTING_OLD
    href = "/rules" if notice.kind is NoticeKind.RULES_REFUSED else "/system"
    return Advice("bad" if urgent else "warn", notice.text, whose, risk, do, section, href=href)


# ── destinations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def of_destination(queue: Queued, now_ms: int) -> Advice | None:
    """What is wrong with a destination; None where nothing is."""
    state, waiting = queue.state, queue.waiting
    waits_s = (now_ms - queue.oldest_ms) / 1000 if queue.oldest_ms is not None else 0.0
    wait = f"{_deliveries(waiting)} wait{'s' if waiting == 1 else ''} in the spool, the oldest for {age(waits_s)}."
    at_risk = wait if waiting else "Nothing waits for it now."
    if not state.configured:
        return _unconfigured(state, at_risk) if waiting else None
    if state.paused:
        return _paused(state, at_risk)
    if state.owner is None:  # then nobody looks whether it is up, either: the breaker is as its last forwarder left it
        return _unserved(state, at_risk)
    if state.breaker is Breaker.DOWN:
        return _down(state, at_risk + (" Nothing is lost: it goes when the archive is back." if waiting else ""))
    return _slow(state, at_risk) if waiting and waits_s >= OLD_S else None


def _unconfigured(state: DestinationState, at_risk: str) -> Advice:
    return Advice(
        "warn",
        f"{state.name} was taken out of the configuration",
        "Whoever changed the configuration",
        at_risk,
        "Put it back, and they go by themselves; or cancel them.",
        "deliveries-are-held",
        href=_queue_href(state),
    )


def _paused(state: DestinationState, at_risk: str) -> Advice:
    return Advice(
        "warn",
        f"{state.name} is paused",
        "Somebody's order",
        at_risk,
        "Resume it when the work on it is done.",
        "a-destination-is-paused",
        href=_queue_href(state),
    )


def _unserved(state: DestinationState, at_risk: str) -> Advice:
    return Advice(
        "bad",
        f"Nobody serves {state.name}",
        "This gateway: no forwarder of any host has it",
        at_risk,
        "If it stays so for a minute: start a forwarder on a host whose configuration has it, or take work again on "
        "one that is drained, which `gateway hosts` shows. Resend nothing: the first forwarder takes all of it.",
        "nobody-serves-a-destination",
        href=_queue_href(state),
    )


def _down(state: DestinationState, at_risk: str) -> Advice:
    rejected = "reject" in state.last_error
    return Advice(
        "bad",
        f"{state.name} is down",
        "The archive, or the network to it",
        at_risk,
        "Ask whoever runs the archive: it rejects us by name or address."
        if rejected
        else "Ask whoever runs the archive whether it is up and can be reached. Sending goes on by itself.",
        "a-destination-rejects-the-association" if rejected else "a-destination-is-down",
        detail=state.last_error,
        href=_queue_href(state),
    )


def _slow(state: DestinationState, at_risk: str) -> Advice:
    return Advice(
        "warn",
        f"{state.name} is slow",
        "The archive, or more images than it takes",
        at_risk,
        "Compare what goes in with what goes out; ask whoever runs the archive. Resend nothing: it would wait too.",
        "something-waits-too-long",
        detail=state.last_error,
        href=_queue_href(state),
    )


def _queue_href(state: DestinationState) -> str:
    return f"/queue#{state.name}"


# ── what stopped ──────────────────────────────────────────────────────────────────────────────────────────────────────

_ALONE = "This image or the archive: it failed alone, again and again"
_READ_LOG = "Read the archive's log of that moment, then release."
_KEPT = "The files are kept in the spool; nothing goes by itself."
# each (whose, what to do)
_DEAD = ("The archive: it took nothing for too long", "Mend the destination, then release them: they begin anew.")
_SEND_AGAIN = "Have the modality send them again, compare, then discard these."
_CORRUPT = ("This gateway's disk", f"Check the disk. {_SEND_AGAIN}")
_CONTRADICTION = ("The sender: it contradicts itself", "A matter for the modality's maker. " + _SEND_AGAIN)
_QUARANTINED = {
    Distrusted.UNREADABLE: ("The sender: what it sent cannot be read", _SEND_AGAIN),
    Distrusted.OTHER_INSTANCE: _CONTRADICTION,
    Distrusted.OTHER_CLASS: _CONTRADICTION,
    Distrusted.FILE_MISSING: (
        "Whoever removed files of this gateway's spool",
        f"Are they many: is the spool's disk mounted? If not, stop the gateway at once. Else: {_SEND_AGAIN}",
    ),
    Distrusted.FILE_DAMAGED: _CORRUPT,
    Distrusted.SPOOL: _CORRUPT,
    Distrusted.ORIGINAL: _CORRUPT,
    Distrusted.ROUTING_FAILED: (
        "This gateway: a worker died over it each time, for want of memory or time, or by an error",
        "Report it with the log's lines `child_ended` and `crashed` of that time. Raise `worker.memory`, then release.",
    ),
}
_BY_ORDER = ("Whoever ordered it, or a gateway of another version", "Do what the reason says; then release or cancel.")
_NEVER_SENT = "These images: they are sent nowhere, and never repaired."
_NOT_SENT = "These images wait: they are sent nowhere until they are released. The files are kept in the spool."
_UNMATCHED = ("The rules: none matches", "Write a rule, wait a few seconds, release.")
_RECOVERED = (
    "Nobody's any more: the ledger was lost, and made anew with `gateway recover`",
    "A person decides: release what must go, all or by study. Archives get some of it a second time; ask those that "
    "mind what they have.",
)
_HELD_WHOLE = ("A rule or a person held them", "Do what the reason says; then release or cancel.")
# code of a held delivery → (whose, what to do)
HELD = {
    "refused": (
        "The archive: it refused these images themselves",
        "Have the cause mended at the archive, then release; or cancel.",
    ),
    "not_accepted": (
        "The archive: it takes no such images, or not in this transfer syntax",
        "Have it accept them, then release; or let a copy go in another syntax (`transcode: lossless`); or resend.",
    ),
    "connection": (_ALONE, _READ_LOG),
    "timeout": (_ALONE, _READ_LOG),
    "aborted": (_ALONE, _READ_LOG),
    "rejected": (
        "The archive: it rejects the sender's AE title",
        "Have the archive told of that AE title, then release.",
    ),
    "transform_required": (
        "The rules: no rule sent it through the transform that the destination requires",
        "Have a rule do so and route it anew, or cancel.",
    ),
    "transform": (
        "The rules: a step of a transform failed",
        "Correct the transform, then release: the copy is made anew.",
    ),
    "copy_unreadable": ("This gateway's disk", "Look at the disk of the spool, then release."),
    "unconfigured": (
        "Whoever changed the configuration: the destination is gone",
        "Put the destination back, and they go by themselves; or cancel.",
    ),
    "overtaken": (
        "Nobody's: a newer version was delivered meanwhile",
        "Cancel; or release one by one, if the older version is the right one.",
    ),
    "quarantined": ("The instance itself was quarantined", "See the quarantined instances first."),
    "operator": ("Somebody's order", "Release, or cancel, when whoever ordered it agrees."),
    "error": ("The gateway itself", "Report it with the log's line `delivery_error`; release after an upgrade."),
}


def of_trouble(trouble: Trouble) -> Advice:
    """What stopped for one reason."""
    number = counted(trouble.count, "image") + (" or more" if trouble.more else "")
    where = f" for {trouble.destination}" if trouble.destination else ""
    tone, risk = "bad", _KEPT
    if trouble.kind is TroubleKind.DEAD:
        what, section = f"{number}{where} given up: dead", DEAD_SECTION
        whose, do = _DEAD
    elif trouble.kind is TroubleKind.QUARANTINED:
        why = why_distrusted(trouble.reason)
        what, section = f"{number} quarantined", QUARANTINE_SECTION
        whose, do = _BY_ORDER if why is None else _QUARANTINED[why]
        risk = _NOT_SENT if why in (None, Distrusted.ROUTING_FAILED) else _NEVER_SENT
    elif trouble.of is TroubleOf.INSTANCE:
        tone, what = "warn", f"{number} held without a route"
        whose, do, risk, section = _unrouted(trouble.reason)
    else:
        tone, what, section = "warn", f"{number}{where} held", HELD_SECTION
        whose, do = HELD.get(trouble.code, ("See the reason", "Read the reason; then release or cancel."))
    return Advice(tone, what, whose, risk, do, section, detail=trouble.reason, href=items_href(trouble))


def _unrouted(reason: str) -> tuple[str, str, str, str]:
    """Whose it is that instances have no route, what to do, what is at risk, and where it is written."""
    match why_unrouted(reason):
        case Unrouted.NO_RULE_MATCHES:
            return *_UNMATCHED, _KEPT, UNROUTED_SECTION
        case Unrouted.RECOVERED:
            return *_RECOVERED, f"{_KEPT} What of it was delivered already is not known.", RECOVER_SECTION
        case None:
            return *_HELD_WHOLE, _KEPT, UNROUTED_SECTION


def items_href(trouble: Trouble) -> str:
    """The page with what a trouble is of."""
    return f"{ITEMS}?" + urlencode(group_fields(trouble))


def group_fields(trouble: Trouble) -> dict[str, str]:
    """What names a group in an address: not its reason, in which somebody may have named a patient, but a digest."""
    digest = blake2b(trouble.reason.encode(), digest_size=8).hexdigest()
    fields = {"kind": str(trouble.kind), "destination": trouble.destination, "code": trouble.code, "group": digest}
    return {name: value for name, value in fields.items() if value}


def _deliveries(number: int) -> str:
    return "1 delivery" if number == 1 else f"{number} deliveries"
