"""How things are said to people, on a terminal and on a page alike: times, durations, sizes, counts, and foreign text.

Pure, but for the time zone of the machine.
"""

from __future__ import annotations

from datetime import datetime

TEXT_LIMIT = 500


def when(at_ms: int) -> str:
    """A wall-clock time for people, local, to the second; "" for 0."""
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """A duration for people: two places at most."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left = max(0, int(seconds))
    parts: list[str] = []
    for name, size in units:
        if left >= size or (name == "s" and not parts):
            parts.append(f"{left // size} {name}")
            left %= size
        if len(parts) == 2:
            break
    return " ".join(parts)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def plain(value: object, limit: int = TEXT_LIMIT) -> str:
    """Text as a person may see it: on one line, unable to move the cursor or colour the screen, cut at `limit`.

    Letters of every script stay; control and format characters, line breaks and backslashes become escapes (`\\x1b`).
    """
    text = str(value)
    cut = text[: limit - 3] + "..." if len(text) > limit else text
    if cut.isprintable() and "\\" not in cut:
        return cut
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in cut
    )


def counted(number: int, what: str) -> str:
    """`1 rule`, `2 rules`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
