"""Checks that what clients did and saw of one request id is linearizable: some order explains all of it.

The search is that of Wing and Gong, with the memory of Lowe: depth first over the sets of operations that
have taken effect, each with the state after them, and none of these pairs twice.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from linear.specification import ABSENT, Answered, Asked, Cancelled, Looked, Refused, State, What, after

_SHOWN = 120


class Operation(NamedTuple):
    """Takes effect at one moment from `begun` to `ended`; one that is not sure, perhaps never."""

    what: What
    begun: float
    ended: float
    sure: bool = True


def sent(what: Asked | Cancelled, begun: float, *, confirmed: bool) -> Operation:
    """Return a message to the workers: the broker's confirm says that it takes effect, not that it has."""
    return Operation(what, begun, math.inf, confirmed)


def received(what: Answered | Refused, at: float) -> Operation:
    """Return a message from them: what it tells came true at some time before."""
    return Operation(what, -math.inf, at)


def not_linearizable(operations: Sequence[Operation]) -> str | None:
    """Say how far the best order comes, and before what it stands; None: there is one that explains all."""
    one_each = _merged(operations)
    sure = sum(1 << number for number, one in enumerate(one_each) if one.sure)
    ahead: list[tuple[int, State]] = [(0, State())]
    been = set(ahead)
    best, far = 0, State()
    while ahead:
        done, state = ahead.pop()
        if done & sure == sure:
            return None
        if (done & sure).bit_count() > (best & sure).bit_count():
            best, far = done, state
        left = [(number, one) for number, one in enumerate(one_each) if not done >> number & 1]
        until = min(one.ended for _, one in left if one.sure)
        for number, one in left:
            if one.begun > until or (then := after(state, one.what)) is None:
                continue  # another one had ended before this began; or it must not happen here
            place = done | 1 << number, then
            if place not in been:
                been.add(place)
                ahead.append(place)
    left_out = [one for number, one in enumerate(one_each) if one.sure and not best >> number & 1]
    return f"{_state_in_words(far)}; then it cannot be that {', nor that '.join(map(_in_words, left_out))}"


def unanswered(operations: Sequence[Operation]) -> str | None:
    """Say which request was taken and not answered after it, when nothing is on its way any more."""
    for one in operations:
        if (
            isinstance(one.what, Asked)
            and one.sure
            and not _answered(one.what.content, one.begun, operations)
        ):
            return f"it was asked for {one.what.content!r}, and not answered after it"
    return None


def _answered(content: str, since: float, operations: Sequence[Operation]) -> bool:
    """Tell whether this content was answered since then, or the cancellation that came before it."""
    return any(
        one.ended >= since and one.what.content in (content, None)
        for one in operations
        if isinstance(one.what, Answered | Refused)
    )


def _merged(operations: Sequence[Operation]) -> list[Operation]:
    """Make one of what is alike: a second request of the same content, or a second copy of a response,
    changes nothing, whenever it comes. Without this, each of twenty copies would double the search.
    """
    merged: dict[object, Operation] = {}
    for number, one in enumerate(operations):
        key: object = number if isinstance(one.what, Looked) else one.what
        other = merged.get(key, one)
        merged[key] = Operation(
            one.what, min(one.begun, other.begun), min(one.ended, other.ended), one.sure or other.sure
        )
    return sorted(merged.values(), key=_about, reverse=True)  # the search tries the last of these first


def _about(one: Operation) -> float:
    """Say about when it took effect."""
    return one.begun if one.begun > -math.inf else one.ended


def _state_in_words(state: State) -> str:
    if state.status == ABSENT:
        return "nobody has asked for it"
    whose = repr(state.content) if state.content is not None else "cancelled before it came"
    code = state.code or "without a code"
    return f"it is {state.status}, {whose}, {code}, attempt {state.attempt} or later"


def _in_words(one: Operation) -> str:
    match one.what:
        case Asked(content):
            return f"{content!r} was asked for"
        case Cancelled():
            return "it was cancelled"
        case Answered(status, code, content, message_id, body):
            return f"{status} ({code}) for {content!r} was received as {message_id}: {body[:_SHOWN]!r}"
        case Refused(content, message_id, body):
            return f"a conflict of {content!r} was received as {message_id}: {body[:_SHOWN]!r}"
        case Looked(status, attempt):
            return f"it was seen {status}, attempt {attempt}"
