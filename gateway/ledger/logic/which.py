"""An `InstanceFilter` as SQL: conditions on an instance `i` and, where it speaks of deliveries, on a delivery `d`.

Values are always bound; only the conditions themselves, which are our own text, are joined. A filter that names states
of instances and states of deliveries means either: `held` is a word for both.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from gateway.ledger import queries
from gateway.ledger.base import InstanceFilter
from gateway.ledger.look import REASON_MAX

_SQL = queries.load("which")
_OF_DELIVERY = ("delivery_states", "destination", "code", "because")
_NAME_DELIVERIES = ("destination", "code")


class Which:
    """The parts of a filter that restrict, ready to be used in statements."""

    def __init__(self, which: InstanceFilter) -> None:
        given = {field.name: getattr(which, field.name) for field in fields(which)}
        given = {name: value for name, value in given.items() if value}
        self.arguments: dict[str, Any] = {
            name: json.dumps([str(each) for each in value]) if isinstance(value, tuple) else value
            for name, value in given.items()
        }
        if which.because:  # as trouble is grouped
            self.arguments["because"] = which.because[:REASON_MAX]
        self.as_audited = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        self.names_instances = bool(which.instance_ids)
        self._either = "states" in given and "delivery_states" in given
        self.names_deliveries = any(name in given for name in _NAME_DELIVERIES) or (
            "delivery_states" in given and not self._either
        )
        self._because = ("instance_because",) if "because" in given and not self.names_deliveries else ()
        self._given = tuple(given)

    def instance(self) -> str:
        """The conditions on `i` as the owner of deliveries, joined; `TRUE` when there are none."""
        left_out = (*_OF_DELIVERY, "states") if self._either else _OF_DELIVERY
        names = [name for name in self._given if name not in left_out]
        return " AND ".join(_SQL[name] for name in (*names, *(() if self._either else self._because))) or "TRUE"

    def instance_in_any_state(self) -> str:
        """The conditions on `i` but for states."""
        left_out = (*_OF_DELIVERY, "states")
        return " AND ".join(_SQL[name] for name in self._given if name not in left_out) or "TRUE"

    def instance_itself(self) -> str:
        """The conditions on `i` and its own state, whatever its deliveries are."""
        if not self._either:
            return self.instance()
        return " AND ".join([self.instance(), _SQL["states"], *(_SQL[name] for name in self._because)])

    def instance_with_delivery(self) -> str:
        """The conditions on `i`, those on its deliveries included: one of them has to meet them all."""
        if not self.names_deliveries and not self._either:
            return self.instance()
        with_delivery = f"{_SQL['has_delivery']} {self.delivery()})"
        if self._either and "destination" not in self._given:
            itself = " AND ".join(_SQL[name] for name in ("states", *self._because))
            return f"{self.instance()} AND (({itself}) OR {with_delivery})"
        return f"{self.instance()} AND {with_delivery}"

    def delivery(self) -> str:
        """The conditions on `d`, joined; `TRUE` when there are none."""
        left_out = ("because",) if self._because and not self._either else ()
        names = [name for name in self._given if name in _OF_DELIVERY and name not in left_out]
        return " AND ".join(_SQL[name] for name in names) or "TRUE"
