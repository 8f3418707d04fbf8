"""Makes the parts of a worker and connects them. Nothing else knows all of them; `app` runs them."""

import ssl
from dataclasses import dataclass
from functools import partial

from worker.errors import SettingsError
from worker.handlers import Handler, PlainHandler
from worker.messages.org import line_of_sender, org_in
from worker.messages.sealing import SealKeys, parse_seal_keys
from worker.monitoring.blocking import Blocking
from worker.monitoring.metrics import Metrics
from worker.monitoring.profile import Profile, profile_of
from worker.monitoring.readiness import Readiness
from worker.monitoring.strain import Strain
from worker.monitoring.tracing import Tracing, tracing_of
from worker.outbound import Outbound, outbound
from worker.postgres import database
from worker.postgres.dead_letters import Custody
from worker.postgres.leases import Leases
from worker.postgres.put_off import PutOffLine
from worker.postgres.rule_book import RuleBook
from worker.postgres.shard_places import ShardPlaces
from worker.postgres.store import Store
from worker.postgres.waiting_line import WaitingLine
from worker.process.failpoint import FailPoint
from worker.process.identity import Identity, new_identity
from worker.rabbitmq import in_hand, intake, known_queues, publisher, topology
from worker.rabbitmq.connection import Broker
from worker.reading.protocol import ReaderSettings
from worker.reading.reader import Reader
from worker.rules import Limit, limits_in
from worker.services import custody, heartbeat
from worker.services.recovery import Recovery
from worker.services.ruling import Ruling
from worker.services.sharing import Design, Sharing
from worker.services.taking import PUT_OFF, WAITING, Kind, Source, Taking
from worker.services.telling import Telling
from worker.settings import Settings
from worker.steps.accepting import Accepting
from worker.steps.attempting import Attempting
from worker.steps.burying import Burying
from worker.steps.cancelling import Cancelling
from worker.steps.creating import BuiltInCreation, Creation, HandlerCreation
from worker.steps.finishing import Finishing
from worker.steps.gate import Gate
from worker.steps.lanes import CANCELS_AT_ONCE, Lanes
from worker.steps.life import Life
from worker.steps.limits import limits_of
from worker.steps.loading import lifespan_of, load_handler
from worker.steps.pipeline import Pipeline, Steps
from worker.steps.progress import Progress
from worker.steps.reading_apart import ReadingApart
from worker.steps.retry_rule import RetryRule
from worker.steps.sorting import Decoding
from worker.tls import context_from

PARTS = (database.PART, intake.PART, publisher.PART, known_queues.PART, known_queues.DEAD_PART)
_CANCELS_BYTES = 8 << 20
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Given:
    """Holds what follows from the settings alone. It is checked before anything is opened."""

    me: Identity
    tls: ssl.SSLContext | None
    profile: Profile
    keys: SealKeys
    creation: Creation
    life: Life
    progress: Progress
    blocking: Blocking | None
    limits: list[Limit]
    broker: Broker
    design_of: Design
    names: topology.Names
    readiness: Readiness
    metrics: Metrics
    tracing: Tracing
    fail_point: FailPoint
    eager: bool  # deliveries are taken as they have arrived


@dataclass(frozen=True)
class Parts:
    """Holds the parts of a worker, wired together."""

    leases: Leases
    database: database.Database
    taking: intake.Intake
    cancels: intake.Intake
    burying: Burying
    reading: Reader
    beside: ReadingApart
    alive: heartbeat.Heartbeat
    strain: Strain
    telling: Telling
    recovery: Recovery
    ruling: Ruling
    sharing: Sharing
    takings: tuple[Taking, ...]
    lanes: Lanes
    dead_letters: intake.Intake
    custody: custody.TakingIntoCustody
    answers: Outbound


