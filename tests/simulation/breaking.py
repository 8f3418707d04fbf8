"""What each kind of fault does to a run."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from simulation.database import Postgres
from simulation.plan import PREFIX, Fault
from simulation.table_rows import ALL
from simulation.wire import HEARTBEATS_SECONDS, Network

if TYPE_CHECKING:
    from simulation.run import Run

ANSWER_LOST: Final = "answer lost"


def _kill(run: "Run", fault: Fault, actor: int) -> None:
    run.kill(actor)
    run.begin_worker_in(fault.seconds)


def _stop(run: "Run", fault: Fault, actor: int) -> None:
    run.workers[actor][1].set()
    run.begin_worker_in(fault.seconds)


def _freeze(run: "Run", fault: Fault, actor: int) -> None:
    """Let it do nothing, mostly for longer than a lease. It misses heartbeats, and loses its connections."""

    def miss_heartbeats() -> None:
        if run.loop.is_frozen(actor):
            run.network.lose(actor)

    run.loop.freeze(actor, fault.seconds * 3)
    run.loop.later(HEARTBEATS_SECONDS, miss_heartbeats)


def _cut_one(run: "Run", fault: Fault, _actor: int) -> None:
    if run.network.connections:
        run.network.cut(run.network.connections[fault.which % len(run.network.connections)])


def _cut_its_own(run: "Run", _fault: Fault, actor: int) -> None:
    run.network.lose(actor)


def _postgres_away(run: "Run", fault: Fault, _actor: int) -> None:
    run.postgres.is_up = False
    run.loop.later(fault.seconds, partial(setattr, run.postgres, "is_up", True))


def _rabbitmq_away(run: "Run", fault: Fault, _actor: int) -> None:
    run.network.is_up = False
    for connection in list(run.network.connections):
        run.network.cut(connection)
    run.loop.later(fault.seconds, partial(setattr, run.network, "is_up", True))


def _postgres(run: "Run") -> Postgres:
    return run.postgres


def _network(run: "Run") -> Network:
    return run.network


def _for_a_while(what: str, share: float, of: Callable[["Run"], Postgres | Network]) -> "Break":
    def begin(run: "Run", fault: Fault, _actor: int) -> None:
        setattr(of(run), what, share)
        run.loop.later(fault.seconds, partial(setattr, of(run), what, 0.0))

    return begin


def _responses_full(run: "Run", fault: Fault, _actor: int) -> None:
    queue = run.broker.queues[f"{PREFIX}.responses"]
    queue.room = 0
    run.loop.later(fault.seconds, partial(setattr, queue, "room", None))


def _pause(run: "Run", fault: Fault, _actor: int) -> None:
    org = ["org-0", "org-1", ALL][fault.which % 3]

    def resume() -> None:
        run.pauses[org] -= 1
        if not run.pauses[org]:
            run.tables.resume(org)

    run.pauses[org] += 1
    run.tables.pause(org)
    run.loop.later(fault.seconds, resume)


def _clock_jumps(run: "Run", _fault: Fault, actor: int) -> None:
    run.clock.skew[actor] += run.chance.uniform(-5, 5)


def _lose_an_answer(_run: "Run", _fault: Fault, _actor: int) -> None:
    """It is lost already: the statement was told so when it was carried out."""


Break = Callable[["Run", Fault, int], None]
BREAK: Final[dict[str, Break]] = {
    "kill": _kill,
    "stop": _stop,
    "freeze": _freeze,
    "cut": _cut_one,
    "cut its own": _cut_its_own,
    "postgres away": _postgres_away,
    "postgres loses answers": _for_a_while("lost_after", 0.3, _postgres),
    "postgres loses calls": _for_a_while("lost_before", 0.3, _postgres),
    "postgres slow": _for_a_while("slow", 0.2, _postgres),
    "rabbitmq away": _rabbitmq_away,
    "network slow": _for_a_while("slow", 0.2, _network),
    "responses full": _responses_full,
    "pause": _pause,
    "clock jumps": _clock_jumps,
    ANSWER_LOST: _lose_an_answer,
}
