"""Prints the man page of the program, from the help of its commands and the descriptions of its settings."""

import argparse
import sys
from collections.abc import Iterator
from importlib.metadata import version

from worker.cli import exits
from worker.cli.main import COMMANDS, load, parser_of
from worker.settings import Settings, variable_name

_PROGRAM = "session-worker"


def man_page() -> str:
    """Write the page in roff. It has no date: made again, it is the same."""
    parser = parser_of({name: load(name) for name in COMMANDS})
    lines = [
        f'.TH {_PROGRAM.upper()} 1 "" "{_PROGRAM} {version(_PROGRAM)}" "User Commands"',
        ".SH NAME",
        f"{_text(_PROGRAM)} \\- {_text(_one_line(parser.description))}",
        ".SH SYNOPSIS",
        f".B {_text(_PROGRAM)}",
        r"\fICOMMAND\fR [\fIOPTION\fR ...]",
        ".SH COMMANDS",
        *_commands(parser),
        ".SH ENVIRONMENT",
        "What is not set here is read from the file that",
        ".B \\-\\-env\\-file",
        "names.",
    ]
    for name, field in Settings.model_fields.items():
        lines += [
            ".TP",
            f".B {_text(variable_name(name))}",
            _text(_one_line(field.description).replace("`", "")),
        ]
    lines += [".SH EXIT STATUS", *_as_it_stands(exits.MEANINGS.partition("\n")[2])]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 — argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 — as above
            for each in action.choices.values():
                yield from _command(each)


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Write a command; its subcommands follow."""
    yield f".SS {_text(parser.prog)}"
    yield _text(_one_line(parser.description))
    yield ".PP"
    yield from _as_it_stands(parser.format_usage().removeprefix("usage: "))
    for action in parser._actions:  # noqa: SLF001 — as above
        if action.help != argparse.SUPPRESS and not isinstance(
            action,
            argparse._HelpAction | argparse._SubParsersAction,  # noqa: SLF001 — as above
        ):
            yield from (".TP", _head(action), _text(_one_line(action.help)))
    examples = (parser.epilog or "").partition(exits.MEANINGS)[0].strip("\n")
    if examples:
        yield ".PP"
        yield from _as_it_stands(examples)
    yield from _commands(parser)


def _head(action: argparse.Action) -> str:
    """Write the names of an option and what follows it, or the name of an argument."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return f".I {_text(shown)}"
    names = ", ".join(rf"\fB{_text(name)}\fR" for name in action.option_strings)
    return names if action.nargs == 0 else rf"{names} \fI{_text(shown)}\fR"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").replace("%%", "%").split())


def _as_it_stands(text: str) -> Iterator[str]:
    yield ".EX"
    yield from map(_text, text.rstrip().splitlines())
    yield ".EE"


def _text(text: str) -> str:
    """Write it so that roff takes no character for its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(man_page())
