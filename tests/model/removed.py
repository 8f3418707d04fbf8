"""For each guard the smallest scope in which its removal breaks a promise, and which one."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from model.checker import Found, explore
from model.protocol import Protocol
from model.states import State, beginning


class Scope(NamedTuple):
    """What may happen to one request, or to `requests` of them, after these steps."""

    broken: str
    faults: tuple[str, ...] = ()
    most: int = 0  # faults in all
    requests: int = 1
    steps: tuple[str, ...] = ()


_UNANSWERED: Final = "a request is never answered"

REMOVED: Final = {
    "fence": Scope("the verdict of attempt 1 is stored as that of attempt 2", ("freezes",), 1),
    "one end": Scope("finish leads from completed to", ("answer lost",), 1),
    "one row": Scope("accept leads from processing to pending", ("answer lost",), 1),
    "one session": Scope("2 sessions of one request", ("deleted as old", "sent again"), 2),
    "lease at insert": Scope(
        _UNANSWERED, ("freezes", "dies", "halved"), 3, requests=2,
        steps=("A is delivered r1 and r2", "A accepts r1 (halved)", "B takes a lease over (freezes)"),
    ),
    "lease at claim": Scope(_UNANSWERED, ("dies", "freezes"), 3),
    "own release": Scope(_UNANSWERED, ("freezes", "dies"), 2),
    "answer of the record": Scope("a response is published that is not", ("sent again",), 1),
    "known insert": Scope(_UNANSWERED, ("answer lost",), 1),
    "known claim": Scope(_UNANSWERED, ("dies", "answer lost"), 2),
    "ended meanwhile": Scope(_UNANSWERED, ("answer lost",), 1),
    "record before acknowledge": Scope(_UNANSWERED, ("dies",), 1),
    "publish before acknowledge": Scope(_UNANSWERED, ("sent again", "dies"), 2),
    "confirm before done": Scope(_UNANSWERED, ("has to wait", "dies"), 2),
    "refused waits": Scope(_UNANSWERED, ("refused",), 1),
    "looked at later": Scope(_UNANSWERED, ("put off", "answer lost", "dies"), 3),
    "noted loss": Scope("it is not on record why the last one failed", ("dies",), 1),
    "finished only": Scope("retire_requests leads from pending to", ("has to wait", "deleted as old"), 2),
}  # fmt: skip


def explore_without(guard: str, *, guarded: bool = False) -> Found:
    """Visit the scope of this guard without it; or, to compare, with it."""
    scope = REMOVED[guard]
    protocol = Protocol(scope.faults, () if guarded else (guard,))
    found = explore(protocol, after(protocol, beginning(scope.requests, 2, scope.most), scope.steps))
    return found._replace(trace=(*scope.steps, *found.trace))


def after(protocol: Protocol, state: State, names: Sequence[str]) -> State:
    """Return the state to which the steps of these names lead."""
    for name in names:
        state = next(step.after for step in protocol.steps(state) if step.name == name)
    return state
