"""The pages are done as they say: each of their commands is typed into a shell, in the order of the page,
against real servers; what it answers has the words that the page shows.
"""

import asyncio
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from support.access import forget_roles
from support.collector import collecting
from support.harness import (
    Desk,
    NewWorker,
    declare_topology,
    delete_topology,
    good_request,
    open_desk,
    response_in,
)
from support.sealed import ring_text
from support.servers import FaultyRabbit
from support.situations import BadHour, Hook, OrdinaryDay
from support.snippets import ROOT, snippets_of
from support.staged import stage
from support.typist import Typist, lacks, typist

from schemas import CreateSessionResponse, RequestEvent
from worker.cli import exits
from worker.console.access import Role
from worker.console.app import make_app
from worker.console.health import Health
from worker.console.server import serve
from worker.console.tokens import new_token
from worker.monitoring.readiness import Readiness
from worker.settings import Settings
from worker.stack.install import install

pytestmark = pytest.mark.timeout(600)  # many commands each, and on a busy machine a second for each

_ROOMS = """
import asyncio

calls = asyncio.Semaphore(0)
mended = broken = False


async def create(request, context):
    if request.org_id == "org-7" and not mended:
        raise ConnectionError
    if request.org_id == "org-8" and broken:
        raise KeyError
    if request.org_id == "org-9":
        await calls.acquire()
"""
ROOMS: dict[str, Any] = {
    "handler": "rooms:create", "handler_concurrency": 8, "prefetch": 20, "max_attempts": 1,
    "breaker_share": 1.0, "max_dead_letters": 100_000,
}  # fmt: skip
FINDS = (0, 1)  # the exit codes of what looks: what it finds is the servers' matter, too
_FUNCTION = re.compile(r"\w+\(\) \{")
_CLEAN = """
[rabbit_policy:delete(<<"/">>, proplists:get_value(name, Each), <<"test">>)
  || Each <- rabbit_policy:list(<<"/">>)],
[rabbit_auth_backend_internal:delete_user(proplists:get_value(user, Each), <<"test">>)
  || Each <- rabbit_auth_backend_internal:list_users(), proplists:get_value(user, Each) =/= <<"worker">>].
"""


