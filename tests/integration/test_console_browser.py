"""The console in Chromium, in front of a gateway with real traffic: what each role sees, orders, and is refused."""

from __future__ import annotations

import asyncio
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydicom import dcmread

from tests.harness.browser import PHONE, Browser, Tab
from tests.harness.console import PASSWORD, console
from tests.harness.data import write_part10
from tests.harness.oidc import OidcProvider
from tests.harness.tools import wait_until
from tests.integration.console_site import ConsoleSite, image

READ = ("/", "/queue", "/attention", "/rules", "/system", "/help", "/account")
NO_ID = blake2b(b"there is no patient ID: call the modality", digest_size=8).hexdigest()
OF_PATIENTS = ("/studies", "/audit", "/audit/trail", "/rules/try")
ORDERS = (
    "/orders/pause?destination=pacs",
    f"/orders/release?kind=held&group={NO_ID}",
)
NAMES = ("Doe^", "Roe^", "Poe^", "Low^", "Bro^", "D-1001", "R-2002")
HOSTILE = (
    "Doe^<script>alert(1)</script>",
    'Roe"><img src=x onerror=alert(2)>',
    "Poe\r\nSet-Cookie: a=b\r\n\r\n<h1>x",
    "Low\x1b[31m\x1b]0;title\x07",
    "Bro'; DROP TABLE instance; --",
    "Sue$(reboot)`id`|cat /etc/passwd",
    "Ann{{ 7*7 }}{% raw %}${7*7}",
    "Eve\u202egnp.exe",
)

Visit = Callable[..., AbstractContextManager[Tab]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    with ConsoleSite(tmp_path_factory.mktemp("console")) as made:
        made.some_of_each()
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture
def visit(site: ConsoleSite, browser: Browser) -> Visit:
    """Somebody of a role, logged in."""

    @contextmanager
    def visiting(role: str, **options: object) -> Iterator[Tab]:
        with browser.visit(site.address, **options) as tab:
            tab.log_in(role, PASSWORD)
            yield tab

    return visiting


def find(tab: Tab, **fields: str) -> None:
    """Search for studies."""
    tab.open("/studies")
    for label, value in fields.items():
        tab.page.get_by_label(label.replace("_", " "), exact=True).fill(value)
    tab.page.get_by_role("button", name="Search").click()
    tab.page.wait_for_load_state()


def open_study(tab: Tab, name: str) -> None:
    find(tab, Patient_name=name)
    tab.page.get_by_role("link", name=name).first.click()
    tab.page.wait_for_load_state()
    assert name in tab.page.locator("h1").inner_text()


def order(tab: Tab, button: str, reason: str, confirm: str) -> str:
    """Give an order by its dialog; what the next page says about it."""
    tab.page.get_by_role("link", name=button, exact=True).first.click()
    dialog = tab.page.locator("dialog[open]") if tab.scripts else tab.page.locator("main")
    if reason:
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=confirm).click()
    tab.page.wait_for_load_state()
    return tab.page.get_by_role("status").inner_text()


# ── looks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(400)
def test_no_page_has_a_serious_accessibility_finding_or_is_cut_in_either_theme(
    site: ConsoleSite, visit: Visit, tmp_path: Path
) -> None:
    found: dict[str, list[str]] = {}
    for theme, only in (("light", ()), ("dark", ("color-contrast",))):  # what a page is made of is the same in both
        with visit("administrator", theme=theme) as tab:
            open_study(tab, "Roe")
            study = tab.page.url.removeprefix(site.address)
            instance = tab.page.locator("a[href^='/instances/']").first.get_attribute("href") or ""
            tab.open("/attention")
            items = tab.page.locator("a[href^='/attention/items']").first.get_attribute("href") or ""
            downloads = (f"{study}/download", f"{instance}/download")
            for path in (*READ, *OF_PATIENTS, study, instance, items, *ORDERS, *downloads, "/nothing-here"):
                tab.page.goto(path)
                found[f"{theme} {path}"] = tab.findings(*only) + tab.overflows()
    with visit("administrator", size=PHONE) as tab:
        for path in (*READ, *OF_PATIENTS, study, instance, items, *ORDERS):
            tab.open(path)
            found[f"phone {path}"] = tab.overflows()
    assert not {path: each for path, each in found.items() if each}
    assert not pages_not_among(found, tmp_path)


