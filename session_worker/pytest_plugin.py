"""Gives pytest the fixtures `session_worker` and `session_worker_settings`."""

from worker.pytest_plugin import session_worker, session_worker_settings

__all__ = ["session_worker", "session_worker_settings"]
