"""`session-worker env`."""

import argparse
import os
from collections.abc import Mapping, Sequence

from worker.cli import exits
from worker.cli.output import emit, say
from worker.cli.parsing import did_you_mean
from worker.cli.settings_shown import Shown, compose, kubernetes, shell, shown_settings, unknown
from worker.cli.tables import grid, people, plain

EXAMPLES = """\
  session-worker env                the value in force of each setting
  session-worker env --export       export lines for a shell: . ./worker.env
  session-worker env --compose      an `environment:` block for Docker Compose
  session-worker env --k8s          an `env:` list for a container in Kubernetes

The last three have what is set in the environment; the rest is as it is by
itself. Secrets are never shown: they are taken from a file of their own
(--export), from a variable or an .env file (--compose), and from the Secret
`session-worker` (--k8s).
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    for option, summary in (
        ("--export", "lines that a shell reads"),
        ("--compose", "an `environment:` block for Docker Compose"),
        ("--k8s", "an `env:` list for a container in Kubernetes"),
    ):
        form.add_argument(option, dest="form", action="store_const", const=option, help=summary)
    form.add_argument("--json", action="store_true", help="for programs: one JSON object a line on stdout")


def execute(options: argparse.Namespace) -> int:
    found = shown_settings(os.environ)
    forms = {"--export": shell, "--compose": compose, "--k8s": kubernetes}
    if options.json:
        for each in found:
            emit(each._asdict())
    elif options.form:
        print(*forms[options.form]([each for each in found if each.source == "environment"]), sep="\n")
    else:
        _show(found)
    _warn(found, os.environ)
    return exits.OK


def _show(found: Sequence[Shown]) -> None:
    table = grid("", "variable", "value", "from", wrap=["value"])
    for each in found:
        table.add_row(each.variable, plain(each.value), each.source)
    people().print(table)


def _warn(found: Sequence[Shown], environ: Mapping[str, str]) -> None:
    known = [each.variable for each in found]
    for name in unknown(environ, known):
        say(f"{plain(name).plain} is set, but there is no such setting{did_you_mean(name, known)}")
