"""The transforms that nobody writes: each has the copy of an instance in another transfer syntax, without any loss.

A delivery gets one at the end of its chain where its destination does not take the syntax of what it would be sent
(`gateway.dicom.recoding`). It changes nothing else, and is no change to tell of.
"""

from __future__ import annotations

from typing import Final

from gateway.dicom.recoding import RECODINGS, Recoding
from gateway.transform.schema import Step, Transform
from gateway.transform.transcode import Target, Transcode


def _built_in(recoding: Recoding) -> Transform:
    step = Step(1, "transcode", Transcode(Target(recoding.transfer_syntax_uid)))
    return Transform(recoding.name, (step,), recoding.code, is_recorded=False)


BUILT_IN: Final = {name: _built_in(recoding) for name, recoding in RECODINGS.items()}
"""Name → transform."""
