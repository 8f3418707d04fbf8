"""Shows people how far many requests are, and at the end what became of them."""

import argparse
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from worker.cli import exits
from worker.cli.bulk.checkpoint import Checkpoint, written
from worker.cli.bulk.input_lines import InputLine, expected
from worker.cli.bulk.sending import Result, Totals, send_all
from worker.cli.exits import CommandError
from worker.cli.output import emit, say
from worker.cli.tables import bystanders, coloured, grid, people, plain
from worker.client import Client
from worker.operations.json_text import as_json

_SHOWN = 5
_GOOD = ("completed", "submitted")


class _Failures:
    """Keeps the failed lines with the lowest numbers: results come in any order."""

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
        """Say which lines failed and why, and where all of them are found."""
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


def failed_so_far(totals: Totals) -> str:
    """Say, for the progress bar, how many failed, and the most frequent reason."""
    bad = {name: count for name, count in totals.outcomes.items() if name not in _GOOD}
    if not bad:
        return ""
    most = max(bad, key=lambda name: bad[name])
    return f"failed {sum(bad.values())} ({most}{', …' if len(bad) > 1 else ''})"


async def send_many(
    client: Client,
    lines: AsyncGenerator[InputLine, None],
    options: argparse.Namespace,
    checkpoint: Checkpoint | None = None,
) -> int:
    """Send every line and show the progress; however it ends, show what became of those that were sent."""
    with _results_file(options, checkpoint) as write, progress_bar(bystanders()) as progress:
        report = _Report(options, checkpoint, write, progress)
        try:
            await send_all(
                client,
                lines,
                report.add,
                at_once=options.at_once,
                timeout=options.timeout,
                wait=not options.no_wait,
                resumable=checkpoint is not None,
            )
        except BaseException as error:
            report.end(error)
            raise
        report.end()
    return report.exit_code()


class _Report:
    """Passes each result on to the progress bar, the files and stdout, and sums up at the end."""

    def __init__(
        self,
        options: argparse.Namespace,
        checkpoint: Checkpoint | None,
        write: Callable[[str], None] | None,
        progress: Progress,
    ) -> None:
        self._options = options
        self._checkpoint = checkpoint
        self._write = write
        self._progress = progress
        self._failures = _Failures()
        self._totals = Totals()
        if checkpoint is not None:
            self._totals.outcomes.update(checkpoint.outcomes)
            self._totals.before = self._totals.total
        self._bar = progress.add_task(
            "requests",
            total=expected(options),
            completed=self._totals.before,
            rate=0.0,
            failed=failed_so_far(self._totals),
        )

    def add(self, result: Result) -> None:
        totals = self._totals
        totals.add(result)
        self._failures.add(result)
        self._progress.update(
            self._bar, completed=totals.total, rate=totals.rate, failed=failed_so_far(totals)
        )
        record = {"line": result.number, **result.record()}
        if self._write is not None:
            self._write(as_json(record))
        if self._checkpoint is not None:
            self._checkpoint.note(
                result.number, result.request_id, result.status, result.code, as_json(record).encode()
            )
        if self._options.json:
            emit(record)

    def end(self, error: BaseException | None = None) -> None:
        """Show what became of the requests. `error` ended the run early, if anything did."""
        self._progress.stop()
        begun = not self._refused(error)
        if self._totals.total and begun:
            show_totals(self._totals, bystanders() if self._options.json else people())
        if not self._options.json:
            self._failures.tell("request" if self._options.count else "line", self._options.results)
        if error is not None and self._checkpoint is not None and begun:
            say("to go on from here, run it again with the same --checkpoint")

    def exit_code(self) -> int:
        return self._totals.exit_code()

    def _refused(self, error: BaseException | None) -> bool:
        """Tell whether the run ended before anything was sent: the file is not the checkpoint's, say. Then
        there is nothing to show, and running it again would not help.
        """
        wrong_usage = isinstance(error, CommandError) and error.code == exits.USAGE
        return wrong_usage and self._totals.total <= self._totals.before


def progress_bar(console: Console) -> Progress:
    """A progress bar of one line: the bar itself takes the room that the rest leaves."""
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
def _results_file(
    options: argparse.Namespace, checkpoint: Checkpoint | None
) -> Generator[Callable[[str], None] | None, None, None]:
    """Yield what writes a line to the file of results; None if there is no file, or the checkpoint has it."""
    if options.results is None or checkpoint is not None:
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


def show_totals(totals: Totals, console: Console) -> None:
    table = grid("", "outcome", "requests")
    for outcome, count in totals.outcomes.most_common():
        table.add_row(coloured(outcome), str(count))
    console.print(table)
    times = ", ".join(f"{name} {value:g} ms" for name, value in totals.quantiles().items())
    before = f" ({totals.before} of them done before)" if totals.before else ""
    console.print(
        f"{totals.total} requests{before}, {totals.rate:.0f} a second" + (f", {times}" if times else ""),
        soft_wrap=not console.is_terminal,
    )
