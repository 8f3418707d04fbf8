"""Drives Debian's Chromium, which the tests install themselves where they may."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

from worker.stack import StackError
from worker.stack.install import install

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_REMEDY = (
    "Chromium is not installed here, and {why}. Install it (Debian: sudo apt-get install "
    "--no-install-recommends chromium): the tests of the console's pages need it."
)
NARROW, WIDE = 360, 1280
_PATIENCE_SECONDS = 60.0
Scheme = Literal["light", "dark"]


async def ensure_chromium() -> str:
    """Return the path of the browser, or raise an error that says what to do."""
    if (found := _found()) is None:
        why = await install("chromium", lambda line: print(line, file=sys.stderr, flush=True), os.environ)
        if (found := _found()) is None:
            raise StackError(_REMEDY.format(why=why))
    return found


def _found() -> str | None:
    return next(filter(None, map(shutil.which, _NAMES)), None)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run the browser."""
    path = await ensure_chromium()
    expect.set_options(timeout=_PATIENCE_SECONDS * 1000)  # else five seconds
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser,
    base: str,
    token: str,
    *,
    width: int = WIDE,
    scheme: Scheme = "light",
    scripts: bool = True,
) -> AsyncIterator[Page]:
    """Open a page and log in. At its end nothing was refused by the policy, and no script has failed."""
    context = await browser.new_context(
        base_url=base,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )
    context.set_default_timeout(_PATIENCE_SECONDS * 1000)
    complaints: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Security Policy" in said.text else None)
    await page.goto("/login")
    await page.fill("#token", token)
    await page.click("button")
    await page.wait_for_selector("#top")
    try:
        yield page
        assert complaints == []
    finally:
        await context.close()


async def faults_of(page: Page) -> list[str]:
    """Return what axe finds serious or worse on a page, and whether it is wider than the window."""
    found: Any = (await Axe().run(page)).response
    faults = [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    wide = await too_wide(page)
    return [*faults, f"{wide} px too wide"] if wide > 0 else faults


async def too_wide(page: Page) -> int:
    """Return by how many pixels a page is wider than the window."""
    pixels: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return pixels


if __name__ == "__main__":
    try:
        asyncio.run(ensure_chromium())
    except StackError as error:  # the other tests need none
        print(f"note: {error}", file=sys.stderr)