def pages_not_among(found: Iterable[str], folder: Path) -> list[str]:
    """Pages of the console that nobody has looked at; what an order asks is one page for all of them."""

    async def routes() -> list[str]:
        async with console(folder) as built:
            return [route.path for route in built.routes if "GET" in route.methods]

    seen = {each.partition(" ")[2].partition("?")[0] for each in found}
    elsewhere = ("/api/", "/static/", "/oidc/", "/orders/", "/login", "/setup", "/livez", "/readyz", "/version")
    with ThreadPoolExecutor(1) as thread:  # this one has the event loop of the browser's driver
        paths = [path for path in thread.submit(asyncio.run, routes()).result() if not path.startswith(elsewhere)]
    patterns = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in paths}
    assert len(patterns) > 12
    return [path for path, pattern in patterns.items() if not any(map(pattern.fullmatch, seen))]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_log_in_is_accessible(site: ConsoleSite, browser: Browser, theme: str) -> None:
    with browser.visit(site.address, theme=theme) as tab:
        tab.open("/login")
        assert not tab.findings() and not tab.overflows()


def test_a_theme_is_chosen_and_stays(visit: Visit) -> None:
    with visit("viewer") as tab:
        ground = "getComputedStyle(document.body).backgroundColor"
        light = tab.page.evaluate(ground)
        tab.page.get_by_role("button", name="Theme").click()
        dark = tab.page.evaluate(ground)
        assert light != dark
        tab.open("/queue")
        assert tab.page.evaluate(ground) == dark


def test_the_keyboard_reaches_the_content_and_a_dialog_lets_go(visit: Visit) -> None:
    with visit("operator") as tab:
        tab.open("/queue")
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.textContent") == "Skip to the content"
        tab.page.keyboard.press("Enter")
        assert tab.page.url.endswith("#content")
        tab.page.get_by_role("link", name="Pause").first.focus()
        assert tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tab.page.keyboard.press("Enter")
        tab.page.locator("dialog[open]").wait_for()
        assert tab.page.evaluate("document.activeElement.closest('dialog') !== null")
        tab.page.keyboard.press("Escape")
        tab.page.locator("dialog[open]").wait_for(state="detached")
        assert tab.page.evaluate("document.activeElement.textContent") == "Pause"


# ── what is wrong, in ten seconds ─────────────────────────────────────────────────────────────────────────────────────


def test_the_overview_says_what_is_wrong_whose_fault_what_is_at_risk_and_what_to_do(visit: Visit) -> None:
    with visit("observer") as tab:
        tab.page.locator(".trouble", has_text="research is down").wait_for()
        down = tab.page.locator(".trouble", has_text="research is down").inner_text()
        assert "The archive, or the network to it" in down and "1 delivery waits in the spool" in down
        assert "Ask whoever runs the archive" in down
        held = tab.page.locator(".trouble", has_text="for dr held").inner_text()
        assert "The archive: it refused these images themselves" in held and "then release" in held
        tab.page.locator(".trouble", has_text="research is down").get_by_role("link", name="More").click()
        heading = tab.page.locator(":target")
        assert heading.inner_text() == "a destination is down"


def test_the_charts_of_the_last_hour_come_alive(visit: Visit) -> None:
    with visit("observer") as tab:
        assert tab.page.locator("#charts canvas").count() == 3
        tab.page.get_by_text(re.compile(r"now .*/s in, .*/s out, \d+ waiting")).wait_for(timeout=40_000)


