"""An error is one to three sentences on stderr and an exit code, never a traceback."""

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest
from support.access import PASSWORD, administrator, as_user
from support.commands import Shell

from worker.cli.main import COMMANDS
from worker.settings import Settings
from worker.stack import Stack

UNKNOWN = "6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11"
NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "variables", "says"),
    [
        (["request"], {}, "AMQP_URL: is not set"),
        (["run"], {"AMQP_URL": "amqp://localhost/"}, "DATABASE_URL: is not set"),
        (["migrate"], {}, "DATABASE_URL: is not set"),
        (["request"], {"AMQP_URL": "http://localhost/"}, "AMQP_URL: must begin with amqp"),
        (["topology", "apply"], {"AMQP_URL": "http://localhost/"}, "AMQP_URL: must begin with amqp"),
        (["migrate"], {"DATABASE_URL": "nonsense"}, "DATABASE_URL: "),
        (["request"], {"AMQP_URL": "amqp://localhost/", "WORKER_PREFIX": "a b"}, "WORKER_PREFIX: "),
        (["request", "--count", "0"], {}, "must be at least 1"),
        (["request", "--count", "2", "--key", "k"], {}, "--count does not go with"),
        (["request", "--file", "/nowhere"], {"AMQP_URL": "amqp://localhost/"}, "No such file"),
        (["request", "--metadata", "[]"], {}, "is not a JSON object"),
        (["request", "--not-before", "tomorrow"], {}, "--not-before: is neither ISO 8601 nor milliseconds"),
        (["request", "--not-before", "9999-12-31"], {}, "--timeout only 30 s: add --no-wait"),
        (["cancel", "17"], {}, "invalid UUID"),
        (["status", "17"], {}, "DATABASE_URL: is not set"),
        (
            ["responses", "--queue", "sessions.dead"],
            {"AMQP_URL": "amqp://localhost/"},
            "taking them here would lose them",
        ),
        (["pause"], {}, "--reason TEXT is required"),
        (["pause", "--reason", " "], {}, "must not be empty"),
        (["pause", "--reason", "x" * 501], {}, "has more than 500 characters"),
        (["pause", "--reason", "r", "--org", ""], {}, "an organisation's id is not empty"),
        (["pause", "--reason", "r", "--org", "x" * 256], {}, "at most 255 characters, and not 256"),
        (["pause", "--reason", "r", "--org", "a", "--worker", "b"], {}, "not allowed with argument --org"),
        (["pause", "--list", "--org", "a"], {}, "goes with no other option"),
        (["resume", "--org", "\udcff"], {}, "the organisation's id is not in UTF-8"),
        (["limits"], {}, "required: action"),
        (["limits", "set"], {}, "takes one of ORG, --all and --each"),
        (["limits", "set", "a", "--all", "--rate", "1"], {}, "takes one of ORG, --all and --each"),
        (["limits", "set", "a"], {}, "a: say one of running, rate and weight"),
        (["limits", "set", "a", "--weight", "-1"], {}, "a: weight=-1 is not a number from 0.001"),
        (["limits", "set", "a", "--weight", "0"], {}, "a: weight=0 is not a number from 0.001"),
        (["limits", "set", "a b", "--rate", "0/s"], {}, "that is `session-worker pause --org 'a b'`"),
        (["limits", "set", "--all", "--running", "0"], {}, "that is `session-worker pause`"),
        (["limits", "set", "--all", "--weight", "2"], {}, "a weight is for an organisation"),
        (["limits", "set", "a", "--rate", "1e-9"], {}, "a: rate=1e-9 is not a number from 0.001 to 1000000"),
        (["limits", "set", "", "--rate", "1"], {}, "an organisation's id is not empty"),
        (["limits", "clear"], {}, "takes one of ORG, --all and --each"),
        (["limits", "clear", "a", "--rate", "1"], {}, "takes no limit"),
        (["limits", "list", "a"], {}, "it takes no ORG"),
        (["nonsense"], {}, "invalid choice"),
        ([], {}, "required"),
    ],
)
async def test_wrong_usage_and_settings_are_exit_code_2(
    words: list[str], variables: dict[str, str], says: str
) -> None:
    outcome = await Shell(**variables).run(*words)

    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert "Traceback" not in outcome.err


