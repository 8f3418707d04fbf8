"""`session-worker responses`."""

import argparse
import asyncio
from contextlib import suppress

from rich.console import Console

from schemas import CreateSessionResponse
from worker.cli import event_loop, exits
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, positive, wait_option
from worker.cli.output import emit, say, show_client_log
from worker.cli.servers import client_for
from worker.cli.tables import coloured, people, plain
from worker.client import Subscription
from worker.process.signals import heeded
from worker.rabbitmq.topology import names_for

EXAMPLES = """\
  session-worker responses              take what lies in the queue, then end
  session-worker responses --follow     and wait for more, until Ctrl-C
  session-worker responses --copies     watch only: others get them as well
  session-worker responses --follow --json | jq -r .payload.session_id
  session-worker responses --raw > responses.jsonl
                                        for `session-worker verify`

Without --copies, a response that is shown here is taken from the queue: no
other subscriber gets it.
"""
_IDLE_SECONDS = 2.0  # others may be taking from the queue as well


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="go on and wait for more")
    parser.add_argument(
        "--copies",
        action="store_true",
        help="wait for copies of the responses from now on; take none from the queue",
    )
    parser.add_argument("--queue", metavar="NAME", help="another queue than PREFIX.responses")
    parser.add_argument("--limit", type=positive, metavar="N", help="end after N responses")
    parser.add_argument(
        "--raw", action="store_true",
        help='every copy as it came, repeats included, as {"message_id", "body"}, one a line',
    )  # fmt: skip
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    show_client_log()
    return event_loop.run(_responses(options))


async def _responses(options: argparse.Namespace) -> int:
    settings = settings_for(broker=True)
    if options.queue == names_for(settings.prefix).dead:
        raise exits.CommandError(
            exits.USAGE,
            f"{options.queue} holds dead letters, no responses: taking them here would lose them. "
            "docs/operating.md says how to look at them and how to send them again.",
        )
    async with (
        client_for(settings, options.wait) as client,
        client.subscribe(
            options.queue,
            copies=options.copies,
            limit=options.limit,
            drain=not (options.follow or options.copies),
            **_how_many(options),
        ) as subscription,
    ):
        loop = asyncio.get_running_loop()
        for number in heeded():
            loop.add_signal_handler(number, subscription.stop)
        if options.follow or options.copies:
            say("waiting for responses; Ctrl-C ends it")
            most = options.limit
        else:
            most = min(subscription.waiting, options.limit or subscription.waiting)
            if not most:
                say("no responses in the queue")
                return exits.OK
        await _show(subscription, most, options)
    return exits.OK


def _how_many(options: argparse.Namespace) -> dict[str, int]:
    """The number of responses to remember and to prefetch. A wait for the last one may be long: then each one
    is acknowledged at once.
    """
    ahead = {"prefetch": 1} if options.follow and options.limit else {}
    return ahead | ({"remember": 0} if options.raw else {})


async def _show(subscription: Subscription, most: int | None, options: argparse.Namespace) -> None:
    idle = None if options.follow or options.copies else _IDLE_SECONDS
    console, shown = people(), 0
    with suppress(TimeoutError, StopAsyncIteration):
        while most is None or shown < most:
            async with asyncio.timeout(idle):
                response = await anext(subscription)
            message_id, body = subscription.raw
            if options.raw:
                emit({"message_id": message_id, "body": body.decode()})
            elif options.json and b"\n" not in body:
                print(body.decode(), flush=True)  # to the byte, as `verify` wants it
            elif options.json:
                emit(response.model_dump(mode="json"))
            else:
                _line(console, response)
            shown += 1


def _line(console: Console, response: CreateSessionResponse) -> None:
    code = response.metadata.get("code")
    what = response.payload.session_id if response.error is None else f"{code}: {response.error}"
    console.print(
        plain(response.timestamp[:19]),
        response.request_id,
        coloured(response.status.value),
        plain(what),
        soft_wrap=not console.is_terminal,
    )
