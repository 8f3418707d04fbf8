// Keys, and the pause of the refresh. Without this file all works by links and forms.
//
// A page takes part by attributes: data-key="o" on a link of the navigation (`g o`); data-row on the rows of a
// list, with a link to open and, for marking, a checkbox in it; data-act="retry" on what an action begins with;
// data-explain on a row's link to its explanation; data-all on what means all that match; data-back on the way back.
"use strict";

(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const rows = () => [...document.querySelectorAll("tr[data-row]")];
  let at = null; // the data-row of the row where the cursor is
  let paused = false;
  let went = 0; // when `g` was pressed

  const writes = (element) => element instanceof Element && element.matches("input:not([type=checkbox]), select, textarea");
  const marked = () => rows().filter((row) => one("input[type=checkbox]", row)?.checked);
  const current = () => rows().find((row) => row.dataset.row === at);

  function show() {
    for (const row of rows()) {
      row.classList.toggle("at", row.dataset.row === at);
      row.classList.toggle("marked", Boolean(one("input[type=checkbox]", row)?.checked));
    }
    for (const button of document.querySelectorAll("[data-pause-refresh]")) {
      button.hidden = !one("main[data-refresh]");
      button.textContent = paused ? "go on refreshing" : "pause refresh";
      button.setAttribute("aria-pressed", String(paused));
    }
  }

  function move(by) {
    const all = rows();
    if (!all.length) return;
    const index = all.findIndex((row) => row.dataset.row === at);
    const next = all[index < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, index + by))];
    at = next.dataset.row;
    next.scrollIntoView({ block: "nearest" });
    one("a", next)?.focus({ preventScroll: true });
    show();
  }

  function mark() {
    const box = current() && one("input[type=checkbox]", current());
    if (!box) return;
    box.checked = !box.checked;
    box.dispatchEvent(new Event("change", { bubbles: true }));
    show();
  }

  function pause() {
    paused = !paused;
    show();
  }

  function press(element) {
    if (!element) return false;
    element.click();
    return true;
  }

  const ACTS = { r: "retry", s: "resend", c: "cancel" };
  const KEYS = {
    "/": () => { const field = one("#search"); field?.focus(); field?.select(); return Boolean(field); },
    "?": () => one("#keys").showModal(),
    ".": pause,
    j: () => move(1),
    k: () => move(-1),
    x: mark,
    X: () => press(one("[data-all]")),
    Enter: () => press(current() && one("a", current())),
    e: () => press((current() && one("[data-explain]", current())) || one("[data-explain]")),
    f: () => { const field = one("form.filters input, form.filters select"); field?.focus(); return Boolean(field); },
    Escape: () => press(one("[data-back]")),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (one("dialog[open]")) return;
    if (writes(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const control = event.target instanceof Element && event.target.matches("a, button, summary, input");
    if (event.key === "Enter" && control) return;
    const follows = Date.now() - went < 1500;
    went = 0;
    let done;
    if (follows) done = press(one(`nav [data-key="${CSS.escape(event.key)}"]`));
    else if (event.key === "g") { went = Date.now(); done = true; }
    else if (ACTS[event.key]) done = press(one(`[data-act="${ACTS[event.key]}"]`));
    else if (KEYS[event.key]) done = KEYS[event.key]() !== false;
    if (done) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-pause-refresh]")) pause();
  });
  document.addEventListener("change", show);

  // Without a secure connection a browser has no clipboard: then there is no button either.
  const copies = () => {
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  };
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
  });
  document.addEventListener("htmx:afterSettle", copies);
  copies();

  // A page asks for itself again only while somebody looks at it, and disturbs nobody who writes or chooses.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.id !== "main") return;
    if (paused || document.hidden || writes(document.activeElement) || marked().length || one("dialog[open]")) {
      event.preventDefault();
    }
  });
  // What somebody has focused, opened or scrolled to stays so.
  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.target.id !== "main") return;
    const focused = document.activeElement;
    kept = {
      href: focused instanceof Element && event.target.contains(focused) ? focused.getAttribute("href") : null,
      open: [...document.querySelectorAll("main details[open][id]")].map((each) => each.id),
    };
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const id of kept?.open ?? []) document.getElementById(id)?.setAttribute("open", "");
    if (kept?.href) one(`main a[href="${CSS.escape(kept.href)}"]`)?.focus({ preventScroll: true });
    kept = null;
    show();
  });
  one("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on a telephone it is a line to be moved
  show();
})();
