/* What scripts add to pages that work without them: local times, the theme switch, dialogs, and fresh values.

   Nothing is evaluated, no style is written into the page, and no other host is asked. */
"use strict";
(() => {
  const TICK_MS = 5000;
  const root = document.documentElement;

  // ── times: the server says UTC, people read their own clock ───────────────────────────────────────────────────
  const two = (number) => String(number).padStart(2, "0");
  const local = (at) =>
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;

  const localise = (within) => {
    for (const time of within.querySelectorAll("time[datetime]:not([data-age]):not([data-told])")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      time.textContent = local(at);
      time.dataset.told = "";
    }
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
    for (const where of within.querySelectorAll("[data-zone]")) where.textContent = zone;
  };

  // ── theme: a cookie, so that the next page comes in it from the start ─────────────────────────────────────────
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const theme = document.getElementById("theme");
  const showTheme = () => theme && theme.setAttribute("aria-pressed", String(isDark()));
  if (theme) {
    theme.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      const secure = location.protocol === "https:" ? "; Secure" : "";
      document.cookie = `theme=${root.dataset.theme}; Path=/; Max-Age=31536000; SameSite=Strict${secure}`;
      showTheme();
      document.dispatchEvent(new Event("theme"));
    });
    showTheme();
  }

  // ── dialogs: a link that asks for a reason opens over the page; its form is sent like any other ───────────────
  const dialog = document.getElementById("dialog");
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "dialog-content") return;
    localise(dialog);
    if (!dialog.open) dialog.showModal();
    const first = dialog.querySelector("[autofocus], textarea, input:not([type=hidden]), select, button");
    if (first) first.focus();
  });
  dialog.addEventListener("click", (event) => {
    const asked = event.target.closest("[data-close]");
    if (event.target !== dialog && !asked) return;
    event.preventDefault();
    dialog.close();
  });
  // One click, one order.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "1";
    if ("file" in event.target.dataset) dialog.close(); // the answer is a file: the page stays
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // ── fresh values: parts with hx-trigger="tick from:body" are fetched again while somebody can see them ─────────
  const isBusy = () => document.hidden || dialog.open || String(getSelection()) !== "";
  setInterval(() => {
    if (!isBusy()) document.body.dispatchEvent(new Event("tick"));
  }, TICK_MS);
  document.addEventListener("htmx:afterSettle", (event) => localise(event.detail.elt));
  // A part that comes anew keeps the focus, and how far its boxes were scrolled.
  const inLive = (selector) => [...document.querySelectorAll(`#live ${selector}`)];
  const keyOf = (link) => link.getAttribute("href") || link.getAttribute("aria-label") || "";
  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "live") return;
    const focused = document.activeElement?.closest("#live") ? document.activeElement : null;
    const alike = focused ? inLive("a, [tabindex]").filter((each) => keyOf(each) === keyOf(focused)) : [];
    kept = { key: focused && keyOf(focused), at: alike.indexOf(focused), lefts: inLive(".scroll").map((box) => box.scrollLeft) };
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "live" || !kept) return;
    inLive(".scroll").forEach((box, at) => { box.scrollLeft = kept.lefts[at] || 0; });
    if (kept.key) inLive("a, [tabindex]").filter((each) => keyOf(each) === kept.key)[Math.max(kept.at, 0)]?.focus({ preventScroll: true });
    kept = null;
  });
  // What is old must not look as if it were of now.
  const stale = document.getElementById("stale");
  let fresh = new Date();
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.target?.id !== "live") return;
    const well = event.detail.successful === true;
    if (well) fresh = new Date();
    else stale.textContent = `What you see is of ${local(fresh)}: the console does not answer, or not as it should.`;
    stale.hidden = well;
  });
  // Who was logged out meanwhile is shown so, and not a page inside a page.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const status = event.detail.xhr.status;
    const moved = new URL(event.detail.xhr.responseURL, location.href).pathname === "/login" && location.pathname !== "/login";
    if (status !== 401 && !moved) {
      if (status >= 400 && event.detail.target.id !== "dialog-content") event.detail.shouldSwap = false;
      return;
    }
    event.detail.shouldSwap = false;
    location.reload();
  });

  // ── boxes that scroll can be reached by the keyboard; those that need not scroll are no stop on its way ──────────
  const stops = (within) => {
    for (const box of within.querySelectorAll(".scroll, .tall")) {
      if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  document.addEventListener("htmx:afterSettle", (event) => stops(event.detail.elt));
  addEventListener("resize", () => stops(document));

  localise(document);
  stops(document);
})();
