"""Make docs/images: each page of the console, light and dark, of real gateways with synthetic traffic.

    python -m tools.screenshots              all of it, some four minutes
    python -m tools.screenshots --only empty

Three gateways are shown:

  - `demo`: pydicom's sample instances, an archive that refuses some and one that is down, something held for each
    reason, and traffic that goes on;
  - `empty`: nothing has come yet;
  - `year`: a ledger with 100,000 studies (`tests.load.year`).

Pictures are PNG with a palette, SIZE_MAX_BYTES each at most; a picture that is larger fails the run. Look at them
before they are committed: nothing may overlap, nothing be cut.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from gateway.demo.show import samples
from gateway.demo.traffic import new_study
from gateway.flow.scu import FileToSend
from tests.harness.archive import OurArchive
from tests.harness.browser import PHONE, Browser, Tab
from tests.harness.console import PASSWORD, add_users
from tests.harness.data import Instance, write_part10
from tests.harness.gatewayconfig import GatewayConfig
from tests.harness.gatewayprocess import GatewayProcess
from tests.harness.rawpeer import Rejected
from tests.harness.tools import free_port
from tests.integration.console_site import ConsoleSite, image
from tests.load.year import DESTINATIONS, Year, fill_year

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZE = {"width": 1280, "height": 800}
SIZE_MAX_BYTES = 150_000
ALL_MAX_BYTES = 3_000_000
SMALL_BYTES = 200_000
TRAFFIC_S = 150.0
HEIGHT_MAX = 1500
OPERATOR = "operator"

RULES = """\
# Radiology. Rules are tried in order; each that matches adds its destinations.
rules:
  - name: without-a-patient-id
    match:
      Modality: [US, CT]
      PatientID: {absent: true}
    hold: "there is no patient ID: call the modality"
  - name: everything-to-pacs
    match:
      not: {Modality: [RTPLAN, RTDOSE, SEG]}
    send_to: [pacs]
  - name: ct-and-mr-to-dr
    match:
      Modality: [CT, MR]
    send_to: [dr]
  - name: brain-to-research
    match:
      any:
        - StudyDescription: "*brain*"
        - StudyDescription: {regex: "(?i)stroke"}
    send_to: [research]
tests:
  - name: a CT of the brain goes everywhere
    instance: {Modality: CT, PatientID: "1", StudyDescription: BRAIN CT}
    expect: {destinations: [pacs, dr, research]}
"""

Shots = Iterator[tuple[str, Callable[[Tab], None]]]


def main() -> int:
    """Make the pictures; 0 unless one is too large."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=sorted(SCENES), help="this gateway alone")
    only = parser.parse_args().only
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        for name, scene in SCENES.items():
            if only in (None, name):
                with tempfile.TemporaryDirectory(prefix="gateway-pictures-") as folder:
                    scene(browser, Path(folder))
    pictures = {path: path.stat().st_size for path in sorted(IMAGES.glob("*.png"))}
    large = [f"{path.name}: {size} bytes" for path, size in pictures.items() if size > SIZE_MAX_BYTES]
    print(f"{len(pictures)} pictures, {sum(pictures.values())} bytes", *large, sep="\n")
    return 1 if large or sum(pictures.values()) > ALL_MAX_BYTES else 0


# ── the gateways ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _demo(browser: Browser, folder: Path) -> None:
    files = [each.file for each in samples() if each.file.size_bytes <= SMALL_BYTES]
    with ConsoleSite(folder / "gateway", RULES) as site:
        _send_samples(site, files)
        site.some_of_each()
        with _traffic(site, files):
            threading.Event().wait(TRAFFIC_S)
            _shoot(browser, site.address, "", _pages)
            with browser.visit(site.address, size=PHONE) as tab:
                tab.log_in(OPERATOR, PASSWORD)
                for name, path in (("overview", "/"), ("studies", "/studies")):
                    tab.open(path)
                    _save(tab, f"{name}-phone", PHONE["height"])


def _empty(browser: Browser, folder: Path) -> None:
    with ConsoleSite(folder / "gateway", RULES) as site:
        _shoot(browser, site.address, "empty-", _few)


def _year(browser: Browser, folder: Path) -> None:
    with ExitStack() as stack:
        archives = {name: stack.enter_context(OurArchive()) for name in DESTINATIONS if name != "research"}
        ports = {name: archives[name].port if name in archives else free_port() for name in DESTINATIONS}
        config = GatewayConfig(folder / "gateway", ports, console={"users": str(folder / "users.yaml")})
        add_users(folder / "users.yaml")
        config.write()
        config.state_dir.mkdir(parents=True, exist_ok=True)
        fill_year(config.ledger_path, Year(instances=300_000))
        gateway = GatewayProcess(config)
        stack.callback(gateway.close)
        gateway.start(timeout_s=120)
        _shoot(browser, f"http://{config.host}:{config.console_port}", "year-", _few)


