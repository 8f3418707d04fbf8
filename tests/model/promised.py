"""Says what is promised: of each state, and of where each state leads."""

from typing import Final

from model.states import Broken, State

from worker import law


def check(state: State) -> None:
    """Raise Broken if a promise is broken in this state."""
    for request in state.requests:
        if request.sessions > 1:
            raise Broken(f"{request.sessions} sessions of one request")
        if request.row.status != law.BEGIN:
            has = law.STATES[request.row.status]
            if has.session != bool(request.sessions) and not (request.former and request.sessions):
                raise Broken(f"{request.row.status}, with {request.sessions} sessions")


def is_answered(state: State) -> bool:
    """Return whether each request has ended, and whoever asked for it was sent the response."""
    return all(
        not (request.queued or request.cancels or request.owed)
        and (request.row.status == law.BEGIN or request.row.finished)
        for request in state.requests
    )


def is_noted(state: State) -> bool:
    """Return whether the record says so as well."""
    return is_answered(state) and all(one.row.published for one in state.requests if one.row.finished)


PROMISED: Final = {
    "a request is never answered": is_answered,
    "it is never noted that a response was published": is_noted,
}
"""Where each state has to lead when no more faults come, and what is wrong where it does not."""
