"""The overview shows what is wrong, and the course of the last hours, which outlives a restart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from support.console import Console, act, open_console, text_of
from support.faults.proxy import proxy_to
from support.harness import eventually, good_request, http_get, open_desk, run_in_process

from worker.console import charts, topbar
from worker.console.charts import Bar, Mark, Series
from worker.console.pages import overview
from worker.monitoring.handler_calls import SECONDS
from worker.operations.measures import Measure, deploys, quantile, steps
from worker.services import watching
from worker.services.watching import risen
from worker.settings import Settings
from worker.stack import Stack

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _looked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_SHARED_SECONDS", 0)
    monkeypatch.setattr(overview, "_HOURS", dict.fromkeys(overview._HOURS, 0))
    monkeypatch.setattr(topbar, "_SECONDS", 0)


def measure(seconds: int, completed: int = 0, **others: object) -> Measure:
    usual: dict[str, object] = {
        "unfinished": 0, "failed": 0, "answered": (), "queued": 0, "unread": 0, "dead": 0, "oldest": 0.0,
        "due": 0, "overdue": 0.0, "waiting": {}, "unanswered": 0, "builds": (),
    }  # fmt: skip
    return Measure(at=NOON + timedelta(seconds=seconds), completed=completed, **{**usual, **others})  # type: ignore[arg-type]


async def test_the_course_is_written_by_a_worker_and_shown_after_it_is_gone(
    here: Settings,
    stack: Stack,
    console: Console,
    record: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = await console.client("viewer")
    assert "No worker measures: session-worker run" in text_of(await client.get("/"))
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.05)
    mine = here.model_copy(update={"lease_seconds": 1.5})
    async with run_in_process(mine) as start, open_desk(stack.amqp_url, here.prefix) as desk:
        worker = await start(console=True, console_tokens_file=str(console.file))
        assert await http_get(worker, "/readyz") == (200, '{"status": "ready"}')
        assert "Your token" in (await http_get(worker, "/"))[1], "a worker may serve the console, too"

        async def measured() -> bool:
            return bool(await record.fetchval("select exists (select from measures)"))

        await eventually(measured)  # what was answered before the first one counts for nothing
        for _ in range(3):
            await desk.send(good_request())
            await desk.next()

        async def all_counted() -> bool:
            query = "select sum(n) = 3 from measures, unnest(answered) n"
            return bool(await record.fetchval(query)) and bool(
                await record.fetchval("select max(completed) = 3 from measures")
            )

        await eventually(all_counted)
        page = await client.get("/")
        shown = text_of(page)
        assert "pause all" not in shown, "a viewer may not"
        assert "last hour 3" in shown
        assert "half answered within" in shown
        assert page.text.count("<svg") == 4
        part = await client.get("/", headers={"HX-Request": "true"})
        assert part.status_code == 200
        assert '<div class="top" id="top" hx-swap-oob="true">' in part.text
        assert "<html" not in part.text
        operator = await console.client("operator")
        paused = await act(operator, "/actions/pause", minutes="15", reason="a look <b>")
        assert "limited by paused" in text_of(paused)
        await act(operator, "/actions/resume", reason="seen")
    old = await record.fetchval("update measures set at = at - interval '3 minutes' returning at")
    assert old
    page = await client.get("/?hours=1")
    assert "No worker measures since" in text_of(page)
    assert 'class="line in" d="M' in page.text
    marked = (await client.get("/?hours=1")).text
    assert marked.count('<g class="mark pause">') == 8, "both are on each of the four charts"
    assert "<title>all requests paused by operator via console: a look &lt;b&gt;</title>" in marked
    assert '<span class="key pause">paused or resumed</span>' in marked
    assert (await client.get("/?hours=7")).status_code == 400


async def test_it_says_who_is_away_and_goes_on_when_they_are_back(here: Settings, tmp_path: Path) -> None:
    async with proxy_to(here.database_url.get_secret_value()) as (proxy, url):
        changes = {"database_url": SecretStr(url)}
        async with open_console(here, tmp_path, **changes) as console:
            client = await console.client("operator")
            assert (await client.get("/")).status_code == 200
            proxy.cut(refuse=True)

            for path in ("/", "/actions/pause", "/search?id=abcdefgh"):
                answer = await client.get(path)
                assert answer.status_code == 503, path
                assert "Postgres is away" in text_of(answer)
                assert '<nav aria-label="Pages">' in answer.text, "the frame stays"
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/login")).status_code == 200
            proxy.heal()
            assert (await client.get("/actions/pause")).status_code == 200


async def test_it_starts_while_postgres_and_the_broker_are_away(here: Settings, tmp_path: Path) -> None:
    nowhere = {
        "database_url": SecretStr("postgresql://u:hidden-word@127.0.0.1:9/x"),
        "amqp_url": SecretStr("amqp://u:hidden-word@127.0.0.1:9/"),
    }
    async with open_console(here, tmp_path, **nowhere) as console:
        client = await console.client("viewer")

        async def looked() -> bool:
            return "broker-away" in (await client.get("/")).text

        await eventually(looked)
        page = await client.get("/")
        assert page.status_code == 503
        assert "Postgres is away: " in text_of(page)
        assert "error pg-away" in text_of(page)
        assert "hidden-word" not in page.text


def test_the_course_is_divided_into_steps_with_nothing_where_nothing_was_measured() -> None:
    rows = [
        measure(0),
        measure(10, 100, answered=(0, 0, 90, 0, 10)),
        measure(20, 100, failed=50, answered=(0,) * len(SECONDS) + (1,)),
        measure(60, 90, failed=50),
    ]

    found = steps(rows, NOON, NOON + timedelta(seconds=60), 3)

    assert [step.at.second for step in found] == [20, 40, 0]
    assert (found[0].received, found[0].completed, found[0].failed) == (7.5, 5, 2.5)
    assert found[1] == (found[1].at, 0.0, None, None, None, None, None, None)
    assert (found[2].completed, found[2].p99) == (0, None), "what is deleted as old is no negative rate"
    assert found[0].p50 is not None
    assert SECONDS[1] < found[0].p50 < SECONDS[2]
    assert quantile([0] * len(SECONDS) + [1], 0.5) == SECONDS[-1]
    assert quantile([0, 0], 0.5) is None


def test_a_build_is_marked_when_it_was_not_there_before() -> None:
    rows = [measure(0, builds=["a@1"]), measure(10, builds=["a@1", "a@2"]), measure(20, builds=["a@2"])]

    assert [(each.at.second, each.build) for each in deploys(rows)] == [(10, "a@2")]
    assert deploys([]) == []


def test_what_all_workers_have_answered_is_what_each_has_more_than_before() -> None:
    assert risen(None, {1: [5]}) == []  # type: ignore[dict-item]
    assert risen({1: [5, 1], 2: [9]}, {1: [7, 1], 3: [1, 1, 1]}) == [3, 1, 1]  # type: ignore[dict-item]


def test_a_chart_is_one_element_without_script_or_style_whatever_its_texts_say() -> None:
    hostile = '"><script>alert(1)</script>'
    drawn = [
        charts.line([Series("in", [(0, 1.0), (60, None), (120, 3.0)])], [Mark(60, hostile)], title=hostile),
        charts.bars([Bar(hostile, 3, "failed", hostile), Bar("b", 0)], title="bars"),
        charts.histogram(
            [(0, [("completed", 3), ("failed", 1)]), (60, [("failed", 0)])], title="h", width_seconds=60
        ),
        charts.sparkline([1, 2, 0], title=hostile),
        charts.line([], title="nothing"), charts.bars([], title=""), charts.sparkline([], title=""),
        charts.histogram([], title="", width_seconds=1),
    ]  # fmt: skip

    for svg in drawn:
        assert svg.count("<svg") == svg.count("</svg>") == 1
        assert "<script" not in svg
        assert "style=" not in svg
    assert 'd="M66.0,' in drawn[0]
    assert drawn[0].count("M") - drawn[0].count("M6") == 1, "the line stops where nothing is known"
    assert drawn[2].count("<rect") == 2
