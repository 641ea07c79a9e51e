"""What of a changed configuration takes effect at once, and what waits for a restart.

Sources and destinations reload; so do the rule files, which are not part of the configuration's values. All else is
in the hands of processes that run already.
"""

from __future__ import annotations

from gateway.config.sections import Section
from gateway.config.tables import ROOT, SECTIONS
from gateway.config.values import Config


def reloadable_changes(old: Config, new: Config) -> tuple[bool, list[str]]:
    """Compare two configurations.

    :returns: whether anything changed that takes effect at once, and the dotted keys (or names of entries that came
        or went) whose change needs a restart, in the order of the tables.
    """
    reloaded = False
    waiting = [key.name for key in ROOT.keys if getattr(old, key.name) != getattr(new, key.name)]
    for name, section in SECTIONS.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if section.reloads:
            reloaded = True
        elif section.named:
            for entry in dict.fromkeys([*before, *after]):
                if entry in before and entry in after:
                    waiting.extend(_differing(section, f"{name}.{entry}", before[entry], after[entry]))
                else:
                    waiting.append(f"{name}.{entry}")
        else:
            waiting.extend(_differing(section, name, before, after))
    return reloaded, waiting


def _differing(section: Section, where: str, old: object, new: object) -> list[str]:
    names = [(key.name, section.field_of(key)) for key in section.keys]
    return [f"{where}.{key}" for key, field in names if getattr(old, field) != getattr(new, field)]
