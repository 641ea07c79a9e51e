"""Rule files with colours, made on the server: each token a span with a class, each line one with its number.

YAML by Pygments' lexer; any other file (the tables of rules) as it is. What a file says is escaped, token by token.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from markupsafe import Markup, escape

from gateway.words import plain

LIMIT = 200_000  # characters that are coloured and shown; the rest is left out, and said so


@lru_cache(maxsize=64)
def highlighted(name: str, text: str) -> Markup:
    """A file as lines of spans."""
    shown, left = text[:LIMIT], len(text) - LIMIT
    lines = _lines(name, shown)
    body = Markup("").join(Markup('<span class="line">{}</span>').format(line) for line in lines)
    if left > 0:
        body += Markup('<span class="line"><span class="comment">… {} characters more</span></span>').format(left)
    return body


def _lines(name: str, text: str) -> Iterator[Markup]:
    line = Markup("")
    for css, value in _tokens(name, text):
        first, *rest = value.split("\n")
        line += _span(css, first)
        for part in rest:
            yield line
            line = _span(css, part)
    if line:
        yield line


def _span(css: str, value: str) -> Markup:
    if not value:
        return Markup("")
    safe = escape(value if value.isprintable() else "".join(c if c in "\t" else plain(c) for c in value))
    return Markup('<span class="{}">{}</span>').format(css, safe) if css else safe


def _tokens(name: str, text: str) -> Iterator[tuple[str, str]]:
    if not name.endswith((".yaml", ".yml")):
        yield "", text
        return
    from pygments.lexers.data import YamlLexer
    from pygments.token import Comment, Literal, Name, Number, Punctuation, String

    classes = (
        (Comment, "comment"),
        (Name.Tag, "key"),
        (Number, "number"),
        (String, "string"),
        (Literal, "value"),
        (Punctuation, "mark"),
    )
    for kind, value in YamlLexer(ensurenl=False, stripnl=False).get_tokens(text):
        yield next((css for of, css in classes if kind in of), ""), value
