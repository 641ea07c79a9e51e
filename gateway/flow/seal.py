"""The ledger of originals, on the worker's side: what stands behind pseudonyms is sealed, and handed to the ledger.

A patient, a study and a series come with each of their instances; what this process knows to be in the ledger is not
sealed again. It knows that of what a transaction has recorded, and of nothing else: entries whose transaction failed,
or whose lease was lost, are sealed anew with the next copy. What is forgotten here is sealed and recorded once more,
and the ledger leaves it as it is.

The worker calls; the public key is a value that it is handed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from gateway.errors import TransformError
from gateway.model import Sealed
from gateway.transform.deidentify.remember import Remembered
from gateway.transform.deidentify.seal import PublicKey, seal

KNOWN = 8192
_MARK_BYTES = 16


class Sealer:
    """Seals for one public key. `known`: how many entries it remembers to be in the ledger."""

    def __init__(self, public_key: PublicKey, known: int = KNOWN) -> None:
        self._public_key = public_key
        self._most = known
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def seal(self, remembered: Sequence[Remembered]) -> tuple[Sealed, ...]:
        """Seal what is not known to be in the ledger."""
        found = []
        for each in remembered:
            mark = self._mark(each.mark)
            if (each.pseudonym, mark) in self._known:
                self._known.move_to_end((each.pseudonym, mark))
            else:
                box = seal(self._public_key, each.pseudonym, each.attributes)
                found.append(Sealed(each.pseudonym, mark, box))
        return tuple(found)

    def recorded(self, entries: Iterable[Sealed]) -> None:
        """A transaction that was committed has these."""
        for pseudonym, mark, _ in entries:
            self._known[pseudonym, mark] = None
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def _mark(self, mark: str) -> bytes:
        """An original sealed for another key is another entry: who has lost a private key must get it again."""
        return hashlib.sha256(self._public_key.key_id + mark.encode("ascii")).digest()[:_MARK_BYTES]


class LostSealer(Sealer):
    """For a key that is not that of the start, or cannot be read: no copy is made of which something had to be kept."""

    def __init__(self, why: str) -> None:
        super().__init__(PublicKey(b""))
        self._why = why

    def seal(self, remembered: Sequence[Remembered]) -> tuple[Sealed, ...]:
        """Nothing, of nothing.

        :raises TransformError: there is something to keep.
        """
        if remembered:
            raise TransformError(self._why)
        return ()
