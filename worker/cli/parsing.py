"""The grammar of the command line: help that fits its terminal, and what was probably meant."""

import argparse
import difflib
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any


class Help(argparse.RawDescriptionHelpFormatter):
    """Wraps between words only: `--no-wait` is one word, and so is a URL."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        words = " ".join(text.split())
        return textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Reads the command line of one command, or of all of them."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 — what argparse takes
        super().__init__(formatter_class=Help, **settings)
        self._in_turns = False

    def parse_known_args(  # type: ignore[override] # argparse gives it a type for each kind of namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse what this parser does not know, with its own usage. A command's options may stand anywhere:
        left to itself, argparse takes a word that may be left out for left out where an option comes first.
        """
        if self._in_turns:
            return super().parse_known_args(args, namespace)
        if self._subparsers is None:
            self._in_turns = True
            options, unknown = self.parse_known_intermixed_args(args, namespace)
            self._in_turns = False
        else:
            options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._meant(unknown)}")
        return options, []

    def _meant(self, unknown: Sequence[str]) -> str:
        name = next((word.partition("=")[0] for word in unknown if word.startswith("-")), "")
        return did_you_mean(name, self._option_string_actions)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to put behind an error, or nothing where none of what is known is like the word."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
