"""How a destination fares: its window and breaker (`gateway.flow.window`), told, saved, and probed while it is down.

The probe is one C-ECHO on an association of its own. Reachable is who answers it with success, who does not accept
Verification, and who says that C-ECHO is no service of theirs: such a peer may store all the same, and one real
delivery will show. Where the sender's AE title is passed on as the calling one (`$source`), the probe calls itself as
the last delivery did, and a peer that rejects that title is there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from gateway import telemetry
from gateway.config.values import SOURCE_CALLING_AE_TITLE, Destination
from gateway.dicom.status import NOT_AUTHORIZED, SOP_CLASS_NOT_SUPPORTED, SUCCESS, UNRECOGNIZED_OPERATION, describe
from gateway.errors import AssociationRejected, LedgerError, PeerError
from gateway.flow.line import Line
from gateway.flow.window import Window, initial
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread
from gateway.model import Breaker, DestinationState

_NO_ECHO_SERVICE = frozenset({UNRECOGNIZED_OPERATION, SOP_CLASS_NOT_SUPPORTED, NOT_AUTHORIZED})


class Health:
    """A destination's window, and what follows when it changes.

    :param saved: what the ledger kept of it. What was not up then is probed at once.
    :param changed: called when the breaker changed.
    """

    def __init__(
        self,
        destination: Destination,
        ledger: LedgerThread,
        clock_ms: Callable[[], int],
        saved: DestinationState | None,
        changed: Callable[[], None],
    ) -> None:
        self._name = destination.name
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._changed = changed
        self._unsaved = False
        self._last_error = "" if saved is None else saved.last_error
        self._probe_saved = False  # what the ledger says of the next probe is ours
        self.answers = 0  # how many deliveries were answered
        self._another_at = 0.0
        self._another_pause_s = 0.0
        window = initial(destination.max_associations, destination.probe_min_s, destination.probe_max_s)
        if saved is not None and saved.breaker is not Breaker.UP:
            now = _now()
            window = window.failed(now, 0.0, permanent=True).probe_now(now)
        self.window = window
        telemetry.window(destination=self._name, value=window.size)
        telemetry.destination_changed(name=self._name, breaker=window.breaker, reason="starting")

    @property
    def breaker(self) -> Breaker:
        """Up, down or half open."""
        return self.window.breaker

    @property
    def probe_in_s(self) -> float:
        """How long until a probe is due; meaningful while down."""
        return self.window.probe_at - _now()

    def configure(self, destination: Destination) -> None:
        """The configuration changed; while down this is a reason to look again at once."""
        window = self.window.limited(
            destination.max_associations, destination.probe_min_s, destination.probe_max_s
        ).probe_now(_now())
        self._change(window, "the configuration changed")

    def asked(self, state: DestinationState) -> None:
        """What the ledger says now. Down, and a probe due since ever: a person asks for one."""
        if state.breaker is Breaker.DOWN and state.next_probe_at_ms == 0 and self._probe_saved:
            self._probe_saved = False
            self._unsaved = True
            self.window = self.window.probe_now(_now())
            self._changed()

    def ask_for_another(self) -> bool:
        """Whether an association may be asked for now beside those that are open. After a refusal it is one at a time:
        after probe_min, and then after twice as long each time, so that a peer is not asked again and again for more
        than it gives."""
        now = _now()
        if now < self._another_at:
            return False
        if self._another_pause_s:
            self._another_at = now + self._another_pause_s
        return True

    def another_refused(self) -> None:
        """The destination serves us, and gave no further association."""
        window = self.window
        self._another_pause_s = min(max(window.probe_min_s, 2 * self._another_pause_s), window.probe_max_s)
        self._another_at = _now() + self._another_pause_s

    def another_opened(self) -> None:
        """It gave one more."""
        self._another_pause_s = 0.0

    def failed(self, reason: str, *, permanent: bool = False, unanswered: bool = False) -> None:
        """The destination failed; see `Window.failed`."""
        self._change(self.window.failed(_now(), _jitter(), permanent, unanswered), reason)

    def answered(self) -> None:
        """A delivery was answered, in whatever words: it lives."""
        self.answers += 1
        self._change(self.window.succeeded(), "a delivery was answered")

    async def probe(self, line: Line, calling: str) -> None:
        """Probe once, and draw the conclusion. `calling`: the AE title of the last delivery, "" without one."""
        reachable, permanent, text = await _probe(line, calling)
        if self.breaker is Breaker.DOWN:
            self._change(self.window.probed(reachable, _now(), _jitter(), permanent), text)
            self._last_error = "" if reachable else text
            self._unsaved = True

    async def save(self) -> None:
        """Keep breaker and window for the next start and for people to see, if that changed."""
        if not self._unsaved:
            return
        self._unsaved = False
        name, window, error, now_ms = self._name, self.window, self._last_error, self._clock_ms()
        probe_at_ms = now_ms + max(0, int(self.probe_in_s * 1000)) if window.breaker is Breaker.DOWN else 0

        def save(ledger: Ledger) -> None:
            ledger.save_destination(name, window.breaker.value, window.size, error, probe_at_ms, now_ms)

        try:
            await self._ledger.call(save)
            self._probe_saved = window.breaker is Breaker.DOWN
        except LedgerError as failure:
            self._unsaved = True  # people are told the old state until the next try
            telemetry.problem("destination_not_saved", destination=name, reason=str(failure))

    def _change(self, window: Window, reason: str) -> None:
        before, self.window = self.window, window
        if window.size != before.size:
            telemetry.window(destination=self._name, value=window.size)
        if window.breaker is before.breaker:
            return
        telemetry.destination_changed(name=self._name, breaker=window.breaker, reason=reason)
        self._last_error = "" if window.breaker is Breaker.UP else reason
        self._unsaved = True
        self._changed()


async def _probe(line: Line, calling: str) -> tuple[bool, bool, str]:
    """Whether the destination is reachable, whether it says that it will not heal by itself, and a sentence."""
    passed_on = line.destination.calling_ae_title == SOURCE_CALLING_AE_TITLE
    try:
        status = await line.echo(
            (calling or line.destination.ae_title) if passed_on else line.destination.calling_ae_title
        )
    except AssociationRejected as error:
        if passed_on and error.unknown_calling_title:
            return True, False, "the probe was answered"
        return False, error.permanent, str(error)
    except PeerError as error:
        return False, False, str(error)
    if status is None or status == SUCCESS or status in _NO_ECHO_SERVICE:
        return True, False, "the probe was answered"
    return False, False, f"C-ECHO was answered with {describe(status)}"


def _now() -> float:
    return asyncio.get_running_loop().time()


def _jitter() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - jitter
