"""Looks at the handlers of the workers: how long their calls take, how many run, and what they hold up."""

from worker.monitoring.strain import Load
from worker.operations.doctor.checks.workers import live_profiles, seen
from worker.operations.doctor.finding import Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import count, some, span

_NEEDS = frozenset({Need.TABLES})
_LOOKED_AT = 1000  # requests
_LONG_ENOUGH = 20  # of them: of fewer there is no 99th of a hundred to speak of
_ACK_SECONDS = 1800  # RabbitMQ's consumer_timeout, unless it was changed
_HELD_FOR_CALLS = 2  # a delivery is held while the one before it and its own call last
_FULL_SECONDS = 300.0
_BLOCKED_SHARE = 0.1  # of the time


async def _slow(site: Site) -> list[Finding]:
    """Look at the newest requests that are done: a call that runs takes as long as its request does."""
    limit = min(await _call_limits(site), default=None)
    if limit is None:
        return []
    (row,) = await site.database.call("handler_times", _LOOKED_AT, aside=True)
    if row["timeouts"] * 100 > row["looked"]:
        what = (
            f"{count(row['timeouts'], 'call')} for the newest {count(row['looked'], 'request')} of this hour "
            f"took longer than WORKER_HANDLER_TIMEOUT_SECONDS, {limit:g} s"
        )
    elif row["ended"] >= _LONG_ENOUGH and row["p99"] > limit / 2:
        what = (
            f"1 in 100 of the newest {row['ended']:,} requests of this hour took {row['p99']:,.1f} s or more "
            f"from its beginning to its end; a call may take {limit:g} s"
        )
    else:
        return []
    remedy = (
        "session-worker requests list --sort took; make it faster, or set a higher "
        "WORKER_HANDLER_TIMEOUT_SECONDS"
    )
    return [Finding("handler-slow", Severity.WARNING, what, remedy)]


async def _loads(site: Site) -> list[tuple[str, Load]]:
    """Return of each live worker with a handler where it is, and what its last beat has told."""
    return [(each.place, each.load) for each in await seen(site) if each.lives and each.load is not None]


async def _full(site: Site) -> list[Finding]:
    full = [(place, load) for place, load in await _loads(site) if load.full_seconds >= _FULL_SECONDS]
    if not full:
        return []
    longest, limit = max((load.full_seconds, load.limit) for _, load in full)
    what = (
        f"all calls of the handler have been in use on {some([place for place, _ in full])}: as many as "
        f"{limit:,}, for up to {span(longest)}"
    )
    remedy = (
        "session-worker requests list --sort took, and mend what the handler calls; or, if that can "
        "bear more, a higher WORKER_HANDLER_CONCURRENCY, or more workers"
    )
    return [Finding("handler-limit", Severity.WARNING, what, remedy)]


async def _blocking(site: Site) -> list[Finding]:
    blocked = [(place, load) for place, load in await _loads(site) if load.blocked >= _BLOCKED_SHARE]
    if not blocked:
        return []
    most, worst = max(load.blocked for _, load in blocked), max(load.worst_lag for _, load in blocked)
    where = some([place for place, _ in blocked])
    what = (
        f"calls of the handler hold up the event loop of {where}: in {most:.0%} of the time since its last "
        f"beat, and for {worst:.1f} s at worst"
    )
    if places := sorted({load.place for _, load in blocked if load.place}):
        what += f"; at {some(places)}"
    remedy = (
        "await what takes long in the handler, or make it a plain function, which runs in a thread: nothing "
        "else of that worker goes on meanwhile, its signs of life included; or more processor for that host"
    )
    return [Finding("handler-blocking", Severity.WARNING, what, remedy)]


async def _time_out(site: Site) -> list[Finding]:
    longest = max(await _call_limits(site), default=0.0)
    held = _HELD_FOR_CALLS * longest
    if held <= _ACK_SECONDS:
        return []
    what = (
        f"a call of the handler may take {longest:,g} s, and a delivery is held for {held:,g} s then; "
        f"RabbitMQ takes it back after {_ACK_SECONDS:,} s, unless its consumer_timeout was raised"
    )
    milliseconds = int(held * 2000)
    remedy = f"consumer_timeout = {milliseconds} in rabbitmq.conf, or a lower WORKER_HANDLER_TIMEOUT_SECONDS"
    return [Finding("broker-time-out", Severity.WARNING, what, remedy)]


async def _call_limits(site: Site) -> list[float]:
    """Return how long a call may take in each live worker that has a handler."""
    profiles = [profile for _, profile in await live_profiles(site) if profile.handler]
    return [float(profile.settings.get("handler_timeout_seconds", 0)) for profile in profiles]


CHECKS: tuple[Check, ...] = (
    Check(
        "handler-slow", Part.WORKERS, Severity.WARNING,
        "calls of the handler that take too long, or nearly", _NEEDS, _slow,
    ),
    Check(
        "handler-limit", Part.WORKERS, Severity.WARNING,
        "all calls of the handler in use for 5 minutes", _NEEDS, _full,
    ),
    Check(
        "handler-blocking", Part.WORKERS, Severity.WARNING,
        "a handler that holds up the event loop", _NEEDS, _blocking,
    ),
    Check(
        "broker-time-out", Part.WORKERS, Severity.WARNING,
        "deliveries that a handler may hold for longer than RabbitMQ lets it", _NEEDS, _time_out,
    ),
)  # fmt: skip
