"""What is wrong between values that are each right: addresses taken twice, loops, senders that nobody could be.

Every check looks at the sections that could be read, so that one bad value does not hide these problems. `places`
maps the dotted way of a value (`listeners.main.port`) to where it stands in the file.
"""

from __future__ import annotations

import ipaddress
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from gateway.config.units import format_duration
from gateway.config.values import ConsoleConfig, Destination, HttpAddress, Listener, RulesConfig, Source, SpoolConfig
from gateway.document import Place
from gateway.errors import Problem

# File systems whose locks or memory maps another machine may not see. SQLite's write-ahead log needs both to be true.
_NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "davfs", "afs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"),
        *("ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2"),
    }
)
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class _Address:
    where: str
    host: str
    port: int


def check(ae_title: str, state_dir: Path, parts: Mapping[str, Any], places: Mapping[str, Place]) -> list[Problem]:
    """Every problem between values.

    :param parts: section name → its value, None where it could not be read; named sections hold what could be.
    """
    listeners: Mapping[str, Listener] = parts["listeners"]
    destinations: Mapping[str, Destination] = parts["destinations"]
    found: list[tuple[str, str]] = []
    found.extend(_senders(listeners, parts["sources"], places))
    found.extend(_addresses(listeners, parts["metrics"], parts["console"], places))
    for destination in destinations.values():
        found.extend(_loop(destination, listeners))
        found.extend(_waits(destination))
    found.extend(_folders(state_dir, parts["spool"], parts["rules"]))
    return [_nearest(where, places).problem(f"{where}: {message}") for where, message in found]


def _nearest(where: str, places: Mapping[str, Place]) -> Place:
    """Where a value stands, or, when it is a default, what it belongs to."""
    while where and where not in places:
        where = where.rpartition(".")[0]
    return places[where]


def _senders(
    listeners: Mapping[str, Listener], sources: Mapping[str, Source], places: Mapping[str, Place]
) -> Iterator[tuple[str, str]]:
    if not any(where.startswith("listeners.") for where in places):
        yield "listeners", "there is none: the gateway could not receive anything"
    strangers = not listeners or any(listener.accept_unknown for listener in listeners.values())
    if not strangers and not any(where.startswith("sources.") for where in places):
        yield "sources", "there is none, and no listener has accept_unknown: true: nobody could send"
    for source in sources.values():
        if not source.ae_titles and not source.hosts:
            yield (
                f"sources.{source.name}",
                "would be anybody: give ae_titles or hosts, or set accept_unknown: true at a listener",
            )


def _addresses(
    listeners: Mapping[str, Listener],
    metrics: HttpAddress | None,
    console: ConsoleConfig | None,
    places: Mapping[str, Place],
) -> Iterator[tuple[str, str]]:
    taken = [_Address(f"listeners.{name}", listener.host, listener.port) for name, listener in listeners.items()]
    taken += [
        _Address(name, address.host, address.port)
        for name, address in (("metrics", metrics), ("console", console))
        if address is not None
    ]
    for first, second in combinations(taken, 2):
        overlap = first.host == second.host or _is_wildcard(first.host) or _is_wildcard(second.host)
        if first.port == second.port and overlap:
            # The complaint belongs to a port that a person wrote, not to a default.
            late, early = (second, first) if f"{second.where}.port" in places else (first, second)
            yield f"{late.where}.port", f"port {late.port} is taken by {early.where} already"


def _loop(destination: Destination, listeners: Mapping[str, Listener]) -> Iterator[tuple[str, str]]:
    for listener in listeners.values():
        if destination.port != listener.port:
            continue
        here = _is_loopback(destination.host) or destination.host == socket.gethostname().lower()
        if destination.host == listener.host or (here and (_is_wildcard(listener.host) or _is_loopback(listener.host))):
            yield (
                f"destinations.{destination.name}.port",
                f"is the gateway's own listener {listener.name}: instances would go round for ever",
            )


def _waits(destination: Destination) -> Iterator[tuple[str, str]]:
    pairs = (
        ("retry", destination.retry_min_s, destination.retry_max_s),
        ("probe", destination.probe_min_s, destination.probe_max_s),
    )
    for name, shortest_s, longest_s in pairs:
        if shortest_s > longest_s:
            yield (
                f"destinations.{destination.name}.{name}_min",
                f"{format_duration(shortest_s)} is longer than {name}_max, {format_duration(longest_s)}",
            )


def _folders(state_dir: Path, spool: SpoolConfig | None, rules: RulesConfig | None) -> Iterator[tuple[str, str]]:
    for where, folder in (("state_dir", state_dir), ("spool.dir", spool.dir if spool else None)):
        if folder is not None and _is_folder(folder) is False:
            yield where, f"{str(folder)!r} is there and is not a folder"
    if rules is not None and not _is_folder(rules.dir):
        yield "rules.dir", f"there is no folder {str(rules.dir)!r}, or it cannot be looked at"
    kind = network_file_system(state_dir, _mounts())
    if kind:
        yield (
            "state_dir",
            f"{str(state_dir)!r} is on a network share ({kind}): the ledger needs a local disk",
        )


def _is_folder(path: Path) -> bool | None:
    """None where there is nothing, or nothing that may be looked at: whoever opens it will say why."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return None


def _mounts() -> str:
    try:
        return _MOUNTS.read_text(errors="replace")
    except OSError:
        return ""  # not Linux, or /proc is hidden: then nobody can tell


def network_file_system(path: Path, mountinfo: str) -> str | None:
    """The type of the network file system that a path is on, or None.

    :param mountinfo: the text of /proc/self/mountinfo (proc(5)); later lines cover earlier ones.
    """
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        if not separator or len(left.split()) < 5 or not right.split():
            continue
        mount_point = Path(left.split()[4].replace("\\040", " "))
        if path.is_relative_to(mount_point) and len(mount_point.parts) >= best:
            best, kind = len(mount_point.parts), right.split()[0]
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def _is_wildcard(host: str) -> bool:
    return host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound


def _is_loopback(host: str) -> bool:
    if host in {"localhost", "localhost."} or _is_wildcard(host):  # to connect to 0.0.0.0 is to connect to this host
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
