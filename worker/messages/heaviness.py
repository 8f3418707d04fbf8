"""Tells which bodies take long to read, or much memory. They are read in a process of their own."""

from typing import Final

HEAVY_BYTES: Final = 32 << 10
_LIGHT_BYTES = 2 << 10
_MOST_MARKS = 600  # commas and opening brackets; to read that many takes 15 ms at most, in half a mebibyte


def is_heavy(body: bytes) -> bool:
    """Tell whether to read a body may take long, or much memory: it is large, or has many values."""
    size = len(body)
    return size >= HEAVY_BYTES or (
        size > _LIGHT_BYTES and body.count(b",") + body.count(b"{") + body.count(b"[") > _MOST_MARKS
    )