NOTHING = "/dev/null"
NEED_POSTGRES = [
    ["migrate"],
    ["migrate", "--check"],
    ["status", UNKNOWN],
    ["status", "order-17"],
    ["status", UNKNOWN, "--watch"],
    ["pause", "--reason", "r"],
    ["pause", "--list"],
    ["resume"],
    ["limits", "set", "org-7", "--rate", "1"],
    ["limits", "clear", "--all"],
    ["limits", "list"],
    ["verify", "--confirmed", NOTHING, "--responses", NOTHING],
]


@pytest.mark.parametrize(
    "words", [["request"], ["responses"], ["topology", "verify"], *NEED_POSTGRES], ids=" ".join
)
async def test_a_server_that_is_not_there_is_exit_code_3(words: list[str]) -> None:
    shell = Shell(AMQP_URL=f"amqp://u:canary@{NOBODY}/", DATABASE_URL=f"postgresql://u:canary@{NOBODY}/d")

    outcome = await shell.run(*words, "--wait", "1")

    assert (outcome.code, outcome.out) == (3, "")
    assert "cannot be reached" in outcome.err
    assert "refused" in outcome.err
    assert "Traceback" not in outcome.err
    assert "canary" not in outcome.err


@pytest.mark.parametrize("words", ["up", "demo"])
async def test_what_starts_servers_tells_of_a_named_one_that_is_not_there(stack: Stack, words: str) -> None:
    nowhere = f"postgresql://u:canary@{NOBODY}/d"

    outcome = await Shell(AMQP_URL=stack.amqp_url, DATABASE_URL=nowhere).run(words)

    assert (outcome.code, outcome.out) == (3, "")
    assert "cannot be reached" in outcome.err
    assert "canary" not in outcome.err


@pytest.mark.parametrize("way", ["silent", "hangs up", "no such database"])
async def test_a_postgres_that_does_not_answer_is_exit_code_3(stack: Stack, way: str) -> None:
    """Each command says so in one sentence, and within the time; all of them wait at the same time."""
    held: list[asyncio.StreamWriter] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if way == "silent":
            held.append(writer)
        else:
            writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://u:canary@127.0.0.1:{port}/d?sslmode=disable"
        if way == "no such database":
            url = f"{stack.database_url.rpartition('/')[0]}/nowhere?sslmode=disable"
        shell = Shell(DATABASE_URL=url)
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*(shell.run(*words, "--wait", "1") for words in NEED_POSTGRES))
        for writer in held:
            writer.close()

    for words, outcome in zip(NEED_POSTGRES, outcomes, strict=True):
        assert (outcome.code, outcome.out) == (3, ""), (words, outcome.err)
        (said,) = [line for line in outcome.err.splitlines() if not line.startswith("waiting up to")]
        assert said.startswith("session-worker: Postgres "), words
        assert "canary" not in said, words


@pytest.mark.parametrize("words", [["request"], ["topology", "verify"]], ids=lambda words: words[0])
async def test_a_wrong_password_is_told_at_once(stack: Stack, words: list[str]) -> None:
    outcome = await Shell(AMQP_URL=stack.amqp_url.replace("//", "//nobody:", 1)).run(*words)

    assert outcome.code == 3
    assert "refuse" in outcome.err


