"""The drills of docs/on-call.md, ended in a browser: each fault is seen on a page of the console, is ended
there with a look ahead and a reason, and what came of it stands in Postgres, at the broker and in the audit.
"""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect
from pydantic import SecretStr
from support.browser import opened
from support.console import open_console, open_console_as
from support.handlers import steer
from support.harness import Desk, NewWorker, eventually, good_request, open_desk, response_in, run_in_process
from support.sealed import put_dead_letter, put_request, put_session, ring, ring_text

from schemas import CreateSessionRequest, CreateSessionResponse
from worker.console import checkup
from worker.console.pages import keys, overview, responses, selections, storage, waiting, workers, works
from worker.console.server import serve
from worker.handlers import Context
from worker.rules import NOTHING, Rules
from worker.services import peers, watching
from worker.settings import Settings
from worker.steps.gate import Gate

QUICK: dict[str, Any] = {
    "management_url": SecretStr(""), "seal_keys": SecretStr(ring_text("k2", "k1")), "max_attempts": 1,
    "retry_seconds": 0, "breaker_share": 1.0, "prefetch": 8, "handler_concurrency": 4,
    "handler_timeout_seconds": 120,
}  # fmt: skip
SOONER = (
    (overview, "_REFRESH_SECONDS", 0.5), (overview, "_SHARED_SECONDS", 0), (selections, "_LOOK_SECONDS", 0.2),
    (works, "_REFRESH_SECONDS", 0.2), (waiting, "_FRESH_SECONDS", 0), (responses, "_FRESH_SECONDS", 0),
    (storage, "_FRESH_SECONDS", 0), (keys, "_FRESH_SECONDS", 0), (workers, "_FRESH_SECONDS", 0),
    (checkup, "AGAIN_SECONDS", 1), (checkup, "SOON_SECONDS", 0.2), (watching, "LOOK_SECONDS", 0.5),
    (peers, "CENSUS_SECONDS", 0.5),
)  # fmt: skip
BY = "anna via console"
LEARN = Gate.learn
AGED = """
set session_replication_role = replica;
update {table} set {change};
set session_replication_role = default;
"""


@dataclass
class Town:
    """A worker, the console, a browser in which anna has logged in, and a customer."""

    page: Page
    desk: Desk
    record: asyncpg.Connection
    new_worker: NewWorker
    failing: set[str] = field(default_factory=set)  # organisations for which the handler fails
    calls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))  # of the one that floods
    rules: Rules = NOTHING  # that the worker has learned
    audited: int = 0  # the last line of the audit before the drill

    async def act(self, request: CreateSessionRequest, _context: Context) -> None:
        """Be the worker's handler."""
        if request.org_id in self.failing:
            raise ConnectionError
        if request.org_id == "flood":
            await self.calls.acquire()

    async def send(self, number: int, org: str, *, reply_to: str | None = "mine") -> list[UUID]:
        """Send so many good requests of an organisation; returns their ids."""
        ids = [uuid4() for _ in range(number)]
        for each in ids:
            await self.desk.send(good_request(each) | {"org_id": org}, reply_to=reply_to)
        return ids

    async def answers(self, number: int) -> list[CreateSessionResponse]:
        """Receive so many responses."""
        return [response_in(await self.desk.next()) for _ in range(number)]

    async def finding(self, check: str, *words: str) -> Locator:
        """Wait until the overview says that something is wrong; returns where it says so."""
        await self.page.goto("/")
        found = self.page.locator(".findings li", has=self.page.get_by_text(check, exact=True))
        for word in words:
            await expect(found.first).to_contain_text(word)
        return found.first

    async def row(self, path: str, text: str) -> Locator:
        """Wait until a page has a row with this text."""

        async def look() -> Locator | None:
            await self.page.goto(path)
            found = self.page.locator("tr[data-row]", has_text=text)
            return found.first if await found.count() else None

        return await eventually(look)

    async def press(self, button: str) -> None:
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def decide(self, reason: str) -> None:
        """Do what the page asks about, for this reason, and wait until it is on the page that says so."""
        form = self.page.locator("form[method=post].action")
        await form.locator("[name=reason]").fill(reason)
        await form.locator("button.main, button.danger").click()
        await expect(self.page.locator(".done")).to_contain_text("of the audit")

    async def until(self, text: str | re.Pattern[str]) -> None:
        """Wait until the page, which asks again by itself, says this."""
        await expect(self.page.locator("main")).to_contain_text(text)

    async def count(self, query: str, *args: object) -> int:
        number: int = await self.record.fetchval(f"select count(*) from {query}", *args)  # noqa: S608 — a test's
        return number

    async def until_there_are(self, number: int, query: str, *args: object) -> None:
        async def look() -> bool:
            return await self.count(query, *args) == number

        await eventually(look)

    async def until_the_worker_knows(self, what: Callable[[Rules], object]) -> None:
        """Wait until the worker, which is told after the page, goes by these rules."""

        async def look() -> bool:
            return bool(what(self.rules))

        await eventually(look)

    async def age(self, table: str, change: str) -> None:
        """Make rows older, past the guard, which lets nobody do so."""
        await self.record.execute(AGED.format(table=table, change=change))

    async def audit(self) -> list[tuple[str, str, int]]:
        """Return what was done since the drill began, all of it by anna."""
        rows = await self.record.fetch(
            "select who, action, reason, touched from audit where number > $1 order by number", self.audited
        )
        assert {row["who"] for row in rows} == {BY}
        return [(row["action"], row["reason"], row["touched"]) for row in rows]


