"""Has the doctor look, for all viewers together, and only while somebody views."""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from worker.operations.doctor.run import Report, chosen, needs_of, run
from worker.operations.doctor.site import visit
from worker.process import own_task
from worker.settings import Settings

AGAIN_SECONDS = 30.0
SOON_SECONDS = 3.0
_WAIT_SECONDS = 5.0
_log = structlog.get_logger(__name__)


class Checked(NamedTuple):
    """What the doctor found, and when."""

    at: datetime
    report: Report


class Checkup:
    """Keeps what was found last, and looks again in the background."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._checked: Checked | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = float("-inf")
        self._again = AGAIN_SECONDS

    @property
    def latest(self) -> Checked | None:
        """Return what was found last, and look again if that was a while ago; None: it looks just now."""
        clock = asyncio.get_running_loop().time
        if clock() - self._begun >= self._again and (self._task is None or self._task.done()):
            self._begun, self._again = clock(), AGAIN_SECONDS
            self._task = asyncio.create_task(self._look())
        return self._checked

    def soon(self) -> None:
        """Look again soon: somebody has changed something, and waits to see that it is well."""
        self._again = SOON_SECONDS

    async def first(self) -> Checked | None:
        """Return the same, once it was looked for the first time."""
        self.latest  # noqa: B018 — it begins the look
        if self._checked is None and self._task is not None:
            await asyncio.wait([self._task])
        return self._checked

    async def _look(self) -> None:
        checks = chosen(())
        try:
            async with visit(
                self._settings,
                needs_of(checks),
                _WAIT_SECONDS,
                self._settings.management_url.get_secret_value() or None,
            ) as site:
                self._checked = Checked(datetime.now(UTC), await run(site, checks))
        except Exception:  # noqa: BLE001 — logged with its traceback; the page says since when it has seen nothing
            _log.exception("console.checkup_failed")

    async def close(self) -> None:
        if self._task is not None:
            await own_task.end([self._task])
