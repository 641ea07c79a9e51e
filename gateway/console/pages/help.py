"""docs/operations.md as a page: what the console's sentences lead to. Nothing of this gateway stands in it.

The file comes with the package (`gateway/console/help`), or, where the gateway runs from its source, from docs/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.asks import public
from gateway.console.pages.site import Site

_PACKAGED = Path(__file__).parents[1] / "help" / "operations.md"
_SOURCE = Path(__file__).parents[3] / "docs" / "operations.md"


def routes(site: Site) -> list[Route]:
    """The page."""
    return [Route("/help", public(partial(_page, site)))]


async def _page(site: Site, request: Request) -> Response:
    text, contents = handbook()
    return await site.renderer.page(request, "help.html", text=text, contents=contents)


@lru_cache(maxsize=1)
def handbook() -> tuple[Markup, tuple[tuple[int, str, str], ...]]:
    """The page, and its headings: level, anchor, title."""
    path = _PACKAGED if _PACKAGED.exists() else _SOURCE
    return rendered(re.sub(r"<!--.*?-->\n?", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))


def rendered(text: str) -> tuple[Markup, tuple[tuple[int, str, str], ...]]:
    """Markdown as HTML, each heading with the anchor that GitHub gives it. Links to other files become their names."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    contents = []
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            title = _plain_text(tokens[at + 1].content)
            token.attrSet("id", anchor(title))
            if 2 <= int(token.tag[1]) <= 3:
                contents.append((int(token.tag[1]), anchor(title), title))
        for child in token.children or ():
            if child.type == "link_open" and not str(child.attrGet("href")).startswith("#"):
                child.tag = "span"
                child.attrs = {}
    _close_alike(tokens)
    return Markup(reader.renderer.render(tokens, reader.options, {})), tuple(contents)  # noqa: S704 - html is off


def _close_alike(tokens: Sequence[object]) -> None:
    """What was opened as a span is closed as one."""
    for token in tokens:
        tag = "a"
        for child in getattr(token, "children", None) or ():
            if child.type == "link_open":
                tag = child.tag
            elif child.type == "link_close":
                child.tag = tag


def anchor(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _plain_text(title: str) -> str:
    return title.replace("`", "")
