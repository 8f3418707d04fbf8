"""Makes the ids of requests and of sessions.

A session's id is derived from its request's, so that every retry makes the same one.
"""

import re
import secrets
import time
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_LENGTH = 13
_SPACE = 36**_LENGTH  # 67 bits: among a thousand million ids, a collision has a chance of 1 in 340

_SESSION_ID = re.compile(r"ts_[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])_[0-9a-z]{13}")


def new_request_id() -> UUID:
    """Makes a UUID of version 7 (RFC 9562): milliseconds, then 74 random bits. Any UUID will do for a
    request; these lie side by side in an index, where each random one would touch a page of its own.
    """
    milliseconds = time.time_ns() // 1_000_000
    return UUID(
        int=milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    )


def session_id(request_id: UUID, day: date) -> str:
    """Makes `ts_<yymmdd>_<code>`: the code is a BLAKE2b hash of the request id in base 36."""
    digest = blake2b(request_id.bytes, digest_size=16, person=b"session-id").digest()
    number = int.from_bytes(digest, "big") % _SPACE
    code = ""
    for _ in range(_LENGTH // 2):
        number, pair = divmod(number, 1296)
        code = _PAIRS[pair] + code
    return f"ts_{_stamp(day)}_{_DIGITS[number]}{code}"


@lru_cache(maxsize=4)
def _stamp(day: date) -> str:
    return f"{day:%y%m%d}"


def is_session_id(text: str) -> bool:
    """Tells whether the text has the form of an id made by `session_id`."""
    return _SESSION_ID.fullmatch(text) is not None
