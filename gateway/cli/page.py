"""The page of `gateway rules explain --html`: one file that holds all it shows, and asks nobody for anything.

Whatever is put into the template goes through `plain` (control characters and those that turn the direction of text
become escapes such as `\\x1b`) and is then escaped for HTML, without exception: what a sender wrote is text.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway import __version__
from gateway.cli.common import now_ms, plain, when
from gateway.console.services.explained import Explained, known_as, sent_as, sentence, verdict

_PRIORITIES = {1: "high", 0: "normal", -1: "low"}


def page(explained: Sequence[Explained]) -> str:
    """The page, as HTML."""
    environment = Environment(
        loader=PackageLoader("gateway.cli", "templates"),
        autoescape=True,
        finalize=plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files = [_facts(each) for each in explained]
    return environment.get_template("explain.html").render(files=files, version=__version__, at=when(now_ms()))


def _facts(explained: Explained) -> dict[str, object]:
    part10, facts, decision = explained.file.part10, explained.facts, explained.decision
    came = {
        "SOP class": known_as(part10.sop_class_uid),
        "SOP instance": part10.sop_instance_uid,
        "transfer syntax": known_as(part10.transfer_syntax_uid),
        "source": facts.source,
        "calling AE title": facts.calling_ae_title,
        "called AE title": facts.called_ae_title,
        "host": facts.peer_host,
        "listener": facts.listener,
        "revision of the rules": decision.revision,
        "priority": _PRIORITIES[explained.priority],
    }
    return {
        "name": explained.file.path,
        "came": {name: value for name, value in came.items() if value},
        "sentence": sentence(explained),
        "kind": "stopped" if decision.hold is not None or decision.discard is not None else "sent",
        "rules": [(rule.rule, verdict(rule), rule.failing) for rule in explained.rules],
        "sent": sent_as(decision),
        "copies": [
            (chain, "" if isinstance(changed, list) else changed, changed if isinstance(changed, list) else [])
            for chain, changed in explained.copies.items()
        ],
    }