@pytest_asyncio.fixture
async def hands(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Typist]:
    """Somebody at a terminal whose variables name the test's servers, database and queues."""
    monkeypatch.chdir(tmp_path)
    async with typist(
        tmp_path,
        AMQP_URL=settings.amqp_url.get_secret_value(),
        DATABASE_URL=settings.database_url.get_secret_value(),
        WORKER_PREFIX=settings.prefix,
        WORKER_HTTP_HOST="127.0.0.1",
        WORKER_HTTP_PORT="0",
        WORKER_SEAL_KEYS=ring_text("k2", "k1"),
    ) as sitting:
        sitting.has_command("make", (shutil.which("make") or "", "--dry-run", "--directory", str(ROOT)), {})
        yield sitting


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the handler, which does as the test says."""
    (tmp_path / "rooms.py").write_text(_ROOMS, "utf-8")
    spec = importlib.util.spec_from_file_location("rooms", tmp_path / "rooms.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "rooms", made)
    spec.loader.exec_module(made)
    return made


async def do(
    page: str,
    hands: Typist,
    *,
    before: Mapping[str, Hook] | None = None,
    codes: Mapping[str, tuple[int, ...]] | None = None,
    until: Mapping[str, str] | None = None,
    names: frozenset[str] = frozenset(),
    database: asyncpg.Connection | None = None,
) -> list[str]:
    """Type all that a page shows. The mappings are by how a command begins: what is done before it, the exit
    codes that it may have, and what is said by one that goes on until it is ended. `names` are words in what
    is shown that are names. Returns all that was answered.
    """
    wrong, answers = [], []
    for snippet in snippets_of(page):
        if snippet.why_not is not None:
            continue
        if snippet.language == "sql" and database is not None:
            await database.execute(hands.meaning(snippet.text))
        for command, shown in snippet.typed if snippet.language in ("sh", "console") else ():
            if _FUNCTION.match(command):
                hands.functions.append(command)
                continue
            if hook := _of(before, command):
                await hook()
            typed = await hands.type(command, until=_of(until, command) or "")
            answers.append(typed.out)
            missing = lacks(typed.out.replace(hands.environ["WORKER_PREFIX"], "prod"), shown) - names
            if typed.code not in (_of(codes, command) or (0,)) or missing:
                wrong.append((hands.meaning(command), typed, missing))
    assert not wrong, "\n".join(
        f"$ {command}\n{typed.out}\n{typed.code}; not there: {missing}" for command, typed, missing in wrong
    )
    return answers


def _of(mapping: Mapping[str, Any] | None, command: str) -> Any:
    return next((value for begins, value in (mapping or {}).items() if command.startswith(begins)), None)


async def has(program: str, package: str) -> None:
    """Have a program of the system on the PATH."""
    if shutil.which(program) is None:
        why_not = await install(package, print, {})
        assert shutil.which(program), f"{program} is not installed here, and {why_not}"


async def test_readme(hands: Typist, new_worker: NewWorker, tmp_path: Path) -> None:
    await new_worker()
    requests = (json.dumps(good_request()) for _ in range(3))
    (tmp_path / "requests.jsonl").write_text("\n".join(requests), "utf-8")
    hands.meant = {"WORKER_PREFETCH=-1": "unset AMQP_URL DATABASE_URL; WORKER_PREFETCH=-1"}

    await do("README.md", hands, codes={"WORKER_PREFETCH=-1": (exits.USAGE,)})

    await do("CONTRIBUTING.md", hands)
    (response,) = (each.text for each in snippets_of("README.md") if each.language == "json")
    CreateSessionResponse.model_validate_json(response)
    assert (tmp_path / "results.jsonl").read_text("utf-8").count("completed") == 3


async def test_handlers(hands: Typist, tmp_path: Path) -> None:
    handler = next(each.text for each in snippets_of("docs/handlers.md") if "ROOMS" in each.text)
    (tmp_path / "example_handlers.py").write_text(handler, "utf-8")

    await do("docs/handlers.md", hands, until={"PYTHONPATH=. WORKER_HANDLER": "worker.ready"})


async def test_tracing(hands: Typist) -> None:
    async with collecting() as collector:
        hands.meant = {"http://collector:4318": collector.url}

        await do("docs/tracing.md", hands, until={"OTEL_": "worker.ready"})


async def test_what_the_contract_shows(
    new_worker: NewWorker, desk: Desk, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    await new_worker(events=True)
    snippets = snippets_of("docs/contract.md")
    request, event, cancellation = (each.text for each in snippets if each.language == "json")
    (watch,) = (each.text for each in snippets if each.language == "python")
    RequestEvent.model_validate_json(event)
    here = f"{settings.amqp_url.get_secret_value()!r}, {settings.prefix!r}"
    program = watch.replace('"amqp://user:password@localhost/%2F"', here).replace("asyncio.run(main())", "")
    names: dict[str, Any] = {}
    exec(compile(program, "docs/contract.md", "exec"), names)  # noqa: S102 — this is the point

    assert (await desk.ask(request)).status == "completed"
    await desk.send(cancellation, routing_key="cancel")
    assert response_in(await desk.next()).status == "completed", "it was finished before"
    await names["main"]()

    assert "completed" in capsys.readouterr().out


async def test_waiting(hands: Typist, new_worker: NewWorker, db: asyncpg.Connection) -> None:
    await new_worker()
    hands.meant = {"host:8401": await db.fetchval("select host || ':' || pid from workers")}

    await do("docs/waiting.md", hands)


async def test_on_call(
    hands: Typist,
    new_worker: NewWorker,
    rooms: ModuleType,
    desk: Desk,
    db: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    await new_worker(**ROOMS, seal_keys=SecretStr(ring_text("k2", "k1")))
    hour = BadHour(hands, desk, db, rooms)
    looks = ("session-worker doctor", "session-worker workers", "session-worker blockers")

    try:
        await do("docs/on-call.md", hands, before=hour.steps(), codes=dict.fromkeys(looks, FINDS))
    finally:
        hour.end()

    assert "org-7" in (tmp_path / "changes.csv").read_text("utf-8")


async def test_operating(
    hands: Typist,
    new_worker: NewWorker,
    rooms: ModuleType,
    desk: Desk,
    db: asyncpg.Connection,
    settings: Settings,
    empty_url: str,
    broker: FaultyRabbit,
) -> None:
    worker = await new_worker(**ROOMS, seal_keys=SecretStr(ring_text("k1", "k2")))
    day = OrdinaryDay(hands, desk, db, rooms)
    hands.meant = {
        "localhost:8080": f"127.0.0.1:{worker.http_port}",
        "k2:…,k1:…": ring_text("k2", "k1"),
        "--to sessions.responses": f"--to {hands.environ['WORKER_PREFIX']}.responses",
        "AMQP_URL=… python": "true",  # tests/e2e/test_replay.py runs it
    }
    looks = ("session-worker doctor", "session-worker keys retire")
    theirs = settings.model_copy(
        update={"amqp_url": SecretStr(broker.url), "prefix": "sessions", "queue_limits": "policy"}
    )

    async def queues() -> None:
        """The policies are there: with them the queues are as they should be."""
        await declare_topology(theirs)
        there = f"AMQP_URL='{broker.url}' WORKER_PREFIX=sessions WORKER_QUEUE_LIMITS=policy"
        verified = await hands.type(f"{there} session-worker topology verify")
        assert verified.code == 0, verified.out

    steps = {**day.steps(), "rabbitmqctl list_queues name type": queues}
    async with roles_of_the_page(hands, empty_url) as administrator, rabbitmqctl(hands, broker):
        try:
            await do(
                "docs/operating.md", hands, before=steps, codes=dict.fromkeys(looks, FINDS),
                names=frozenset({"backup", "request", "response"}), database=administrator,
            )  # fmt: skip
        finally:
            day.end()


async def test_console(hands: Typist, settings: Settings, db: asyncpg.Connection, tmp_path: Path) -> None:
    token, line = new_token("anna", Role.ADMIN, payloads=True)
    shown = [each.text for each in snippets_of("docs/console.md") if "proxy" in each.text.split()]
    (tmp_path / "tokens").write_text("\n".join([line.text, *shown]), "utf-8")
    (tmp_path / ".curlrc").write_text('write-out = "\\n%{http_code}\\n"', "utf-8")
    await declare_topology(settings)
    staged = await stage(db)
    mine = settings.model_copy(update={
        "console": True, "console_tokens_file": str(tmp_path / "tokens"),
        "seal_keys": SecretStr(ring_text("k2", "k1")),
    })  # fmt: skip
    hands.environ |= {
        "TOKEN": token, "ID": str(staged.failed), "LETTER": str(staged.letters[0]),
        "SELECTION": staged.selection, "WORK": staged.work, "CURL_HOME": str(tmp_path),
    }  # fmt: skip

    async def group() -> None:
        hands.environ["GROUP"] = str(await db.fetchval("select id from mutes"))

    async with make_app(mine, Health(Readiness(()), None)) as app, serve(app, "127.0.0.1", 0) as port:
        hands.environ["CONSOLE"] = f"http://127.0.0.1:{port}"
        told = await do(
            "docs/console.md", hands, before={"act /failures/mutes/$GROUP": group},
            until={
                "WORKER_CONSOLE_TOKENS_FILE=tokens session-worker console": "console.started",
                "WORKER_CONSOLE=true": "worker.ready",
            },
        )  # fmt: skip

    statuses = re.findall(r"^(.+)\n(\d{3})$", "\n".join(told).replace("\r", ""), re.MULTILINE)
    (api,) = (each.text for each in snippets_of("docs/console.md") if "/api/v1$1" in each.text)
    assert len(statuses) == len(re.findall(r"(?:^|; )(?:api|act) ", api, re.MULTILINE))
    assert [each for each in statuses if each[1] not in ("200", "201", "202", "409")] == []


async def test_no_message_is_lost_while_a_queue_is_deleted(
    settings: Settings, broker: FaultyRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the Python of docs/operating.md."""
    mine = settings.model_copy(update={"amqp_url": SecretStr(broker.url), "prefix": "sessions"})
    await declare_topology(mine)
    loop = asyncio.get_running_loop()
    (program,) = (each.text for each in snippets_of("docs/operating.md") if each.language == "python")
    async with open_desk(broker.url, "sessions") as desk:

        async def renew() -> None:
            await desk.channel.queue_delete("sessions.requests")
            await desk.send(good_request())
            await declare_topology(mine)

        monkeypatch.setenv("AMQP_URL", broker.url)
        monkeypatch.setattr(
            "builtins.input", lambda _: asyncio.run_coroutine_threadsafe(renew(), loop).result(60)
        )
        await asyncio.to_thread(exec, compile(program, "docs/operating.md", "exec"), {})

        await desk.until_there_are(1, "sessions.requests")
    await delete_topology(broker.url, "sessions")


