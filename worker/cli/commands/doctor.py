"""`session-worker doctor`."""

import argparse
import textwrap
from itertools import groupby

from rich.console import Console
from rich.text import Text

from worker.cli import event_loop, exits
from worker.cli.exits import CommandError
from worker.cli.needed_settings import settings_for
from worker.cli.options import json_option, wait_option
from worker.cli.output import emit
from worker.cli.tables import people, plain
from worker.monitoring import log
from worker.operations.doctor.finding import Finding, Part, Severity
from worker.operations.doctor.run import Report, as_record, chosen, findings_as_records, needs_of, run
from worker.operations.doctor.site import Need, visit

EXAMPLES = """\
  session-worker doctor
  session-worker doctor --only postgres,retries-overdue
  session-worker doctor --json

It changes nothing; each remedy is a command or a sentence. Exit code 1 if
there is an error, 3 if a server is away; warnings and notes alone are 0.
What could not be looked at is said, and is not counted as well.
"""
_WIDTH = 80
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_INDENT = " " * 9


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", type=_names, default=[], metavar="NAME,…",
        help=f"parts ({', '.join(part.value for part in Part)}) or ids of checks",
    )  # fmt: skip
    json_option(parser)
    wait_option(parser, 10)


def execute(options: argparse.Namespace) -> int:
    report = event_loop.run(_examine(options))
    if options.json:
        _emit(report)
    else:
        _show(report)
    if report.away:
        return exits.UNREACHABLE
    return exits.FAILED if report.count(Severity.ERROR) else exits.OK


async def _examine(options: argparse.Namespace) -> Report:
    try:
        checks = chosen(options.only)
    except ValueError as error:
        raise CommandError(exits.USAGE, f"--only: {error}") from None
    needs = needs_of(checks)
    settings = settings_for(broker=Need.BROKER in needs, database=Need.POSTGRES in needs)
    log.configure(settings.model_copy(update={"log_level": "error"}))
    management_url = settings.management_url.get_secret_value() or None
    async with visit(settings, needs, options.wait, management_url) as site:
        return await run(site, checks)


def _emit(report: Report) -> None:
    """Print a line for each finding and each check that could not be done, and one for all."""
    for each in findings_as_records(report):
        emit(each)
    emit(as_record(report))


def _show(report: Report) -> None:
    console = people()
    for (_, remedy), findings in groupby(report.findings, lambda each: (each.check, each.remedy)):
        for finding in findings:
            _print(console, _told(finding))
        _print(console, plain(_wrapped(f"{_INDENT}→ ", remedy, f"{_INDENT}  ")))
    by_reason: dict[str, list[str]] = {}
    for check, why in report.unlooked:
        by_reason.setdefault(why, []).append(check)
    for why, checks in by_reason.items():
        _print(console, plain(_wrapped("not looked at: ", f"{', '.join(checks)} ({why})", "  ")))
    console.print(summary(report))


def _told(finding: Finding) -> Text:
    word = finding.severity.value.upper()
    text = plain(_wrapped(f"{word:<{len(_INDENT)}}", f"{finding.check}: {finding.what}", _INDENT))
    text.stylize(_STYLES[finding.severity], 0, len(word))
    return text


def _print(console: Console, text: Text) -> None:
    """Print lines that are wrapped already."""
    console.print(text, soft_wrap=True)


def _wrapped(first: str, text: str, indent: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False,
    )  # fmt: skip


def summary(report: Report) -> str:
    """Say in a line how many checks there were, and what came of them."""
    counts = [(report.count(each), each.value) for each in Severity]
    said = [f"{report.checks} check{'s' * (report.checks != 1)}"]
    said += [f"{number} {name}{'s' * (number != 1)}" for number, name in counts if number]
    if not any(number for number, _ in counts):
        said.append("nothing wrong")
    if report.unlooked:
        said.append(f"{len(report.unlooked)} could not be looked at")
    return ", ".join(said)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
