"""`session-worker demo`."""

import argparse
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from uuid import UUID, uuid4

from rich.table import Table
from rich.text import Text

from worker.cli import event_loop, exits
from worker.cli.bulk.input_lines import InputLine
from worker.cli.bulk.sending import Result, Totals, send_all
from worker.cli.demo.scenes import ORG, Scenes, Seen
from worker.cli.demo.worker_process import WorkerProcess, worker_process
from worker.cli.local_settings import settings_on, throwaway_key
from worker.cli.lookup_database import open_database
from worker.cli.options import json_option, positive
from worker.cli.output import emit, say, show_client_log
from worker.cli.own_role import as_worker
from worker.cli.reaching import reach
from worker.cli.record_tables import render
from worker.cli.servers import broker_for, client_for, design_for
from worker.cli.tables import coloured, grid, people
from worker.client import Client, Request
from worker.monitoring import log
from worker.operations.record import Record, find
from worker.postgres import migrate
from worker.rabbitmq import topology
from worker.rabbitmq.connection import LOST
from worker.secret_files import with_secrets_read
from worker.settings import Settings, secret_variables
from worker.stack import local_stack
from worker.tls import context_from

EXAMPLES = """\
  session-worker demo                 all is started for it, and gone afterwards
  session-worker demo --burst 5000    how fast this machine is
  session-worker demo --json | jq -s 'map(select(.ok == false))'

With AMQP_URL or DATABASE_URL set, those servers are used. It has queues and a
schema of its own there, and removes both at the end.

The exit code is 0 when everything came back as promised.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--burst", type=positive, default=500, metavar="N", help="requests sent at once (default 500)"
    )
    json_option(parser)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(event_loop.until_signalled(_demo(options)))


async def _demo(options: argparse.Namespace) -> int:
    show_client_log()
    environ = with_secrets_read(os.environ, secret_variables())
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(local_stack(say, environ=environ))
        # A prefix of its own: on a broker of the user's, it must not take the user's requests.
        settings = settings_on(
            stack, environ, prefix=f"demo-{uuid4().hex[:8]}", log_level="error", seal_keys=throwaway_key()
        )
        log.configure(settings)
        opened.push_async_callback(_drop_schema, settings, stays=bool(environ.get("DATABASE_URL")))
        await migrate.migrate(
            settings.database_url.get_secret_value(),
            context_from(settings),
            settings.prefix,
            maker="demo",
            own=True,
        )
        opened.push_async_callback(_remove_queues, settings, stays=bool(environ.get("AMQP_URL")))
        began = time.perf_counter()
        say("starting a worker …")
        worker = await opened.enter_async_context(
            worker_process(await as_worker(stack, settings, os.environ))
        )
        say(f"worker ready in {time.perf_counter() - began:.1f} s, process {worker.pid}")
        ok = await _show_all(settings, worker, options)
        say("stopping everything …")
    if not options.json:
        print("everything came back as promised" if ok else "NOT everything came back as promised")
    return exits.OK if ok else exits.FAILED


async def _show_all(settings: Settings, worker: WorkerProcess, options: argparse.Namespace) -> bool:
    own_queue = f"{settings.prefix}.mine"
    await _declare(settings, own_queue)
    async with client_for(settings, 10) as client:
        async with client.subscribe() as responses:
            scenes = Scenes(client, own_queue, responses)
            await scenes.play()
        _show_scenes(scenes.seen, as_json=options.json)
        totals, sessions = await _burst(client, options.burst)
    burst_ok = totals.outcomes["completed"] == options.burst == len(sessions)
    _show_summary(scenes.seen, totals, len(sessions), burst_ok, as_json=options.json)
    history_ok = await _show_history(settings, scenes.seen, as_json=options.json)
    stopped = await worker.stop()
    if stopped != 0:
        say(f"the worker ended with {stopped} after SIGTERM, not with 0")
    return all(seen.ok for seen in scenes.seen) and burst_ok and history_ok and stopped == 0


async def _burst(client: Client, size: int) -> tuple[Totals, set[str]]:
    """Send many requests at once; return their outcomes, and the ids of all sessions made."""
    sessions: set[str] = set()

    async def lines() -> AsyncGenerator[InputLine, None]:
        for number in range(size):
            yield InputLine(number + 1, Request(org_id=ORG, payload={"name": f"Burst {number}"}))

    def note(result: Result) -> None:
        if result.response is not None:
            sessions.add(result.response.payload.session_id)

    totals = await send_all(
        client,
        lines(),
        note,
        at_once=min(size, 1000) or 1,
        timeout=60,
        wait=True,
    )
    return totals, sessions


def _show_scenes(seen: list[Seen], *, as_json: bool) -> None:
    if as_json:
        for each in seen:
            emit(
                {
                    "what": each.what, "expected": each.expected, "got": each.got, "ok": each.ok,
                    "ms": round(each.seconds * 1000, 1), "request_id": each.request_id,
                    "response": each.response.model_dump(mode="json") if each.response else None,
                }
            )  # fmt: skip
        return
    people().print(scenes_table(seen))


def scenes_table(seen: list[Seen]) -> Table:
    table = grid(f"{len(seen)} requests", "", "request", "response", "ms", wrap=["request", "response"])
    table.columns[1].max_width = 24  # leaves room for an id beside it
    for each in seen:
        style = "green" if each.got == "completed" else "yellow" if each.ok else "red"
        table.add_row(
            Text("✓", "green") if each.ok else Text("✗", "bold red"),
            Text(each.what),
            Text.assemble((each.got, style), " " if each.got == "completed" else ": ", _told(each)),
            f"{each.seconds * 1000:.0f}",
        )
    return table


def _told(seen: Seen) -> str:
    if seen.response is None or seen.got != seen.expected:
        return f"not as promised, which was {seen.expected}"
    if seen.response.error is None:
        return seen.response.payload.session_id + ("" if seen.ok else ", not as promised")
    fields = [f"{error['field']} {error['reason']}" for error in seen.response.metadata.get("errors", ())]
    return ("" if seen.ok else "not as promised: ") + ("; ".join(fields) or seen.response.error)


def _show_summary(seen: list[Seen], totals: Totals, sessions: int, ok: bool, *, as_json: bool) -> None:
    outcomes = Counter(each.got for each in seen) + totals.outcomes
    record = {
        "requests": len(seen) + totals.total,
        "as_promised": sum(each.ok for each in seen) + (totals.total if ok else 0),
        "outcomes": dict(outcomes), "burst": totals.total, "burst_sessions": sessions,
        "requests_per_second": round(totals.rate), **totals.quantiles(), "ok": ok,
    }  # fmt: skip
    if as_json:
        emit(record)
        return
    table = grid("all together", "outcome", "requests")
    for name, count in outcomes.most_common():
        table.add_row(coloured(name), str(count))
    people().print(table)
    times = ", ".join(f"{name} {value:g} ms" for name, value in totals.quantiles().items())
    people().print(
        f"a burst of {totals.total}: {totals.rate:.0f} requests a second, {times}; {sessions} sessions\n"
    )


async def _show_history(settings: Settings, seen: list[Seen], *, as_json: bool) -> bool:
    """Show one request as it stands on record; return whether it is there as promised."""
    chosen = next((each.request_id for each in seen if each.what == "a credential, sealed at rest"), None)
    found = await _on_record(settings, chosen) if chosen else None
    if found is None:
        say("the request with the credential is not on record")
        return False
    if as_json:
        emit(found)
    else:
        people().print(render(found, trace_url=""))
    steps = [step["status"] for step in found["history"]]
    return steps == ["pending", "processing", "completed"] and found["session"] is not None


async def _on_record(settings: Settings, request_id: UUID) -> Record | None:
    database = await open_database(settings, 10)
    try:
        return await find(database, request_id)
    finally:
        await database.close()


async def _declare(settings: Settings, queue: str) -> None:
    connection = await broker_for(settings).connect()
    try:
        channel = connection.channel()
        await channel.initialize()
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    finally:
        await connection.close()


async def _drop_schema(settings: Settings, *, stays: bool) -> None:
    """Drop the demonstration's schema from a database of the user's; one that was started for it is gone."""
    if stays:
        url, tls = settings.database_url.get_secret_value(), context_from(settings)
        await reach("Postgres", lambda: migrate.drop(url, tls, settings.prefix), 10)


async def _remove_queues(settings: Settings, *, stays: bool) -> None:
    """Remove the demonstration's queues from a broker of the user's; one that was started for it is gone."""
    if not stays:
        return
    with suppress(*LOST):
        connection = await broker_for(settings).connect()
        try:
            await topology.remove(connection, design_for(settings))
            async with topology.one_channel(connection) as channel:
                await channel.queue_delete(f"{settings.prefix}.mine")
        finally:
            await connection.close()
