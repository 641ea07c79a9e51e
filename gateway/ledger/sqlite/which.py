"""An `InstanceFilter` as SQL: conditions on an instance `i` and, where it speaks of deliveries, on a delivery `d`.

Values are always bound; only the conditions themselves, which are our own text, are joined.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from gateway.ledger import queries
from gateway.ledger.base import InstanceFilter

_SQL = queries.load("sqlite", "which")
_OF_DELIVERY = ("delivery_states", "destination")


class Which:
    """The parts of a filter that restrict, ready to be used in statements."""

    def __init__(self, which: InstanceFilter) -> None:
        given = {field.name: getattr(which, field.name) for field in fields(which)}
        given = {name: value for name, value in given.items() if value}
        self.arguments: dict[str, Any] = {
            name: json.dumps([str(each) for each in value]) if isinstance(value, tuple) else value
            for name, value in given.items()
        }
        self.as_audited = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        self.names_instances = bool(which.instance_ids)
        self.names_deliveries = any(name in given for name in _OF_DELIVERY)
        self._given = tuple(given)

    def instance(self) -> str:
        """The conditions on `i`, joined; `TRUE` when there are none."""
        return " AND ".join(_SQL[name] for name in self._given if name not in _OF_DELIVERY) or "TRUE"

    def instance_with_delivery(self) -> str:
        """The conditions on `i`, those on its deliveries included: one of them has to meet them all."""
        if not self.names_deliveries:
            return self.instance()
        return f"{self.instance()} AND {_SQL['has_delivery']} {self.delivery()})"

    def delivery(self) -> str:
        """The conditions on `d`, joined; `TRUE` when there are none."""
        return " AND ".join(_SQL[name] for name in self._given if name in _OF_DELIVERY) or "TRUE"
