"""Wires the half of a worker that answers: its connections to the broker, and the responses that wait."""

from collections.abc import Coroutine
from dataclasses import dataclass

from worker.monitoring import tally
from worker.monitoring.metrics import Metrics
from worker.monitoring.readiness import Readiness
from worker.monitoring.tracing import Tracing
from worker.postgres.database import Database
from worker.postgres.leases import Leases
from worker.postgres.waiting_answers import WaitingAnswers
from worker.process.failpoint import FailPoint
from worker.process.identity import Identity
from worker.rabbitmq import publisher, serving, writing
from worker.rabbitmq.connection import Broker
from worker.rabbitmq.dispatcher import Dispatcher
from worker.rabbitmq.known_queues import KnownQueues
from worker.rabbitmq.one_by_one import OneByOne
from worker.rabbitmq.topology import Names
from worker.services import unanswered
from worker.services.periodic import every
from worker.settings import Settings
from worker.steps.answering import Answering


@dataclass(frozen=True)
class Outbound:
    """Holds the parts of that half. The steps of a batch need `answering` alone."""

    answering: Answering
    sending: unanswered.Sending
    usual: publisher.Publisher
    direct: publisher.Publisher
    readiness: Readiness
    readiness_of_direct: Readiness
    telling: tally.Tally
    keeps_for_ever: bool

    def services(self, broker: Broker) -> list[Coroutine[None, None, None]]:
        over_content = writing.OVER_CONTENT
        services = [
            serving.keep_open(self.usual.part, broker, self.usual.serve, self.readiness, over_content),
            serving.keep_open(
                self.direct.part, broker, self.direct.serve, self.readiness_of_direct, over_content
            ),
            every(unanswered.LOOK_SECONDS, "unanswered", self.sending.send_shared),
            every(unanswered.REPLIES_SECONDS, "unanswered_replies", self.sending.send_replies),
            every(unanswered.LOOK_SECONDS, "apart", self.sending.send_apart),
            every(unanswered.COUNT_SECONDS, "unanswered_count", self.sending.count),
            every(tally.SECONDS, "tally", self.telling.tell),
        ]
        if not self.keeps_for_ever:
            services.append(every(unanswered.FORGET_SECONDS, "other_answers", self.sending.forget))
        return services


def outbound(
    settings: Settings,
    me: Identity,
    names: Names,
    broker: Broker,
    database: Database,
    leases: Leases,
    readiness: Readiness,
    metrics: Metrics,
    tracing: Tracing,
    fail_point: FailPoint,
) -> Outbound:
    seconds = settings.confirm_timeout_seconds
    # A message to a forged address breaks this connection again and again. The worker is ready all the same.
    of_direct = Readiness((publisher.DIRECT_PART,))
    usual = publisher.Publisher(readiness, seconds, fail_point)
    direct = publisher.Publisher(of_direct, seconds, fail_point, publisher.DIRECT_PART)
    queues, telling, waiting = KnownQueues(names, readiness), tally.Tally(), WaitingAnswers(database)
    dispatcher = Dispatcher(usual, direct, OneByOne(broker, seconds), queues, metrics)
    answering = Answering(
        me, names, usual, dispatcher, waiting, leases.note_published, telling, metrics, tracing
    )
    return Outbound(
        answering=answering,
        sending=unanswered.Sending(waiting, answering, queues, readiness, metrics, settings.retention_days),
        usual=usual,
        direct=direct,
        readiness=readiness,
        readiness_of_direct=of_direct,
        telling=telling,
        keeps_for_ever=not settings.retention_days,
    )
