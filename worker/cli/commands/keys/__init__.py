"""`session-worker keys` tells which rows need which key: each of its subcommands is a module here."""

from worker.cli.subcommands import Subcommands

SUBCOMMANDS = {
    "list": "which rows need which key, and who has it",
    "check": "whether a key that rows need is missing; exit code 1 if so",
    "reseal": "seal anew what one key has sealed, with another",
    "open": "write a session's document with its credentials opened, to a file or a pipe",
}

EXAMPLES = """\
  session-worker keys list
  session-worker keys check
  session-worker keys reseal --from k1 --reason "k1 was in a log"
  session-worker keys reseal --help

`session-worker keys SUBCOMMAND --help` shows the options of each.
"""

_subcommands = Subcommands(__name__, SUBCOMMANDS)
arguments, execute = _subcommands.arguments, _subcommands.execute
