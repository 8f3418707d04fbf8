"""Opens a worker, runs it, and closes it in reverse. `wiring` makes its parts."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

import structlog
from aio_pika.abc import AbstractConnection
from starlette.types import ASGIApp

from worker.console.health import Health, health_app
from worker.console.server import serve
from worker.monitoring import loop_lag
from worker.monitoring.readiness import Readiness
from worker.postgres import database
from worker.postgres.election import Election
from worker.postgres.installation import database_of
from worker.postgres.leases import Leases
from worker.postgres.migrate import settle
from worker.postgres.retired_keys import refuse_retired
from worker.postgres.rule_book import RuleBook
from worker.process import own_task
from worker.process.failpoint import FailPoint
from worker.rabbitmq import intake, publisher, serving, topology
from worker.rabbitmq.connection import vhost_of
from worker.rabbitmq.depths import Depths
from worker.rabbitmq.eager_reading import read_eagerly
from worker.rabbitmq.lenient_reading import read_leniently
from worker.rabbitmq.reconnecting import serve_together
from worker.rabbitmq.volumes import Volumes
from worker.services import (
    announcing,
    counting,
    custody,
    expiry,
    minute,
    months,
    peers,
    retention,
    ruling,
    surveying,
    telling,
    watching,
)
from worker.services.periodic import every
from worker.settings import Settings
from worker.steps.answering import UNBURIED_SECONDS
from worker.wiring import Given, Parts, given_by, wire

_NOTE_SECONDS = 0.2
_RECOVERY_SECONDS = 1.0
_SIGN_OFF_SECONDS = 2  # this and the closing of connections come after the grace: five seconds at most
_log = structlog.get_logger(__name__)

OnStarted = Callable[[int, Readiness], None]


async def run_worker(settings: Settings, stop: asyncio.Event, on_started: OnStarted | None = None) -> None:
    """Run a worker: from its first connection until `stop` is set and the work that it began is done."""
    read_leniently()
    given = given_by(settings, eager=read_eagerly())
    me, readiness, life = given.me, given.readiness, given.life
    given.metrics.crowd.show_build(settings.prefix, me.version, given.profile)
    async with AsyncExitStack() as opened:
        token = settings.metrics_token.get_secret_value()
        served = await _served(settings, Health(readiness, given.metrics, token), opened)
        port = await opened.enter_async_context(serve(served, settings.http_host, settings.http_port))
        structlog.contextvars.bind_contextvars(worker=str(me.worker))
        given.tracing.open()
        opened.push_async_callback(given.tracing.close)
        url = settings.database_url.get_secret_value()
        _log.info(
            "worker.starting", version=me.version, prefix=settings.prefix, handler=given.profile.handler_name,
            handler_build=given.profile.handler_build, settings_digest=given.profile.settings_digest,
            database=database_of(url), http_port=port, host=me.host, pid=me.pid,
        )  # fmt: skip
        if on_started:
            on_started(port, readiness)
        opened.push_async_callback(life.end)
        if not await _unless_stopped(life.open(), stop):
            return
        pool = database.Database(
            url,
            settings.pool_size,
            given.tls,
            readiness,
            given.metrics.pool_wait.observe,
            me.application,
            tells_events=settings.events,
        )
        opened.push_async_callback(pool.close)
        leases = Leases(pool, me.worker, settings.lease_seconds)

        async def begin() -> None:
            await pool.open(await pool.reach(lambda: settle(url, given.tls, settings.prefix)))
            await refuse_retired(pool, given.keys.names)
            await leases.register(me.host, me.pid, me.version, given.profile)
            await RuleBook(pool).settle(given.limits)

        if not await _unless_stopped(begin(), stop):
            return
        parts = wire(settings, given, pool, leases)
        if given.blocking:
            opened.enter_context(given.blocking)

        async def learn() -> None:
            await parts.ruling.look()
            await parts.sharing.learn()

        if await _unless_stopped(learn(), stop):  # before anything may begin
            await _run(settings, given, parts, stop)
        _log.info("worker.stopped")


async def _served(settings: Settings, health: Health, opened: AsyncExitStack) -> ASGIApp:
    """Make what the worker serves over HTTP: health and metrics, and the console where it is wanted."""
    if not settings.console:
        return health_app(health)
    from worker.console.app import make_app  # noqa: PLC0415 — takes time to import, which most workers need not

    return await opened.enter_async_context(make_app(settings, health))


async def _run(settings: Settings, given: Given, parts: Parts, stop: asyncio.Event) -> None:
    """Run until `stop` is set, or until an error comes that waiting does not cure."""
    running = [asyncio.create_task(service) for service in _services(settings, given, parts)]
    feed = asyncio.create_task(parts.lanes.feed())
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([asked, feed, *running], return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            for ended in (feed, *running):
                if ended.done():
                    ended.result()
        await _drain(given, parts, feed, settings.grace_seconds)
    finally:
        await own_task.end([asked, feed, *running])
        await parts.beside.cancel()
        await parts.recovery.running.end()
        for taking in parts.takings:
            await taking.running.end()
        await parts.reading.close()
        await _sign_off(parts.leases)


def _services(settings: Settings, given: Given, parts: Parts) -> list[Coroutine[None, None, None]]:
    declared = asyncio.Event()

    async def consume(connection: AbstractConnection) -> None:
        await parts.sharing.declare(connection)
        declared.set()
        await serve_together(
            parts.cancels.serve(connection), parts.taking.serve(connection), parts.sharing.serve(connection)
        )

    async def tell_readiness() -> None:
        while True:
            await given.readiness.until_up()
            _log.info("worker.ready")
            await given.readiness.until_down()
            _log.warning("worker.not_ready", reasons=given.readiness.reasons)

    def late(seconds: float) -> None:
        given.metrics.loop_lag.observe(seconds)
        parts.strain.look(seconds)

    others = peers.Peers(
        parts.database, given.me.worker, given.profile, settings.lease_seconds, given.metrics.crowd
    )
    watch = watching.Watching(
        Election(parts.database),
        Depths(given.broker, lambda: parts.sharing.queues),
        given.readiness,
        given.metrics,
        given.names,
        lambda: parts.sharing.shards,
    )
    management_url = settings.management_url.get_secret_value()
    vhost = vhost_of(settings.amqp_url.get_secret_value())
    survey = surveying.Surveying(
        lambda: watch.elected,
        Volumes(management_url, vhost, given.tls, lambda: parts.sharing.queues),
        parts.database,
        settings.max_dead_letters or surveying.MOST_LETTERS,
        given.metrics.watched,
    )
    ageing = expiry.Expiry(parts.database, given.metrics)
    services = [
        tell_readiness(),
        given.life.until_over(),
        loop_lag.watch(late),
        *parts.answers.services(given.broker),
        serving.keep_open(intake.PART, given.broker, consume, given.readiness),
        every(parts.alive.interval, "heartbeat", parts.alive.beat),
        every(parts.alive.interval, "peers", others.compare, at_once=True),
        every(peers.CENSUS_SECONDS, "census", others.count, at_once=True),
        every(watching.LOOK_SECONDS, "watching", watch.run_once, at_once=True),
        every(surveying.SEALED_SECONDS, "sealed_rows", survey.count_sealed),
        every(surveying.CUSTODY_SECONDS, "in_custody", survey.count_custody),
        every(_NOTE_SECONDS, "notes", parts.leases.flush_notes),
        every(telling.INTERVAL_SECONDS, "long_calls", parts.telling.run_once),
        every(_RECOVERY_SECONDS, "recovery", parts.recovery.run_once),
        *(taking.run() for taking in parts.takings),
        every(ruling.LOOK_SECONDS, "rules", parts.ruling.look),
        every(ruling.LOOK_SECONDS, "held", parts.lanes.look_at_held),
        every(ruling.COUNT_SECONDS, "waiting", parts.ruling.count, at_once=True),
        every(UNBURIED_SECONDS, "unburied", parts.burying.bury_held),
        every(expiry.INTERVAL_SECONDS, "expiry", ageing.run_once),
        every(months.INTERVAL_SECONDS, "months", months.Months(parts.database).run_once, at_once=True),
        every(counting.INTERVAL_SECONDS, "counts", counting.Counting(parts.database).run_once),
        every(minute.INTERVAL_SECONDS, "minute", minute.Minute(given.metrics).tell),
        every(retention.INTERVAL_SECONDS, "workers", parts.alive.forget_the_silent),
        every(retention.INTERVAL_SECONDS, "dead_letters_retention", parts.custody.retire),
    ]
    if management_url:
        services.append(every(surveying.VOLUMES_SECONDS, "volumes", survey.measure_queues))
    if settings.max_dead_letters:
        services += _custody(given, parts, declared)
    services += _events(settings, given, parts)
    if settings.retention_days:
        keeping = retention.Retention(parts.database, given.metrics, settings.retention_days)
        services.append(every(retention.INTERVAL_SECONDS, "retention", keeping.run_once))
    if settings.audit_days:
        of_audit = retention.AuditRetention(parts.database, settings.audit_days)
        services.append(every(retention.AUDIT_INTERVAL_SECONDS, "audit_retention", of_audit.run_once))
    return services


def _custody(given: Given, parts: Parts, declared: asyncio.Event) -> list[Coroutine[None, None, None]]:
    """Take dead letters, on a connection of their own: whatever happens to their queue, requests go on."""

    async def consume(connection: AbstractConnection) -> None:
        await declared.wait()
        await parts.dead_letters.serve(connection)

    own = Readiness((custody.PART,))  # the worker is ready without
    return [
        serving.keep_open(custody.PART, given.broker, consume, own),
        parts.custody.run(),
        every(custody.COUNT_SECONDS, "dead_letters_count", parts.custody.look_for_room, at_once=True),
    ]


def _events(settings: Settings, given: Given, parts: Parts) -> list[Coroutine[None, None, None]]:
    """Tell what happens to requests, on a connection of its own: whatever happens to it, requests go on."""
    if not settings.events:
        return []
    own, exchange = Readiness((announcing.PART,)), topology.events_of(settings.prefix)  # it is ready without
    seconds = settings.confirm_timeout_seconds
    sending = publisher.Publisher(own, seconds, FailPoint(""), announcing.PART)

    async def serve(connection: AbstractConnection) -> None:
        await topology.declare(connection, exchange)
        await sending.serve(connection)

    telling = announcing.Announcing(
        parts.database,
        sending.publish,
        exchange.name,
        given.readiness,
        own,
        given.metrics,
        settings.retention_days,
    )
    services = [
        serving.keep_open(announcing.PART, given.broker, serve, own),
        every(announcing.STAND_SECONDS, "events", telling.run_once, at_once=True),
    ]
    if settings.retention_days:
        services.append(every(announcing.FORGET_SECONDS, "events_forgotten", telling.forget))
    return services


async def _drain(given: Given, parts: Parts, feed: "asyncio.Task[None]", grace_seconds: float) -> None:
    """Take nothing more, and finish the work that was begun while there is time. The rest goes back
    unharmed. After its last call the handler's lifespan is closed.
    """
    parts.recovery.stop()
    for taking in parts.takings:
        taking.stop()
    try:
        async with asyncio.timeout(grace_seconds):
            await parts.cancels.stop()
            await parts.sharing.stop()
            await parts.taking.stop()
            await parts.lanes.give_back_held()
            await feed
            await parts.beside.drain()
            await parts.recovery.running.drain()
            for taking in parts.takings:
                await taking.running.drain()
            await parts.lanes.give_back_held()
            await parts.answers.sending.stop()
            await parts.custody.stop()
            await parts.cancels.flush()
            await parts.taking.flush()
            await parts.leases.flush_notes()
            await given.creation.drain()
            await given.life.close()
    except TimeoutError:
        consequence = "what is unfinished is given back"
        _log.warning("worker.grace_over", grace_seconds=grace_seconds, consequence=consequence)


async def _sign_off(leases: Leases) -> None:
    try:
        async with asyncio.timeout(_SIGN_OFF_SECONDS):
            await leases.sign_off()
    except Exception as error:  # noqa: BLE001 — a worker that cannot say goodbye is found out by its silence
        _log.warning("worker.sign_off_failed", error=type(error).__name__, consequence="its leases run out")


async def _unless_stopped(beginning: Coroutine[None, None, None], stop: asyncio.Event) -> bool:
    """Wait for a dependency until `stop` is set. Returns whether it was there in time."""
    task = asyncio.create_task(beginning)
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if task.done():
        task.result()
        return True
    await own_task.end([task])
    return False
