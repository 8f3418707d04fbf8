"""Specifies what clients may see of one request id, as a pure state machine.

`docs/specification.md` has it in words. A request id is one object. Everything that clients do with it, or
see of it, takes effect at one moment; `after` says in which states it may, and what the state is then. What
workers do meanwhile has no moment of its own: a client that sees an end brings the object to it.
"""

from typing import Final, NamedTuple

ABSENT: Final = "absent"
CANCELLED: Final = "cancelled"
_RANKS: Final = {ABSENT: 0, "pending": 1, "processing": 2, "completed": 3, "failed": 3}
_END: Final = 3


class Asked(NamedTuple):
    """A request with this content came."""

    content: str


class Cancelled(NamedTuple):
    """A cancellation came."""


class Answered(NamedTuple):
    """A copy of the response was received."""

    status: str
    code: str | None
    content: str | None
    message_id: str
    body: bytes


class Refused(NamedTuple):
    """The answer to a request with this content was received: the id is another request's."""

    content: str | None
    message_id: str
    body: bytes


class Looked(NamedTuple):
    """Somebody looked how far the request is."""

    status: str
    attempt: int


What = Asked | Cancelled | Answered | Refused | Looked


class State(NamedTuple):
    """All that clients together know of a request id."""

    status: str = ABSENT
    attempt: int = 0  # at least
    last_attempt: int | None = None  # once somebody has looked after the end
    content: str | None = None  # of the request on record; None: it was cancelled before it came
    code: str | None = None  # `cancelled` also before the end: it can have no other
    response: Answered | None = None  # once somebody has received it
    asked: frozenset[str] = frozenset()
    refused: frozenset[Refused] = frozenset()

    @property
    def ended(self) -> bool:
        return _RANKS[self.status] == _END


def after(state: State, what: What) -> State | None:
    """Return the state after this; None: it must not happen here."""
    match what:
        case Asked(content):
            return _asked(state, content)
        case Cancelled():
            return _cancelled(state)
        case Answered():
            return _answered(state, what)
        case Refused():
            return _refused(state, what)
        case Looked(status, attempt):
            return _looked(state, status, attempt)


def _asked(state: State, content: str) -> State:
    asked = state.asked | {content}
    if state.status == ABSENT:
        return State("pending", content=content, asked=asked)
    return state._replace(asked=asked)


def _cancelled(state: State) -> State:
    if state.ended:
        return state
    status = "pending" if state.status == ABSENT else "failed"  # it is recorded first, and then ended
    return state._replace(status=status, code=CANCELLED)


def _answered(state: State, seen: Answered) -> State | None:
    if state.status == ABSENT or seen.content != state.content or _RANKS.get(seen.status) != _END:
        return None
    if state.response is not None:
        return state if state.response == seen else None
    if (seen.code == CANCELLED) != (state.code == CANCELLED):
        return None  # what a cancellation has ended is cancelled, and nothing else is
    if state.ended and state.status != seen.status:
        return None
    return state._replace(status=seen.status, code=seen.code, response=seen)


def _refused(state: State, seen: Refused) -> State | None:
    if state.content is None or seen.content == state.content or seen.content not in state.asked:
        return None
    if any(other.content == seen.content and other != seen for other in state.refused):
        return None
    return state._replace(refused=state.refused | {seen})


def _looked(state: State, status: str, attempt: int) -> State | None:
    if ABSENT in (status, state.status):
        return state if status == state.status else None
    if (_RANKS[status], attempt) < (_RANKS[state.status], state.attempt) or attempt < state.attempt:
        return None
    if not state.ended:
        last = attempt if _RANKS[status] == _END else None
        return state._replace(status=status, attempt=attempt, last_attempt=last)
    if status != state.status or state.last_attempt not in (None, attempt):
        return None
    return state._replace(attempt=attempt, last_attempt=attempt)
