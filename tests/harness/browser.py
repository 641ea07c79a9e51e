"""Chromium for tests: Debian's, driven by Playwright, in a fresh folder of its own; nothing is downloaded.

`Browser` starts it once; `Browser.visit(...)` opens a `Tab` (a context of its own: cookies, theme, scripts or none)
that writes down what must not happen on any page: dialogs, script errors, violations of the Content-Security-Policy,
requests to another host. `Tab.check()` says that nothing of it did.

    with Browser() as browser, browser.visit(address, theme="dark") as tab:
        tab.open("/login")
        tab.page.get_by_label("Name").fill("mia")
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.harness.tools import find_program, require

AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
WIDE = {"width": 1366, "height": 900}
PHONE = {"width": 390, "height": 844}
TIMEOUT_MS = 15_000
SERIOUS = ("serious", "critical")
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """See the module's docstring."""

    def __init__(self) -> None:
        require("chromium", "playwright")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        playwright = self._stack.enter_context(sync_playwright())
        self.chromium = playwright.chromium.launch(executable_path=find_program("chromium"), args=list(_OPTIONS))
        self._stack.callback(self.chromium.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def visit(
        self,
        address: str,
        *,
        theme: str = "light",
        scripts: bool = True,
        size: dict[str, int] | None = None,
        **more: Any,
    ) -> Iterator[Tab]:
        """A tab with cookies of its own; what must not happen is checked at its end."""
        context = self.chromium.new_context(
            base_url=address,
            color_scheme=theme,
            java_script_enabled=scripts,
            viewport=size or WIDE,
            timezone_id="Europe/Zurich",
            locale="en-GB",
            **more,
        )
        context.set_default_timeout(TIMEOUT_MS)
        try:
            tab = Tab(context, address, scripts)
            yield tab
            tab.check()
        finally:
            context.close()


class Tab:
    """One page, and what it did."""

    def __init__(self, context: Any, address: str, scripts: bool) -> None:
        self.context, self.address, self.scripts = context, address, scripts
        self.told: list[str] = []  # what must not happen
        self.hosts: set[str] = set()
        self.page = context.new_page()
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.told.append(f"script error: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def open(self, path: str, status: int = 200) -> Any:
        """Go to a page of the console, which must answer so."""
        answer = self.page.goto(path, wait_until="load")
        assert answer is not None and answer.status == status, f"{path} says {answer.status if answer else 'nothing'}"
        return self.page

    def log_in(self, name: str, password: str) -> None:
        """Log in by the form."""
        self.open("/login")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(lambda url: urlsplit(url).path != "/login")

    def check(self) -> None:
        """Nothing happened that must not."""
        assert not self.told, self.told
        ours = urlsplit(self.address).netloc
        assert self.hosts <= {ours, ""}, f"asked other hosts: {self.hosts - {ours}}"

    def findings(self, *rules: str) -> list[str]:
        """What axe-core calls serious or critical on the page as it is; by some of its rules, where they are named."""
        # By the debugger's protocol, as the policy of the page lets no foreign script in.
        session = self.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        chosen = {"runOnly": list(rules)} if rules else {}
        options = json.dumps({"resultTypes": ["violations"], **chosen})
        answer = session.send(
            "Runtime.evaluate",
            {
                "expression": f"axe.run(document, {options}).then((found) => JSON.stringify(found.violations))",
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        session.detach()
        assert "exceptionDetails" not in answer, answer
        return [
            f"{found['id']} ({found['impact']}): {found['help']}: {[node['target'] for node in found['nodes']][:5]}"
            for found in json.loads(answer["result"]["value"])
            if found["impact"] in SERIOUS
        ]

    def overflows(self) -> list[str]:
        """What is wider than the window without being in a box that scrolls: it is cut, or has the page scroll."""
        found: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll('body *')].filter((each) => {
                 const box = each.getBoundingClientRect();
                 if (!box.width || box.right <= document.documentElement.clientWidth + 1) return false;
                 for (let up = each; up; up = up.parentElement)
                   if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX)) return false;
                 return true;
               }).map((each) => `${each.tagName} ${each.className} ${each.textContent.slice(0, 40)}`)"""
        )
        return found

    def _dialog(self, dialog: Any) -> None:
        self.told.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.told.append(f"{message.type}: {message.text}")
