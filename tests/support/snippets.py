"""Reads the snippets of the pages: what stands between fences, and why one is not run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(
    r"^( *)```(\w*)\n(.*?)^ *```\n(?:\n\*Not run by (?:a|the) test: ([^*]+)\*)?", re.MULTILINE | re.DOTALL
)
_ASSIGNED = re.compile(r"^(?:[A-Z_]+=\S* )+")


class Snippet(NamedTuple):
    page: str
    language: str
    text: str
    why_not: str | None  # it is run
    before: str  # the page up to here

    @property
    def commands(self) -> Iterator[str]:
        """What is typed, a line each, without the variables in front and the notes behind."""
        for line in re.sub(r" *\\\n *", " ", self.text).splitlines():
            typed = line.removeprefix("$ ")
            if (self.language == "sh" or line != typed) and typed and typed[0] not in " #":
                yield re.split(r"  +|  #", _ASSIGNED.sub("", typed))[0]

    @property
    def typed(self) -> Iterator[tuple[str, str]]:
        """What is typed, as it stands there, each with the output that is shown below it."""
        text = re.sub(r"\\\n *", "", self.text)
        if self.language == "console":
            for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, shown = each.partition("\n")
                yield command, shown
        else:
            yield from ((line, "") for line in text.splitlines() if line and line[0] != "#")


def snippets_of(page: str) -> list[Snippet]:
    text = (ROOT / page).read_text("utf-8")
    return [Snippet(page, at[2], at[3], at[4], text[: at.start()]) for at in _FENCE.finditer(text)]
