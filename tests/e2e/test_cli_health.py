"""`health`: asks a worker's own port, and says in a sentence and an exit code how it is."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from support.commands import Shell
from support.harness import NewWorker
from support.nobodys_port import nobodys_port

from worker.cli.commands.health import DEFAULT_PORT, own_address
from worker.cli.exits import CommandError
from worker.settings import Settings

UNUSED = (
    "aio_pika",
    "aiormq",
    "asyncpg",
    "starlette",
    "uvicorn",
    "pydantic",
    "rich",
    "structlog",
    "prometheus_client",
)


@asynccontextmanager
async def server_that_says(answer: bytes | None) -> AsyncIterator[str]:
    """Something else than a worker: answers so, or takes a connection and stays silent."""
    held: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        if answer is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in held:
            writer.close()


@pytest.mark.parametrize(("words", "status"), [([], "alive"), (["--ready"], "ready")])
async def test_a_worker_at_work_is_alive_and_ready(
    new_worker: NewWorker, words: list[str], status: str
) -> None:
    port = (await new_worker()).http_port
    url = f"http://127.0.0.1:{port}"
    # The address that the settings say the worker listens on is every one of this machine.
    shell = Shell(WORKER_HTTP_HOST="0.0.0.0", WORKER_HTTP_PORT=str(port), http_proxy="http://127.0.0.1:1")  # noqa: S104

    shown = await shell.run("health", *words)
    told = await Shell().run("health", *words, "--url", url, "--json")

    assert (shown.code, shown.out, shown.err) == (0, f"the worker at {url} is {status}\n", "")
    assert (told.code, told.err) == (0, "")
    assert told.records == [{"ok": True, "url": url, "status": status, "reasons": {}}]


async def test_a_worker_that_waits_for_its_servers_is_alive_and_not_ready(new_worker: NewWorker) -> None:
    with nobodys_port() as nobody:
        worker = await new_worker(
            until_ready=False,
            amqp_url=SecretStr(f"amqp://guest:guest@127.0.0.1:{nobody}/"),
            database_url=SecretStr(f"postgresql://user:word@127.0.0.1:{nobody}/x"),
        )
        shell = Shell(WORKER_HTTP_PORT=str(worker.http_port))

        alive, ready = await shell.run("health"), await shell.run("health", "--ready")
        told = await shell.run("health", "--ready", "--json")

    assert alive.code == 0
    assert (ready.code, ready.out) == (1, "")
    assert ready.err.startswith(f"session-worker: the worker at http://127.0.0.1:{worker.http_port} is not")
    assert len(ready.err.splitlines()) == 1
    assert told.code == 1
    assert (told.records[0]["ok"], told.records[0]["status"]) == (False, "not ready")
    assert told.records[0]["reasons"].keys() == {"postgres", "requests", "responses"}
    assert all(f"{part}: " in ready.err for part in ("postgres", "requests", "responses"))


async def test_where_nobody_listens_it_says_so() -> None:
    with nobodys_port() as port:
        url = f"http://127.0.0.1:{port}"
        outcome = await Shell().run("health", "--url", url)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (f"session-worker: the worker at {url} is unreachable (http: Connection refused)\n")


async def test_a_worker_that_does_not_answer_is_waited_for_no_longer_than_told() -> None:
    async with server_that_says(None) as url:
        outcome = await Shell().run("health", "--url", url, "--timeout", "0.3")

    assert outcome.code == 1
    assert "is unreachable (http: no answer in 0.3 s)" in outcome.err


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_another_server_s_answer_is_not_taken_for_a_worker_s(answer: bytes) -> None:
    async with server_that_says(answer) as url:
        outcome = await Shell().run("health", "--url", url)

    assert (outcome.code, outcome.out) == (1, "")
    assert "(http: something else than a worker answers)" in outcome.err


@pytest.mark.parametrize(
    ("words", "variables", "says"),
    [
        ([], {"WORKER_HTTP_PORT": "0"}, "WORKER_HTTP_PORT: is 0"),
        ([], {"WORKER_HTTP_PORT": "x"}, "WORKER_HTTP_PORT: is no port"),
        ([], {"WORKER_HTTP_PORT": "65536"}, "WORKER_HTTP_PORT: is no port"),
        (["--url", "https://h:1"], {}, "is not http://HOST:PORT"),
        (["--url", "http://h:x"], {}, "is not http://HOST:PORT"),
        (["--url", "http://h:1/livez"], {}, "is not http://HOST:PORT"),
    ],
)
async def test_wrong_usage_is_exit_code_2(words: list[str], variables: dict[str, str], says: str) -> None:
    outcome = await Shell(**variables).run("health", *words)

    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:9"),
        ("0.0.0.0", "http://127.0.0.1:9"),  # noqa: S104
        ("::", "http://[::1]:9"),
        ("10.0.0.7", "http://10.0.0.7:9"),
    ],
)
def test_it_asks_where_the_worker_listens(host: str, url: str) -> None:
    assert own_address({"WORKER_HTTP_HOST": host, "WORKER_HTTP_PORT": "9"}).url == url


def test_the_port_is_that_of_the_settings() -> None:
    assert Settings.model_fields["http_port"].default == DEFAULT_PORT
    assert own_address({}).url == f"http://127.0.0.1:{DEFAULT_PORT}"
    with pytest.raises(CommandError):
        own_address({"WORKER_HTTP_PORT": ""})


def test_it_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys; from worker.cli.main import main; main(['health', '--url', 'http://127.0.0.1:1']); "
        f"print(sorted(sys.modules.keys() & set({UNUSED})))"
    )

    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603

    assert ended.stdout == "[]\n"
