"""Gives the contract: requests, responses, and what they are made of."""

from schemas import *  # noqa: F403 — what it has in `__all__`
