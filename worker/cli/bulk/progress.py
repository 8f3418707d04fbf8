"""Many requests at once, as people see it: how far they are, and at the end what became of them."""

import argparse
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from worker.cli import exits
from worker.cli.bulk.checkpoint import Journal, written
from worker.cli.bulk.input_lines import Document, expected
from worker.cli.bulk.sending import Result, Tally, ask_all
from worker.cli.exits import CommandError
from worker.cli.output import as_json, emit, say
from worker.cli.tables import bystanders, coloured, grid, people, plain
from worker.client import Client

_SHOWN = 5
_GOOD = ("completed", "submitted")


class _Failures:
    """The first lines that failed, by their numbers: results come in any order."""

    def __init__(self) -> None:
        self.first: list[Result] = []
        self.count = 0

    def add(self, result: Result) -> None:
        if result.status in _GOOD:
            return
        self.count += 1
        if len(self.first) < _SHOWN or result.number < self.first[-1].number:
            self.first = sorted([*self.first, result], key=lambda each: each.number)[:_SHOWN]

    def tell(self, what: str, results: object) -> None:
        """Say which they are, by their number, and where all of them are found."""
        for result in self.first:
            say(f"{what} {result.number}: {plain(_why(result)).plain}")
        if self.count > len(self.first):
            where = f"--results {results} has all" if results else "--results FILE would keep all"
            say(f"and {self.count - len(self.first)} more that failed: {where}")


def _why(result: Result) -> str:
    if result.response is not None:
        errors = result.response.metadata.get("errors") or [{}]
        first = " ".join(str(errors[0].get(part, "")) for part in ("field", "reason")).strip()
        return f"{result.code}: {first or result.response.error}"
    return (
        f"not sent: it {result.error}" if result.status == "not_sent" else f"{result.status}: {result.error}"
    )


def failed_so_far(tally: Tally) -> str:
    """Say, for the progress bar, how many failed, and what of."""
    bad = {name: count for name, count in tally.outcomes.items() if name not in _GOOD}
    if not bad:
        return ""
    most = max(bad, key=lambda name: bad[name])
    return f"failed {sum(bad.values())} ({most}{', …' if len(bad) > 1 else ''})"


async def send_many(
    client: Client,
    documents: AsyncGenerator[Document, None],
    options: argparse.Namespace,
    journal: Journal | None = None,
) -> int:
    shown, failures = Tally(), _Failures()
    if journal is not None:
        shown.outcomes.update(journal.outcomes)
        shown.before = shown.total
    with _results(options, journal) as write, progress_bar(bystanders()) as progress:
        bar = progress.add_task(
            "requests", total=expected(options), completed=shown.before, rate=0.0, failed=failed_so_far(shown)
        )

        def report(result: Result) -> None:
            shown.add(result)
            failures.add(result)
            progress.update(bar, completed=shown.total, rate=shown.rate, failed=failed_so_far(shown))
            record = {"line": result.number, **result.record()}
            if write is not None:
                write(as_json(record))
            if journal is not None:
                journal.note(
                    result.number, result.request_id, result.status, result.code, as_json(record).encode()
                )
            if options.json:
                emit(record)

        to_go_on, begun = journal is not None, True
        try:
            await ask_all(
                client,
                documents,
                report,
                at_once=options.at_once,
                timeout=options.timeout,
                wait=not options.no_wait,
                resumable=journal is not None,
            )
            to_go_on = False
        except CommandError as error:
            # A file that is another one than it was: nothing of it has been asked for, and so it stays.
            begun = error.code != exits.USAGE or shown.total > shown.before
            raise
        finally:
            progress.stop()
            if shown.total and begun:  # an interruption leaves those that were done
                show_tally(shown, bystanders() if options.json else people())
            if not options.json:
                failures.tell("request" if options.count else "line", options.results)
            if to_go_on and begun:
                say("to go on from here, run it again with the same --checkpoint")
    return shown.exit_code()


def progress_bar(console: Console) -> Progress:
    """Make a progress bar of one line: the bar itself takes what the rest leaves."""
    return Progress(
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[failed]}", style="red"),
        console=console,
        transient=True,
        expand=True,
    )


@contextmanager
def _results(
    options: argparse.Namespace, journal: Journal | None
) -> Generator[Callable[[str], None] | None, None, None]:
    """Where results are written to, unless the journal keeps them in step with itself."""
    if options.results is None or journal is not None:
        yield None
        return
    try:
        file = options.results.open("w", encoding="utf-8")
    except OSError as error:
        raise CommandError(exits.USAGE, f"--results {options.results}: {error.strerror}") from error
    with file:

        def write(line: str) -> None:
            with written(f"--results {options.results}"):
                print(line, file=file)

        yield write


def show_tally(tally: Tally, console: Console) -> None:
    table = grid("", "outcome", "requests")
    for outcome, count in tally.outcomes.most_common():
        table.add_row(coloured(outcome), str(count))
    console.print(table)
    times = ", ".join(f"{name} {value:g} ms" for name, value in tally.quantiles().items())
    before = f" ({tally.before} of them done before)" if tally.before else ""
    console.print(
        f"{tally.total} requests{before}, {tally.rate:.0f} a second" + (f", {times}" if times else ""),
        soft_wrap=not console.is_terminal,
    )
