"""A worker of the simulation: `worker/wiring.py` wires all of its parts, and `worker/app.py` runs them."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import cache, partial
from unittest import mock
from uuid import UUID

from aio_pika.abc import AbstractConnection
from simulation.database import Postgres, SimulatedDatabase
from simulation.loop import ACTOR
from simulation.wire import Network, SimulatedBroker

from worker import app
from worker.handlers import Handler
from worker.messages.sealing import parse_seal_keys
from worker.monitoring.metrics import Metrics
from worker.monitoring.profile import Profile
from worker.monitoring.readiness import Readiness
from worker.monitoring.tracing import OFF
from worker.postgres import database, sql
from worker.postgres.leases import Leases
from worker.process.failpoint import FailPoint
from worker.process.identity import Identity
from worker.rabbitmq import aiormq_version, intake, known_queues, publisher, serving, topology, writing
from worker.rabbitmq.reconnecting import serve_together
from worker.services import ruling, unanswered
from worker.services.periodic import every
from worker.settings import Settings
from worker.steps.answering import UNBURIED_SECONDS
from worker.steps.creating import BuiltInCreation, HandlerCreation
from worker.steps.life import Life
from worker.steps.progress import Progress
from worker.steps.retry_rule import RetryRule
from worker.wiring import PARTS, Given, Parts, wire

_profile = Profile("", "", {})
_metrics: dict[
    int, Metrics
] = {}  # of one run after the other: to make them takes long, and nothing goes by them
_NOTE_SECONDS, _RECOVERY_SECONDS = app._NOTE_SECONDS, app._RECOVERY_SECONDS


async def run(
    me: UUID,
    settings: Settings,
    handler: Handler | None,
    postgres: Postgres,
    network: Network,
    stop: asyncio.Event,
) -> None:
    """Run a worker until it is told to stop and has finished what it began."""
    given = _given(me, settings, handler, network)
    pool = SimulatedDatabase(postgres, given.readiness)
    await pool.open()
    leases = Leases(pool, me, settings.lease_seconds)
    await leases.register("host", 1, "1", given.profile)
    parts = wire(settings, given, pool, leases)
    await parts.ruling.look()
    await app._run(settings, given, parts, stop)


def _given(me: UUID, settings: Settings, handler: Handler | None, network: Network) -> Given:
    progress, life = Progress(), Life()
    metrics = _metrics.get(ACTOR.get()) or _metrics.setdefault(ACTOR.get(), Metrics())
    rule = RetryRule.of(settings)
    creation: BuiltInCreation | HandlerCreation = BuiltInCreation()
    if handler:
        creation = HandlerCreation(
            handler,
            settings.handler_concurrency,
            settings.handler_timeout_seconds,
            rule,
            metrics.handler_calls,
            settings.breaker_share,
            life,
            progress,
        )
    given = Given(
        me=Identity(me, "host", 1, "1"),
        tls=None,
        profile=_profile,
        keys=parse_seal_keys(""),
        creation=creation,
        life=life,
        progress=progress,
        blocking=None,
        limits=[],
        broker=SimulatedBroker(network),
        design_of=partial(topology.design, settings.prefix, limits_from_policy=False),
        names=topology.names_for(settings.prefix),
        readiness=Readiness(PARTS),
        metrics=metrics,
        tracing=OFF,
        fail_point=FailPoint(""),
        eager=True,
    )
    for part in (known_queues.PART, known_queues.DEAD_PART):
        given.readiness.up(part)
    return given


def _services(_settings: Settings, given: Given, parts: Parts) -> list[Coroutine[None, None, None]]:
    """Make the services that take part in a request's way. The others look, count, tell and delete."""

    async def consume(connection: AbstractConnection) -> None:
        await serve_together(parts.cancels.serve(connection), parts.taking.serve(connection))

    answers, sending = parts.answers, parts.answers.sending
    return [
        serving.keep_open(
            answers.usual.part, given.broker, answers.usual.serve, given.readiness, writing.OVER_CONTENT
        ),
        serving.keep_open(intake.PART, given.broker, consume, given.readiness),
        every(unanswered.LOOK_SECONDS, "unanswered", sending.send_shared),
        every(unanswered.REPLIES_SECONDS, "unanswered_replies", sending.send_replies),
        every(parts.alive.interval, "heartbeat", parts.alive.beat),
        every(_NOTE_SECONDS, "notes", parts.leases.flush_notes),
        every(_RECOVERY_SECONDS, "recovery", parts.recovery.run_once),
        *(taking.run() for taking in parts.takings),
        every(ruling.LOOK_SECONDS, "rules", parts.ruling.look),
        every(ruling.LOOK_SECONDS, "held", parts.lanes.look_at_held),
        every(ruling.COUNT_SECONDS, "waiting", parts.ruling.count, at_once=True),
        every(UNBURIED_SECONDS, "unburied", parts.burying.bury_held),
    ]


@contextmanager
def simulated_services() -> Iterator[None]:
    """Let `worker/app.py` run these services in place of all, and find out once what does not change."""
    known, queries = cache(aiormq_version.inside_is_known), cache(sql.load_queries)
    with (
        mock.patch.object(app, "_services", _services),
        mock.patch.object(publisher, "inside_is_known", known),
        mock.patch.object(database, "load_queries", queries),
    ):
        yield