def given_by(settings: Settings, *, eager: bool) -> Given:
    """Check the settings, and make all that needs no server."""
    tls, me, profile = context_from(settings), new_identity(), profile_of(settings)
    names = topology.names_for(settings.prefix)
    tracing = tracing_of(
        settings,
        requests=names.requests,
        responses=names.responses,
        build=profile.handler_build or me.version,
        resource={"service.version": me.version, "service.instance.id": str(me.worker), "host.name": me.host},
    )
    metrics, progress = Metrics(tracing), Progress()
    handler = load_handler(settings.handler) if settings.handler else None
    life = Life(settings.handler, lifespan_of(handler))
    given = Given(
        me=me,
        tls=tls,
        profile=profile,
        keys=parse_seal_keys(settings.seal_keys.get_secret_value()),
        creation=_creation(settings, metrics, handler, life, progress, profile.handler_build),
        life=life,
        progress=progress,
        blocking=Blocking(handler, settings.handler, profile.handler_build) if handler else None,
        limits=_limits(settings),
        broker=_broker(settings, tls, me),
        design_of=partial(
            topology.design, settings.prefix, limits_from_policy=settings.queue_limits == "policy"
        ),
        names=names,
        readiness=Readiness(PARTS),
        metrics=metrics,
        tracing=tracing,
        fail_point=FailPoint(settings.fail_point),
        eager=eager,
    )
    for part in (known_queues.PART, known_queues.DEAD_PART):
        given.readiness.up(part)  # until a publish finds no room there
    return given


