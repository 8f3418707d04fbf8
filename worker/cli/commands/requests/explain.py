"""`session-worker requests explain`."""

import argparse

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.looking import id_argument, looked_up, the_record
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.record_tables import at, trace_of
from worker.cli.tables import grid, people, plain
from worker.operations import explaining, promises
from worker.operations.explaining import Explanation
from worker.rabbitmq.topology import names_for
from worker.tls import context_from
from worker.traceparent import trace_id_in, trace_link

EXAMPLES = """\
  session-worker requests explain 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11
  session-worker requests explain ts_261125_1ohdj7az0tfas
  session-worker requests explain order-17 --json

The times are those of Postgres. The verdict is that of `verify`, as far as
the record alone shows it; exit code 1 says that a promise is broken.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    id_argument(parser)
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_explain(options))


async def _explain(options: argparse.Namespace) -> int:
    async with looked_up(options) as (database, settings):
        record = await the_record(database, options)
        request_id, traceparent = record["request"]["request_id"], record["request"]["traceparent"]
        responses = names_for(settings.prefix).responses
        told = await database.look(lambda: explaining.explain(database, record, responses), options.wait)
        url, tls = settings.database_url.get_secret_value(), context_from(settings)
        broken = await database.look(
            lambda: promises.judge(url, request_id, tls, database.schema), options.wait
        )
    if options.json:
        emit(
            explaining.as_record(request_id, told, broken)
            | {"trace_id": trace_id_in(traceparent), "trace": trace_link(settings.trace_url, traceparent)}
        )
    else:
        people().print(table_of(told))
        if trace := trace_of(record["request"], settings.trace_url):
            print(plain(f"trace    {trace}"))  # whole, as the command below
        people().print(plain(in_words(told, explaining.verdict_on(broken))))
        if told.command:
            print(plain(told.command))  # whole, however narrow the terminal is: it is to be copied
    return exits.FAILED if broken else exits.OK


def table_of(told: Explanation) -> Table:
    """Lay out a line for each event."""
    day = f"{told.events[0].at:%Y-%m-%d}"
    table = grid(day, "time", "event", "", wrap=[""])
    for event in told.events:
        table.add_row(at(event.at)[:-1].removeprefix(day).strip(), plain(event.what), plain(event.text))
    return table


def in_words(told: Explanation, verdict: str) -> str:
    """Say how it stands with the request now."""
    lines = [f"verdict  {verdict}"]
    if told.waits:
        lines.append(f"waits    {told.waits}")
    if told.call:
        lines.append(f"call     {told.call}")
    lines.append(f"next     {told.next}" + (":" if told.command else ""))
    return "\n".join(lines)
