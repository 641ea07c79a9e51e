"""Pages: what a sender wrote is text, an order tells the next page what it did, and rules and help come as HTML."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.app.configured import sync_destinations
from gateway.cli import build_parser
from gateway.console.access.roles import How, Person, Role
from gateway.console.notices import ROUTING_OLD_S, Notice, NoticeKind
from gateway.console.pages.filters import bins, grouped, short
from gateway.console.pages.help import anchor, handbook, rendered
from gateway.console.pages.highlight import LIMIT, highlighted
from gateway.console.pages.render import Renderer, Standing, told
from gateway.console.pages.searches import MOST, Searches
from gateway.console.pages.site import sent
from gateway.console.services import advice
from gateway.ledger.base import Left
from gateway.ledger.look import AgeCell, StudyFilter, Trouble, TroubleKind, TroubleOf
from gateway.model import Breaker, DestinationState, Owner
from gateway.reasons import Distrusted, Unrouted
from gateway.telemetry import registry
from tests.contract.ledger_scene import arrival
from tests.harness.console import console
from tests.unit.test_docs_operations import sections

LIVE = {"hx-request": "true", "hx-target": "live"}
NOW_MS = 1_700_000_000_000
HOSTILE = "Doe^<script>alert(1)</script>\r\n\x1b[31m\u202e'; DROP TABLE study;--$(reboot)"
OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def request(path: str = "/", role: Role | None = Role.OPERATOR, **headers: str) -> Request:
    person = Person("mia", role, How.SESSION) if role else None
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": raw}
    return Request({**scope, "state": {"person": person, "csrf_token": "token"}})


def page(request: Request, template: str = "error.html", reasons: tuple[str, ...] = (), **values: Any) -> Response:
    async def standing() -> Standing:
        return Standing(reasons, 12, "gw1")

    shown = {"problem_title": "No such study", "detail": "gone", **values}
    return asyncio.run(Renderer(standing, lambda: NOW_MS).page(request, template, **shown))


def text_of(response: Response) -> str:
    return bytes(response.body).decode()


def test_what_a_sender_wrote_is_text() -> None:
    text = text_of(page(request(), detail=HOSTILE))
    assert "Doe^&lt;script&gt;alert(1)&lt;/script&gt;\\r\\n\\x1b[31m\\u202e&#39;; DROP TABLE study;--$(reboot)" in text
    assert "alert(1)</script>" not in text


def test_what_a_person_typed_comes_back_into_its_field_unchanged() -> None:
    shown = page(request(role=None), "login.html", name='a"\\b', next="/", mistake="", oidc="", setup=False)
    assert 'value="a&#34;\\b"' in text_of(shown)


def test_the_head_shows_what_a_role_may_and_how_the_host_stands() -> None:
    everything = text_of(page(request("/attention"), reasons=("spool_low", "no_rules")))
    assert 'href="/studies"' in everything and 'href="/audit"' in everything
    assert re.search(r'href="/attention" aria-current="page">Attention <span class="badge warn">12', everything)
    assert "spool low and 1 more" in everything
    counts_only = text_of(page(request(role=Role.OBSERVER)))
    assert 'href="/studies"' not in counts_only and 'href="/audit"' not in counts_only
    nobody = text_of(page(request(role=None)))
    assert 'href="/queue"' not in nobody and "gw1" not in nobody


def test_a_dialog_gets_the_content_alone() -> None:
    text = text_of(page(request(hx_target="dialog-content")))
    assert text.lstrip().startswith("<section") and "<html" not in text


@pytest.mark.parametrize(("cookie", "said"), [("dark", ' data-theme="dark"'), ('"><script>', ""), ("", "")])
def test_the_theme_is_one_of_two_whatever_the_cookie_says(cookie: str, said: str) -> None:
    assert f'<html lang="en"{said}>' in text_of(page(request(cookie=f"theme={cookie}")))


def test_an_order_tells_the_next_page_what_it_did_and_only_that_one() -> None:
    cookie = told(RedirectResponse("/"), "hold", 12, 3, Left.CLAIMED).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    shown = page(request(cookie=cookie.partition(";")[0]))
    assert "12 deliveries held" in text_of(shown) and "3 are being sent already" in text_of(shown)
    assert 'notice=""' in shown.headers["set-cookie"]


@pytest.mark.parametrize(
    "cookie",
    ["call 555.1.1.", "hold.<b>.1.", "hold", "hold.1.1", "hold.1.1.1", "hold.1.1.call 555", "phone.1.1.claimed"],
)
def test_no_cookie_has_the_console_say_anything_else(cookie: str) -> None:
    assert 'role="status"' not in text_of(page(request(cookie=f"notice={cookie}")))


def test_a_page_that_asks_for_itself_keeps_nobody_logged_in_who_has_gone_away(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        async with console(tmp_path) as site:
            observer, codes = await site.as_("observer"), []
            for headers in ({}, LIVE, LIVE, LIVE):
                site.clock.pass_(1300)
                codes.append((await observer.get("/queue", headers=headers)).status_code)
            return codes

    assert asyncio.run(scenario()) == [200, 200, 200, 401]


def test_the_overview_says_what_to_do_when_the_ledger_does_not_answer(tmp_path: Path) -> None:
    async def scenario() -> tuple[str, int]:
        async with console(tmp_path) as site:
            observer = await site.as_("observer")
            for path in site.context.config().state_dir.glob("ledger.db*"):
                path.write_bytes(b"no database" * 10_000)
            return (await observer.get("/")).text, (await observer.get("/queue")).status_code

    text, status = asyncio.run(scenario())
    assert "The ledger does not answer" in text and "Look at the database and its disk first" in text
    assert "received, ever" not in text and "all is well" not in text
    assert status in (500, 503)


def test_the_overview_says_out_of_the_ledger_that_nobody_routes_and_that_a_source_is_silent(tmp_path: Path) -> None:
    sources = {"ct1": {"ae_titles": ["CT1"], "hosts": ["10.0.0.7"], "silent_after": "15 min"}}

    async def scenario() -> tuple[list[str], dict[str, Any]]:
        async with console(tmp_path, sources=sources) as site:
            observer, texts, now_ms = await site.as_("observer"), [], site.clock.now_ms()
            one = [arrival("a", received_at_ms=now_ms)]
            await site.context.ledger.call(lambda ledger: ledger.record_arrivals(one, now_ms))
            for passed_s in (890, 20):
                site.clock.pass_(passed_s)
                texts.append((await observer.get("/")).text)
            found = (await site.with_token("observer").get("/api/v1/overview")).json()
            return texts, {"waits_ms": found["at_ms"] - found["routing_since_ms"], "notices": found["notices"]}

    (before, after), found = asyncio.run(scenario())
    assert "to be routed" not in before and "Nothing has come from ct1" not in before
    assert "Nothing has come from ct1 for 15 min 10 s" in after
    assert "Images have waited for 15 min 10 s to be routed" in after
    assert found["waits_ms"] == 910_000 and [each["kind"] for each in found["notices"]] == [
        "source_silent",
        "routing_old",
    ]


# ── searches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_search_is_found_by_its_word_and_by_who_made_it() -> None:
    searches = Searches()
    word = searches.keep("mia", StudyFilter(patient_name="Doe"))
    assert "Doe" not in word
    assert searches.find("mia", word) == StudyFilter(patient_name="Doe")
    assert searches.find("tom", word) is None and searches.find("mia", "other") is None


def test_a_reason_is_one_line_whatever_was_typed() -> None:
    request = Request({"type": "http"})
    request.state.form = FormData({"reason": "  wrong\r\npatient\x00\x1b[2J\n"})
    assert sent(request, "reason") == "wrong patient [2J"
    assert sent(request, "reason", 5) == "wrong" and sent(request, "other") == ""


def test_searches_are_bounded() -> None:
    searches = Searches()
    words = [searches.keep("mia", StudyFilter(patient_id=str(number))) for number in range(MOST + 1)]
    assert searches.find("mia", words[0]) is None and searches.find("mia", words[1]) is not None


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_counts_have_groups_and_short_ones_fit() -> None:
    assert [grouped(number) for number in (0, 999, 1234567)] == ["0", "999", "1\u202f234\u202f567"]
    assert [short(number) for number in (999, 1234, 34567, 5_600_000)] == ["999", "1.2k", "35k", "5.6M"]


def test_what_waits_long_is_marked() -> None:
    class Queue:
        cells = (AgeCell(300, 4, False), AgeCell(4800, 3, False), AgeCell(19200, 2, False), AgeCell(0, 1, True))

    found = [(each.label, each.count, each.tone) for each in bins(Queue())]
    assert found == [("5 min", 4, ""), ("80 min", 3, ""), ("5.3 h", 2, "old"), ("older", 1, "older")]


# ── rules and help ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rule_file_has_colours_and_its_text_stays() -> None:
    text = "rules:\n  # <script>\n  - name: 'a <b>'\n    match: {Modality: [CT, 12]}\n"
    source = str(highlighted("10.yaml", text))
    assert '<span class="comment"># &lt;script&gt;</span>' in source and '<span class="key">rules</span>' in source
    assert source.count('<span class="line">') == 4
    assert re.sub(r"<[^>]+>", "", source.replace('</span><span class="line">', "</span>\n")).count("Modality") == 1
    assert "style=" not in source


def test_a_table_is_shown_as_it_is_and_a_giant_one_in_part() -> None:
    assert "&lt;b&gt;,1" in str(highlighted("a.csv", "<b>,1\n"))
    assert "7 characters more" in str(highlighted("b.csv", "x" * LIMIT + "y" * 7))


def test_help_is_the_operations_handbook_with_its_anchors() -> None:
    text, contents = handbook()
    assert '<h3 id="a-destination-is-down">' in text and "<table>" in text
    assert (3, "a-destination-is-down", "a destination is down") in contents
    assert 'href="commands.md"' not in text and "<script" not in text


def test_html_in_a_handbook_is_text() -> None:
    text, _ = rendered("## A `b` c's\n\n<script>x</script> [there](http://elsewhere.example) [here](#a-b-cs)\n")
    assert '<h2 id="a-b-cs">' in text and "&lt;script&gt;" in text
    assert "elsewhere" not in text and '<a href="#a-b-cs">' in text


# ── advice ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def trouble(kind: TroubleKind, code: str = "", reason: str = "", destination: str = "") -> Trouble:
    of = TroubleOf.DELIVERY if destination else TroubleOf.INSTANCE
    return Trouble(kind, of, destination, code, reason, 3, False, NOW_MS - 5000, NOW_MS)


class Queued:
    def __init__(self, waiting: int = 5, age_s: float = 10, **state: Any) -> None:
        self.state = DestinationState("pacs", **{"owner": Owner(7, "gw1"), **state})
        self.waiting, self.oldest_ms = waiting, NOW_MS - round(age_s * 1000)


def every_advice() -> list[advice.Advice]:
    held = [trouble(TroubleKind.HELD, code, "0xA900", "pacs") for code in (*advice.HELD, "new")]
    whole = [trouble(TroubleKind.HELD, reason=reason) for reason in (*Unrouted, "a phantom")]
    whole += [trouble(TroubleKind.QUARANTINED, reason=reason) for reason in (*Distrusted, "because I say so")]
    dead = [trouble(TroubleKind.DEAD, "timeout", "", "pacs")]
    reasons = [*registry.NOT_READY_REASONS, "spool_unreachable", "down: worker-0", "silent: console-0", "unheard of"]
    queues = [
        Queued(configured=False),
        Queued(paused=True),
        Queued(owner=None),
        Queued(breaker=Breaker.DOWN),
        Queued(breaker=Breaker.DOWN, last_error="association rejected: calling AE title not recognized"),
        Queued(age_s=7200),
    ]
    notices = [Notice(kind, "ct", seconds) for kind in NoticeKind for seconds in (-5.0, 1e5, 1e6)]
    return advice.advise(reasons, notices, queues, [*held, *whole, *dead], NOW_MS)


def test_every_sentence_says_whose_what_and_what_to_do_and_leads_to_a_section() -> None:
    _, contents = rendered(OPERATIONS)
    anchors = {name for _, name, _ in contents}
    found = every_advice()
    assert len({each.what for each in found}) >= 15
    for each in found:
        assert each.what and each.whose and each.risk and each.do.endswith("."), each
        assert each.section in anchors, each.section


def test_what_stands_still_comes_first() -> None:
    tones = [each.tone for each in every_advice()]
    assert tones == sorted(tones, key=["bad", "warn"].index) and set(tones) == {"bad", "warn"}


def test_a_destination_that_is_well_is_no_matter() -> None:
    assert advice.advise((), (), [Queued(), Queued(waiting=0, age_s=7200)], (), NOW_MS) == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "Nobody serves pacs"),
        ({"breaker": Breaker.DOWN}, "Nobody serves pacs"),
        ({"paused": True}, "pacs is paused"),
        ({"configured": False}, "pacs was taken out of the configuration"),
    ],
)
@pytest.mark.parametrize("age_s", [10, 7200])
def test_a_destination_that_nobody_serves_is_told_of_whatever_was_last_known_of_it(
    state: dict[str, Any], said: str, age_s: float
) -> None:
    found = advice.of_destination(Queued(owner=None, age_s=age_s, **state), NOW_MS)
    assert found is not None and found.what == said
    unserved = said.startswith("Nobody")
    assert (found.tone == "bad") == unserved == (found.section == "nobody-serves-a-destination")


def test_the_overview_does_not_say_that_all_is_well_with_a_destination_that_nobody_serves(tmp_path: Path) -> None:
    async def scenario() -> str:
        async with console(tmp_path) as site:  # nothing runs here: no forwarder
            await site.context.ledger.call(lambda ledger: sync_destinations(ledger, site.context.config()))
            return (await (await site.as_("observer")).get("/")).text

    text = asyncio.run(scenario())
    assert "Nobody serves pacs" in text and "nobody serves it" in text
    assert "Every destination" not in text and "all is well" not in text


@pytest.mark.parametrize(
    ("reason", "whose", "do"),
    [
        ("the data set cannot be read: it is cut short", "The sender", "send them again"),
        (Distrusted.OTHER_INSTANCE, "The sender", "the modality's maker"),
        ("the spool file is missing", "Whoever removed", "is the spool's disk mounted?"),
        ("the spool file is damaged: the checksum does not hold", "This gateway's disk", "Check the disk"),
        ("spool: the checksum does not hold", "This gateway's disk", "Check the disk"),
        ("the original cannot be read: Input/output error", "This gateway's disk", "Check the disk"),
        ("routing failed 5 times", "This gateway: a worker died", "Raise `worker.memory`, then release"),
        ("the spool of the other site is wrong", "Whoever ordered it", "what the reason says"),
    ],
)
def test_whose_a_quarantined_image_is_follows_from_how_its_reason_begins(reason: str, whose: str, do: str) -> None:
    found = advice.of_trouble(trouble(TroubleKind.QUARANTINED, reason=reason))
    assert whose in found.whose and do in found.do
    assert found.section == "instances-are-quarantined" and found.tone == "bad"


def test_what_was_recovered_may_have_been_delivered_already_and_a_person_decides() -> None:
    found = advice.of_trouble(trouble(TroubleKind.HELD, reason="recovered"))
    assert found.section == "the-ledger-is-lost-or-damaged"
    assert "not known" in found.risk and "A person decides" in found.do and "a second time" in found.do
    ruled = advice.of_trouble(trouble(TroubleKind.HELD, reason="recovered phantoms stay here"))
    assert ruled.section == "instances-are-held-without-a-route" and "A rule or a person" in ruled.whose


def test_every_command_that_is_advised_is_one() -> None:
    said = {" ".join((each.whose, each.risk, each.do)) for each in every_advice()}
    commands = {words for text in said for words in re.findall(r"`gateway (.+?)`", text)}
    assert {"check", "hosts", "drain HOST --undo", "recover"} <= commands
    for words in commands:
        build_parser().parse_args(words.split())


def test_of_a_drained_host_it_is_said_what_stays_and_how_it_takes_work_again() -> None:
    found = advice.of_host("drained")
    assert "`gateway drain HOST --undo`" in found.do and "if no other host serves them" in found.risk
    assert "gateway drain HOST --undo" in sections()[found.section], "the section says so too"


def test_the_overview_says_how_long_things_may_wait_before_it_speaks_of_them() -> None:
    """Where there is nothing to look after, no more is said than what was looked at."""
    nothing = {"advice": (), "figures": None, "queues": (), "most": 8, "history_href": "", "events_href": ""}
    text = text_of(page(request(), "overview.html", **nothing))
    assert "a quarter of an hour to be routed" in text and ROUTING_OLD_S == 900
    assert "no delivery for an hour" in text and advice.OLD_S == 3600
    assert "no delivery for an hour" not in text_of(
        page(request(), "overview.html", **nothing | {"advice": every_advice()})
    )


def test_each_code_of_a_held_delivery_in_the_handbook_has_advice() -> None:
    table = OPERATIONS.partition("### deliveries are held")[2].partition("###")[0]
    codes = {code for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)}
    assert codes and codes <= set(advice.HELD)


def test_the_anchor_is_the_one_of_a_browser() -> None:
    assert anchor("the spool's disk was replaced or not mounted") == "the-spools-disk-was-replaced-or-not-mounted"
