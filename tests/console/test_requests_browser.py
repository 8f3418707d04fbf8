"""Requests are found, looked at and retried in a real browser: by keys alone, and without scripts."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest_asyncio
from playwright.async_api import expect
from support.browser import NARROW, WIDE, chromium, faults_of, opened
from support.console import Console
from support.harness import declare_topology
from support.planted import Planted, clear, plant, plant_worker

from worker.console.server import serve
from worker.settings import Settings


@pytest_asyncio.fixture
async def failed(here: Settings, record: asyncpg.Connection) -> AsyncIterator[list[Planted]]:
    """Requests that have failed at an attempt of the handler."""
    await declare_topology(here)
    await clear(record)
    worker = await plant_worker(record, "vm", 11, "rooms@1")
    at = datetime.now(UTC) - timedelta(minutes=5)
    yield await plant(record, [
        Planted(
            at + timedelta(seconds=n), org="org-7", code="attempts_exhausted", reason="rooms answered 503",
            place="rooms.py:7 create", worker=worker, payload={"name": "x"}, correlation="order-1",
        )
        for n in range(5)
    ])  # fmt: skip


async def test_requests_are_found_and_retried_by_keys_and_without_scripts(
    console: Console, failed: list[Planted], record: asyncpg.Connection
) -> None:
    newest, token = failed[-1].request_id, console.tokens["anna"]
    async with serve(console.app, "127.0.0.1", 0) as port, chromium() as browser:
        base = f"http://127.0.0.1:{port}"
        async with opened(browser, base, token) as page:
            await page.keyboard.press("g")
            await page.keyboard.press("r")
            await expect(page).to_have_title(re.compile("^Requests"))
            await page.keyboard.press("f")
            await page.keyboard.type("org-7")
            await page.keyboard.press("Enter")
            await expect(page.locator(".chip")).to_contain_text("org = org-7")
            for key in "jxjx":
                await page.keyboard.press(key)
            await expect(page.locator("tr.marked")).to_have_count(2)
            await page.keyboard.press("r")
            await expect(page.locator("h1")).to_have_text("Retry 2 marked requests")
            await page.fill("#reason", "rooms are back")
            await page.keyboard.press("Enter")
            await expect(page.locator("h1")).to_contain_text("done")  # it has asked by itself
            await expect(page.locator(".done")).to_contain_text("of the audit")
            await page.goto("/requests?org=org-7&status=failed")
            await page.keyboard.press("X")
            await page.keyboard.press("c")
            await expect(page.locator("h1")).to_contain_text(
                "Cancel all that match: org = org-7, status = failed"
            )
            await page.keyboard.press("Escape")
            await expect(page.locator(".chip")).to_have_count(2)
            await page.keyboard.press("j")
            await page.keyboard.press("e")
            await expect(page.locator("h1")).to_contain_text(str(newest))
            await page.goto("/failures")
            await page.click("text=rooms answered 503")
            await expect(page.locator("tr[data-row]")).to_have_count(5)

        chosen = await record.fetchval("select id from selections")
        async with opened(browser, base, token, width=WIDE, scheme="light") as page:
            for path in ("/failures", f"/requests/{newest}"):
                await page.goto(path)
                assert await faults_of(page) == [], path
        async with opened(browser, base, token, width=NARROW, scheme="dark") as page:
            for path in ("/requests?org=org-7", f"/selections/{chosen}"):
                await page.goto(path)
                assert await faults_of(page) == [], path

        async with opened(browser, base, token, scripts=False) as page:
            await page.goto("/requests?org=org-7")
            await page.check(f'input[value="{failed[0].request_id}"]')
            await page.click("text=Resend")
            await page.fill("#reason", "it was lost")
            await page.click("button.main")
            await expect(page.locator(".done")).to_contain_text("of the audit")
    assert await record.fetchval("select count(*) from audit") == 2