def test_a_part_that_comes_anew_keeps_the_focus(visit: Visit) -> None:
    with visit("observer") as tab:
        link = tab.page.locator("#live a", has_text="research").last
        link.focus()
        tab.page.evaluate("document.getElementById('live').dataset.old = ''")
        tab.page.locator("#live:not([data-old])").wait_for()
        assert tab.page.evaluate("document.activeElement.textContent") == "research"
        assert tab.page.evaluate(
            "document.activeElement.isConnected && document.activeElement.closest('#live') !== null"
        )


def test_values_that_are_old_say_so(visit: Visit) -> None:
    with visit("observer") as tab:
        warning = tab.page.get_by_text("What you see is of")
        assert not warning.is_visible()
        tab.context.set_offline(True)
        warning.wait_for(timeout=20_000)
        tab.context.set_offline(False)
        warning.wait_for(state="hidden", timeout=20_000)
        tab.told.clear()  # the browser's own words about the network


def test_a_page_shows_the_time_of_the_person_who_looks(visit: Visit) -> None:
    with visit("viewer") as tab:
        open_study(tab, "Doe")
        shown = tab.page.locator("time").first
        told, meant = shown.inner_text(), shown.get_attribute("datetime") or ""
        assert meant.endswith("Z") and "UTC" not in told
        assert (int(told[11:13]) - int(meant[11:13])) % 24 in (1, 2)  # Zurich
        assert "Europe/Zurich" in tab.page.locator("footer").last.inner_text()


# ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("Patient_ID", "D-1001", "Doe^Jane"),
        ("Patient_name", "roe", "Roe^Richard"),
        ("Accession_number", f"A{sum(map(ord, 'Roe^Richard')):05d}", "Roe^Richard"),
        ("Modality", "MR", "Roe^Richard"),
    ],
)
def test_a_study_is_found(visit: Visit, field: str, value: str, name: str) -> None:
    with visit("viewer") as tab:
        find(tab, **{field: value})
        assert tab.page.locator("tbody tr").count() == 1
        assert name in tab.page.locator("tbody").inner_text()
        if field != "Modality":
            assert value not in tab.page.url
        tab.page.get_by_role("link", name=name).click()
        tab.page.go_back()
        assert name in tab.page.locator("tbody").inner_text()


def test_a_study_shows_its_instances_where_they_went_and_why(visit: Visit) -> None:
    with visit("viewer") as tab:
        open_study(tab, "Doe")
        matrix = tab.page.locator("table.matrix")
        assert matrix.locator("tbody tr").count() == 3
        assert matrix.locator("thead").inner_text().split()[-2:] == ["dr", "pacs"]
        assert matrix.get_by_text("delivered").count() == 6
        assert (
            "ct-and-mr-to-pacs-and-dr" in tab.page.locator("section", has_text="Why it was routed so").last.inner_text()
        )
        assert "received" in tab.page.locator(".timeline").inner_text()
        matrix.locator("a").first.click()
        tab.page.wait_for_load_state()
        facts = tab.page.locator("main").inner_text()
        assert "CT Image Storage" in facts and "CT1" in facts and "127.0.0.1" in facts
        assert tab.page.get_by_role("link", name="Hold").count() == 0


def test_what_is_not_there_is_said(visit: Visit) -> None:
    with visit("viewer") as tab:
        find(tab, Patient_name="Nemo")
        assert "No study is like that" in tab.page.locator("main").inner_text()
        tab.open("/studies/999999", 404)
        assert "There is no such page" in tab.page.locator("h1").inner_text()
        tab.open("/instances/nothing", 404)
        tab.open("/studies?after=nonsense", 400)


