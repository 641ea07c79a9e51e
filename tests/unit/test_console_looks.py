"""What the console's files promise before a browser sees them: contrast, no inline script or style, vendored files."""

from __future__ import annotations

import hashlib
import re
from itertools import product
from pathlib import Path

import pytest

import gateway.console

CONSOLE = Path(gateway.console.__file__).parent
STYLES = (CONSOLE / "static" / "console.css").read_text(encoding="utf-8")
TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))
OWN_FILES = [*TEMPLATES, *sorted((CONSOLE / "static").glob("*.*"))]
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", STYLES)
}
GROUNDS = ("paper", "card", "sunk")


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("light", [0, 1], ids=["light", "dark"])
def test_text_and_lamps_stand_out_from_what_they_are_on(light: int) -> None:
    texts = ("ink", "dim", "accent", "good", "warn", "bad")
    pairs = [*product(texts, GROUNDS), ("on-accent", "accent"), *((tone, f"{tone}-soft") for tone in texts[3:])]
    pairs += [
        ("ink", "bad-soft"),
        ("ink", "warn-soft"),
        ("dim", "bad-soft"),
        ("dim", "warn-soft"),
        ("series-4", "card"),
    ]
    faint = {(text, ground): contrast(TOKENS[text][light], TOKENS[ground][light]) for text, ground in pairs}
    assert not {pair: ratio for pair, ratio in faint.items() if ratio < 4.5}


@pytest.mark.parametrize("light", [0, 1], ids=["light", "dark"])
def test_edges_of_fields_and_lines_of_charts_can_be_seen(light: int) -> None:
    for token in ("edge", "accent", "series-1", "series-2", "series-3", "series-4"):
        assert contrast(TOKENS[token][light], TOKENS["card"][light]) >= 3, token


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_script_or_style_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)|hx-on|hx-vals='js", text)
    assert "|safe" not in text and "autoescape" not in text


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.name)
def test_nothing_names_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//[a-z0-9]+\.[a-z]", text)


def test_the_vendored_files_are_those_of_the_table() -> None:
    vendor = CONSOLE / "static" / "vendor"
    told = dict(re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", (vendor / "README.md").read_text(), re.MULTILINE))
    files = [path for path in vendor.rglob("*") if path.suffix in (".js", ".css")]
    assert {str(path.relative_to(vendor)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == told
    assert all((path.parent / "LICENSE").exists() for path in files)


def test_there_are_small_pictures_of_every_page_in_both_themes() -> None:
    images = CONSOLE.parents[1] / "docs" / "images"
    sizes = {path.stem: path.stat().st_size for path in images.glob("*.png")}
    assert max(sizes.values()) <= 150_000 and sum(sizes.values()) <= 3_000_000
    pages = {path.stem for path in TEMPLATES} - {
        "base",
        "bare",
        "components",
        "parts",
        "setup",
        "account",
        "download",
        "order",
    }
    assert {f"{page}-{theme}" for page in pages | {"dialog"} for theme in ("light", "dark")} <= set(sizes)
    assert {f"{scene}-overview-{theme}" for scene in ("empty", "year") for theme in ("light", "dark")} <= set(sizes)
