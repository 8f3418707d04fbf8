"""Reads what the pages tell people to type, by the real command line."""

import io
import itertools
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache

from worker.cli.completion import places_of
from worker.cli.main import COMMANDS, load, parser_of
from worker.cli.parsing import Parser

VALUES = {  # of what stands for something else
    "ID": "6f9f1c0e", "PID": "4711", "N": "3", "TIME": "2026-11-24", "FILE": "a-file", "NUMBER": "3",
}  # fmt: skip


@cache
def real_parser() -> Parser:
    return parser_of({name: load(name) for name in COMMANDS})


@cache
def known_places() -> set[str]:
    return {place.words for place in places_of(real_parser())}


def spelt_out(command: str) -> Iterator[list[str]]:
    """Make what somebody would type of `a|b [--c N]`."""
    words = [word.strip("[]") for word in shlex.split(command.replace("\\|", "|"))]
    for choice in itertools.product(*(word.split("|") if "|" in word else [word] for word in words)):
        yield [VALUES.get(word, word) for word in choice]


def complaint(words: list[str]) -> str | None:
    """Say what the command line has against these words."""
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if " ".join(words) in known_places():  # the name of a command alone
        words = [*words, "--help"]
    err = io.StringIO()
    try:
        with redirect_stderr(err), redirect_stdout(io.StringIO()):
            real_parser().parse_args(words)
    except SystemExit as end:
        return err.getvalue().splitlines()[-1] if end.code else None
    return None
