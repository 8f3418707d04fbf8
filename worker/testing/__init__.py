"""Tests handlers: `call` calls one without servers; the fixture `session_worker` runs one in a worker."""

try:
    from worker.testing.calling import call
except ModuleNotFoundError as error:
    lacking = (error.name or "worker").partition(".")[0]
    if lacking in ("worker", "schemas"):
        raise
    raise ModuleNotFoundError(
        f"worker.testing needs {lacking}: pip install 'session-worker[testing]'", name=error.name
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
