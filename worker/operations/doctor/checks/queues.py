"""Looks how much lies in the queues, and who reads them: by AMQP alone, but for limits that a policy sets."""

import asyncio
from typing import NamedTuple

from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import count, span
from worker.rabbitmq import shards, topology
from worker.rabbitmq.topology import Depth, Names, names_for

_NEEDS = frozenset({Need.BROKER})
_LOOK_AGAIN_SECONDS = 2.0
_MANY = 100  # messages; fewer come and go
_READ = "start what reads it, or take what lies there: session-worker responses"


class Looks(NamedTuple):
    """What lay in a queue at two times."""

    first: Depth
    then: Depth
    seconds: float

    @property
    def a_second(self) -> float:
        return (self.then.ready - self.first.ready) / self.seconds

    @property
    def grows(self) -> bool:
        return self.first.ready >= _MANY and self.a_second > 0


async def _requests_growing(site: Site) -> list[Finding]:
    names = _names(site)
    queues = [*shards.queues_of(names.requests, site.settings.shards), names.cancels]
    found = []
    for queue, looks in (await _looked_twice(site, queues)).items():
        if looks.then.ready and not looks.then.consumers:
            what = f"{count(looks.then.ready, 'message')} in {queue!r}, and nobody consumes it"
            remedy = "session-worker run; session-worker pause --list shows whether workers are paused"
        elif looks.grows:
            what = (
                f"{looks.then.ready:,} messages in {queue!r}, {looks.a_second:,.0f} more each second, with "
                f"{count(looks.then.consumers, 'consumer')}"
            )
            remedy = "session-worker top shows whose they are and what holds them up; run more workers"
        else:
            continue
        found.append(Finding("requests-growing", Severity.WARNING, what, remedy))
    return found


async def _responses_no_consumer(site: Site) -> list[Finding]:
    queue = _names(site).responses
    now = await topology.depth(site.broker, queue)
    if now is None or not now.ready or now.consumers:
        return []
    what = f"{count(now.ready, 'response')} in {queue!r}, and nobody consumes it"
    return [Finding("responses-no-consumer", Severity.WARNING, what, _READ)]


async def _responses_filling(site: Site) -> list[Finding]:
    queue = _names(site).responses
    looks = (await _looked_twice(site, [queue])).get(queue)
    if looks is None or not looks.grows:
        return []
    what = f"{looks.then.ready:,} responses in {queue!r}, {looks.a_second:,.0f} more each second"
    limit = await _limit_of(site, queue)
    if limit is not None and limit > looks.then.ready:
        what += f": at its limit of {limit:,} in {span((limit - looks.then.ready) / looks.a_second)}"
    return [Finding("responses-filling", Severity.WARNING, what, _READ)]


async def _responses_full(site: Site) -> list[Finding]:
    queue = _names(site).responses
    now, limit = await topology.depth(site.broker, queue), await _limit_of(site, queue)
    if now is None or limit is None or now.ready < limit:
        return []
    what = (
        f"{queue!r} is full: {now.ready:,} responses, at its limit of {limit:,}. Responses without a "
        "reply_to wait on record"
    )
    return [Finding("responses-full", Severity.ERROR, what, f"{_READ}; or raise max-length")]


async def _undelivered_rest(site: Site) -> list[Finding]:
    queue = _names(site).undelivered
    looks = (await _looked_twice(site, [queue])).get(queue)
    if looks is None or not 0 < looks.first.ready <= looks.then.ready:
        return []
    what = (
        f"{count(looks.then.ready, 'undelivered message')} in {queue!r}, with "
        f"{count(looks.then.consumers, 'consumer')}: workers should answer them"
    )
    remedy = "session-worker workers: run one, or end its pause; its log says why it takes none"
    return [Finding("undelivered-rest", Severity.WARNING, what, remedy)]


async def _dead_rest(site: Site) -> list[Finding]:
    queue = _names(site).dead
    now = await topology.depth(site.broker, queue)
    if now is None or not now.ready or now.consumers:
        return []
    what = f"{count(now.ready, 'dead letter')} in {queue!r}, and nobody consumes it: "
    if site.settings.max_dead_letters == 0:
        what += "WORKER_MAX_DEAD_LETTERS is 0 here, so no worker takes them into Postgres"
        remedy = "consume them; or set WORKER_MAX_DEAD_LETTERS, and then: session-worker dead list"
    else:
        what += "no worker runs, or those in Postgres are as many as WORKER_MAX_DEAD_LETTERS"
        remedy = "session-worker dead list"
    return [Finding("dead-rest", Severity.WARNING, what, remedy)]


async def _looked_twice(site: Site, queues: list[str]) -> dict[str, Looks]:
    """Look into these queues, and again after some seconds; those that are missing are left out."""
    clock = asyncio.get_running_loop().time
    begun, first = clock(), {queue: await topology.depth(site.broker, queue) for queue in queues}
    await a_moment()
    seconds, then = clock() - begun, {queue: await topology.depth(site.broker, queue) for queue in queues}
    return {
        queue: Looks(was, now, seconds)
        for queue in queues
        if (was := first[queue]) is not None and (now := then[queue]) is not None
    }


async def a_moment() -> None:
    """Wait between two looks."""
    await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _limit_of(site: Site, queue: str) -> int | None:
    """Return how many messages a queue takes, as far as that can be known here."""
    if site.opened_management is None:
        return None
    has = await site.management.queue(queue)
    if has is None:
        return None
    limits = (has.arguments.get("x-max-length"), has.policy.get("max-length"))
    return min((limit for limit in limits if limit is not None), default=None)


def _names(site: Site) -> Names:
    return names_for(site.settings.prefix)


CHECKS: tuple[Check, ...] = (
    Check(
        "requests-growing", Part.RABBITMQ, Severity.WARNING,
        "requests that nobody consumes, or more of them each second", _NEEDS, _requests_growing,
    ),
    Check(
        "responses-no-consumer", Part.RABBITMQ, Severity.WARNING,
        "responses that nobody reads", _NEEDS, _responses_no_consumer,
    ),
    Check(
        "responses-filling", Part.RABBITMQ, Severity.WARNING,
        "more unread responses each second, and when their queue is full", _NEEDS, _responses_filling,
    ),
    Check(
        "responses-full", Part.RABBITMQ, Severity.ERROR,
        "a response queue at its limit", _NEEDS | {Need.MANAGEMENT}, _responses_full,
    ),
    Check(
        "undelivered-rest", Part.RABBITMQ, Severity.WARNING,
        "undelivered messages that no worker answers", _NEEDS, _undelivered_rest,
    ),
    Check(
        "dead-rest", Part.RABBITMQ, Severity.WARNING,
        "dead letters that neither workers nor anybody else takes", _NEEDS, _dead_rest,
    ),
)  # fmt: skip
