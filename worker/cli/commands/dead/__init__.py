"""`session-worker dead` shows and acts on dead letters in custody: each subcommand is a module here."""

from worker.cli.subcommands import Subcommands

SUBCOMMANDS = {
    "list": "what is in custody, grouped, or one by one",
    "show": "one message: why it is here, where it came from, and its body",
    "replay": "send messages again to where they belong, mended if need be",
    "redirect": "send messages to a queue of your choice, as they are",
    "drop": "give messages up; for a week they can be restored",
    "restore": "put back what was dropped",
    "export": "write messages to a file, one JSON object a line",
}

EXAMPLES = """\
  session-worker dead list
  session-worker dead show 6fa860ba
  session-worker dead replay --like 6fa860ba --rename id=request_id --dry-run
  session-worker dead drop --app billing-exporter --because "sent by mistake"
  session-worker dead replay --help

Workers take dead letters into Postgres; WORKER_MAX_DEAD_LETTERS=0 leaves them
in their queue. `session-worker dead SUBCOMMAND --help` shows the options.
"""

_subcommands = Subcommands(__name__, SUBCOMMANDS)
arguments, execute = _subcommands.arguments, _subcommands.execute
