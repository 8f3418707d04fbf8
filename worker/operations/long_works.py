"""Does long works in this process, beside whatever asked for them: they go on when nobody looks any more.

A work that is stopped, or whose process has ended, may go on anywhere: each of its steps may be repeated.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import structlog

from worker.errors import WorkerError
from worker.messages.decoding import Limits
from worker.messages.mending import edit_from
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.monitoring.readiness import Readiness
from worker.operations import keys, retention, works
from worker.operations.keys import Place
from worker.operations.replaying import Replaying
from worker.operations.resealing import Resealed, Resealing
from worker.operations.retention import Old
from worker.operations.works import Kind, State, Work
from worker.postgres.database import PART, Database
from worker.process import own_task
from worker.process.identity import new_identity
from worker.rabbitmq.connection import Broker, is_lost
from worker.rabbitmq.topology import Names, names_for
from worker.settings import Settings
from worker.steps.limits import limits_of
from worker.tls import context_from

NOTE_SECONDS = 1.0
_END_SECONDS = 2.0
_CONNECTIONS = 2  # one for the work, one for what is noted of it
_SHOWN_REASONS = 20
_log = structlog.get_logger(__name__)

Progress = dict[str, Any]


class Tools(NamedTuple):
    """What works are done with."""

    database: Database
    broker: Broker
    keys: SealKeys
    names: Names
    limits: Limits
    sender: str | None  # the user of the broker that they are done as, where workers go by that
    confirm_seconds: float


class LongWorks:
    """Begins works and does them, each over connections of its own; to close it stops those that it does."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self._settings = settings
        self._broker = broker
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(
        self,
        database: Database,
        kind: Kind,
        *,
        options: Mapping[str, Any],
        chosen: Sequence[UUID] = (),
        who: str,
        reason: str | None,
    ) -> str:
        """Begin a work, and return its id."""
        runner = uuid4()
        work_id = await works.begin(
            database, kind, runner, options=options, chosen=chosen, who=who, reason=reason
        )
        self._start(work_id, runner, database.schema)
        return work_id

    async def go_on(self, database: Database, work_id: str, *, who: str, reason: str | None) -> bool:
        """Go on with a work that nobody does; False: somebody does it, or nothing is left to do."""
        runner = uuid4()
        if not await works.go_on(database, work_id, runner, who=who, reason=reason):
            return False
        self._start(work_id, runner, database.schema)
        return True

    async def close(self) -> None:
        """Stop the works of this process; each may go on elsewhere."""
        await own_task.end(list(self._tasks))

    def _start(self, work_id: str, runner: UUID, schema: str | None) -> None:
        task = asyncio.create_task(self._run(work_id, runner, schema), name=f"work {work_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work_id: str, runner: UUID, schema: str | None) -> None:
        """Do a work until it is done, fails, or is stopped by anybody. It outlasts an outage of Postgres."""
        settings = self._settings
        database = Database(
            settings.database_url.get_secret_value(), _CONNECTIONS, context_from(settings), Readiness([PART]),
            application=new_identity().application,
        )  # fmt: skip
        tools = Tools(
            database=database,
            broker=self._broker,
            keys=parse_seal_keys(settings.seal_keys.get_secret_value()),
            names=names_for(settings.prefix),
            limits=limits_of(settings),
            sender=settings.sender,
            confirm_seconds=settings.confirm_timeout_seconds,
        )
        try:
            await database.open(schema)
            await _do(tools, work_id, runner)
        finally:
            await database.close()


async def _do(tools: Tools, work_id: str, runner: UUID) -> None:
    progress: Progress = {}
    state: State = "stopped"
    trouble = None
    try:
        (work,) = await works.works(tools.database, work_id=work_id)
        progress |= work.progress
        doing = asyncio.ensure_future(_DO[work.kind](tools, work, progress))
        try:
            while not (await asyncio.wait([doing], timeout=NOTE_SECONDS))[0]:
                if not await works.note(tools.database, work_id, runner, progress):
                    return  # it is not ours any more
            await doing
        finally:
            await own_task.end([doing])
        state = "done"
    except WorkerError as error:
        state, trouble = "failed", str(error)
    except Exception as error:  # noqa: BLE001 — whatever it is, people see that it ended
        if is_lost(error):
            state, trouble = "failed", "RabbitMQ is away"
        else:
            _log.exception("work.failed", work=work_id)
            state, trouble = "failed", f"it ended with {type(error).__name__}, of which the log tells more"
    finally:
        with suppress(Exception):  # Postgres may be what has failed; then it is seen to be silent
            async with asyncio.timeout(_END_SECONDS):
                await works.end(tools.database, work_id, runner, state, progress, trouble)


async def _replay(tools: Tools, work: Work, progress: Progress) -> None:
    ids = await works.chosen(tools.database, work.id)
    options = work.options
    replaying = Replaying(
        tools.database, tools.keys, tools.names, tools.limits,
        edits=[edit_from(do, text) for do, text in options["edits"]], to=options["to"],
        sender=tools.sender,
    )  # fmt: skip
    left: Counter[str] = Counter()
    progress |= {"of": len(ids), "done": progress.get("done", 0)}
    edits = [f"{do} {text.partition('=')[0]}" for do, text in options["edits"]]
    about = {"work": work.id, "dead_letters": options["chosen_by"], "to": options["to"], "edits": edits}
    async for part in replaying.replay(
        tools.broker, ids, rate=options["rate"], by=work.who, reason=work.reason, about=about,
        seconds=tools.confirm_seconds,
    ):  # fmt: skip
        progress["done"] += sum(one.left is None for one in part)
        left.update(one.left for one in part if one.left is not None)
        progress["left"] = dict(left.most_common(_SHOWN_REASONS))


async def _count_keys(tools: Tools, _work: Work, progress: Progress) -> None:
    def report(place: Place, looked: int) -> None:
        progress.update(place=place, looked=looked)

    rows = await keys.rows_by_key(tools.database, report=report)
    progress["rows"] = [keys.as_json(row) for row in rows]


async def _rotate(tools: Tools, work: Work, progress: Progress) -> None:
    before = progress.get("done", 0)

    def report(now: Resealed) -> None:
        examples = [str(each) for each in now.examples]
        progress.update(
            place=now.place, looked=now.looked, done=before + now.sealed, in_use=now.left,
            unopened=now.unopened, examples=examples,
        )  # fmt: skip

    options = work.options
    await Resealing(
        tools.database, tools.keys, old=options["old"], new=options["new"], who=work.who,
        reason=work.reason or "", rate=options["rate"],
    ).run(report)  # fmt: skip


async def _retire(tools: Tools, work: Work, progress: Progress) -> None:
    age, before = timedelta(seconds=work.options["older_seconds"]), progress.get("done", 0)
    if "of" not in progress:
        old = await retention.old_requests(
            tools.database, age, lambda now: progress.update(looked=now.looked)
        )
        progress["of"] = old.gone

    def report(now: Old) -> None:
        progress["done"] = before + now.gone

    await retention.run(
        tools.database, age, report, who=work.who, reason=work.reason, rate=work.options["rate"]
    )


_DO: Mapping[Kind, Callable[[Tools, Work, Progress], Awaitable[None]]] = {
    "dead.replay": _replay,
    "keys.count": _count_keys,
    "keys.rotate": _rotate,
    "retention.run": _retire,
}
