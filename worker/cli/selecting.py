"""What the commands have in common that act on many requests: choose, look, ask, work, and tell."""

import argparse
import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple
from uuid import UUID

from worker.cli import event_loop, exits
from worker.cli.asking import may_go_on
from worker.cli.bulk.progress import progress_bar
from worker.cli.exits import CommandError
from worker.cli.filter_options import filter_of, filter_options
from worker.cli.lookup_database import LookupDatabase, open_database
from worker.cli.needed_settings import settings_for
from worker.cli.options import encodable, json_option, wait_option, words
from worker.cli.output import emit, say
from worker.cli.servers import broker_for
from worker.cli.steering import by_option
from worker.cli.tables import bystanders, people, plain
from worker.errors import PublishInterrupted
from worker.messages.sealing import parse_seal_keys
from worker.monitoring import log
from worker.operations import listing, search, selections
from worker.operations.acting import Acting, require_way_back
from worker.operations.bulk import LEAST_A_SECOND, MOST_A_SECOND, Bulk, NotOurs
from worker.operations.filters import Filter
from worker.operations.selection_words import as_record, in_words, told
from worker.operations.selections import Action, Outcome, Preview, Result, Selection
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.steps.limits import limits_of

_LOOK_SECONDS = 0.5
_FINISHED = ("completed", "failed")


class There(NamedTuple):
    """An installation with its record."""

    settings: Settings
    database: LookupDatabase


def bulk_options(parser: argparse.ArgumentParser, *, reason_required: bool = False) -> None:
    parser.add_argument(
        "ids", nargs="*", type=encodable, metavar="ID",
        help="requests, by their or their session's id, or the first characters of it; else use filters",
    )  # fmt: skip
    filter_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before acting on all that match")
    parser.add_argument(
        "--rate", type=rate, default=50.0, metavar="N/s", help="so many in a second (default 50/s)"
    )
    parser.add_argument(
        "--because", dest="why", type=words, required=reason_required, metavar="TEXT",
        help="why you do it; the audit keeps it",
    )  # fmt: skip
    by_option(parser)
    json_option(parser)
    wait_option(parser, 10)


def follow_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-wait", action="store_true", help="end when all are sent; `selections show` tells the rest"
    )
    parser.add_argument(
        "--timeout", type=float, default=30, metavar="SECONDS",
        help="how long to wait for their ends once all are sent (default 30)",
    )  # fmt: skip


def rate(text: str) -> float:
    """Read how many in a second, as 50/s or 0.5."""
    number = float(text.removesuffix("/s"))
    if not LEAST_A_SECOND <= number <= MOST_A_SECOND:
        raise argparse.ArgumentTypeError(f"must be {LEAST_A_SECOND:g}/s to {MOST_A_SECOND:g}/s")
    return number


def act(options: argparse.Namespace, action: Action, **kept: str | None) -> int:
    """Do this to the requests that the options name. `kept`: what else the selection has to know."""
    chosen_by = filter_of(options)
    if bool(options.ids) == (chosen_by != Filter()):
        raise CommandError(exits.USAGE, "name requests by ID, or by filters such as --org and --since")
    return event_loop.run(event_loop.until_signalled(_act(options, action, chosen_by, kept)))


async def _act(
    options: argparse.Namespace, action: Action, chosen_by: Filter, kept: dict[str, str | None]
) -> int:
    async with installation(options) as there:
        database = there.database
        if (to := kept.get("to")) is not None:
            require_way_back(to, names_for(there.settings.prefix), limits_of(there.settings).replies)
        ids = [await _the_one(database, text, options) for text in options.ids]
        named = {name: value for name, value in chosen_by._asdict().items() if value is not None}
        try:
            selection = await selections.freeze(
                database, action, _these(ids) if ids else selections.matching(database, chosen_by),
                chosen_by={"ids": ids} if ids else named,
                options={name: value for name, value in kept.items() if value is not None},
                who=options.by, reason=options.why, rate=options.rate,
            )  # fmt: skip
        except listing.GoneError:
            raise CommandError(
                exits.FAILED, "requests were deleted as old while they were looked for: try it again"
            ) from None
        going_on = False
        try:
            preview = await selections.preview(database, selection.id)
            _tell(selection, preview, options)
            if selection.chosen and not options.dry_run:
                going_on = bool(ids) or await may_go_on(options)
        finally:
            if not going_on:
                await selections.drop(database, selection.id)
        if not going_on:
            return exits.OK
        return await work_on(there, selection, options)


