"""`session-worker queues`."""

import argparse

from rich.table import Table

from worker.cli import event_loop, exits
from worker.cli.csv_output import print_csv
from worker.cli.exits import CommandError
from worker.cli.needed_settings import settings_for
from worker.cli.options import csv_option, json_option, wait_option
from worker.cli.output import emit
from worker.cli.reaching import reach
from worker.cli.servers import broker_for
from worker.cli.tables import grid, people
from worker.operations import overview
from worker.operations.overview import QueueDepth
from worker.rabbitmq import topology

EXAMPLES = """\
  session-worker queues
  session-worker queues --json

It takes nothing out of a queue. What a worker has taken and not settled yet is
not among what is ready: `session-worker workers` has that. Exit code 1 if a
queue is missing.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    csv_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_queues(options))


async def _queues(options: argparse.Namespace) -> int:
    settings = settings_for(broker=True)
    broker, names = (
        broker_for(settings),
        topology.queues_in(topology.names_for(settings.prefix), settings.shards),
    )
    try:
        found = await reach(
            "RabbitMQ", lambda: overview.queues(broker, names), options.wait, each_within=True
        )
    except topology.REFUSED as error:
        raise CommandError(exits.FAILED, f"RabbitMQ refuses: {error.args[0]}") from error
    if options.json:
        for each in found:
            emit(each._asdict())
    elif options.csv:
        print_csv(QueueDepth._fields, found)
    else:
        people().print(table_of(found))
    return exits.FAILED if any(each.ready is None for each in found) else exits.OK


def table_of(found: list[QueueDepth]) -> Table:
    table = grid("", "queue", "ready", "consumers", cut=["queue"])
    for each in found:
        there = each.ready is not None
        table.add_row(
            each.queue, f"{each.ready:,}" if there else "missing", str(each.consumers) if there else ""
        )
    return table
