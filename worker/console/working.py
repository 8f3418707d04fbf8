"""Works on selections in the background, as `session-worker requests retry` does in a terminal.

What is left when the console stops is continued by a command or on the selection's page.
"""

import asyncio
from collections import OrderedDict

import structlog

from worker.console.problems import conflict
from worker.console.servers import Servers, problem_of
from worker.errors import PublishInterrupted
from worker.messages.sealing import parse_seal_keys
from worker.operations import audit
from worker.operations.acting import Acting
from worker.operations.bulk import Bulk, NotOurs
from worker.operations.selections import Selection
from worker.process import own_task
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.topology import names_for
from worker.settings import Settings
from worker.steps.limits import limits_of

_PATIENCE_SECONDS = 60.0  # for a broker that is away
_REMEMBERED = 100
_log = structlog.get_logger(__name__)


class Works:
    """Keeps the tasks that are under way."""

    def __init__(self, settings: Settings, servers: Servers) -> None:
        self._settings = settings
        self._servers = servers
        self._keys = parse_seal_keys(settings.seal_keys.get_secret_value())
        self._tasks: set[asyncio.Task[None]] = set()
        self._troubles: OrderedDict[str, str] = OrderedDict()

    async def begin(self, selection: Selection, *, by: str, reason: str | None) -> None:
        """Begin to work on a frozen selection, or go on with it; return once it is ours alone. Raises a 409
        if somebody else is at work, or was quicker.
        """
        publisher = OneByOne(self._servers.broker, self._settings.confirm_timeout_seconds)
        acting = Acting(
            selection, names_for(self._settings.prefix), self._keys, limits_of(self._settings).replies,
            self._settings.sender,
        )  # fmt: skip
        bulk = Bulk(self._servers.database, publisher, selection, acting)
        try:
            await bulk.begin(by=by, reason=reason)
        except NotOurs as error:
            raise conflict(f"{await self._who(selection)}: {error}. Nothing was done by you.") from None
        self._troubles.pop(selection.id, None)
        task = asyncio.create_task(self._work(bulk, selection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _who(self, selection: Selection) -> str:
        """Say who was the last to do anything with it."""
        lines = await audit.of_selection(self._servers.database, selection.id)
        return f"You were not the first, {lines[-1].who} was" if lines else "You were not the first"

    def trouble(self, selection_id: str) -> str | None:
        """Return why this process has left a selection before its end, as long as that is remembered."""
        return self._troubles.get(selection_id)

    async def _work(self, bulk: Bulk, selection: Selection) -> None:
        try:
            await bulk.work(lambda _now: None, patience=_PATIENCE_SECONDS)
        except NotOurs:
            pass  # somebody has stopped it: the audit has who
        except PublishInterrupted as error:
            self._note(selection, f"RabbitMQ is away: {error}")
        except Exception as error:  # noqa: BLE001 — a server's is said, another one is logged with its traceback
            if problem := problem_of(error):
                self._note(selection, problem.detail)
            else:
                self._note(selection, "a fault of this program: its log has more")
                _log.exception("console.selection_failed", selection=selection.id)

    def _note(self, selection: Selection, why: str) -> None:
        _log.warning("console.selection_left", selection=selection.id, reason=why)
        self._troubles[selection.id] = f"It was left before its end: {why}"
        if len(self._troubles) > _REMEMBERED:
            self._troubles.popitem(last=False)

    async def close(self) -> None:
        """End what is under way: each selection is stopped, and may be continued."""
        await own_task.end(self._tasks)
