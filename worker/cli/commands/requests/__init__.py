"""`session-worker requests` finds requests and acts on them: each of its subcommands is a module here."""

from worker.cli.subcommands import Subcommands

SUBCOMMANDS = {
    "list": "those that match, the last ones first, and what they failed of",
    "show": "all that is on record about one",
    "explain": "one, event by event: what happened, what happens next, and whether all is well",
    "watch": "each change of those that match, as it happens",
    "retry": "send what has failed anew, as new requests",
    "resend": "send responses on record again, here or elsewhere",
    "cancel": "take those back that are not finished",
}

EXAMPLES = """\
  session-worker requests list --org org-7 --status failed --since 1h
  session-worker requests list --help

`session-worker requests SUBCOMMAND --help` shows the options of each.
"""

_subcommands = Subcommands(__name__, SUBCOMMANDS)
arguments, execute = _subcommands.arguments, _subcommands.execute
