"""`session-worker topology`."""

import argparse

from worker.cli import event_loop, exits
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.reaching import reach
from worker.cli.servers import broker_for, design_for
from worker.cli.tables import grid, people
from worker.rabbitmq import topology

EXAMPLES = """\
  session-worker topology apply     declare what is missing; leave the rest
  session-worker topology verify    compare only; exit code 1 if any differs
  WORKER_PREFIX=team-a session-worker topology apply
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("apply", "verify"))
    json_option(parser)
    wait_option(parser)


def execute(options: argparse.Namespace) -> int:
    return event_loop.run(_topology(options))


async def _topology(options: argparse.Namespace) -> int:
    settings = settings_for(broker=True)
    design = design_for(settings)
    broker = broker_for(settings)
    connection = await reach("RabbitMQ", broker.connect, options.wait)
    try:
        if options.action == "apply":
            found = topology.Comparison([], await topology.apply(connection, design))
        else:
            found = await topology.verify(connection, design)
    except topology.REFUSED as error:
        raise exits.CommandError(exits.FAILED, f"RabbitMQ refuses: {error.args[0]}") from error
    finally:
        await connection.close()
    _show(options, design, found)
    return exits.FAILED if found.problems else exits.OK


def _show(options: argparse.Namespace, design: topology.Topology, found: topology.Comparison) -> None:
    if options.json:
        outcome = {"ok": not found.problems, **found._asdict()}
        emit({"action": options.action, **outcome, **design.names._asdict()})
        return
    for problem in found.problems:
        print(problem)
    for note in found.notes:
        print(f"note: {note}")
    if found.problems:
        return
    table = grid("", "exchange", "kind", "queue", "key")
    kinds = {exchange.name: exchange.kind for exchange in design.exchanges}
    for binding in (*design.bindings, *design.exchange_bindings, *design.shard_bindings):
        table.add_row(binding.exchange, kinds[binding.exchange], binding.queue, binding.key)
    people().print(table)
    print("declared" if options.action == "apply" else "all as it should be")
