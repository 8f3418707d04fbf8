"""Shows the workers: how each is, what it has in hand, and where it is not like the others."""

from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from worker.console.context import desk_of
from worker.console.pages.responses import queues
from worker.console.render import page
from worker.operations import overview, steering
from worker.operations.overview import LiveWorker
from worker.rabbitmq.shards import queues_of
from worker.rabbitmq.topology import names_for

_FRESH_SECONDS = 2.0
_REFRESH_SECONDS = 5


class Shown(NamedTuple):
    """A worker, its own pause, and what it does otherwise than the one that started last."""

    worker: LiveWorker
    state: str
    own_pause: bool
    unlike: list[tuple[str, str, str]]  # the name, what it has, and what the last one has

    @property
    def handler(self) -> str:
        handler = "(older)" if self.worker.handler is None else self.worker.handler or "built-in"
        return f"{handler}@{self.worker.build}" if self.worker.build else handler


async def workers(request: Request) -> Response:
    """Show each worker that was heard of within a day."""
    desk = desk_of(request)
    lease = desk.settings.lease_seconds
    seconds = 0 if "done" in request.query_params else _FRESH_SECONDS  # who has changed something sees it
    found = await desk.shared("workers", seconds, lambda: overview.workers(desk.database, lease))
    unlike = await desk.shared("unlike", seconds, lambda: overview.unlike(desk.database, lease))
    pauses = await steering.pauses(desk.database)
    own = {each.pause.name for each in pauses if each.pause.scope == "worker"}
    lying = None
    if not any(each.lives for each in found):
        depths, _ = await queues(desk)  # without the broker nothing is said of the queue
        shards = queues_of(names_for(desk.settings.prefix).requests, desk.settings.shards)
        lie = [each.ready for each in depths if each.queue in shards and each.ready is not None]
        lying = sum(lie) if lie else None
    shown = [
        Shown(
            worker=each,
            state="drained" if each.state == "paused" and not each.in_hand else each.state,
            own_pause=str(each.id) in own,
            unlike=[(name, str(its), str(last)) for name, (last, its) in unlike.get(each.id, {}).items()],
        )
        for each in found
    ]
    return page(
        request, "workers.html", refresh=_REFRESH_SECONDS, workers=shown, lying=lying,
        all_paused=next((each.pause for each in pauses if each.pause.scope == "all"), None),
        any_lives=any(each.lives for each in found),
    )  # fmt: skip
