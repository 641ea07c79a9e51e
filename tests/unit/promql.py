"""What an expression of PromQL names: metrics, and the labels it selects and groups by.

Not a parser: strings are put aside, and what is neither a function, a keyword nor a number is a metric or a label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LISTS = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
_METRIC = re.compile(r"\b(gateway_\w+|process_\w+|up|ALERTS)\b(?!\s*\()(?:\{([^}]*)\})?")


@dataclass(frozen=True)
class Named:
    """What an expression names."""

    metrics: frozenset[str]
    selected: frozenset[tuple[str, str]]  # metric and label of its selectors
    grouped: frozenset[str]  # labels of by, on and the like


def named(expression: str) -> Named:
    """See the module's docstring."""
    text = re.sub(r'"[^"]*"', '""', expression)
    lists = [word.strip() for found in re.findall(_LISTS, text) for word in found.split(",") if word.strip()]
    metrics, selected = set(), set()
    for metric, selectors in _METRIC.findall(re.sub(_LISTS, "", text)):
        metrics.add(metric)
        selected |= {(metric, label) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors)}
    return Named(frozenset(metrics), frozenset(selected), frozenset(lists))
