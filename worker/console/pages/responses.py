"""Shows the responses that are with nobody, and whether anybody reads the queue of the responses."""

from http import HTTPStatus
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from worker.console.context import Desk, desk_of
from worker.console.problems import Problem, away
from worker.console.render import page
from worker.console.servers import problem_of, words
from worker.operations import overview, undelivered
from worker.operations.filters import DELIVERED
from worker.operations.overview import QueueDepth
from worker.operations.undelivered import Undelivered
from worker.rabbitmq.topology import names_for, queues_in

_FRESH_SECONDS = 5.0


async def responses(request: Request) -> Response:
    """Show them by reason and by queue. What Postgres knows is shown without the broker, too."""
    desk = desk_of(request)
    groups = await desk.shared("undelivered", _FRESH_SECONDS, lambda: undelivered.by_queue(desk.database))
    name = names_for(desk.settings.prefix).responses
    depths, trouble = await queues(desk)
    return page(
        request,
        "responses.html",
        refresh=10,
        groups=[(each, _filter(each)) for each in groups],
        name=name,
        trouble=trouble,
        depth=next((each for each in depths if each.queue == name), None),
        most=undelivered.MOST_COUNTED,
        status=HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK,
    )


async def queues(desk: Desk) -> tuple[list[QueueDepth], Problem | None]:
    """Look into the queues; where the broker is away, return why."""
    names = queues_in(names_for(desk.settings.prefix), desk.settings.shards)
    try:
        found = await desk.shared("queues", _FRESH_SECONDS, lambda: overview.queues(desk.broker, names))
    except Exception as error:
        if problem_of(error) is None:
            raise
        return [], away("RabbitMQ", words(error))
    return found, None


def _filter(group: Undelivered) -> str | None:
    """Write the filter of the requests whose responses these are; None: there is no such filter."""
    if group.state not in DELIVERED:
        return None
    return urlencode({"response": group.state, **({"reply_to": group.queue} if group.queue else {})})