def wire(settings: Settings, given: Given, pool: database.Database, leases: Leases) -> Parts:
    """Make all the parts, and tell each the ones that it needs."""
    names, readiness, metrics = given.names, given.readiness, given.metrics
    limits = limits_of(settings)
    bounds = in_hand.Bounds(
        settings.prefetch_in_effect, settings.prefetch_bytes, settings.max_body_bytes, settings.begun_soon
    )
    cancels = intake.Intake(
        intake.sources_of_cancels(names),
        in_hand.Bounds(CANCELS_AT_ONCE, _CANCELS_BYTES, settings.max_body_bytes),
        readiness,
        metrics=None,
        part=None,
        eager=given.eager,
    )
    store, line = Store(pool, leases, given.fail_point), PutOffLine(pool, leases)
    waiting = WaitingLine(pool, leases)
    gate = Gate(
        str(given.me.worker),
        fair=settings.fair_shares,
        max_waiting=settings.max_waiting,
        quick=not settings.handler,
        is_backlogged=lambda: taking.hand.is_backlogged,
        breaker_is_open=lambda: given.creation.breaker_open,
    )
    by_org = in_hand.LineRule(
        org_in,
        gate.weight_of,
        long=settings.batch_size,
        whose=limits.orgs and partial(line_of_sender, limits.orgs),
    )
    taking = intake.Intake(
        intake.sources_of_requests(names),
        bounds,
        readiness,
        metrics,
        eager=given.eager,
        lines=by_org if settings.fair_shares else in_hand.ONE_LINE,
    )
    answers = outbound(
        settings,
        given.me,
        names,
        given.broker,
        pool,
        leases,
        readiness,
        metrics,
        given.tracing,
        given.fail_point,
    )
    answering, finishing = answers.answering, Finishing(store, line, metrics)
    steps = Steps(
        decoding=Decoding(limits, given.keys, metrics, given.fail_point),
        gate=gate,
        accepting=Accepting(store, waiting, given.keys, metrics, hides_others=limits.orgs is not None),
        creation=given.creation,
        finishing=finishing,
        answering=answering,
        cancelling=Cancelling(store, leases, finishing, answering, metrics, limits.orgs),
        burying=Burying(taking, answering),
    )
    pipeline = Pipeline(steps, taking, leases, metrics, given.tracing, given.fail_point)
    reading = Reader(
        ReaderSettings(
            seal_keys=settings.seal_keys.get_secret_value(),
            limits=limits,
            wants_whole=bool(settings.handler),
            fail_point=settings.fail_point,
        ),
        given.keys,
    )
    beside = ReadingApart(reading, pipeline, given.creation, taking, _lanes(settings), settings.batch_size)
    concurrency = settings.handler_concurrency if settings.handler else 0
    strain = Strain(metrics.handler_calls, concurrency, given.blocking)
    keeps_seconds = settings.retention_days * _DAY_SECONDS or None
    alive = heartbeat.Heartbeat(
        leases, pool, given.me, metrics.answered_in, strain, keeps_seconds=keeps_seconds
    )
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
        metrics,
        given.tracing,
    )
    recovery = Recovery(leases, attempting, gate, alive, readiness, metrics)
    ruling = Ruling(
        RuleBook(pool),
        waiting,
        line,
        gate,
        taking,
        readiness,
        metrics,
        me=str(given.me.worker),
        most_counted=settings.max_waiting + 1,
    )

    dead_letters = intake.Intake(
        intake.sources_of_dead_letters(names),
        in_hand.Bounds(custody.AT_ONCE, custody.HELD_BYTES, custody.LARGEST_BODY),
        readiness,
        metrics=None,
        part=None,
        eager=given.eager,
    )

    def take(kind: Kind, source: Source) -> Taking:
        return Taking(
            kind,
            source,
            leases,
            attempting,
            given.creation,
            readiness,
            metrics,
            given.fail_point,
            _lanes(settings),
            settings.batch_size,
            is_paused=lambda: gate.worker_paused,
        )

    return Parts(
        leases=leases,
        database=pool,
        taking=taking,
        cancels=cancels,
        burying=steps.burying,
        reading=reading,
        beside=beside,
        alive=alive,
        strain=strain,
        telling=Telling(pool, given.me.worker, given.progress),
        recovery=recovery,
        ruling=ruling,
        sharing=Sharing(
            ShardPlaces(pool, given.me.worker),
            taking,
            given.design_of,
            settings.shards,
            readiness,
            metrics.crowd,
        ),
        takings=(take(PUT_OFF, line), take(WAITING, waiting)),
        lanes=Lanes(
            taking,
            cancels,
            beside,
            pipeline,
            gate,
            given.creation,
            leases,
            # One more than calls hold: what cannot begin is put in line, also while all of them hang.
            _lanes(settings) + bool(settings.handler),
            settings.batch_size,
            gathers=not settings.handler,
        ),
        answers=answers,
        dead_letters=dead_letters,
        custody=custody.TakingIntoCustody(
            dead_letters,
            Custody(pool),
            given.keys,
            most=settings.max_dead_letters,
            days=settings.dead_letter_days,
        ),
    )


def _lanes(settings: Settings) -> int:
    """Return how many batches run at once. With a handler, the number of its calls is the limit."""
    return settings.handler_concurrency if settings.handler else settings.batches


def _broker(settings: Settings, tls: ssl.SSLContext | None, me: Identity) -> Broker:
    url = settings.amqp_url.get_secret_value()
    try:
        return Broker(url, tls if url.startswith("amqps:") else None, f"session-worker {me.host}:{me.pid}")
    except ValueError as error:
        raise SettingsError(f"AMQP_URL: {error}") from None


def _limits(settings: Settings) -> list[Limit]:
    try:
        return limits_in(settings.limits)
    except ValueError as error:
        raise SettingsError(f"WORKER_LIMITS: {error}") from None


def _creation(
    settings: Settings,
    metrics: Metrics,
    handler: Handler | PlainHandler | None,
    life: Life,
    progress: Progress,
    build: str | None,
) -> Creation:
    if handler is None:
        return BuiltInCreation()
    return HandlerCreation(
        handler,
        settings.handler_concurrency,
        settings.handler_timeout_seconds,
        RetryRule.of(settings),
        metrics.handler_calls,
        settings.breaker_share,
        life,
        progress,
        build,
    )
