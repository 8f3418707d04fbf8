"""`session-worker retention` tells what is kept, and deletes it: each subcommand is a module here."""

from worker.cli.subcommands import Subcommands

SUBCOMMANDS = {
    "status": "what is kept since when, how large it is, how it grows, and what could go",
    "run": "delete finished requests now that are older than you say",
    "sessions": "delete sessions that ended long ago and whose request is gone",
}

EXAMPLES = """\
  session-worker retention status
  session-worker retention run --older 7d --dry-run
  session-worker retention sessions --ended-before 90d --dry-run

`session-worker retention SUBCOMMAND --help` shows the options of each.
"""

_subcommands = Subcommands(__name__, SUBCOMMANDS)
arguments, execute = _subcommands.arguments, _subcommands.execute
