"""Kinds of values that DICOM and networks define: AE titles, UIDs, statuses, hosts, addresses, URLs of other servers.

See `gateway.config.kinds` for what a kind is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.kinds import TEXT_SCHEMA, MapOf, Text, choice, did_you_mean
from gateway.config.values import SOURCE_CALLING_AE_TITLE, Disposition, Network

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_STATUS_PATTERN = re.compile(r"0[xX]([0-9A-Fa-fxX]{4})")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")


def parse_ae_title(text: str) -> str:
    """An AE title, PS3.5 Table 6.2-1: 1 to 16 printable ASCII characters, no backslash; outer spaces do not count."""
    title = text.strip(" ")
    if not 1 <= len(title) <= 16:
        raise ValueError("is not an AE title: it must have 1 to 16 characters")
    if "\\" in title or not (title.isascii() and title.isprintable()):
        raise ValueError("is not an AE title: only printable ASCII characters but the backslash are allowed")
    return title


def _accepted_ae_title(text: str) -> str:
    title = parse_ae_title(text)
    if "*" in title or "?" in title:
        raise ValueError("is taken letter by letter here, not as a pattern: list every title, or leave the list empty")
    return title


def _calling_ae_title(text: str) -> str:
    if text.startswith("$") and text != SOURCE_CALLING_AE_TITLE:
        raise ValueError(f"is not known here; write {SOURCE_CALLING_AE_TITLE} to keep the sender's AE title")
    return parse_ae_title(text)


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    if re.fullmatch(r"\[.*\]|[^:]+:[0-9]+", text) or "/" in text:
        raise ValueError("is not a host: write the address or name alone, and the port under its own key")
    # A name of digits and points only is a mistyped address, not a name (RFC 1123 2.1).
    if len(text) > 253 or not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[0-9.]+", text):
        raise ValueError("is neither an IP address nor a host name")
    return text.lower()


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is not an IP address or network such as 10.1.0.0/16; names are not looked up here") from None
    raise ValueError(f"is not a network: it has bits beyond the mask; did you mean {str(meant)!r}?")


def _uid(is_transfer_syntax: bool) -> Callable[[str], str]:
    what = "transfer syntax" if is_transfer_syntax else "SOP class"

    def convert(text: str) -> str:
        # Late, because it costs a tenth of a second and most configurations name no UID.
        from pydicom.uid import UID_dictionary

        if _UID.fullmatch(text):
            if len(text) > 64:
                raise ValueError("is not a UID: it has more than 64 characters (PS3.5 9.1)")
            entry = UID_dictionary.get(text)
            if entry is not None and (entry[1] == "Transfer Syntax") is not is_transfer_syntax:
                raise ValueError(f"is not a {what}: it is {entry[0]}")
            return text
        keywords = {
            str(entry[4]): str(uid)
            for uid, entry in UID_dictionary.items()
            if entry[4] and entry[1] in ({"Transfer Syntax"} if is_transfer_syntax else {"SOP Class", "Meta SOP Class"})
        }
        if text in keywords:
            return keywords[text]
        if text[:1].isdigit():
            raise ValueError("is not a UID: numbers without leading zeros, joined by points (PS3.5 9.1)")
        hint = did_you_mean(text, keywords)
        raise ValueError(f"is not the keyword of a {what}{hint if 'did you mean' in hint else ''}")

    return convert


def _status_pattern(text: str) -> str:
    match = _STATUS_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError("is not a status pattern: write 0x and four digits, with x for any digit, such as 0xA7xx")
    digits = match[1].upper().replace("X", "x")
    if all(digit in "0x" for digit in digits):
        raise ValueError("would match 0x0000: success cannot mean anything else")
    return "0x" + digits


def _url(word: str, schemes: tuple[str, ...], form: str) -> Callable[[str], str]:
    """A word, or a URL of one of these schemes. A password may stand in it: no message repeats any of it."""

    def convert(text: str) -> str:
        if text == word:
            return text
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in schemes:
            raise ValueError(f"must be {word!r} or {form}")
        if not rest.rpartition("@")[2].partition("?")[0].strip("/"):
            raise ValueError(f"names no host; it must be {form}")
        if rest.partition("?")[0].count("@") > 1 or any(each in text for each in "# \t"):
            raise ValueError("has @, # or a space in a name or a password; write them as %40, %23 and %20")
        return text

    return convert


def _ae_title_schema(first: str, others: str) -> Mapping[str, Any]:
    """PS3.5 Table 6.2-1, with spaces around it: one character of `first`, and up to 15 of `others` and spaces."""
    return {**TEXT_SCHEMA, "pattern": rf"^ *(\$source|[{first}]([{others} ]{{0,14}}[{others}])?) *$"}


_STRING = {"type": "string"}

AE_TITLE = Text("AE title", parse_ae_title, schema=_ae_title_schema(r"!-\[\]-~", r"!-\[\]-~"))
ACCEPTED_AE_TITLE = Text("AE title", _accepted_ae_title, schema=_ae_title_schema(r"!-)+->@-\[\]-~", r"!-)+->@-\[\]-~"))
CALLING_AE_TITLE = Text(
    "AE title or `$source`", _calling_ae_title, schema=_ae_title_schema(r"!-#%-\[\]-~", r"!-\[\]-~")
)
HOST = Text("IP address or host name", _host, schema=_STRING)
NETWORK = Text("IP address or network", _network, schema=_STRING)
SOP_CLASS = Text("SOP class UID or keyword", _uid(False), schema=_STRING)
TRANSFER_SYNTAX = Text("transfer syntax UID or keyword", _uid(True), schema=_STRING)
STATUSES = MapOf("status pattern → disposition", _status_pattern, choice(Disposition), f"^{_STATUS_PATTERN.pattern}$")
LEDGER_URL = Text(
    "`sqlite` or `postgresql://…`", _url("sqlite", ("postgresql",), "postgresql://user@host/database"), secret=True
)
QUEUE_URL = Text(
    "`local` or `redis://…`",
    _url("local", ("redis", "rediss", "redis+sentinel", "rediss+sentinel"), "redis://host:6379/0"),
    secret=True,
)
