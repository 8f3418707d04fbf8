"""Starts RabbitMQ and Postgres as containers, where a Docker engine answers and has the images."""

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from worker.stack.commands import run
from worker.stack.errors import StackError
from worker.stack.ports import LOOPBACK
from worker.stack.probes import postgres_answers, rabbitmq_answers, until
from worker.stack.rabbitmq import PLUGINS
from worker.stack.sandbox import Sandbox

RABBITMQ_IMAGE = "rabbitmq:4-management"
POSTGRES_IMAGE = "postgres:18"

_ASK_SECONDS = 10.0
_PULL_SECONDS = 60.0
_FIRST_WORD_SECONDS = 8.0  # an engine that reaches its registry has named the image by then
_RUN_SECONDS = 30.0
_START_SECONDS = 60.0


class Docker:
    """The engine that the `docker` command talks to."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)

    async def why_not(self, images: Sequence[str], say: Callable[[str], None]) -> str | None:
        """Say why containers of these images cannot be used; None where they can."""
        if shutil.which("docker", path=self._environ.get("PATH")) is None:
            return "there is no Docker here"
        if self._environ.get("DOCKER_HOST", "unix:").split(":")[0] not in {"unix", "npipe"}:
            return "DOCKER_HOST is another machine"
        try:
            await self.run("version", "--format", "{{.Server.Version}}", limit=_ASK_SECONDS)
            missing = [image for image in images if not await self.has(image)]
        except StackError:
            return "no Docker engine answers"
        for image in missing:
            say(f"pulling {image} …")
        pulled = await asyncio.gather(*map(self._pull, missing))
        lacking = [image for image, done in zip(missing, pulled, strict=True) if not done]
        return f"Docker cannot pull {' and '.join(lacking)}" if lacking else None

    async def has(self, image: str) -> bool:
        try:
            await self.run("image", "inspect", "--format", "{{.Id}}", image, limit=_ASK_SECONDS)
        except StackError:
            return False
        return True

    async def run(self, *words: str, limit: float) -> str:
        """Call `docker` with these words and return what it prints."""
        try:
            ended = await run("docker", *words, env=self._environ, limit=limit)
        except TimeoutError:
            raise StackError(f"docker {words[0]} did not answer in {limit:.0f} s") from None
        if ended.code != 0:
            raise StackError(f"docker {words[0]}: {ended.words.strip()}")
        return ended.words.strip()

    async def _pull(self, image: str) -> bool:
        process = await asyncio.create_subprocess_exec(
            *("docker", "pull", image),
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_PULL_SECONDS):
                if process.stdout is None:
                    return False
                await asyncio.wait_for(process.stdout.readline(), _FIRST_WORD_SECONDS)
                await process.communicate()
        except TimeoutError:
            return False
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode == 0

    async def start_rabbitmq(self, sandbox: Sandbox) -> tuple[str, str | None]:
        """Start a broker; return the URLs of AMQP and of its management page."""
        user, password = "worker", secrets.token_hex(16)
        name = f"{sandbox.path.name}-rabbitmq"
        await self._start(
            sandbox,
            *("--hostname", "rabbitmq", "-p", f"{LOOPBACK}::15672"),
            *("-e", "RABBITMQ_DEFAULT_USER", "-e", "RABBITMQ_DEFAULT_PASS"),
            *("-e", f"RABBITMQ_ENABLED_PLUGINS={','.join(PLUGINS)}"),
            name=name,
            image=RABBITMQ_IMAGE,
            port=5672,
            secret={"RABBITMQ_DEFAULT_USER": user, "RABBITMQ_DEFAULT_PASS": password},
        )
        port = await self._wait(name, 5672, rabbitmq_answers)
        management = await self._port(name, 15672)
        account = f"{user}:{password}@{LOOPBACK}"
        return f"amqp://{account}:{port}/%2F", f"http://{account}:{management}"

    async def start_postgres(self, sandbox: Sandbox) -> tuple[str, str | None]:
        """Start a database server; return its URL, and None since it has no management page."""
        password = secrets.token_hex(16)
        name = f"{sandbox.path.name}-postgres"
        await self._start(
            sandbox,
            *("-e", "POSTGRES_PASSWORD"),
            name=name,
            image=POSTGRES_IMAGE,
            port=5432,
            secret={"POSTGRES_PASSWORD": password},
        )
        port = await self._wait(name, 5432, postgres_answers)
        return f"postgresql://postgres:{password}@{LOOPBACK}:{port}/postgres?sslmode=disable", None

    async def _start(
        self,
        sandbox: Sandbox,
        *options: str,
        name: str,
        image: str,
        port: int,
        secret: Mapping[str, str],
    ) -> None:
        # Before the container exists, so that at no moment it could be left behind.
        await sandbox.at_end("docker", "rm", "--force", "--volumes", name)
        published = ("-p", f"{LOOPBACK}::{port}")
        words = ("run", "--detach", "--pull", "never", "--name", name, *published, *options, image)
        await sandbox.run("docker", *words, env=self._environ | dict(secret), limit=_RUN_SECONDS)

    async def _port(self, name: str, inside: int) -> int:
        printed = await self.run("port", name, f"{inside}/tcp", limit=_ASK_SECONDS)
        return int(printed.splitlines()[0].rpartition(":")[2])

    async def _wait(self, name: str, inside: int, answers: Callable[[int], Awaitable[bool]]) -> int:
        """Wait until the server answers; return its port on this machine."""
        port = await self._port(name, inside)
        ended = asyncio.ensure_future(self.run("wait", name, limit=_START_SECONDS))
        try:
            if await until(partial(answers, port), lambda: not ended.done(), _START_SECONDS):
                return port
        finally:
            ended.cancel()
            await asyncio.wait({ended})
        log = await self.run("logs", "--tail", "15", name, limit=_ASK_SECONDS)
        raise StackError(f"the container {name} did not get ready; the end of its log:\n{log}")
