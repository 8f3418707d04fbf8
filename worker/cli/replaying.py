"""Sends dead letters again for `dead replay` and `dead redirect`: look, ask, send, and tell."""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from uuid import UUID

from worker.cli import exits
from worker.cli.dead_letters import agreed, preview, selected
from worker.cli.exits import CommandError
from worker.cli.looking import looked_up
from worker.cli.lookup_database import LookupDatabase
from worker.cli.needed_settings import settings_for
from worker.cli.output import emit, say
from worker.cli.reaching import reach
from worker.cli.servers import broker_for
from worker.cli.tables import grid, people, plain
from worker.errors import PublishInterrupted
from worker.messages.mending import Edit
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.operations import dead_letters
from worker.operations.replaying import LEFT, Prospect, Replaying, Sent, as_record
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.steps.limits import limits_of

_SHOWN = 20  # messages of a dry run, for people


def rate_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate", type=_rate, default=50.0, metavar="N/s", help="so many in a second (default 50/s)"
    )


def _rate(text: str) -> float:
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0
    if not 0.1 <= rate <= 10_000:  # noqa: PLR2004 — from one in ten seconds
        raise argparse.ArgumentTypeError("must be a number from 0.1 to 10000, as 50/s")
    return rate


async def replay(
    options: argparse.Namespace,
    *,
    edits: Sequence[Edit] = (),
    edit: Callable[[bytes], bytes] | None = None,
    to: str | None = None,
) -> int:
    """Send what the options select: to where it belongs, after these edits, or to the queue `to`."""
    settings = settings_for(broker=True, database=True)
    keys = parse_seal_keys(settings.seal_keys.get_secret_value())
    async with looked_up(options) as (database, _):
        which, ids = await selected(database, options)
        bodies = await _edited(database, ids, keys, edit, options) if edit else {}

        def replaying() -> Replaying:
            return Replaying(
                database, keys, names_for(settings.prefix), limits_of(settings),
                edits=edits, bodies=bodies, to=to, sender=settings.sender,
            )  # fmt: skip

        await preview(database, which, options, len(ids))
        prospects = await _look_ahead(options, replaying(), ids)
        going = sum(number for prospect, number in prospects.items() if prospect not in LEFT)
        if options.dry_run:
            return exits.OK
        if not going:
            raise CommandError(exits.FAILED, "nothing is sent: all of them would only fail again")
        if not agreed(options, f"Send {going:,} at {options.rate:g}/s, about {going / options.rate:,.0f} s?"):
            return exits.OK
        more = {"to": to, "edits": [f"{one.do} {'.'.join(one.path)}" for one in edits], "editor": bool(edit)}
        what: dict[str, object] = {
            "dead_letters": which.told,
            **{name: value for name, value in more.items() if value},
        }
        return await _send(options, settings, replaying(), ids, what)


async def _edited(
    database: LookupDatabase,
    ids: Sequence[UUID],
    keys: SealKeys,
    edit: Callable[[bytes], bytes],
    options: argparse.Namespace,
) -> dict[UUID, bytes]:
    (letter,) = await database.look(lambda: dead_letters.read(database, ids, keys), options.wait)
    return {letter.about.id: edit(letter.body)}


async def _look_ahead(
    options: argparse.Namespace, replaying: Replaying, ids: Sequence[UUID]
) -> Counter[Prospect]:
    """Say what will become of them: of each in a dry run, and in any case how many of which kind."""
    prospects: Counter[Prospect] = Counter()
    table = grid("", "message", "prospect", "why", wrap=["why"])
    async for part in replaying.judged(ids):
        for one in part:
            prospects[one.prospect] += 1
            if options.dry_run and options.json:
                emit(as_record(one))
            elif options.dry_run and sum(prospects.values()) <= _SHOWN:
                table.add_row(str(one.letter.about.id)[:8], one.prospect.value, plain(one.why or ""))
    summary = " · ".join(f"{number:,} {prospect.value}" for prospect, number in prospects.most_common())
    if options.dry_run and not options.json:
        people().print(table)
        print(summary)
        if len(ids) > _SHOWN:
            say(f"{_SHOWN} of {len(ids):,} shown: --json tells of all of them")
    elif not options.json:
        say(summary)
    return prospects


async def _send(
    options: argparse.Namespace,
    settings: Settings,
    replaying: Replaying,
    ids: Sequence[UUID],
    what: dict[str, object],
) -> int:
    broker = broker_for(settings)
    await (await reach("RabbitMQ", broker.connect, options.wait)).close()  # so that it is said in words
    sent, left = 0, Counter[str]()
    try:
        async for part in replaying.replay(
            broker, ids, rate=options.rate, by=options.by, reason=options.why, about=what,
            seconds=settings.confirm_timeout_seconds,
        ):  # fmt: skip
            sent += sum(one.left is None for one in part)
            left.update(one.left for one in part if one.left is not None)
            _tell(options, part, sent, sum(left.values()), len(ids))
    except PublishInterrupted as error:
        raise CommandError(
            exits.UNREACHABLE, f"{sent:,} sent, then RabbitMQ was lost: {error}. Say the same again to go on"
        ) from None
    if not options.json:
        for why, number in left.most_common():
            people().print(plain(f"left in custody: {number:,} {why}"))
        if gone := len(ids) - sent - left.total():
            print(f"no longer there to be sent: {gone:,}; somebody else was quicker")
        print(f"{sent:,} sent")
    return exits.OK if sent else exits.FAILED


def _tell(options: argparse.Namespace, part: Sequence[Sent], sent: int, left: int, selected: int) -> None:
    if options.json:
        for one in part:
            emit({"id": one.id, "sent": one.left is None, "prospect": one.prospect, "left": one.left})
    else:
        say(f"{sent + left:,}/{selected:,}  sent {sent:,}  left {left:,}")
