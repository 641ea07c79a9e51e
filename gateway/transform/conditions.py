"""`when:` of a step to a matcher. The one place here that knows how rules read their conditions."""

from __future__ import annotations

from gateway.document import Node
from gateway.errors import Problem
from gateway.rules.conditions import MatchReader
from gateway.rules.match import Matcher
from gateway.rules.shared import Shared


def read_conditions(node: Node, problems: list[Problem], shared: Shared) -> Matcher:
    """The conditions of a `when:`, which can name what is `shared`; what is wrong is added to `problems`."""
    return MatchReader(problems, shared).read(node)
