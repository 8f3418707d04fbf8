"""Tests handlers, without servers or in a worker."""

from worker.testing import *  # noqa: F403 — what it has in `__all__`
