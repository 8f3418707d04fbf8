"""Describes why a handler's attempt came to nothing: in words, with the place, without any value."""

from types import FrameType

from worker.monitoring.places import place_at, place_in, plain
from worker.values import Failure

_LONGEST_TYPE = 200
_LONGEST = 500


def raised(error: BaseException, handler: object) -> Failure:
    """Describe an error of the handler's. Its text is not kept: it may quote what was sent."""
    name = plain(type(error).__name__, _LONGEST_TYPE)
    return Failure("raised", f"the handler raised {name}"[:_LONGEST], name, place_in(error, handler))


def timed_out(
    error: BaseException, handler: object, seconds: float, thread: FrameType | None = None
) -> Failure:
    """Describe a call that took too long, and where it was when its time was over. `thread`: where its thread
    is, if it has one.
    """
    place = place_at(thread, handler) if thread else place_in(error.__cause__ or error, handler)
    return Failure("timeout", f"the handler took longer than {seconds:g} s", type(error).__name__, place)


def put_off(error: BaseException, reason: str, handler: object) -> Failure:
    """Describe the handler's own wish, with the sentence that its author gave."""
    return Failure("retry_later", plain(reason, _LONGEST), type(error).__name__, place_in(error, handler))