async def test_a_lack_of_rights_is_told_at_once(managed: tuple[str, str], prefix: str) -> None:
    amqp_url, management_url = managed
    looks, sees_nothing = f"{prefix}-looks", f"{prefix}-sees_nothing"
    await Shell(AMQP_URL=amqp_url, WORKER_PREFIX=prefix).run("topology", "apply")
    async with administrator(management_url) as admin, AsyncExitStack() as users:
        for user, may_read in ((looks, f"^{prefix}\\.responses$"), (sees_nothing, "^$")):
            await admin.put("users", user, password=PASSWORD, tags="")
            users.push_async_callback(admin.delete, "users", user)
            await admin.put("permissions", "/", user, configure="^$", write="^$", read=may_read)

        shell = Shell(AMQP_URL=as_user(amqp_url, looks), WORKER_PREFIX=prefix)
        blind = Shell(AMQP_URL=as_user(amqp_url, sees_nothing), WORKER_PREFIX=prefix)
        elsewhere = Shell(AMQP_URL=f"{amqp_url.rpartition('/')[0]}/nowhere", WORKER_PREFIX=prefix)
        nothing_there = await shell.run("responses")
        copies = await shell.run("responses", "--copies", "--wait", "60")
        queue = await blind.run("responses", "--wait", "60")
        request = await shell.run("request", "--timeout", "60")
        topology = await shell.run("topology", "verify")
        nowhere = await elsewhere.run("topology", "verify")
        submitted = await shell.run("request", "--no-wait", "--timeout", "60", stdin='{"name": "a"}\n' * 9)

    assert nothing_there.code == 0, "it may do that"
    assert (topology.code, nowhere.code) == (1, 3)
    assert "RabbitMQ refuses" in topology.err
    assert "the vhost is not there" in nowhere.err
    for outcome, what in (
        (copies, "amq.gen-"), (queue, f"{prefix}.responses"), (request, "amq.gen-"),
        (submitted, f"{prefix}.requests"),
    ):  # fmt: skip
        assert (outcome.code, outcome.out) == (3, "")
        assert "refuses this user" in outcome.err
        assert what in outcome.err
        assert outcome.err.count("trying again") <= (outcome is not queue and outcome is not copies)
        assert PASSWORD not in outcome.err


@pytest.mark.parametrize("words", [["request"], ["responses"]], ids=lambda words: words[0])
async def test_without_the_topology_it_says_how_to_get_it(stack: Stack, words: list[str]) -> None:
    outcome = await Shell(AMQP_URL=stack.amqp_url, WORKER_PREFIX="nowhere").run(*words)

    assert outcome.code == 1
    assert "session-worker topology apply" in outcome.err


async def test_debug_shows_where(stack: Stack) -> None:
    outcome = await Shell(AMQP_URL=stack.amqp_url, WORKER_PREFIX="nowhere").run("request", "--debug")

    assert outcome.code == 1
    assert "Traceback" in outcome.err


async def test_a_worker_that_lacks_its_tables(settings: Settings, empty_url: str) -> None:
    shell = Shell(
        AMQP_URL=settings.amqp_url.get_secret_value(), DATABASE_URL=empty_url,
        WORKER_PREFIX=settings.prefix, WORKER_HTTP_PORT="0",
    )  # fmt: skip

    outcome = await shell.run("run")

    assert outcome.code == 1
    assert "run `session-worker migrate` first" in outcome.err


@pytest.mark.parametrize("command", COMMANDS)
async def test_help_shows_examples_and_exit_codes(command: str) -> None:
    outcome = await Shell().run(command, "--help")

    assert outcome.code == 0
    assert f"session-worker {command}" in outcome.out
    assert "examples:" in outcome.out
    assert "4   timed out" in outcome.out


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("aio_pika", "request", "[worker]"),
        ("asyncpg", "run", "[worker]"),
        ("psutil", "demo", "[worker,local]"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(missing: str, command: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from worker.__main__ import main\nsys.exit(main([{command!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603

    assert done.returncode == 2
    assert f"pip install 'session-worker{extra}'" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_reader_that_leaves_is_no_error() -> None:
    async with Shell().start("schema") as process:
        assert process.stdout is not None
        process.stdout._transport.close()  # type: ignore[attr-defined]
        assert process.stderr is not None
        assert await process.stderr.read() == b""
        assert await process.wait() in (0, 141)


def test_a_standard_input_that_is_closed() -> None:
    command = f"exec {sys.executable} -m worker request --file - <&-"
    outcome = subprocess.run(  # noqa: S602 — a constant, and this interpreter
        command, shell=True, capture_output=True, text=True, timeout=60, check=False,
        env={**Shell(AMQP_URL="amqp://localhost/").environ()},
    )  # fmt: skip

    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "standard input is closed" in outcome.stderr
