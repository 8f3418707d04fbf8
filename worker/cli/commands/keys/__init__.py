"""`session-worker keys` tells what each key holds: each of its subcommands is a module here."""

from worker.cli.subcommands import Subcommands

SUBCOMMANDS = {
    "report": "what each key still holds, and who has it",
    "check": "whether a key that rows need is missing; exit code 1 if so",
    "rotate": "seal anew what old keys have sealed, with the new one",
    "retire": "let a key seal no more, once nothing needs it",
    "open": "write a session's document with its credentials opened, to a file or a pipe",
}

EXAMPLES = """\
  session-worker keys report
  session-worker keys check
  session-worker keys rotate --from k1 --reason "k1 was in a log"
  session-worker keys retire k1 --reason "k1 was in a log"
  session-worker keys rotate --help

`session-worker keys SUBCOMMAND --help` shows the options of each.
"""

_subcommands = Subcommands(__name__, SUBCOMMANDS)
arguments, execute = _subcommands.arguments, _subcommands.execute
