"""The months that sessions come into are there before they come."""

import structlog

from worker.postgres.database import Database

INTERVAL_SECONDS = 3_600
_log = structlog.get_logger(__name__)


class Months:
    """Makes the tables of the coming months. Of all workers one does; the others find nothing to do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> None:
        ((made,),) = await self._database.call("make_session_months", aside=True)
        if made:
            _log.info("sessions.months_made", months=made)
