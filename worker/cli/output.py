"""Prints JSON for programs on stdout, one object a line, and everything that is no result on stderr."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from worker.operations.json_text import as_json
from worker.process.stderr import stderr


def emit(record: Mapping[str, Any]) -> None:
    print(as_json(record), flush=True)


def say(text: str) -> None:
    print(text, file=stderr(), flush=True)


def show_client_log() -> None:
    """Print on stderr what the client logs while it waits for the broker."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("session_worker.client")
    logger.handlers = [handler]
    logger.propagate = False
