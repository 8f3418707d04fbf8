"""`session-worker console token`."""

import argparse

from worker.cli import exits
from worker.cli.exits import CommandError
from worker.cli.options import json_option
from worker.cli.output import emit
from worker.console.access import Role
from worker.console.tokens import new_token

EXAMPLES = """\
  session-worker console token --name anna --role operator
  session-worker console token --name anna --role admin --payloads
      may also see the bodies of requests, responses and dead letters
  session-worker console token --name ci --role viewer --json | jq -r .line >> tokens

Each line of the file that WORKER_CONSOLE_TOKENS_FILE names is somebody who may
log in. Take a line out, and its token and its sessions are worth nothing.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, metavar="NAME", help="whose it is: the audit shows it")
    parser.add_argument(
        "--role", required=True, choices=[role.value for role in Role], help="what they may do"
    )
    parser.add_argument("--payloads", action="store_true", help="they may see payloads")
    json_option(parser)


def execute(options: argparse.Namespace) -> int:
    try:
        token, line = new_token(options.name, Role(options.role), payloads=options.payloads)
    except ValueError as error:
        raise CommandError(exits.USAGE, f"--name: {error}") from None
    if options.json:
        emit({"name": line.name, "token": token, "line": line.text})
        return exits.OK
    print(
        f"token, shown this once, for {line.name} alone:\n  {token}\n"
        f"line, for the file that WORKER_CONSOLE_TOKENS_FILE names:\n  {line.text}"
    )
    return exits.OK
