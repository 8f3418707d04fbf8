"""`session-worker cancel`."""

import argparse
from uuid import UUID

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit, show_client_log
from worker.cli.servers import client_for
from worker.cli.tables import coloured, facts, people
from worker.client import Ending

EXAMPLES = """\
  session-worker cancel 6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11
  session-worker cancel --key order-17 --org-id org-1 --reason "hung up"

Who asked for the session is answered: failed, with the code cancelled. A
request that is not known yet is cancelled when it comes. One that is finished
stays as it is: exit code 1 says so.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request_id", nargs="?", type=UUID, metavar="REQUEST_ID")
    parser.add_argument("--key", help="what its id was derived from, with --org-id")
    parser.add_argument("--org-id", help="the organisation that the key belongs to")
    parser.add_argument("--reason", help="tell this to whoever asked for the session; at most 500 characters")
    parser.add_argument(
        "--timeout",
        type=float,
        default=30,
        metavar="SECONDS",
        help="how long to wait for the answer (default 30)",
    )
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    if (options.request_id is None) == (options.key is None):
        raise CommandError(exits.USAGE, "give a REQUEST_ID, or --key and --org-id")
    if (options.key is None) != (options.org_id is None):
        raise CommandError(exits.USAGE, "--key and --org-id go together")
    if options.reason is not None and len(options.reason) > 500:  # noqa: PLR2004 — the contract's
        raise CommandError(exits.USAGE, "--reason has more than 500 characters")
    show_client_log()
    return event_loop.run(_cancel(options))


async def _cancel(options: argparse.Namespace) -> int:
    async with client_for(settings_for(broker=True), options.wait) as client:
        ending = await client.cancel(
            options.request_id, key=options.key, org_id=options.org_id, reason=options.reason,
            timeout=options.timeout,
        )  # fmt: skip
    _show(ending, as_json=options.json)
    if ending.cancelled:
        return exits.OK
    raise CommandError(
        exits.FAILED,
        f"too late: request {ending.request_id} had ended as {ending.response.status}, and is as it was",
    )


def _show(ending: Ending, *, as_json: bool) -> None:
    response = ending.response
    if as_json:
        emit({"cancelled": ending.cancelled, **response.model_dump(mode="json")})
        return
    rows: list[tuple[str, object]] = [
        ("status", coloured(response.status.value)),
        ("request", response.request_id),
        ("session", response.payload.session_id if response.error is None else None),
        ("code", response.metadata.get("code")),
        ("error", response.error),
    ]
    people().print(facts("", rows))
