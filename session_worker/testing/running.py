"""Runs a handler in a worker, for a test: what the fixture `session_worker` gives."""

from worker.testing.running import Running, RunningWorker, StartWorker

__all__ = ["Running", "RunningWorker", "StartWorker"]