SCENES: Mapping[str, Callable[[Browser, Path], None]] = {"demo": _demo, "empty": _empty, "year": _year}


def _send_samples(site: ConsoleSite, files: list[FileToSend]) -> None:
    for at, calling in enumerate(("CT1", "MR1", "US1", "CR1")):
        site.send([_instance(file) for file in files[at::4]], calling)


@contextmanager
def _traffic(site: ConsoleSite, files: list[FileToSend]) -> Iterator[None]:
    """New studies of samples, as the demo sends them, while the block lasts."""
    enough = threading.Event()

    def send() -> None:
        source = random.Random(7)  # noqa: S311 - for a picture
        with tempfile.TemporaryDirectory(prefix="gateway-pictures-") as name:
            while not enough.wait(source.choice((0.2, 0.5, 1.5, 3.0))):
                made = new_study(source.choice(files), Path(name))
                with suppress(Rejected):  # of a class that is none
                    site.send([_instance(file) for file in made])

    thread = threading.Thread(target=send, name="traffic", daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(30)


def _instance(file: FileToSend) -> Instance:
    part10 = file.part10
    data = file.path.read_bytes()[part10.offset :]
    return Instance(data, part10.sop_class_uid, part10.sop_instance_uid, part10.transfer_syntax_uid, "")


# ── the pictures ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _shoot(browser: Browser, address: str, prefix: str, shots: Callable[[], Shots]) -> None:
    for theme in ("light", "dark"):
        with browser.visit(address, theme=theme, size=SIZE) as tab:
            tab.open("/login")
            if not prefix:
                _save(tab, f"login-{theme}")
            tab.log_in(OPERATOR, PASSWORD)
            for name, go in shots():
                go(tab)
                _save(tab, f"{prefix}{name}-{theme}")


def _pages() -> Shots:
    yield "overview", _settled("/")
    yield "studies", _to("/studies")
    yield "study", _study
    yield "dialog", _dialog
    yield "instance", _instance_page
    yield "queue", _to("/queue")
    yield "attention", _to("/attention")
    yield "items", _items
    yield "rules", _to("/rules")
    yield "try", _try
    yield "system", _to("/system")
    yield "audit", _audit
    yield "trail", _to("/audit/trail")
    yield "help", _to("/help")
    yield "error", lambda tab: tab.page.goto("/studies/999999999") and None


def _few() -> Shots:
    yield "overview", _settled("/")
    yield "studies", _to("/studies")
    yield "queue", _to("/queue")
    yield "attention", _to("/attention")


def _to(path: str) -> Callable[[Tab], None]:
    return lambda tab: tab.open(path) and None


def _settled(path: str) -> Callable[[Tab], None]:
    def go(tab: Tab) -> None:
        tab.open(path)
        tab.page.wait_for_timeout(2500)  # for the charts to have their first values

    return go


def _study(tab: Tab) -> None:
    tab.open("/studies")
    tab.page.get_by_label("Patient name").fill("Roe")
    tab.page.get_by_role("button", name="Search").click()
    tab.page.get_by_role("link", name="Roe^Richard").first.click()
    tab.page.wait_for_load_state()


def _dialog(tab: Tab) -> None:
    tab.page.get_by_role("link", name="Resend to …").click()
    tab.page.locator("dialog[open]").get_by_label("Reason").fill("lost at the archive")


def _instance_page(tab: Tab) -> None:
    _study(tab)
    tab.page.locator("table.matrix a").first.click()
    tab.page.wait_for_load_state()


def _items(tab: Tab) -> None:
    tab.open("/attention")
    tab.page.locator("a[href^='/attention/items?kind=held']").first.click()
    tab.page.wait_for_load_state()


def _try(tab: Tab) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_part10(Path(folder) / "brain.dcm", image(9, "MR", "Roe^Richard", "R-2002", "BRAIN MR"))
        tab.open("/rules/try")
        tab.page.get_by_label("DICOM file").set_input_files(path)
        tab.page.get_by_role("button", name="Explain").click()
        tab.page.wait_for_load_state()


def _audit(tab: Tab) -> None:
    _study(tab)
    for kind, button in (("hold", "Hold"), ("release", "Release")):
        tab.open(f"/orders/{kind}?study={tab.page.url.rpartition('/')[2].partition('?')[0]}")
        tab.page.get_by_label("Reason").fill("asked by the ward")
        tab.page.get_by_role("button", name=button).click()
        tab.page.wait_for_load_state()
    tab.open("/audit")


def _save(tab: Tab, name: str, height: int = HEIGHT_MAX) -> None:
    """The page, down to its end or to `height`; in 256 colours."""
    from PIL import Image

    whole: dict[str, Any] = {"full_page": tab.page.locator("dialog[open]").count() == 0 and height != PHONE["height"]}
    taken = Image.open(BytesIO(tab.page.screenshot(**whole))).convert("RGB")
    cut = taken.crop((0, 0, taken.width, min(taken.height, height)))
    cut.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    raise SystemExit(main())
