"""Writes records as JSON, for programs."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_CONTROL = {code: f"\\u{code:04x}" for code in range(0x80, 0xA0)}  # which a terminal would obey


def as_json(record: Mapping[str, Any]) -> str:
    """Write a record in one line; times and ids are texts there."""
    text = json.dumps(record, ensure_ascii=False, default=_as_text)
    return text if text.isascii() else text.translate(_CONTROL)


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
