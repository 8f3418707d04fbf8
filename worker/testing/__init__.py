"""Tests handlers: `call` calls one without servers; the fixture `session_worker` runs one in a worker."""

from worker.process.own_command import is_ours

try:
    from worker.testing.calling import call
except ModuleNotFoundError as error:
    if error.name is None or is_ours(error.name):
        raise
    lacking = error.name.partition(".")[0]
    raise ModuleNotFoundError(
        f"session_worker.testing needs {lacking}: pip install 'session-worker[testing]'", name=error.name
    ) from error
from worker.testing.clocks import Clock, ManualClock
from worker.testing.example import example_request
from worker.testing.outcomes import Answered, DeadLetter, NoResponse, Outcome, Told, TriedAgain

__all__ = [
    "Answered",
    "Clock",
    "DeadLetter",
    "ManualClock",
    "NoResponse",
    "Outcome",
    "Told",
    "TriedAgain",
    "call",
    "example_request",
]