@asynccontextmanager
async def installation(options: argparse.Namespace) -> AsyncGenerator[There, None]:
    settings = settings_for(broker=True, database=True)
    log.configure(settings.model_copy(update={"log_level": "error"}))
    database = await open_database(settings, options.wait)
    try:
        yield There(settings, database)
    finally:
        await database.close()


async def _the_one(database: LookupDatabase, text: str, options: argparse.Namespace) -> UUID:
    """Find the one request on record that has this id, or whose id begins so."""
    found = await database.look(lambda: search.by_id(database, text), options.wait)
    on_record = [match for match in found if match.status is not None]
    if len(on_record) == 1:
        return on_record[0].request_id
    if not on_record:
        raise CommandError(exits.FAILED, f"no request {text} is on record, or it was deleted as old")
    some = ", ".join(str(match.request_id) for match in on_record[: search.MOST_FOUND])
    raise CommandError(exits.USAGE, f"several requests match {text}: {some}")


async def _these(ids: list[UUID]) -> AsyncGenerator[list[UUID], None]:
    yield ids


def _tell(selection: Selection, preview: Preview, options: argparse.Namespace) -> None:
    if options.json:
        if options.dry_run or not selection.chosen:
            emit({"selection": None, "action": selection.action, **preview._asdict()})
        return
    for line in in_words(selection, preview):
        bystanders().print(plain(line), soft_wrap=True)
    if options.dry_run:
        say("nothing was done: --dry-run")


async def work_on(there: There, selection: Selection, options: argparse.Namespace) -> int:
    """Do what the selection is for, and what is left of it; show how it goes on and what came of it."""
    keys = parse_seal_keys(there.settings.seal_keys.get_secret_value())
    names = names_for(there.settings.prefix)
    publisher = OneByOne(broker_for(there.settings), there.settings.confirm_timeout_seconds)
    acting = Acting(selection, names, keys, limits_of(there.settings).replies, there.settings.sender)
    bulk = Bulk(there.database, publisher, selection, acting)
    go_on = f"`session-worker selections continue {selection.id}` goes on with it"
    try:
        with _shown(selection) as report:
            ended = await bulk.run(report, by=options.by, reason=options.why, patience=options.wait)
    except NotOurs as error:
        raise CommandError(exits.FAILED, str(error)) from None
    except PublishInterrupted as error:
        raise CommandError(exits.UNREACHABLE, f"RabbitMQ cannot be reached: {error}\n{go_on}") from None
    except BaseException:
        say(f"selection {selection.id} was left before its end: {go_on}")
        raise
    outcomes = await selections.outcomes(there.database, ended.id)
    found = await _followed(there, ended, options)
    _show(ended, outcomes, found, as_json=options.json)
    return _exit_code(ended, found, options)


@contextmanager
def _shown(selection: Selection) -> Generator[Callable[[Selection], None], None, None]:
    """Yield what shows how far it is: a bar on a terminal, else a line a step."""
    console = bystanders()
    if not console.is_terminal:
        yield lambda now: say(
            f"selection {now.id}: {now.chosen - now.left}/{now.chosen}"
            + (f", failed {now.failed}" if now.failed else "")
        )
        return
    with progress_bar(console) as progress:
        bar = progress.add_task("requests", total=selection.chosen, rate=selection.rate, failed="")

        def report(now: Selection) -> None:
            failed = f"failed {now.failed}" if now.failed else ""
            progress.update(bar, completed=now.chosen - now.left, failed=failed)

        yield report


async def _followed(there: There, selection: Selection, options: argparse.Namespace) -> list[Result]:
    """Wait for the ends of the requests that were sent; return how they stand then."""
    if selection.action == "resend":
        return []
    clock = asyncio.get_running_loop().time
    until = clock() + (0 if options.no_wait else options.timeout)
    while True:
        found = await selections.results(there.database, selection.id)
        if clock() >= until or all(result.status in _FINISHED for result in found):
            return found
        await asyncio.sleep(_LOOK_SECONDS)


def _show(
    selection: Selection, outcomes: Sequence[Outcome], found: Sequence[Result], *, as_json: bool
) -> None:
    if as_json:
        emit(as_record(selection, outcomes, found))
        return
    for line in told(selection, outcomes, found):
        people().print(plain(line), soft_wrap=True)


def _exit_code(selection: Selection, found: Sequence[Result], options: argparse.Namespace) -> int:
    if selection.failed:
        return exits.FAILED
    if selection.action == "resend" or options.no_wait:
        return exits.OK
    if any(result.status not in _FINISHED for result in found):
        return exits.TIMED_OUT
    wanted = (
        (lambda one: one.code == "cancelled")
        if selection.action == "cancel"
        else (lambda one: one.code is None)
    )
    return exits.OK if all(wanted(result) for result in found) else exits.FAILED
