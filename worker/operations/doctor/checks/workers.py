"""Looks at the workers, by what is on record of them."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from worker.monitoring.profile import Profile, differences
from worker.monitoring.strain import Load
from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import count, some, span
from worker.rabbitmq import topology
from worker.rabbitmq.shards import queues_of

_NEEDS = frozenset({Need.TABLES})
_SILENT_SECONDS = 900.0  # one that was silent for longer, and holds nothing, has been given up
_ROLLOUT = timedelta(hours=1)


class Seen(NamedTuple):
    """A worker on record."""

    place: str  # host:pid
    version: str
    profile: Profile | None  # None: an older version does not say
    started_at: datetime
    silent_seconds: float
    lives: bool
    in_hand: int
    load: Load | None  # None: without a handler, or an older version does not say


async def seen(site: Site) -> list[Seen]:
    """Return the workers that have been heard of lately or hold requests, in the order of their start."""
    rows = await site.database.call("workers_seen", site.settings.lease_seconds, _SILENT_SECONDS, aside=True)
    return [
        Seen(
            place=row["place"], version=row["version"],
            profile=None if row["handler"] is None else
            Profile(row["handler"], row["handler_build"], json.loads(row["settings"] or "{}")),
            started_at=row["started_at"], silent_seconds=row["silent_seconds"], lives=row["lives"],
            in_hand=row["in_hand"], load=Load(**json.loads(row["load"])) if row["load"] else None,
        )
        for row in rows
    ]  # fmt: skip


async def live_profiles(site: Site) -> list[tuple[str, Profile]]:
    """Return of each live worker where it is and what it does; of an older version nothing is known."""
    live = [each for each in await seen(site) if each.lives]
    return [(each.place, each.profile) for each in live if each.profile is not None]


async def _none(site: Site) -> list[Finding]:
    if any(each.lives for each in await seen(site)):
        return []
    what = f"no worker of {site.settings.prefix!r} lives"
    if site.opened_broker is not None:
        queues = queues_of(topology.names_for(site.settings.prefix).requests, site.settings.shards)
        depths = [depth for queue in queues if (depth := await topology.depth(site.broker, queue))]
        lie = f"; {count(sum(each.ready for each in depths), 'request')} in its queue" if depths else ""
        what += lie or ", and its queue is not there"
    return [Finding("worker-none", Severity.ERROR, what, "session-worker run")]


async def _silent(site: Site) -> list[Finding]:
    return [
        Finding(
            "worker-silent", Severity.ERROR,
            f"{each.place} has given no sign of life for {span(each.silent_seconds)}, and holds "
            f"{count(each.in_hand, 'request')}: frozen, killed, or without Postgres",
            "kill it if it is frozen: the others take over what it holds; then: session-worker workers",
        )
        for each in await seen(site)
        if not each.lives
    ]  # fmt: skip


async def _shard_unserved(site: Site) -> list[Finding]:
    """Look which shards nobody reads. While no worker lives, that is told instead."""
    if not any(each.lives for each in await seen(site)):
        return []
    ((known, served),) = await site.database.call("shards_seen", aside=True)
    if known == 1:
        return []
    queues = queues_of(topology.names_for(site.settings.prefix).requests, known)
    nobody = [queue for number, queue in enumerate(queues, 1) if number not in served]
    if not nobody:
        return []
    what = f"{count(len(nobody), 'shard')} of {known} that no worker reads: {some(nobody)}"
    remedy = (
        "look again after ten seconds; then: session-worker pause --list shows whether workers are paused, "
        "and the log of one why it reads nothing"
    )
    return [Finding("shard-unserved", Severity.ERROR, what, remedy)]


async def _old(site: Site) -> list[Finding]:
    live = [each for each in await seen(site) if each.lives]
    if not live or len({each.version for each in live}) == 1:
        return []
    newest = live[-1].version  # that of the one which started last
    since = min(each.started_at for each in live if each.version == newest)
    others = [each for each in live if each.version != newest]
    age = datetime.now(UTC) - since
    if age < _ROLLOUT:
        return []
    what = (
        f"{some([each.place for each in others])} run {some(sorted({each.version for each in others}))}; "
        f"{newest} has run for {span(age.total_seconds())}"
    )
    return [Finding("worker-old", Severity.WARNING, what, "replace them, or roll the others back")]


async def _differ(site: Site) -> list[Finding]:
    """Compare each with the one that started last, which has what was meant to be."""
    live = await live_profiles(site)
    if not live:
        return []
    newest, meant = live[-1]
    alike: dict[str, list[str]] = defaultdict(list)
    for place, profile in live[:-1]:
        if differs := differences(meant, profile):
            shown = ", ".join(f"{name} {there!r} and not {here!r}" for name, (here, there) in differs.items())
            alike[shown].append(place)
    return [
        Finding(
            "settings-differ", Severity.WARNING,
            f"{some(places)}: not as {newest}, which started last: {shown}. It is chance which of them "
            "gets a request",
            "the same handler and settings for all workers of a prefix, or another prefix; then restart them",
        )
        for shown, places in alike.items()
    ]  # fmt: skip


CHECKS: tuple[Check, ...] = (
    Check("worker-none", Part.WORKERS, Severity.ERROR, "no worker lives", _NEEDS, _none),
    Check(
        "worker-silent", Part.WORKERS, Severity.ERROR,
        "a worker without a sign of life for half a lease", _NEEDS, _silent,
    ),
    Check(
        "shard-unserved", Part.WORKERS, Severity.ERROR,
        "a shard of the requests that no worker reads", _NEEDS, _shard_unserved,
    ),
    Check(
        "worker-old", Part.WORKERS, Severity.WARNING,
        "workers of another version, an hour after a rollout", _NEEDS, _old,
    ),
    Check(
        "settings-differ", Part.WORKERS, Severity.WARNING,
        "workers with another handler, build or setting", _NEEDS, _differ,
    ),
)  # fmt: skip
