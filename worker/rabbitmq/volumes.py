"""Asks the broker's management API what AMQP does not tell of a queue: its bytes, and what consumers hold."""

import asyncio
import ssl
from collections.abc import Callable, Sequence

import structlog

from worker.monitoring.watched import QueueVolume
from worker.rabbitmq.management import Management, ManagementError, open_management

_ANSWER_SECONDS = 5
_log = structlog.get_logger(__name__)


class Volumes:
    """Asks at this address. That it does not answer is logged once, and so is that it does again."""

    def __init__(
        self, url: str, vhost: str, tls: ssl.SSLContext | None, queues: Callable[[], Sequence[str]]
    ) -> None:
        self._url = url
        self._vhost = vhost
        self._tls = tls
        self._queues = queues
        self._told_away = False

    async def ask(self) -> list[QueueVolume]:
        """Return the volume of each queue that is there; none at all while the API does not tell."""
        try:
            management = open_management(self._url, self._vhost, self._tls)
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = [await _volume(management, queue) for queue in self._queues()]
        except (ManagementError, TimeoutError) as error:
            if not self._told_away:
                self._told_away = True
                _log.warning(
                    "management.away", reason=str(error) or "no answer in time",
                    consequence="bytes and unacknowledged messages of queues are not shown",
                    remedy="MANAGEMENT_URL has to be http://user:password@host:15672 of a user with the tag "
                    "monitoring, or not be set",
                )  # fmt: skip
            return []
        if self._told_away:
            self._told_away = False
            _log.info("management.back")
        return [volume for volume in found if volume is not None]


async def _volume(management: Management, queue: str) -> QueueVolume | None:
    """Return None for a queue that is not there, or where the broker keeps no statistics."""
    told = await management.queue(queue)
    if told is None or told.bytes is None or told.unacknowledged is None:
        return None
    return QueueVolume(queue, told.bytes, told.unacknowledged)
