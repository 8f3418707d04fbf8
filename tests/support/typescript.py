"""Builds the npm package of the TypeScript client, for tests and for `make typescript`, and drives it."""

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.node_js import NODE, NPM, modules_for

_ROOT = Path(__file__).parents[2]
PROJECT = _ROOT / "clients" / "typescript"
_TSC = Path("node_modules") / "typescript" / "bin" / "tsc"
_SECONDS = 60


def build(place: Path) -> None:
    """Compiles the package in a place of its own. What does not compile raises an error with the compiler's
    words.
    """
    shutil.copytree(PROJECT, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copy(_ROOT / "LICENSE", place)
    (place / "node_modules").symlink_to(modules_for(PROJECT), target_is_directory=True)
    compile_at(place)


def compile_at(place: Path, project: str = ".") -> None:
    done = subprocess.run(  # noqa: S603 — our own Node.js
        [NODE, _TSC, "--project", project], cwd=place, timeout=_SECONDS, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


class ClientError(Exception):
    """An error of the client in Node.js: its class, and its fields."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.name: str = told["name"]
        self.told = told
        super().__init__(f"{self.name}: {told['message']}")


class Driver:
    """Has the clients of one process of Node.js do what a test says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._outcomes: dict[int, asyncio.Future[Any]] = {}
        self.printed: list[str] = []

    async def open(self, url: str, prefix: str, **options: Any) -> "NodeClient":
        client = NodeClient(self, f"client-{next(self._numbers)}")
        await client.do("open", url=url, options={"prefix": prefix, "appId": "shop", **options})
        return client

    async def do(self, what: str, **order: Any) -> Any:
        number = next(self._numbers)
        outcome = self._outcomes[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": what, **order}).encode() + b"\n")
        async with asyncio.timeout(_SECONDS):
            return await outcome

    async def read(self) -> None:
        """Reads what the process says until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if not line.startswith(b'{"id"'):
                self.printed.append(line.decode().strip())
                continue
            told = json.loads(line)
            outcome = self._outcomes.pop(told["id"])
            if "error" in told:
                outcome.set_exception(ClientError(told["error"]))
            else:
                outcome.set_result(told.get("value"))


class NodeClient:
    """One client of the driver."""

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self._name = name

    async def do(self, what: str, **order: Any) -> Any:
        return await self._driver.do(what, client=self._name, **order)

    async def call(self, **request: Any) -> dict[str, Any]:
        called: dict[str, Any] = await self.do("call", request={"orgId": "org-1", **request})
        return called


@asynccontextmanager
async def driver_at(place: Path) -> AsyncIterator[Driver]:
    process = await asyncio.create_subprocess_exec(
        NODE, "test/driver.ts", cwd=place, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    driver = Driver(process)
    reading = asyncio.create_task(driver.read())
    try:
        yield driver
    finally:
        process.kill()
        await process.wait()
        await reading


def main(target: Path) -> None:
    """Packs the package into a folder."""
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        build(Path(place))
        subprocess.run(  # noqa: S603 — our own Node.js
            [NODE, NPM, "pack", "--silent", "--pack-destination", target.resolve()], cwd=place, check=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
