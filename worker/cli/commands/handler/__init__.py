"""`session-worker handler` helps whoever writes a handler: its subcommand is a module here."""

from worker.cli.subcommands import Subcommands

SUBCOMMANDS = {
    "check": "call a handler twice, without servers: what would a requester get?",
}

EXAMPLES = """\
  session-worker handler check rooms:create

`session-worker handler SUBCOMMAND --help` shows the options of each.
"""

_subcommands = Subcommands(__name__, SUBCOMMANDS)
arguments, execute = _subcommands.arguments, _subcommands.execute
