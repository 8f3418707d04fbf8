"""Prints JSON for programs on stdout, one object a line, and everything that is no result on stderr."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from worker.process.stderr import stderr

_CONTROL = {code: f"\\u{code:04x}" for code in range(0x80, 0xA0)}  # which a terminal would obey


def emit(record: Mapping[str, Any]) -> None:
    print(as_json(record), flush=True)


def as_json(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=False, default=_as_text)
    return text if text.isascii() else text.translate(_CONTROL)


def say(text: str) -> None:
    print(text, file=stderr(), flush=True)


def show_client_log() -> None:
    """Print on stderr what the client logs while it waits for the broker."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("worker.client")
    logger.handlers = [handler]
    logger.propagate = False


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