def test_a_file_and_a_study_are_downloaded_for_a_reason(visit: Visit, tmp_path: Path) -> None:
    with visit("viewer", accept_downloads=True) as tab:
        open_study(tab, "Doe")
        study = tab.page.url
        for kind in ("study", "instance"):
            if kind == "instance":
                tab.page.locator("table.matrix a").first.click()
                tab.page.wait_for_load_state()
            tab.page.get_by_role("link", name="Download").click()
            tab.page.locator("dialog[open]").get_by_label("Reason").fill("for the board")
            with tab.page.expect_download() as download:
                tab.page.locator("dialog[open]").get_by_role("button", name="Download").click()
            download.value.save_as(tmp_path / kind)
            assert tab.page.url.startswith(study) or kind == "instance"
        assert dcmread(tmp_path / "instance").PatientName == "Doe^Jane"
        with zipfile.ZipFile(tmp_path / "study") as archive:
            assert len(archive.namelist()) == 3 and archive.testzip() is None
            assert all(re.fullmatch(r"series-001/[\w-]+\.dcm", name) for name in archive.namelist())
        tab.open("/audit")
        assert "for the board" in tab.page.locator("tbody").inner_text()


# ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_study_is_sent_again_for_a_reason_and_stands_in_the_audit(site: ConsoleSite, visit: Visit) -> None:
    with visit("operator") as tab:
        open_study(tab, "Doe")
        tab.page.get_by_role("link", name="Resend to …").click()
        dialog = tab.page.locator("dialog[open]")
        assert "3 instances" in dialog.inner_text() and "Doe^Jane" in dialog.inner_text()
        dialog.get_by_label("pacs").check()
        dialog.get_by_label("Reason").fill("lost at the archive")
        before = site.gateway.deliveries()["pacs", "delivered"]
        dialog.get_by_role("button", name="Send again").click()
        tab.page.get_by_role("status").wait_for()
        assert "3 deliveries will be sent again" in tab.page.get_by_role("status").inner_text()
        wait_until(lambda: site.gateway.deliveries()["pacs", "delivered"] == before + 3, 30, "three more at pacs")
        tab.open("/audit")
        row = tab.page.locator("tbody tr").first.inner_text()
        assert "console:operator" in row and "resend" in row and "lost at the archive" in row and "3" in row


def test_what_waits_is_held_and_released(site: ConsoleSite, visit: Visit) -> None:
    with visit("operator") as tab:
        open_study(tab, "Roe")
        assert "1 delivery held" in order(tab, "Hold", "wrong patient", "Hold")
        assert site.gateway.deliveries()["research", "held"] == 1
        assert "2 deliveries released" in order(tab, "Release", "it was right", "Release")
        wait_until(lambda: ("research", "held") not in site.gateway.deliveries(), 10, "nothing held for research")


def test_an_order_needs_a_reason(visit: Visit) -> None:
    with visit("operator", scripts=False) as tab:
        open_study(tab, "Doe")
        tab.page.get_by_role("link", name="Resend to …").click()
        tab.page.get_by_label("Reason").fill("   ")
        tab.page.get_by_role("button", name="Send again").click()
        assert "Say why" in tab.page.get_by_role("alert").inner_text()


def test_a_destination_is_paused_probed_and_resumed(visit: Visit) -> None:
    with visit("operator") as tab:
        tab.open("/queue")
        card = tab.page.locator("section.card", has=tab.page.locator("#name-pacs"))
        card.get_by_role("link", name="Pause").click()
        tab.page.locator("dialog[open]").get_by_role("button", name="Pause").click()
        tab.page.get_by_role("status").wait_for()
        assert "paused" in card.inner_text()
        tab.open("/")
        assert "pacs is paused" in tab.page.locator(".troubles").inner_text()
        tab.open("/queue")
        card.get_by_role("link", name="Resume").click()
        tab.page.locator("dialog[open]").get_by_role("button", name="Resume").click()
        tab.page.get_by_role("status").wait_for()
        assert "paused" not in card.inner_text()
        research = tab.page.locator("section.card", has=tab.page.locator("#name-research"))
        for button, confirm in (("Probe", "Probe now"), ("Drain now", "Try everything now")):
            research.get_by_role("link", name=button).click()
            tab.page.locator("dialog[open]").get_by_role("button", name=confirm).click()
            tab.page.get_by_role("status").wait_for()


