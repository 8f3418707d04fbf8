"""Works on selections in the background, as `session-worker requests retry` does in a terminal.

What is left when the console stops is continued by a command or on the selection's page.
"""

import asyncio

import structlog

from worker.console.servers import Servers
from worker.errors import WorkerError
from worker.messages.sealing import parse_seal_keys
from worker.operations.acting import Acting
from worker.operations.bulk import Bulk
from worker.operations.selections import Selection
from worker.process import own_task
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.topology import names_for
from worker.settings import Settings

_PATIENCE_SECONDS = 60.0  # for a broker that is away
_log = structlog.get_logger(__name__)


class Works:
    """Keeps the tasks that are under way."""

    def __init__(self, settings: Settings, servers: Servers) -> None:
        self._settings = settings
        self._servers = servers
        self._keys = parse_seal_keys(settings.seal_keys.get_secret_value())
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, selection: Selection, *, by: str, reason: str | None) -> None:
        """Begin to work on a frozen selection, or go on with it. Its page shows how far it is, and why it has
        stopped.
        """
        task = asyncio.create_task(self._work(selection, by, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, selection: Selection, by: str, reason: str | None) -> None:
        publisher = OneByOne(self._servers.broker, self._settings.confirm_timeout_seconds)
        acting = Acting(selection, names_for(self._settings.prefix), self._keys)
        bulk = Bulk(self._servers.database, publisher, selection, acting)
        try:
            await bulk.run(lambda _now: None, by=by, reason=reason, patience=_PATIENCE_SECONDS)
        except (
            WorkerError
        ) as error:  # another process has it, or the broker is away: its page says that it stopped
            _log.warning("console.selection_left", selection=selection.id, reason=str(error))
        except Exception:  # noqa: BLE001 — logged with its traceback; the selection is stopped
            _log.exception("console.selection_failed", selection=selection.id)

    async def close(self) -> None:
        """End what is under way: each selection is stopped, and may be continued."""
        await own_task.end(self._tasks)
