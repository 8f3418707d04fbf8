"""Writes docs/commands.md from the parsers of the command line."""

import argparse
from collections.abc import Iterator

from worker.cli import exits
from worker.cli.main import COMMANDS, load, parser_of

_HEAD = """\
# Command line

What `session-worker help COMMAND` says of each command. `make generate` makes this page from the code. What
is in capitals is yours. Each command also takes `--env-file FILE`, which is read for what the environment
does not set, and `--debug`, which shows the traceback of an error.
"""


def page() -> str:
    """Return the page; it is the same with each Python."""
    parser = parser_of({name: load(name) for name in COMMANDS})
    codes = exits.MEANINGS.splitlines()[1:]
    rows = [f"| {code} | {meaning} |" for code, meaning in (line.split(maxsplit=1) for line in codes)]
    lines = ["## Exit codes", "", "| code | means |", "|---|---|", *rows, *_below(parser, "##")]
    return f"{_HEAD}\n" + "\n".join(lines) + "\n"


def _below(parser: argparse.ArgumentParser, level: str) -> Iterator[str]:
    for action in parser._actions:  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _command(each, level)


def _command(parser: argparse.ArgumentParser, level: str) -> Iterator[str]:
    """Write a command; its subcommands follow."""
    shown = [
        action
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        and not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
        and not {"--env-file", "--debug"} & set(action.option_strings)
    ]
    yield from ("", f"{level} {parser.prog.partition(' ')[2]}", "", _cell(parser.description))
    if shown:
        yield from ("", "| | |", "|---|---|")
        for action in shown:
            yield f"| {_head(action)} | {_cell(action.help)} |"
    examples = (parser.epilog or "").partition(exits.MEANINGS)[0].rstrip()
    if examples:
        yield from ("", "```text", *examples.removeprefix("examples:\n").splitlines(), "```")
    yield from _below(parser, f"{level}#")


def _head(action: argparse.Action) -> str:
    """Write the names of an option and what follows it, or the name of an argument."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = _cell(" ".join(value) if isinstance(value, tuple) else value)
    if not action.option_strings:
        return f"`{shown}`"
    names = [f"`{name}`" for name in action.option_strings]
    return ", ".join(names) + ("" if action.nargs == 0 else f" `{shown}`")


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("%%", "%").replace("|", "\\|").replace("?.", "?").split())