def test_all_of_a_trouble_is_released_or_discarded(site: ConsoleSite, visit: Visit) -> None:
    with visit("operator") as tab:
        tab.open("/attention")
        row = tab.page.locator("tr", has_text="there is no patient ID")
        assert "release" in row.inner_text().lower()
        row.get_by_role("link", name="1", exact=True).click()
        tab.page.wait_for_load_state()
        assert "Poe^Nobody" in tab.page.locator("tbody").inner_text()
        said = order(tab, "Discard all", "nobody knows whose it is", "Cancel for good")
        assert "1 delivery cancelled" in said or "cancelled" in said
        tab.open("/attention")
        assert tab.page.locator("tr", has_text="there is no patient ID").count() == 0


# ── the audit trail ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_audit_trail_says_who_came_in_and_is_verified_by_an_administrator(visit: Visit) -> None:
    with visit("viewer") as tab:

        def told() -> bool:
            tab.open("/audit/trail?kind=authentication&who=viewer")
            return (
                "viewer" in tab.page.locator("main table").first.inner_text()
                if tab.page.locator("table").count()
                else False
            )

        wait_until(told, 30, "the log-in to be in the trail", interval_s=0.5)
        assert tab.page.get_by_role("button", name="Verify the trail").count() == 0
        tab.open("/audit/trail")
        tab.page.get_by_label("Patient ID").fill("D-1001")
        tab.page.get_by_role("button", name="Show").click()
        tab.page.wait_for_load_state()
        assert "D-1001" not in tab.page.url

        def patients() -> set[str]:
            tab.page.reload()
            return {cell.inner_text() for cell in tab.page.locator("td[data-label=patient]").all()}

        assert wait_until(patients, 30, "what was done with her images", interval_s=0.5) == {"Doe^Jane D-1001"}
    with visit("administrator") as tab:
        tab.open("/audit/trail")
        tab.page.get_by_role("button", name="Verify the trail").click()
        tab.page.wait_for_load_state()
        assert "The trail is as it was written" in tab.page.locator("main").inner_text()


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_file_is_tried_on_the_rules(visit: Visit, tmp_path: Path, scripts: bool) -> None:
    path = tmp_path / "mine.dcm"
    instance = image(77, "MR", "Trial^Tom", "T-1", "BRAIN MR")
    write_part10(path, instance)
    with visit("viewer", scripts=scripts) as tab:
        tab.open("/rules")
        assert tab.page.locator(".source .key", has_text="rules").count() >= 1
        assert (
            "ct-and-mr-to-pacs-and-dr"
            in tab.page.locator("section", has_text="Matches of the last day").last.inner_text()
        )
        tab.page.get_by_role("link", name="Try a file").click()
        tab.page.get_by_label("DICOM file").set_input_files(path)
        tab.page.get_by_role("button", name="Explain").click()
        tab.page.wait_for_load_state()
        said = tab.page.locator("main").inner_text()
        assert "goes to: pacs, dr, research" in said
        assert re.search(r"without-a-patient-id\s+does not match", said)
        path.write_bytes(b"no DICOM at all")
        tab.page.get_by_label("DICOM file").set_input_files(path)
        tab.page.get_by_role("button", name="Explain").click()
        tab.page.wait_for_load_state()
        assert "It cannot be explained" in tab.page.locator("main").inner_text()


# ── roles ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_observer_sees_counts_and_nothing_of_a_patient(visit: Visit) -> None:
    with visit("observer") as tab:
        for path in READ:
            text = tab.open(path).content()
            assert not [name for name in NAMES if name in text], path
            assert not re.search(r'(href|action|hx-get)="/(studies|instances|orders|audit|attention/items)', text), path
            assert "2.25." not in text and "1.2.826.0.1.3680043.9999" not in text, path
        for path in (*OF_PATIENTS, "/studies/1", "/instances/x", "/attention/items?kind=held"):
            tab.open(path, 403)
            assert "This is not for you" in tab.page.locator("h1").inner_text()


