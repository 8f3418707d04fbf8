"""Shows results to people: consoles, colours and tables."""

from collections.abc import Collection, Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLOURS = {
    "completed": "green", "active": "green", "failed": "red", "timed_out": "yellow", "processing": "cyan",
}  # fmt: skip
_LONGEST_NAME = 36
_LONG_SECONDS = 1_000
_LONGEST_VALUE = 100_000
NARROWEST = 100  # columns, where the output is no terminal: an id must not be broken over lines


class _Console(Console):
    """Handles a reader who is gone as other output does; rich alone would end the program as failed."""

    def on_broken_pipe(self) -> None:
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True  # nothing depends on it


def people() -> Console:
    """A console for results, on stdout."""
    console = _Console(highlight=False)
    if not console.is_terminal and console.width < NARROWEST:
        console.width = NARROWEST
    return console


def bystanders() -> Console:
    """A console for progress, on stderr: it is no result."""
    return _Console(stderr=True, highlight=False)


def coloured(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, ""))


def plain(value: object, style: str = "") -> Text:
    """Show a text of unknown origin without markup, and without anything that a terminal would obey."""
    return Text(
        "".join(
            each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in str(value)
        ),
        style,
    )


def cut(name: str) -> str:
    """Cut a name that is too long for a table."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def took(seconds: float | None) -> str:
    """Show how long something took, shortly."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < _LONG_SECONDS else f"{seconds / 60:.0f} min"


def facts(title: str, rows: Iterable[tuple[str, object]]) -> Table:
    """A table of names and values; a name without a value is left out, and so is the rest of a long value."""
    table = Table(title=title, title_justify="left", show_header=False, box=box.SIMPLE, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            table.add_row(plain(name), value if isinstance(value, Text) else plain(_shortened(str(value))))
    return table


def _shortened(text: str) -> str:
    """Leave out what nobody would read, and what would take seconds to lay out."""
    if len(text) <= _LONGEST_VALUE:
        return text
    return (
        f"{text[:_LONGEST_VALUE]}\n… {len(text) - _LONGEST_VALUE:,} characters more: --json has all of them"
    )


def grid(title: str, *columns: str, wrap: Collection[str] = (), cut: Collection[str] = ()) -> Table:
    """A table with these columns. Where there is too little room, the columns in `wrap` continue in the next
    line, between words, and those in `cut` lose their end; the others stay whole.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            overflow="ellipsis" if column in cut else "fold",
            no_wrap=bool(wrap or cut) and column not in wrap and column not in cut,
        )
    return table
