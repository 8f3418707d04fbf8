"""The composition root: opens, wires, runs, and closes in reverse. Nothing else knows all the parts."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from aio_pika.abc import AbstractConnection

from worker.console.health import serve_health
from worker.errors import SettingsError
from worker.messages.decoding import Limits
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.monitoring import loop_lag
from worker.monitoring.metrics import Metrics
from worker.monitoring.profile import Profile, profile_of
from worker.monitoring.readiness import Readiness
from worker.outbound import Outbound, outbound
from worker.postgres import database
from worker.postgres.leases import Leases
from worker.postgres.migrate import settle
from worker.postgres.put_off import PutOffLine
from worker.postgres.store import Store
from worker.process.failpoint import FailPoint
from worker.process.identity import Identity, new_identity
from worker.rabbitmq import intake, known_queues, publisher, serving, topology
from worker.rabbitmq.connection import Broker
from worker.rabbitmq.eager_reading import read_eagerly
from worker.rabbitmq.lenient_reading import read_leniently
from worker.rabbitmq.reconnecting import serve_together
from worker.reading.protocol import ReaderSettings
from worker.reading.reader import Reader
from worker.services import expiry, heartbeat, peers, retention, retries
from worker.services.periodic import every
from worker.services.recovery import Recovery
from worker.settings import Settings
from worker.steps.accepting import Accepting
from worker.steps.answering import UNBURIED_SECONDS
from worker.steps.attempting import Attempting
from worker.steps.burying import Burying
from worker.steps.cancelling import Cancelling
from worker.steps.creating import BuiltInCreation, Creation, HandlerCreation, load_handler
from worker.steps.finishing import Finishing
from worker.steps.lanes import CANCELS_AT_ONCE, Lanes
from worker.steps.pipeline import Pipeline, Steps
from worker.steps.reading_apart import ReadingApart
from worker.steps.retry_rule import RetryRule
from worker.steps.sorting import Decoding
from worker.tls import context_from

PARTS = (database.PART, intake.PART, publisher.PART, known_queues.PART, known_queues.DEAD_PART)
_NOTE_SECONDS = 0.2
_RECOVERY_SECONDS = 1.0
_CANCELS_BYTES = 8 << 20
_SIGN_OFF_SECONDS = 2  # this and the closing of connections come after the grace: five seconds at most
_log = structlog.get_logger(__name__)

OnStarted = Callable[[int, Readiness], None]


@dataclass(frozen=True)
class _Given:
    """Holds what follows from the settings alone. It is checked before anything is opened."""

    me: Identity
    profile: Profile
    keys: SealKeys
    creation: Creation
    broker: Broker
    design: topology.Topology
    readiness: Readiness
    metrics: Metrics
    fail_point: FailPoint
    eager: bool  # deliveries are taken as they have arrived


@dataclass(frozen=True)
class _Parts:
    """Holds the parts of a worker, wired together."""

    leases: Leases
    database: database.Database
    taking: intake.Intake
    cancels: intake.Intake
    burying: Burying
    reading: Reader
    beside: ReadingApart
    alive: heartbeat.Heartbeat
    recovery: Recovery
    retries: retries.Retries
    lanes: Lanes
    answers: Outbound


async def run_worker(settings: Settings, stop: asyncio.Event, on_started: OnStarted | None = None) -> None:
    """Run a worker: from its first connection until `stop` is set and the work that it began is done."""
    read_leniently()
    tls = context_from(settings)
    me = new_identity()
    metrics = Metrics()
    given = _Given(
        me=me,
        keys=parse_seal_keys(settings.seal_keys.get_secret_value()),
        creation=_creation(settings, metrics),
        profile=profile_of(settings),
        broker=_broker(settings, tls, me),
        design=topology.design(settings.prefix, limits_from_policy=settings.queue_limits == "policy"),
        readiness=Readiness(PARTS),
        metrics=metrics,
        fail_point=FailPoint(settings.fail_point),
        eager=read_eagerly(),
    )
    for part in (known_queues.PART, known_queues.DEAD_PART):
        given.readiness.up(part)  # until a publish finds no room there
    async with AsyncExitStack() as opened:
        port = await opened.enter_async_context(
            serve_health(settings.http_host, settings.http_port, given.readiness, given.metrics)
        )
        structlog.contextvars.bind_contextvars(worker=str(me.worker))
        _log.info(
            "worker.starting", version=me.version, prefix=settings.prefix, handler=given.profile.handler_name,
            handler_build=given.profile.handler_build, http_port=port, host=me.host, pid=me.pid,
        )  # fmt: skip
        if on_started:
            on_started(port, given.readiness)
        url = settings.database_url.get_secret_value()
        pool = database.Database(
            url,
            settings.pool_size,
            tls,
            given.readiness,
            given.metrics.pool_wait.observe,
            me.application,
        )
        opened.push_async_callback(pool.close)
        leases = Leases(pool, me.worker, settings.lease_seconds)

        async def begin() -> None:
            await pool.open(await pool.reach(lambda: settle(url, tls, settings.prefix)))
            await leases.register(me.host, me.pid, me.version, given.profile)

        if not await _unless_stopped(begin(), stop):
            return
        await _run(settings, given, _wire(settings, given, pool, leases), stop)
        _log.info("worker.stopped")


def _wire(settings: Settings, given: _Given, pool: database.Database, leases: Leases) -> _Parts:
    names, readiness, metrics = given.design.names, given.readiness, given.metrics
    bounds = intake.Bounds(settings.prefetch_in_effect, settings.prefetch_bytes, settings.max_body_bytes)
    taking = intake.Intake(intake.sources_of_requests(names), bounds, readiness, metrics, eager=given.eager)
    cancels = intake.Intake(
        intake.sources_of_cancels(names),
        intake.Bounds(CANCELS_AT_ONCE, _CANCELS_BYTES, settings.max_body_bytes),
        readiness,
        metrics=None,
        part=None,
        eager=given.eager,
    )
    store, line = Store(pool, leases, given.fail_point), PutOffLine(pool, leases)
    answers = outbound(
        settings, given.me, names, given.broker, pool, leases, readiness, metrics, given.fail_point
    )
    answering, finishing = answers.answering, Finishing(store, line, metrics)
    steps = Steps(
        decoding=Decoding(Limits(settings.max_body_bytes), given.keys, metrics, given.fail_point),
        accepting=Accepting(store, given.keys, metrics),
        creation=given.creation,
        finishing=finishing,
        answering=answering,
        cancelling=Cancelling(store, leases, finishing, answering),
        burying=Burying(taking, answering),
    )
    pipeline = Pipeline(steps, taking, leases, metrics, given.fail_point)
    reading = Reader(
        ReaderSettings(
            seal_keys=settings.seal_keys.get_secret_value(),
            max_body_bytes=settings.max_body_bytes,
            wants_whole=bool(settings.handler),
            fail_point=settings.fail_point,
        ),
        given.keys,
    )
    beside = ReadingApart(reading, pipeline, given.creation, taking, _lanes(settings), settings.batch_size)
    alive = heartbeat.Heartbeat(leases, pool, given.me)
    attempting = Attempting(
        store,
        leases,
        given.keys,
        pipeline,
        given.creation,
        finishing,
        answering,
        settings.max_attempts,
        reading,
    )
    recovery = Recovery(leases, attempting, alive, readiness, metrics)
    again = retries.Retries(
        line,
        leases,
        attempting,
        given.creation,
        readiness,
        metrics,
        _lanes(settings),
        settings.batch_size,
    )
    return _Parts(
        leases=leases,
        database=pool,
        taking=taking,
        cancels=cancels,
        burying=steps.burying,
        reading=reading,
        beside=beside,
        alive=alive,
        recovery=recovery,
        retries=again,
        lanes=Lanes(
            taking, cancels, beside, pipeline, given.creation, leases, _lanes(settings), settings.batch_size
        ),
        answers=answers,
    )


def _lanes(settings: Settings) -> int:
    """Return how many batches run at once. With a handler, the number of its calls is the limit."""
    return settings.handler_concurrency if settings.handler else settings.batches


async def _run(settings: Settings, given: _Given, parts: _Parts, stop: asyncio.Event) -> None:
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
        await _drain(parts, feed, settings.grace_seconds)
    finally:
        for task in (asked, feed, *running):
            task.cancel()
        parts.recovery.running.cancel()
        parts.retries.running.cancel()
        await asyncio.gather(asked, feed, *running, return_exceptions=True)
        await parts.beside.cancel()
        await parts.recovery.running.drain()
        await parts.retries.running.drain()
        await parts.reading.close()
        await _sign_off(parts.leases)


def _services(settings: Settings, given: _Given, parts: _Parts) -> list[Coroutine[None, None, None]]:
    async def consume(connection: AbstractConnection) -> None:
        for note in await topology.apply(connection, given.design):
            _log.warning("topology.delivery_limit_low", note=note)
        await serve_together(parts.cancels.serve(connection), parts.taking.serve(connection))

    async def flush_notes() -> None:
        if parts.leases.has_notes:
            await parts.leases.flush_notes()

    async def tell_readiness() -> None:
        while True:
            await given.readiness.until_up()
            _log.info("worker.ready")
            await given.readiness.until_down()
            _log.warning("worker.not_ready", reasons=given.readiness.reasons)

    others = peers.Peers(parts.database, given.me.worker, given.profile, settings.lease_seconds)
    ageing = expiry.Expiry(parts.database, given.metrics)
    services = [
        tell_readiness(),
        loop_lag.watch(given.metrics.loop_lag.observe),
        *parts.answers.services(given.broker),
        serving.keep_open(intake.PART, given.broker, consume, given.readiness),
        every(parts.alive.interval, "heartbeat", parts.alive.beat),
        every(parts.alive.interval, "peers", others.compare, at_once=True),
        every(_NOTE_SECONDS, "notes", flush_notes),
        every(_RECOVERY_SECONDS, "recovery", parts.recovery.run_once),
        parts.retries.run(),
        every(retries.MEASURE_SECONDS, "retries", parts.retries.measure),
        every(UNBURIED_SECONDS, "unburied", parts.burying.bury_held),
        every(expiry.INTERVAL_SECONDS, "expiry", ageing.run_once),
        every(retention.INTERVAL_SECONDS, "workers", parts.alive.forget_the_silent),
    ]
    if settings.retention_days:
        keeping = retention.Retention(parts.database, given.metrics, settings.retention_days)
        services.append(every(retention.INTERVAL_SECONDS, "retention", keeping.run_once))
    return services


async def _drain(parts: _Parts, feed: "asyncio.Task[None]", grace_seconds: float) -> None:
    """Take nothing more, and finish the work that was begun while there is time. The rest goes back
    unharmed.
    """
    parts.recovery.stop()
    parts.retries.stop()
    try:
        async with asyncio.timeout(grace_seconds):
            await parts.cancels.stop()
            await parts.taking.stop()
            await feed
            await parts.beside.drain()
            await parts.recovery.running.drain()
            await parts.retries.running.drain()
            await parts.cancels.flush()
            await parts.taking.flush()
            if parts.leases.has_notes:
                await parts.leases.flush_notes()
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
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


def _broker(settings: Settings, tls: ssl.SSLContext | None, me: Identity) -> Broker:
    url = settings.amqp_url.get_secret_value()
    try:
        return Broker(url, tls if url.startswith("amqps:") else None, f"session-worker {me.host}:{me.pid}")
    except ValueError as error:
        raise SettingsError(f"AMQP_URL: {error}") from None


def _creation(settings: Settings, metrics: Metrics) -> Creation:
    if not settings.handler:
        return BuiltInCreation()
    rule = RetryRule(
        max_attempts=settings.max_attempts,
        base_seconds=settings.retry_base_seconds,
        cap_seconds=settings.retry_cap_seconds,
        retry_seconds=settings.retry_seconds,
        max_put_offs=settings.max_put_offs,
    )
    handler = load_handler(settings.handler)
    return HandlerCreation(
        handler, settings.handler_concurrency, settings.handler_timeout_seconds, rule, metrics.handler_calls
    )
