"""Runs Prometheus and promtool for the tests: they judge rules, queries, and what workers show."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM
from time import monotonic
from typing import Any

import aiohttp

from worker.stack import StackError, open_sandbox
from worker.stack.install import install
from worker.stack.ports import LOOPBACK
from worker.stack.probes import until

OBSERVABILITY = Path(__file__).parents[2] / "deploy" / "observability"
_START_SECONDS = 90.0
_PATIENCE_SECONDS = 90.0
_SPAN = re.compile(r"\[(\d+)([smh])\]")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_SOONER = 60
_SHORTEST_SECONDS = 2.5  # five samples
_BACKLOG = {"vector(50000)": "vector(5000)"}
_REMEDY = (
    "Prometheus is not installed here, and {why}. Install prometheus and promtool (Debian, Ubuntu: "
    "sudo apt-get install --no-install-recommends prometheus; macOS: brew install prometheus): the tests of "
    "the alerts need them."
)
_CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}
rule_files: ['{rules}']
scrape_configs: [{{job_name: session-worker, static_configs: [{{targets: {targets}}}]}}]
"""


async def ensure_prometheus() -> None:
    """Return when both programs are on this machine, or raise an error that says what to do."""
    if _is_here():
        return
    why_not = await install("prometheus", lambda line: print(line, file=sys.stderr, flush=True), os.environ)
    if not _is_here():
        raise StackError(_REMEDY.format(why=why_not))


def _is_here() -> bool:
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


async def promtool(*words: str | Path) -> str:
    """Runs promtool and returns its output; an error holds what it complains of."""
    await ensure_prometheus()
    process = await asyncio.create_subprocess_exec(
        "promtool", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


class Prometheus:
    """Asks a Prometheus that runs."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._since = monotonic()
        self.told: set[tuple[str, str]] = set()

    async def is_ready(self) -> bool:
        try:
            async with self._session.get(f"{self._url}/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """Returns what a query finds now: its labels, and the value."""
        async with self._session.get(f"{self._url}/api/v1/query", params={"query": query}) as answer:
            found = await answer.json()
        assert found["status"] == "success", found
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    async def alerts(self) -> set[tuple[str, str]]:
        """Returns each alert whose expression is true now, with its severity."""
        found = await self.ask("ALERTS")
        return {(one["metric"]["alertname"], one["metric"]["severity"]) for one in found}

    async def tells(self, *alerts: tuple[str, str]) -> None:
        """Waits until each of these alerts, a name and a severity, has been true since all were quiet: one
        may be over before anybody asks.
        """
        left = set(alerts)

        async def all_told() -> bool:
            seconds = int(monotonic() - self._since)
            found = await self.ask(f"last_over_time(ALERTS[{seconds}s])") if seconds else []
            left.difference_update((one["metric"]["alertname"], one["metric"]["severity"]) for one in found)
            return not left

        assert await until(all_told, lambda: True, _PATIENCE_SECONDS), f"never told: {left}"
        self.told.update(alerts)

    async def is_quiet(self) -> None:
        """Waits until no alert is true that was told before."""

        async def quiet() -> bool:
            still.clear()
            still.update(self.told & await self.alerts())
            return not still

        still: set[tuple[str, str]] = set()
        if not await until(quiet, lambda: True, _PATIENCE_SECONDS):
            queues = [
                (one["metric"]["queue"], one["value"]) for one in await self.ask("worker_queue_messages")
            ]
            raise AssertionError(f"still true: {still}; {queues}")
        self.told.clear()
        self._since = monotonic()

    async def has_begun(self) -> None:
        """Waits until the worker that watches is known, and no alert is true."""

        async def begun() -> bool:
            return bool(await self.ask("worker_queue_messages")) and not await self.alerts()

        assert await until(begun, lambda: True, _PATIENCE_SECONDS), f"never quiet: {await self.alerts()}"
        self._since = monotonic()

    async def tells_no_more_than(self, *alerts: tuple[str, str]) -> None:
        """Waits until no other alert is true. One is for a moment when a scrape fails on a busy machine: as
        long as it lasts, no worker is there.
        """

        async def no_more() -> bool:
            return await self.alerts() <= set(alerts)

        assert await until(no_more, lambda: True, _PATIENCE_SECONDS), f"still true: {await self.alerts()}"

    async def finds(self, query: str) -> None:
        """Waits until a query finds something."""

        async def found() -> bool:
            return bool(await self.ask(query))

        assert await until(found, lambda: True, _PATIENCE_SECONDS), f"never true: {query}"


@asynccontextmanager
async def prometheus_of(
    ports: Iterable[int], changes: Mapping[str, str] | None = None
) -> AsyncIterator[Prometheus]:
    """Yields a Prometheus with the project's rules, which scrapes the workers at these ports. Its rules
    look back for a short time, so that what is over is soon forgotten, and allow a short line; `changes`:
    what else is replaced in their text.
    """
    await ensure_prometheus()
    async with open_sandbox() as sandbox, aiohttp.ClientSession() as session:
        home = sandbox.path / "prometheus"
        home.mkdir()
        rules = (OBSERVABILITY / "rules.yml").read_text("utf-8")
        for text, other in {**(changes or {}), **_BACKLOG}.items():
            assert text in rules
            rules = rules.replace(text, other)
        (home / "rules.yml").write_text(_SPAN.sub(_sooner, rules), "utf-8")
        targets = json.dumps([f"{LOOPBACK}:{port}" for port in ports])
        (home / "prometheus.yml").write_text(
            _CONFIGURATION.format(rules=home / "rules.yml", targets=targets), "utf-8"
        )
        address = f"{LOOPBACK}:{sandbox.reserve()}"
        server = await sandbox.start(
            "prometheus", f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address={address}",
            env=os.environ, log=home / "log", user=None, end_by=SIGTERM,
        )  # fmt: skip
        prometheus = Prometheus(f"http://{address}", session)
        if not await until(prometheus.is_ready, lambda: server.running, _START_SECONDS):
            raise StackError(f"Prometheus did not start:\n{server.end_of_log()}")
        yield prometheus


def _sooner(span: re.Match[str]) -> str:
    seconds = max(_SHORTEST_SECONDS, int(span[1]) * _UNITS[span[2]] / _SOONER)
    return f"[{seconds * 1000:.0f}ms]"


if __name__ == "__main__":
    try:
        asyncio.run(ensure_prometheus())
    except StackError as error:  # the other tests need none
        print(f"note: {error}", file=sys.stderr)
