"""The tutorial is done as it says, from its first command to its last."""

import re
import shlex
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.commands import Outcome, Shell
from support.harness import NewWorker, eventually, metric_becomes
from support.snippets import Snippet, snippets_of

from worker.settings import Settings
from worker.testing.running import RunningWorker

FILES = ("first.py", "rooms.py", "rooms_test.py")
FAILS = {"request --org-id org-1 --key nameless": 1}  # all others are done
TOLD = {  # what the output of some has in it
    "handler check rooms:create": "room 1",
    "request --org-id org-1 --name Blue --key blue": "room",
    "request --org-id org-1 --key nameless": "a room needs a name",
    "requests list --org org-1 --status failed": "rejected",
    "requests explain ID": "a room needs a name",
    "limits list": "org-1",
    "requests list --org org-1 --status waiting": "1 match",
    "audit list": "the rooms are painted",
}


class Reader:
    """Does what a page says, in a folder of its own."""

    def __init__(self, shell: Shell, db: asyncpg.Connection, worker: RunningWorker) -> None:
        self._shell = shell
        self.worker = worker
        self._db = db
        self.done: dict[str, Outcome] = {}

    async def type(self, snippet: Snippet) -> None:
        for command in snippet.commands:
            program, *words = shlex.split(command)
            assert program == "session-worker", command
            told = " ".join(words)
            meant = [await self._meant(word) for word in words]
            self.done[told] = await self._shell.run(*meant, PYTHONPATH=".")
            if words[0] == "pause":  # it is in force within a second
                await metric_becomes(1, self.worker, "worker_paused", scope="org")
            if "--no-wait" in words:
                await eventually(self._one_waits)

    async def _one_waits(self) -> bool:
        return bool(await self._db.fetchval("select count(*) = 1 from requests where waits_in is not null"))

    async def _meant(self, word: str) -> str:
        if word != "ID":
            return word
        return str(await self._db.fetchval("select request_id from requests where error_code = 'rejected'"))


def written(snippet: Snippet, folder: Path) -> str:
    """Write it into the file that the page names in its sentence before."""
    name: str = re.findall(r"`(\w+\.py)`", snippet.before)[-1]
    (folder / name).write_text(snippet.text, "utf-8")
    return name


async def test_the_tutorial(
    shell: Shell,
    settings: Settings,
    db: asyncpg.Connection,
    new_worker: NewWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    snippets = snippets_of("docs/tutorial.md")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AMQP_URL", settings.amqp_url.get_secret_value())
    monkeypatch.setenv("WORKER_PREFIX", settings.prefix)
    worker = await new_worker()
    reader = Reader(shell, db, worker)
    printed, ran = "", []

    for snippet in snippets:
        if snippet.language == "text":
            assert printed == snippet.text
        elif snippet.language == "python":
            ran.append(written(snippet, tmp_path))
            names: dict[str, Any] = {}
            program = compile(snippet.text.replace("asyncio.run(main())", ""), ran[-1], "exec")
            exec(program, names)  # noqa: S102 — this is the point
            if "main" in names:
                await names["main"]()
                printed = capsys.readouterr().out
            for name, test in names.items():
                if name.startswith("test_"):
                    await test()
        elif snippet.why_not is None:
            await reader.type(snippet)
        elif "rooms:create" in snippet.text:
            await worker.stop()
            reader.worker = worker = await new_worker(handler="rooms:create")

    assert tuple(ran) == FILES
    assert len([snippet for snippet in snippets if snippet.why_not]) == 2
    ended = {told: (outcome.code, outcome.err) for told, outcome in reader.done.items() if told != "doctor"}
    assert {told: code for told, (code, _) in ended.items() if code} == FAILS, ended
    assert reader.done["doctor"].code in (0, 1), "what it finds is the servers' matter"
    for told, words in TOLD.items():
        assert words in " ".join((reader.done[told].out + reader.done[told].err).split()), told
    assert len(reader.done) == 20
