"""The examples in the client's docstrings run as they are, with a broker and a worker."""

import asyncio
import doctest
import inspect
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from support.harness import NewWorker, declare_topology, delete_topology

import worker.client
from worker.client import client, request
from worker.settings import Settings
from worker.stack import Stack

# What has no example of its own is shown by one of a class or a call that it is for.
SHOWN_ELSEWHERE = {"close", "cancelled", "request_id"}


def examples_in(*modules: ModuleType) -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in modules for test in finder.find(module) if test.examples]
    return sorted(found, key=lambda test: test.name)


EXAMPLES = examples_in(worker.client, client, request)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
async def test_an_example(
    example: doctest.DocTest, stack: Stack, settings: Settings, new_worker: NewWorker
) -> None:
    idle = f"{settings.prefix}idle"
    await declare_topology(settings.model_copy(update={"prefix": idle}))
    await new_worker(events=True)

    def connect(url: str, **options: Any) -> worker.client.Client:
        prefix = idle if url == IDLE_URL else settings.prefix
        reach = url if url.startswith("amqp://127.0.0.1:1/") else stack.amqp_url
        return worker.client.Client(reach, prefix, **options)

    public = {name: getattr(worker.client, name) for name in worker.client.__all__}
    example.globs = {
        **example.globs, **public, "Client": connect, "asyncio": asyncio, "url": URL, "idle_url": IDLE_URL,
    }  # fmt: skip
    said: list[str] = []
    try:
        run = partial(doctest.DocTestRunner(verbose=False).run, example, out=said.append)
        results = await asyncio.to_thread(run)
    finally:
        await delete_topology(stack.amqp_url, idle)

    assert results.attempted > 0
    assert results.failed == 0, "".join(said)


def test_every_call_has_an_example() -> None:
    shown = {example.name.rpartition(".")[2] for example in EXAMPLES}
    calls = {
        name for name, _ in inspect.getmembers(worker.client.Client, inspect.isfunction) if name[0] != "_"
    }

    assert calls - shown - SHOWN_ELSEWHERE == set()
    assert {"Client", "Request", "Ending", "request_id_for"} <= shown


URL = "amqp://guest:guest@localhost/"
IDLE_URL = "amqp://guest:guest@localhost/idle"
