"""While Postgres or the broker is away or busy, each page and each call says so, and the console stays up."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr
from support.console import Console, open_console, reached, text_of
from support.faults.proxy import proxy_to

from worker.console.app import API
from worker.console.problems import TYPES
from worker.console.route import Route
from worker.console.routes import ROUTES
from worker.console.servers import problem_of
from worker.errors import PublishInterrupted
from worker.postgres import looking
from worker.postgres.sql import setup_query
from worker.settings import Settings

ID = UUID(int=7)
Opened = Callable[[Settings, Path], AbstractAsyncContextManager[Console]]
NO_BROKER = SecretStr("amqp://guest:guest@127.0.0.1:1/")
# What it takes to be asked in earnest, and not to be refused before a server is.
QUERIES = {
    "search": "id=abcdefgh", "api_search": "id=abcdefgh", "retry": "org=o", "resend": "org=o",
    "cancel": "org=o", "do_retry": "org=o", "limit": "scope=all",
    "clear_limit": "scope=all", "do_limit": "scope=all", "mute": f"like={ID}", "unmute": f"id={ID}",
    "replay": "all=1", "redirect": "all=1", "drop": "all=1",
    "restore": "all=1", "rotate": "old=k1&new=k2", "retention_run": "older=7d",
}  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "api_create_selection": {"action": "retry", "filter": {"org": "o"}},
    "api_mute": {"like": str(ID), "until": "+1h"},
    "api_replay_dead_letters": {"which": {"all": True}},
    "api_redirect_dead_letters": {"which": {"all": True}, "to": "q"},
    "api_drop_dead_letters": {"which": {"all": True}},
    "api_restore_dead_letters": {"which": {"all": True}},
    "api_set_limit": {"org": "o", "rate": 1},
    "api_clear_limit": {"org": "o"},
    "api_rotate_key": {"from": "k1", "to": "k2"},
    "api_run_retention": {"older": "7d"},
}
# What needs no Postgres, or tells itself what is away.
NEED_NO_POSTGRES = {
    "livez", "readyz", "metrics", "static", "login", "count", "api_openapi", "api_health", "api_doctor",
    "api_queues",
}  # fmt: skip
NEED_THE_BROKER = {"responses", "api_queues"}


async def ask(client: httpx.AsyncClient, row: Route, method: str) -> httpx.Response:
    """Asks for a row as somebody would who may do everything."""
    short = "/selections/" in row.path or "/works/" in row.path
    path = re.sub(r"\{\w+\}", "0000000a" if short else str(ID), row.path)
    path = f"{path}?{QUERIES[row.name]}" if row.name in QUERIES else path
    if method == "GET":
        return await client.get(path)
    if row.path.startswith(API):
        body = {"reason": "a test", **BODIES.get(row.name, {})}
        return await client.post(path, json=body, headers={"Idempotency-Key": uuid4().hex})
    return await client.post(path, data={"reason": "a test", "rate": "1", "minutes": "15", "hours": "1"})


async def answers(client: httpx.AsyncClient) -> dict[str, tuple[Route, httpx.Response]]:
    return {
        row.name: (row, await ask(client, row, method))
        for row in ROUTES
        for method in row.methods
        if row.name not in ("log_in", "log_out")
    }


def says(server: str, row: Route, answer: httpx.Response) -> bool:
    if not row.path.startswith(API):
        return f"{server} is away" in text_of(answer) and '<nav aria-label="Pages">' in answer.text
    problem = answer.json()
    return (problem["title"], problem["type"]) == (f"{server} is away", TYPES + "server-away")


@asynccontextmanager
async def cut_off(settings: Settings, tmp_path: Path) -> AsyncIterator[Console]:
    """A console that has lost Postgres after it had reached it."""
    async with (
        proxy_to(settings.database_url.get_secret_value()) as (proxy, url),
        open_console(settings, tmp_path, database_url=SecretStr(url)) as console,
    ):
        await reached(console)
        proxy.cut(refuse=True)
        yield console


@asynccontextmanager
async def alone(settings: Settings, tmp_path: Path) -> AsyncIterator[Console]:
    """A console that has never reached Postgres."""
    nowhere = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
    async with open_console(settings, tmp_path, database_url=nowhere) as console:
        yield console


@pytest.mark.parametrize("opened", [alone, cut_off])
async def test_each_page_and_each_call_says_that_postgres_is_away(
    settings: Settings, tmp_path: Path, opened: Opened
) -> None:
    async with opened(settings, tmp_path) as console:
        found = await answers(await console.bearer("anna"))

    others = {name: answer.status_code for name, (_, answer) in found.items() if answer.status_code != 503}
    assert set(others) == NEED_NO_POSTGRES, others
    for name, (row, answer) in found.items():
        if answer.status_code == 503:
            assert says("Postgres", row, answer), f"{name}: {answer.text[:1000]}"
    health = found["api_health"][1].json()
    assert health["postgres"].startswith("Postgres is away"), health
    assert health["live_workers"] is None


async def test_each_page_and_each_call_that_needs_the_broker_says_that_it_is_away(
    settings: Settings, tmp_path: Path
) -> None:
    async with open_console(settings, tmp_path, amqp_url=NO_BROKER) as console:
        found = await answers(await (await reached(console)).bearer("anna"))

    failed = {name for name, (_, answer) in found.items() if answer.status_code >= 500}
    assert failed == NEED_THE_BROKER, failed
    for name in NEED_THE_BROKER:
        row, answer = found[name]
        assert (answer.status_code, says("RabbitMQ", row, answer)) == (503, True), name
    assert found["api_health"][1].json()["rabbitmq"].startswith("RabbitMQ is away")


@pytest.mark.parametrize(
    ("lock", "statement", "why"),
    [
        ("200ms", "8s", "another transaction holds a lock"),
        ("8s", "200ms", "canceling statement due to statement timeout"),
    ],
)
async def test_who_asks_for_what_takes_too_long_or_is_locked_is_told_so(
    settings: Settings,
    tmp_path: Path,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    lock: str,
    statement: str,
    why: str,
) -> None:
    bounds = {"wait_for_nobody": f"set lock_timeout = '{lock}'; set statement_timeout = '{statement}'"}
    monkeypatch.setattr(looking, "setup_query", lambda name: bounds.get(name) or setup_query(name))
    async with open_console(settings, tmp_path) as console:
        client = await (await reached(console)).bearer("viewer")
        async with db.transaction():
            await db.execute("lock table requests, pauses")
            page, call = await client.get("/requests"), await client.get("/api/v1/requests?org=o")
            overview = await client.get("/")

    assert {page.status_code, call.status_code, overview.status_code} == {503}
    assert "Postgres has not done this in time" in text_of(page)
    assert why in text_of(page)
    assert why in text_of(overview)
    assert '<nav aria-label="Pages">' in page.text
    problem = json.loads(call.text)
    assert problem["type"] == "urn:session-worker:problem:not-in-time"
    assert why in problem["detail"]
    assert call.headers["retry-after"] == "5"


def test_who_waited_for_a_lock_is_told_who_holds_it() -> None:
    error = asyncpg.QueryCanceledError("canceling statement due to statement timeout")
    error.add_note("waits for a lock on requests that pid 17 (pg_dump) holds")

    problem = problem_of(error)

    assert problem is not None
    assert "pid 17 (pg_dump) holds" in problem.detail
    lost = problem_of(PublishInterrupted("amqp://u:hidden-word@h"))
    assert lost is not None
    assert "hidden-word" not in lost.detail
    assert problem_of(asyncpg.UndefinedTableError("no such table")) is None, "that is a fault of this program"