@pytest_asyncio.fixture(scope="module")
async def everybody(
    here: Settings, record: asyncpg.Connection, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    settings = here.model_copy(update=QUICK)
    async with AsyncExitStack() as exits:
        sooner = exits.enter_context(pytest.MonkeyPatch.context())
        for module, name, seconds in SOONER:
            sooner.setattr(module, name, seconds)
        start = await exits.enter_async_context(run_in_process(settings))
        console = await exits.enter_async_context(
            open_console(settings, tmp_path_factory.mktemp("console"), seal_keys=QUICK["seal_keys"])
        )
        port = await exits.enter_async_context(serve(console.app, "127.0.0.1", 0))
        desk = await exits.enter_async_context(open_desk(here.amqp_url.get_secret_value(), here.prefix))
        page = await exits.enter_async_context(
            opened(browser, f"http://127.0.0.1:{port}", console.tokens["anna"])
        )
        town = Town(page, desk, record, start)

        def learn(gate: Gate, rules: Rules, in_line: Iterable[str]) -> None:
            LEARN(gate, rules, in_line)
            town.rules = rules

        sooner.setattr(Gate, "learn", learn)
        await start(handler=steer(town.act))
        yield town


@pytest_asyncio.fixture
async def town(everybody: Town) -> Town:
    everybody.audited = await everybody.record.fetchval("select coalesce(max(number), 0) from audit")
    return everybody


async def test_garbage_is_mended_replayed_dropped_and_restored(town: Town) -> None:
    """Drill 1. Some are mended all alike, one by hand, and the rest is of no use."""
    page, mendable, by_hand = town.page, [uuid4() for _ in range(3)], uuid4()
    for name, each, app in (*(("id", each, "billing") for each in mendable), ("ref", by_hand, "shop")):
        wrong = good_request(each)
        wrong[name] = wrong.pop("request_id")
        await town.desk.send(wrong, reply_to=None, app_id=app)
    for number in range(3):
        await town.desk.send(b"<order>%d</order>" % number, reply_to=None, app_id="lists")
    await town.until_there_are(7, "dead_letters")
    await town.age(
        "dead_letters", "died_at = died_at - interval '2 min', kept_at = kept_at - interval '2 min'"
    )

    finding = await town.finding("dead-letters", "7 messages are in custody")
    await finding.get_by_role("link", name="look there").click()
    await page.locator("tr", has_text="billing").get_by_role("link", name="replay", exact=True).click()
    await page.fill("#edits", "rename id=request_id")
    await town.press("Look ahead")
    await expect(page.locator("main caption")).to_contain_text("3 new")
    await town.decide("billing 2.1 writes id")
    await town.until("3 of 3 messages sent")

    await page.goto("/dead?app=shop&group=none")
    await page.locator("tr[data-row] .id a").click()
    await page.get_by_role("link", name="Edit and replay").click()
    await page.fill("#body", (await page.input_value("#body")).replace('"ref"', '"request_id"'))
    await town.press("Look ahead")
    await town.until("It would be: new")
    await page.fill("#reason", "its name was wrong")
    await town.press("Replay")
    await town.until("replayed")

    for verb, state in (("drop", "kept"), ("restore", "dropped"), ("drop", "kept")):
        await page.goto(f"/dead?app=lists&state={state}")
        await page.locator("tr[data-row]").get_by_role("link", name=verb, exact=True).click()
        await expect(page.locator("h1")).to_have_text(f"{verb.capitalize()} 3 dead letters")
        await town.decide("no order of ours")
    await page.goto("/dead")
    await town.until("No dead letters.")

    done = "requests where status = 'completed' and request_id = any ($1)"
    await town.until_there_are(4, done, [*mendable, by_hand])
    assert await town.count("dead_letters where state = 'dropped' and app_id = 'lists'") == 3
    assert [(action, touched) for action, _, touched in await town.audit()] == [
        ("dead.replay (begun)", 3), ("dead.replay", 3), ("dead.replay", 1), ("dead.drop", 3),
        ("dead.restore", 3), ("dead.drop", 3),
    ]  # fmt: skip


async def test_what_failed_for_one_organisation_is_done_again(town: Town) -> None:
    """Drill 2."""
    town.failing.add("org-7")
    failed = await town.send(5, "org-7")
    assert {answer.status for answer in await town.answers(5)} == {"failed"}

    page = town.page
    await page.goto("/")
    failing = page.locator("dl.facts div", has=page.get_by_text("failed", exact=True)).locator("dd")
    await expect(failing).to_have_text(re.compile(r"^[1-9]"))
    await page.keyboard.press("g")
    await page.keyboard.press("f")
    await page.get_by_role("link", name="the handler raised ConnectionError").click()
    await expect(page.locator("tr[data-row]")).to_have_count(5)
    town.failing.clear()
    await page.keyboard.press("X")
    await page.keyboard.press("r")
    await town.until("5 requests, 1 org (org-7)")
    await town.decide("rooms are back")
    await town.until("5 completed")

    assert {answer.status for answer in await town.answers(5)} == {"completed"}
    again = "retries t join requests r on r.request_id = t.retried_as"
    assert await town.count(f"{again} where r.status = 'completed' and t.request_id = any ($1)", failed) == 5
    assert await town.audit() == [("requests.retry", "rooms are back", 5)]


async def test_a_flood_is_limited_and_what_waits_of_it_is_cancelled(town: Town) -> None:
    """Drill 3. Its calls hang, and the others have none left."""
    page, flooding = town.page, "requests where org_id = 'flood'"
    await town.send(24, "flood")
    await town.until_there_are(4, f"{flooding} and status = 'processing'")
    quiet = await town.send(2, "quiet")

    await expect((await town.row("/orgs", "flood")).get_by_role("rowheader")).to_have_text("flood")
    await page.goto("/waiting")
    await page.fill("#limit-org", "flood")
    await town.press("limit")
    await page.fill("#field-running", "1")
    await town.decide("a flood")
    await town.until_the_worker_knows(lambda rules: "flood" in rules.of_orgs)
    for _ in range(4):
        town.calls.release()
    answered = {answer.request_id for answer in await town.answers(6)}
    assert answered.issuperset(quiet), "the others are served again"
    await town.until_there_are(19, f"{flooding} and waits_in is not null")
    await (await town.row("/waiting", "flood")).get_by_role("link", name="cancel").click()
    await expect(page.locator("h1")).to_have_text("Cancel all that match: status = waiting, org = flood")
    await town.until("19 requests")
    await page.fill("#field-rate", "1000")
    await town.decide("nobody wants these")
    await town.until("19 failed (cancelled)")
    town.calls.release()
    await page.goto("/waiting")
    limit = page.locator("tr", has=page.get_by_role("rowheader", name="flood", exact=True))
    await limit.get_by_role("link", name="clear").click()
    await town.decide("it is over")

    assert {answer.error for answer in await town.answers(20)} >= {"cancelled: nobody wants these", None}
    assert await town.count(f"{flooding} and status = 'failed' and error_code = 'cancelled'") == 19
    assert await town.count(f"{flooding} and status = 'completed'") == 5
    assert await town.count("limits") == 0
    assert await town.audit() == [
        ("limits.set", "a flood", 1), ("requests.cancel", "nobody wants these", 19),
        ("limits.clear", "it is over", 1),
    ]  # fmt: skip


async def test_an_answer_that_nobody_got_is_sent_elsewhere(town: Town) -> None:
    """Drill 4. The customer calls, and has the id."""
    (lost,) = await town.send(1, "acme", reply_to="acme.replies.node-7")
    await town.until_there_are(1, "requests where request_id = $1 and undelivered = 'unroutable'", lost)
    await town.age("requests", f"finished_at = finished_at - interval '6 min' where request_id = '{lost}'")

    page = town.page
    finding = await town.finding("unanswered", "for acme.replies.node-7 went to nobody")
    await finding.get_by_role("link", name="look there").click()
    await expect(page.locator("tr[data-row]", has_text="acme.replies.node-7")).to_contain_text("unroutable")
    await page.keyboard.press("/")
    await page.keyboard.type(str(lost))
    await page.keyboard.press("Enter")
    await town.until("the queue acme.replies.node-7 is not there")
    await page.keyboard.press("s")
    await page.fill("#field-to", town.desk.reply_to)
    await town.decide("they have moved")
    await expect(page.locator("h1")).to_contain_text("done")

    (answer,) = await town.answers(1)
    assert (answer.request_id, answer.status) == (lost, "completed")
    assert await town.count("listed_requests where request_id = $1 and published_at is not null", lost) == 1
    assert await town.audit() == [("requests.resend", "they have moved", 1)]


async def test_old_requests_make_room(town: Town) -> None:
    """Drill 8."""
    page = town.page
    old = await town.send(6, "old")
    await town.answers(6)
    await town.until_there_are(6, "listed_requests where org_id = 'old' and published_at is not null")
    age = "{0} = {0} - interval '8 days'"
    aged = ", ".join(age.format(name) for name in ("received_at", "finished_at", "published_at"))
    await town.age("requests", f"{aged} where org_id = 'old'")

    await page.goto("/")
    await page.get_by_role("link", name="Storage").click()
    await town.until("Tables, the largest first")
    await page.fill("#older", "7d")
    await town.press("Delete them …")
    await town.until("6 of ")
    await page.fill("#field-rate", "10000")
    await town.decide("the disk is full")
    await town.until("6 of 6 requests deleted")

    assert await town.count("requests where request_id = any ($1)", old) == 0
    begun, *deleted = await town.audit()
    assert begun[:2] == ("retention.run (begun)", "the disk is full")
    assert sum(touched for _, _, touched in deleted) == 6


async def test_a_bad_build_is_drained_and_the_other_does_its_requests_again(town: Town) -> None:
    """Drill 9."""
    bad = await town.new_worker(handler="support.faults.handlers:fails_for_some")
    for _ in range(24):
        await town.desk.send(good_request(UUID(int=uuid4().int // 3 * 3)) | {"org_id": "rollout"})
    statuses = [answer.status for answer in await town.answers(24)]
    failed = sum(status == "failed" for status in statuses)
    assert 0 < failed < 24

    page = town.page
    finding = await town.finding("settings-differ", "fails_for_some")
    await finding.get_by_role("link", name="look there").click()
    await page.locator("tr", has_text="fails_for_some@").get_by_role("link", name="pause (drain)").click()
    await town.decide("a bad build")
    await expect(page.locator("tr", has_text="fails_for_some@")).to_contain_text("drained")
    await (await town.row("/failures", "KeyError")).get_by_role("link", name="retry").click()
    await town.until(f"{failed} requests, 1 org (rollout)")
    await town.decide("the other build can do them")
    await town.until(f"{failed} completed")
    await bad.stop()

    assert {answer.status for answer in await town.answers(failed)} == {"completed"}
    assert await town.count("requests where org_id = 'rollout' and status = 'completed'") == 24
    assert await town.audit() == [
        ("pause", "a bad build", 1), ("requests.retry", "the other build can do them", failed),
    ]  # fmt: skip


@pytest_asyncio.fixture
async def owner(town: Town, here: Settings, browser: Browser, tmp_path: Path) -> AsyncIterator[Town]:
    """The same with a console that has the role of the owner of the tables."""
    async with (
        open_console_as(here.model_copy(update=QUICK), tmp_path) as console,
        serve(console.app, "127.0.0.1", 0) as port,
        opened(browser, f"http://127.0.0.1:{port}", console.tokens["anna"]) as page,
    ):
        yield replace(town, page=page)


async def test_what_a_leaked_key_has_sealed_is_sealed_anew_by_the_owner(owner: Town) -> None:
    """Drill 10."""
    town, page, old = owner, owner.page, ring("k1")
    for _ in range(2):
        await put_session(town.record, await put_request(town.record, old), old)
    letter = await put_dead_letter(town.record, b"<order>7</order>", old)

    await page.goto("/keys")
    await page.get_by_role("link", name="Count all rows").click()
    await town.decide("k1 was in a log")
    await expect(page.locator("main b")).to_have_text("done")
    await page.goto("/keys")
    rows = page.locator("tr[data-row]", has=page.get_by_role("rowheader", name="k1", exact=True))
    await expect(rows).to_have_count(4)  # requests, their repeats, sessions and dead letters
    await rows.first.get_by_role("link", name="seal anew").click()
    await expect(page.locator("#field-to")).to_have_value("k2")
    await page.fill("#field-rate", "10000")
    await town.decide("k1 was in a log")
    await town.until("5 rows sealed anew")

    assert await town.count("dead_letters where id = $1 and sealed_by = 'k2'", letter) == 1
    sealed = (
        "(select body::text as text from requests union all select document::text from sessions) as all_of"
    )
    assert await town.count(f"{sealed} where text ~ 'k1:'") == 0
    assert await town.count(f"{sealed} where text ~ 'k2:'") >= 4
    counted, begun, *sealed_anew = await town.audit()
    assert (counted[0], begun[0]) == ("keys.count (begun)", "keys.rotate (begun)")
    assert sum(touched for _, _, touched in sealed_anew) == 5
    await town.record.execute("delete from dead_letters where id = $1", letter)


async def test_all_is_paused_for_a_maintenance_and_resumed(town: Town) -> None:
    """Drill 11."""
    page = town.page
    await page.goto("/")
    await page.get_by_role("link", name="pause all …").click()
    await page.select_option("#field-minutes", "60")
    await town.decide("moving the database")
    await expect(page.locator("#top")).to_contain_text(f"paused, by {BY}, until")
    await town.until_the_worker_knows(lambda rules: rules.all_paused)
    held = await town.send(3, "held")
    await town.until_there_are(3, "requests where waits_for = 'paused' and request_id = any ($1)", held)
    await page.goto("/waiting")
    await expect(page.locator("tr", has=page.get_by_role("rowheader", name="paused"))).to_contain_text("3")
    await town.finding("paused", "moving the database")
    await page.get_by_role("link", name="resume …").first.click()
    await town.decide("it has moved")
    await expect(page.locator("#top")).not_to_contain_text("paused")

    assert {answer.request_id for answer in await town.answers(3)} == set(held)
    assert await town.count("pauses where scope = 'all'") == 0
    assert await town.audit() == [("pause", "moving the database", 1), ("resume", "it has moved", 1)]


async def test_all_of_an_organisation_is_taken_home_as_a_spreadsheet(town: Town, tmp_path: Path) -> None:
    """Drill 12."""
    page, org = town.page, "=1+1"
    wanted = await town.send(4, org)
    await town.answers(4)

    await page.goto("/requests?since=1h")
    await page.fill("form.filters [name=org]", org)
    await town.press("Show")
    await expect(page.locator("tr[data-row]")).to_have_count(4)
    async with page.expect_download() as started:
        await page.get_by_role("link", name="CSV").click()
    file = tmp_path / "requests.csv"
    await (await started.value).save_as(file)

    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8"))))
    assert {row["request_id"] for row in rows} == {str(each) for each in wanted}
    assert {row["org_id"] for row in rows} == {f"'{org}"}, "no cell is a formula"
    assert await town.count("audit where number > $1", town.audited) == 0, "who only reads leaves no line"
