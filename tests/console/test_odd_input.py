"""What people and strangers may do wrong, in a browser: it does no harm, and each is told what to do."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from pydantic import SecretStr
from support.browser import NARROW, opened, too_wide
from support.console import ADDRESS, Console, open_console, reached, text_of
from support.harness import declare_topology
from support.pictures import FOLDER, PAGES, SCHEMES, WIDTHS, file_of, page_with_pictures
from support.planted import Planted, clear, plant
from support.sealed import ring_text
from support.staged import stage

from worker.console import app as console_app
from worker.console.pages import overview
from worker.console.routes import ROUTES
from worker.console.server import serve
from worker.operations.doctor.checks import ALL
from worker.settings import Settings

HOSTILE = (
    '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b data-hacked>\'`{{7*7}}'
    "javascript:window.hacked=1 \u202e" + "x" * 90
)
HACKED = "window.hacked || document.querySelector('[data-hacked]') !== null"
ACTIONS = (
    "/actions/pause?org={it}", "/actions/resume?org={it}", "/waiting/actions/limit?scope=org&org={it}",
    "/waiting/actions/clear_limit?scope=org&org={it}", "/requests/actions/cancel?org={it}&reason={it}",
    "/dead/actions/drop?app={it}", "/dead/actions/redirect?app={it}", "/dead/actions/replay?edits={it}",
    "/keys/actions/rotate?from={it}", "/storage/actions/retention_run?older={it}", "/failures?org={it}",
    "/requests?find_org={it}&org={it}", "/audit?by={it}&action={it}&org={it}", "/search?id={it}",
    "/dead?app={it}&reason={it}&state=dropped", "/requests/{it}", "/selections/{it}", "/{it}", "/?hours={it}",
    "/orgs?since={it}", "/login?next={it}",
)  # fmt: skip


@pytest_asyncio.fixture(scope="module")
async def console(here: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    await declare_topology(here)
    keys = SecretStr(ring_text("k2", "k1"))
    async with open_console(here, tmp_path_factory.mktemp("console"), seal_keys=keys) as opened_console:
        yield await reached(opened_console)


@pytest_asyncio.fixture(scope="module")
async def base(console: Console) -> AsyncIterator[str]:
    async with serve(console.app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


@pytest_asyncio.fixture
async def db(record: asyncpg.Connection) -> asyncpg.Connection:
    """The tables that the tests of this file share, empty at the beginning of each."""
    await clear(record)
    return record


async def test_what_strangers_wrote_is_shown_on_every_page_and_runs_on_none(
    browser: Browser, base: str, console: Console, db: asyncpg.Connection
) -> None:
    staged = await stage(db, lambda text: f"{text}{HOSTILE}")
    await (await console.bearer("viewer")).get("/api/v1/doctor")  # which waits until it has looked
    paths = [path.format(**staged._asdict()) for path in PAGES.values()]
    async with opened(browser, base, console.tokens["anna"], width=NARROW) as page:
        page.on("dialog", lambda _: pytest.fail("a script has run"))
        for path in (*paths, *(each.format(it=quote(HOSTILE, safe="")) for each in ACTIONS)):
            await page.goto(path)
            assert await page.evaluate(HACKED) is False, path
            assert await too_wide(page) <= 0, path
            if path in paths[:5]:
                assert "<img src=x" in await page.inner_text("main"), f"{path}: it is shown, as text"


async def test_a_filter_typed_by_hand_with_a_mistake_is_told_and_the_others_are_kept(
    browser: Browser, base: str, console: Console
) -> None:
    async with opened(browser, base, console.tokens["viewer"]) as page:
        await page.goto("/requests?org=org-7&since=2h")
        await page.fill("form.filters [name=since]", "yesterday")
        await page.get_by_role("button", name="Show", exact=True).click()
        await expect(page.locator("main")).to_contain_text("since: 'yesterday' is")
        await page.get_by_role("link", name="The same without «since»").click()
        await expect(page.locator(".chip")).to_have_text(["org = org-7 ×"])
        await page.goto("/requests?org=org-7&stauts=failed")
        await expect(page.locator("main")).to_contain_text("stauts: there is no such filter")
        await page.goto("/requests?org=org-7")
        await page.evaluate("location.assign('/requests?status=fialed')")
        await expect(page.locator("main")).to_contain_text("status: 'fialed' is none of")
        await page.keyboard.press("Escape")
        await expect(page.locator(".chip")).to_have_text(["org = org-7 ×"])


async def test_the_way_back_leads_to_no_other_site(console: Console) -> None:
    client = await console.client("viewer")

    async def back(referer: str) -> list[str]:
        page = await client.get("/requests?status=x", headers={"Referer": referer})
        return re.findall(r'href="([^"]*)" data-back', page.text)

    assert await back(f"{ADDRESS}/dead?app=x") == ["/dead?app=x"]
    for elsewhere in (
        f"{ADDRESS}//evil.test/",
        "https://evil.test/",
        f"{ADDRESS}/\\evil.test",
        "javascript:1",
        "",
    ):
        assert await back(elsewhere) == [], elsewhere


async def test_a_session_that_ends_while_somebody_writes_leads_back_to_the_form(
    browser: Browser, base: str, console: Console, db: asyncpg.Connection
) -> None:
    async with opened(browser, base, console.tokens["operator"]) as page:
        await page.goto("/actions/pause?org=org-7")
        await page.fill("#reason", "they deploy")
        await page.context.clear_cookies()
        await page.click("button.main")
        await expect(page.locator("main")).to_contain_text("Your session has ended. Nothing was done.")
        assert await db.fetchval("select count(*) from pauses") == 0
        await page.fill("#token", console.tokens["operator"])
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("Pause the requests of org-7")
        await page.fill("#reason", "they deploy")
        await page.click("button.main")
        await expect(page.locator(".done")).to_contain_text("of the audit")
    assert await db.fetchval("select paused_by from pauses") == "operator via console"


async def test_of_two_people_at_one_selection_one_does_it_and_the_other_is_told(
    browser: Browser, base: str, console: Console, db: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    rows = await plant(db, [Planted(now, org="org-7", code="rejected", payload={}) for _ in range(3)])
    tokens = console.tokens
    async with (
        opened(browser, base, tokens["operator"]) as ann,
        opened(browser, base, tokens["admin"]) as bob,
    ):
        await ann.goto("/requests/actions/retry?org=org-7&status=failed")
        await db.execute("set session_replication_role = replica")
        await db.execute("delete from requests where request_id = $1", rows[0].request_id)
        await db.execute("set session_replication_role = default")
        await ann.fill("#reason", "rooms are back")
        await ann.click("button.main")
        await expect(ann.locator("main")).to_contain_text("Nothing is done yet")
        await bob.goto(ann.url)
        await bob.fill("[name=reason]", "me too")
        await ann.click("button.main")
        await expect(ann.locator("h1")).to_contain_text("done")
        await bob.click("button.main")
        await expect(bob.locator("main")).to_contain_text("You were not the first, operator via console was")
        await bob.get_by_role("link", name="Back to where you came from").click()
        await expect(bob.locator("h1")).to_contain_text("done")
    audit = await db.fetch("select who, action, touched from audit")
    assert [tuple(row) for row in audit] == [("operator via console", "requests.retry", 2)]


@pytest.mark.parametrize("wrong", [timedelta(hours=1), timedelta(hours=-1)], ids=["ahead", "behind"])
async def test_a_clock_that_is_off_by_an_hour_changes_nothing_of_what_is_shown(
    here: Settings,
    db: asyncpg.Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: timedelta,
) -> None:
    """What is on record has the times of Postgres; the clock of the console's machine is not like that."""
    staged = await stage(db)
    monkeypatch.setattr(console_app, "_now", lambda: datetime.now(UTC) + wrong)
    async with open_console(here, tmp_path) as console:
        client = await (await reached(console)).client("operator")
        shown = text_of(await client.get("/?hours=1"))
        listed = text_of(await client.get("/requests?since=2m&status=completed"))
        failed = text_of(await client.get(f"/requests/{staged.failed}"))
        groups = text_of(await client.get("/failures?since=15m"))
        busiest = await client.get("/orgs?since=5m")

    assert "No worker measures" not in shown
    assert "in 344/s" not in shown
    assert re.search(r" failed \d+(\.\d+)? % ", shown), "of the last minute"
    assert re.search(r"\b([1-9]|10) match", listed), "of two minutes, in which some ten ended"
    assert "in 60 min" not in listed
    assert "attempts_exhausted" in failed
    assert "rooms answered 503" in groups
    assert busiest.status_code == 200


def test_what_the_doctor_finds_leads_to_a_page_that_there_is() -> None:
    assert overview.PAGE_OF.keys() <= {check.id for check in ALL}
    assert {*overview.PAGE_OF.values()} <= {row.name for row in ROUTES}


def test_each_page_stands_in_the_docs_as_a_picture_and_together_they_are_small() -> None:
    templates = {file.stem for file in Path(overview.__file__).parents[1].glob("templates/*.html")}
    files = {file_of(name, width, scheme) for name in PAGES for width in WIDTHS for scheme in SCHEMES}

    assert PAGES.keys() == templates - {"base"}
    assert {file.name for file in FOLDER.iterdir()} == files
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2_000_000
    assert (FOLDER.parent / "console.md").read_text("utf-8") == page_with_pictures(), "run `make pictures`"
