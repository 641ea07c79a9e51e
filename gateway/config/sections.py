"""What a section of gateway.yaml is: a mapping of keys, each with its kind and the sentence that explains it.

The sections themselves are in `gateway.config.tables`, and what may stand below a key in `gateway.config.nested`.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Final

from gateway.config import values as v
from gateway.config.kinds import Kind

REQUIRED: Final = object()
"""The default of a key that must be given."""


@dataclass(frozen=True, slots=True)
class Nested:
    """Instead of a kind: a mapping with keys of its own. Left out, the value is None."""

    section: Section
    structured = True

    @property
    def words(self) -> str:
        """What the reference table says about it."""
        return f"mapping, see [`{self.section.name}`](#{self.section.name.replace('.', '')})"


@dataclass(frozen=True, slots=True)
class Key:
    """One row. `computed` says in words (Markdown) what the loader takes when the key is left out."""

    name: str
    kind: Kind | Nested
    words: str
    computed: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of the file. `named` sections hold one such mapping a name; `model` is what it becomes.

    `reloads` says whether a change takes effect without a restart.
    """

    name: str
    model: type
    keys: tuple[Key, ...]
    named: bool = False
    reloads: bool = False

    def key(self, name: str) -> Key | None:
        """The row of a key."""
        return next((key for key in self.keys if key.name == name), None)

    def field_of(self, key: Key) -> str:
        """The field of `model` that a key fills: its name, with the unit where there is one."""
        known = {field.name for field in fields(self.model)}
        return next(name for name in (key.name, f"{key.name}_s", f"{key.name}_bytes") if name in known)

    def default(self, key: Key) -> Any:
        """The value of a key that is left out, or REQUIRED. Not asked for keys with a computed default."""
        name = self.field_of(key)
        whole = _default_of(next((field for field in fields(v.Config) if field.name == self.name), None))
        if whole is not REQUIRED and not self.named:
            return getattr(whole, name)
        return _default_of(next(field for field in fields(self.model) if field.name == name))


def _default_of(field: Field[Any] | None) -> Any:
    if field is not None and field.default is not MISSING:
        return field.default
    if field is not None and field.default_factory is not MISSING:
        return field.default_factory()
    return REQUIRED