def test_a_viewer_is_shown_no_order_and_refused_each(visit: Visit) -> None:
    with visit("viewer") as tab:
        open_study(tab, "Doe")
        for path in ("/queue", "/attention"):
            tab.open(path)
            assert tab.page.locator("a[href^='/orders/']").count() == 0
        for path in ORDERS:
            tab.open(path, 403)


def test_the_configuration_is_for_administrators_and_without_secrets(visit: Visit) -> None:
    with visit("operator") as tab:
        tab.open("/system")
        assert "Configuration" not in tab.page.locator("main").inner_text()
    with visit("administrator") as tab:
        tab.open("/system")
        said = tab.page.locator("main").inner_text()
        assert "secrets are masked" in said and "state_dir" in said
        for role in ("receiver", "worker", "forwarder", "console"):
            assert role in said


def test_nobody_gets_in_by_a_wrong_password_and_out_is_out(site: ConsoleSite, browser: Browser) -> None:
    with browser.visit(site.address) as tab:
        tab.open("/queue")
        assert "/login" in tab.page.url
        tab.page.get_by_label("Name").fill("operator")
        tab.page.get_by_label("Password").fill("not seven green bicycles")
        tab.page.get_by_role("button", name="Log in").click()
        assert "do not belong together" in tab.page.get_by_role("alert").inner_text()
        tab.page.get_by_label("Password").fill(PASSWORD)
        tab.page.get_by_role("button", name="Log in").click()
        tab.page.wait_for_url("**/queue")
        tab.page.get_by_role("button", name="Log out").click()
        tab.page.wait_for_url("**/login")
        tab.open("/queue")
        assert "/login" in tab.page.url


SECRET = "known to the provider and the console"  # noqa: S105


def test_single_sign_on_comes_back_to_the_page_that_was_asked_for(tmp_path: Path, browser: Browser) -> None:
    with OidcProvider(client_secret=SECRET, host="localhost") as provider:  # for a browser, another site
        provider.claims = {"preferred_username": "mia", "groups": ["night shift"]}
        sign_on = {
            "issuer": provider.issuer,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "roles": {"night shift": "operator"},
        }
        with ConsoleSite(tmp_path, users=False, oidc=sign_on) as fresh, browser.visit(fresh.address) as tab:
            tab.open("/studies")
            assert "/login" in tab.page.url and not tab.findings() and not tab.overflows()
            tab.page.get_by_role("link", name="Single sign-on").click()
            tab.page.wait_for_url("**/studies")
            assert "mia" in tab.page.locator("header.top").inner_text()
            tab.open("/queue")
            card = tab.page.locator("section.card", has=tab.page.locator("#name-pacs"))
            card.get_by_role("link", name="Pause").click()
            tab.page.locator("dialog[open]").get_by_role("button", name="Pause").click()
            tab.page.get_by_role("status").wait_for()
            assert "paused" in card.inner_text()
            tab.page.get_by_role("button", name="Log out").click()
            tab.page.wait_for_url("**/login")
            provider.refuse_with = "access_denied"
            tab.page.get_by_role("link", name="Single sign-on").click()
            tab.page.wait_for_load_state()
            assert "/studies" not in tab.page.url and "mia" not in tab.page.locator("body").inner_text()
            assert "(access_denied)" in tab.page.locator("main").inner_text()
            tab.hosts.remove(urlsplit(provider.issuer).netloc)  # asked by links alone, never by a page


