"""How often a log-in may be tried: by address, and by name.

Each has a bucket of tries that fills up again with time. A try takes one of both; one that succeeds gives them back. An
empty bucket says how long to wait. So one address that guesses is stopped after ADDRESS_TRIES, whatever names it
guesses, and a name that many addresses guess after NAME_TRIES.

Nobody is locked out for ever: buckets fill by themselves. A name at an address from which its owner has logged in
before has a bucket of its own instead of both: neither those who guess from elsewhere stop him, nor those who guess
other names from there (behind one address there may be many). The bucket of a name does not stop this machine. An IPv6
address counts by its /64, which is one customer's.

Pure: time is an argument. At most MOST buckets and known addresses are kept; what was not touched for the longest time
is forgotten first.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

ADDRESS_TRIES, ADDRESS_REFILL_S = 10, 30.0
NAME_TRIES, NAME_REFILL_S = 20, 30.0
MOST = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class _Buckets:
    """Buckets by key, each with `tries` in it when it is full."""

    def __init__(self, tries: int, refill_s: float) -> None:
        self._tries = tries
        self._refill_s = refill_s
        self._known: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, key: str, now_s: float) -> float:
        """How long until there is one; 0.0 where there is."""
        left = self._left(key, now_s)
        return 0.0 if left >= 1 else (1 - left) * self._refill_s

    def take(self, key: str, now_s: float) -> None:
        """One try less."""
        self._put(key, max(0.0, self._left(key, now_s) - 1), now_s)

    def give_back(self, key: str, now_s: float) -> None:
        """One try more, which was none."""
        self._put(key, self._left(key, now_s) + 1, now_s)

    def _left(self, key: str, now_s: float) -> float:
        bucket = self._known.get(key)
        if bucket is None:
            return float(self._tries)
        return min(float(self._tries), bucket.left + (now_s - bucket.at_s) / self._refill_s)

    def _put(self, key: str, left: float, now_s: float) -> None:
        self._known[key] = _Bucket(min(left, float(self._tries)), now_s)
        self._known.move_to_end(key)
        while len(self._known) > MOST:
            self._known.popitem(last=False)


class Throttle:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._addresses = _Buckets(ADDRESS_TRIES, ADDRESS_REFILL_S)
        self._names = _Buckets(NAME_TRIES, NAME_REFILL_S)
        self._pairs = _Buckets(ADDRESS_TRIES, ADDRESS_REFILL_S)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, address: str, name: str, now_s: float) -> float:
        """How long this address has to wait before it may try this name; 0.0: it may now."""
        return max(buckets.wait_s(key, now_s) for buckets, key in self._counting(address, name))

    def take(self, address: str, name: str, now_s: float) -> None:
        """A try begins."""
        for buckets, key in self._counting(address, name):
            buckets.take(key, now_s)

    def give_back(self, address: str, name: str, now_s: float) -> None:
        """The try that was taken was none."""
        for buckets, key in self._counting(address, name):
            buckets.give_back(key, now_s)

    def succeeded(self, address: str, name: str, now_s: float) -> None:
        """The try that was taken was the name's owner: it did not count, and the address is known from now on."""
        self.give_back(address, name, now_s)
        self._known[(name, network_of(address))] = None
        self._known.move_to_end((name, network_of(address)))
        while len(self._known) > MOST:
            self._known.popitem(last=False)

    def _counting(self, address: str, name: str) -> list[tuple[_Buckets, str]]:
        """The buckets that count for a name at an address."""
        network = network_of(address)
        if (name, network) in self._known:
            return [(self._pairs, f"{network} {name}")]
        of_address = (self._addresses, network)
        return [of_address] if _is_this_machine(address) else [of_address, (self._names, name)]


def network_of(address: str) -> str:
    """What an address counts as: itself, or the /64 that an IPv6 address is in."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 6:
        mapped = found.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _is_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
