"""The console in a real browser: by keys, on a telephone, in both themes, and without scripts."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from support.browser import NARROW, WIDE, Scheme, faults_of, opened
from support.console import Console

from worker.console.pages import overview
from worker.console.server import serve

PAGES = (
    "/", "/actions/pause?org=org-7", "/search?id=nothing-has-this", "/nowhere",
    "/waiting", "/dead", "/responses", "/workers", "/orgs", "/keys", "/storage", "/audit",
)  # fmt: skip


@pytest_asyncio.fixture(scope="module")
async def base(console: Console) -> AsyncIterator[str]:
    async with serve(console.app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
async def test_nothing_keeps_people_out_of_a_page(
    browser: Browser, base: str, console: Console, width: int, scheme: Scheme
) -> None:
    async with opened(browser, base, console.tokens["anna"], width=width, scheme=scheme) as page:
        for path in PAGES:
            await page.goto(path)
            assert await faults_of(page) == [], path
        await page.click("text=log out")
        assert await faults_of(page) == []


async def test_it_works_by_keys(browser: Browser, base: str, console: Console) -> None:
    async with opened(browser, base, console.tokens["operator"]) as page:
        await page.keyboard.press("?")
        await expect(page.locator("#keys")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#keys")).to_be_hidden()
        await page.keyboard.press("/")
        await page.keyboard.type("g")  # in a field it is a letter
        await expect(page.locator("#search")).to_have_value("g")
        await page.keyboard.type("one-here")
        await page.keyboard.press("Enter")
        await expect(page).to_have_title(re.compile("^Search"))
        await page.keyboard.press("g")
        await page.keyboard.press("o")
        await expect(page).to_have_title(re.compile("^Overview"))


async def test_a_page_refreshes_unless_somebody_has_paused_that_or_writes(
    browser: Browser, base: str, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "_REFRESH_SECONDS", 0.2)
    async with opened(browser, base, console.tokens["viewer"]) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        async with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
            pass
        await expect(page.locator("main h1")).to_have_text("Overview")
        await page.keyboard.press(".")
        await expect(page.locator("[data-pause-refresh]")).to_have_text("go on refreshing")
        await page.wait_for_load_state("networkidle")
        asked.clear()
        await page.wait_for_timeout(600)
        assert asked == []
        await page.click("[data-pause-refresh]")
        async with page.expect_response(lambda answer: answer.status == 200):
            pass
        await page.focus("#search")
        await page.wait_for_load_state("networkidle")
        asked.clear()
        await page.wait_for_timeout(600)
        assert asked == []


async def test_without_scripts_it_is_read_and_acted_on(browser: Browser, base: str, console: Console) -> None:
    async with opened(browser, base, console.tokens["operator"], scripts=False) as page:
        await expect(page).to_have_title(re.compile("^Overview"))
        await page.click("text=pause all")
        await page.click("button.main")
        await expect(page).to_have_title(re.compile("^Pause all"))  # a reason is required
        await page.fill("#reason", "a move of the database")
        await page.select_option("#field-minutes", "60")
        await page.click("button.main")
        await expect(page.locator(".done")).to_contain_text("of the audit")
        await expect(page.locator("#top")).to_contain_text("paused, by operator via console, until")
        await page.click("text=resume")
        await page.fill("#reason", "moved")
        await page.click("button.main")
        await expect(page.locator("#top")).not_to_contain_text("paused")