def test_a_host_is_drained_and_taken_back(site: ConsoleSite, visit: Visit) -> None:
    with visit("operator") as tab:
        tab.open("/system")
        assert "drained" in order(tab, "Drain " + host_of(tab), "upgrade", "Drain")
        wait_until(lambda: "drained" in site.gateway.readiness()[1], 10, "the host to be drained")
        tab.open("/")
        assert "This host is drained" in tab.page.locator(".troubles").inner_text()
        tab.open("/system")
        assert "takes work again" in order(tab, f"Take {host_of(tab)} back", "done", "Take back")
        wait_until(lambda: site.gateway.readiness()[0] == 200, 10, "the host to be ready")


def host_of(tab: Tab) -> str:
    return tab.page.locator(".brand small").inner_text()


def test_the_first_administrator_is_made_with_the_token_of_the_log(tmp_path: Path, browser: Browser) -> None:
    with ConsoleSite(tmp_path, users=False) as fresh, browser.visit(fresh.address) as tab:
        (told,) = fresh.gateway.log_lines(event="console_has_no_users")
        tab.open("/setup")
        assert not tab.findings() and not tab.overflows()
        for token in ("not the token", told["setup_token"]):
            tab.page.get_by_label("Set-up token").fill(token)
            tab.page.get_by_label("Name").fill("mia")
            tab.page.get_by_label("Password").fill(PASSWORD)
            tab.page.get_by_role("button", name="Make the administrator").click()
            tab.page.wait_for_load_state()
        assert "mia" in tab.page.locator("header.top").inner_text()
        main = tab.page.locator("main").inner_text()
        assert "Nothing to look after" in main and "Nothing waits" in main
        tab.open("/studies")
        assert "No studies yet" in tab.page.locator("main").inner_text()


# ── without scripts ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_works_without_scripts(visit: Visit) -> None:
    with visit("operator", scripts=False) as tab:
        for path in (*READ, *OF_PATIENTS):
            tab.open(path)
            assert "UTC" in tab.page.content()
        open_study(tab, "Doe")
        assert "deliveries will be sent again" in order(tab, "Resend to …", "once more", "Send again")
        tab.open("/queue")
        assert "Paused" in order(tab, "Pause", "", "Pause")
        assert "Resumed" in order(tab, "Resume", "", "Resume")


# ── hostile senders (FAULTS row 38) ───────────────────────────────────────────────────────────────────────────────────


def test_what_a_hostile_sender_wrote_is_text_on_every_page(site: ConsoleSite, visit: Visit) -> None:
    site.send(
        [
            image(100 + at, "CT", name, f"H-{at}", name, AccessionNumber=name[:16], StudyInstanceUID=f"2.25.{at + 1}")
            for at, name in enumerate(HOSTILE)
        ],
        calling="<b>CT</b>",
    )
    site.settle()
    with visit("administrator") as tab:
        find(tab, Patient_ID="H-*")
        assert tab.page.locator("tbody tr").count() == len(HOSTILE)
        said = tab.page.locator("tbody").inner_text()
        assert "Doe^<script>alert(1)</script>" in said and "\\x1b[31m" in said and "\\u202e" in said
        assert "Ann{{ 7*7 }}" in said and "49" not in said.partition("Ann")[2].partition("\n")[0]
        links = [link.get_attribute("href") or "" for link in tab.page.locator("tbody a").all()]
        for link in links:
            tab.open(link)
            assert tab.page.locator("main script, main img, main b[onclick]").count() == 0
            tab.page.locator("table.matrix a").first.click()
            tab.page.wait_for_load_state()
            assert "<b>CT</b>" in tab.page.locator("main").inner_text()
            tab.open(link)
            tab.page.get_by_role("link", name="Hold").click()
            tab.page.locator("dialog[open]").wait_for()
            tab.page.keyboard.press("Escape")
        for path in (*READ, *OF_PATIENTS):
            tab.open(path)
        for value in HOSTILE[:3]:
            find(tab, Patient_name=value.replace("\r\n", " "))
    with visit("viewer", scripts=False) as tab:
        find(tab, Patient_ID="H-*")
        assert "Bro'; DROP TABLE instance; --" in tab.page.locator("tbody").inner_text()
