"""Writes down how far the calls of the handler are that take long, for those who look at a request."""

from uuid import UUID

from worker.postgres.database import Database
from worker.steps.progress import Progress

INTERVAL_SECONDS = 1.0
_AT_ONCE = 500


class Telling:
    """Tells of all calls of this worker in one statement, and does nothing where there is no news."""

    def __init__(self, database: Database, me: UUID, progress: Progress) -> None:
        self._database = database
        self._me = me
        self._progress = progress

    async def run_once(self) -> None:
        news = self._progress.news(_AT_ONCE)
        if not (news.told or news.ended):
            return
        told = sorted(news.told)  # in one order, whoever writes: else two could wait for each other
        await self._database.call(
            "tell_calls",
            self._me,
            [call.request_id for call in told],
            [call.attempt for call in told],
            [call.seconds for call in told],
            [call.fraction for call in told],
            [call.text for call in told],
            [call.told_seconds for call in told],
            [request_id for request_id, _ in news.ended],
            [attempt for _, attempt in news.ended],
            aside=True,
        )