async def test_access(hands: Typist, empty_url: str, broker: FaultyRabbit) -> None:
    async with roles_of_the_page(hands, empty_url) as administrator, rabbitmqctl(hands, broker):
        for name in ("sw_owner", "sw_worker", "sw_console"):
            await administrator.execute(f"create role {hands.meant[name]} login password '…'")

        await do("docs/access.md", hands)


@asynccontextmanager
async def roles_of_the_page(hands: Typist, url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give roles that a page makes other names, and drop them at the end. Yields an administrator."""
    await has("psql", "postgresql-client")
    prefix = hands.environ["WORKER_PREFIX"]
    names = {name: f"{prefix}_{name}" for name in ("sw_owner", "sw_worker", "sw_console")}
    owner = f"postgresql://{names['sw_owner']}:{quote('…')}@{url.rpartition('@')[2]}"
    hands.meant |= {**names, "postgresql://sw_owner:…@…": owner}
    hands.environ["ADMINISTRATOR_URL"] = url
    administrator = await asyncpg.connect(url)
    try:
        yield administrator
    finally:
        await administrator.close()
        await forget_roles(url, *names.values())


@asynccontextmanager
async def rabbitmqctl(hands: Typist, broker: FaultyRabbit) -> AsyncIterator[None]:
    """Have `rabbitmqctl` be that of a broker that nobody else uses meanwhile, and leave it as it was."""
    hands.has_command("rabbitmqctl", *broker.tool("rabbitmqctl"))
    try:
        yield
    finally:
        await broker.ctl("eval", _CLEAN)
        await delete_topology(broker.url, "sessions")
