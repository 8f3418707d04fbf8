"""Keeps who is logged in: a signed cookie that ends, and the token that each form carries against forgery.

The key follows from the URL of the database, which all consoles of an installation have, and from the line of
the tokens file: so any of several consoles knows a session, and who is taken out of the file has none.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

from worker.console.tokens import Known, Line

COOKIE: Final = "session_worker_console"
LASTS_SECONDS: Final = 8 * 3600
IDLE_SECONDS: Final = 3600
_RENEWED_AFTER_SECONDS: Final = 60
_SKEW_SECONDS: Final = 60  # between the clocks of two consoles
_LONGEST: Final = 1_000
_MOST_ENDED: Final = 10_000


class Session(NamedTuple):
    """Somebody's session: which line of the file, since when, and when they were last here."""

    proof: str
    number: str
    begun: int
    seen: int


class Sessions:
    """Makes and reads cookies."""

    def __init__(self, secret: str) -> None:
        self._secret = hashlib.sha256(b"session-worker console\0" + secret.encode()).digest()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def begin(self, line: Line, now: float) -> str:
        """Return the cookie of a new session."""
        return self._sealed(Session(line.proof, secrets.token_urlsafe(16), int(now), int(now)))

    def read(self, cookie: str, known: Known, now: float) -> tuple[Session, Line] | None:
        """Return the session, and whose it is; None where it has ended, is forged, or its line is gone."""
        session = self._opened(cookie)
        line = known.by_proof.get(session.proof) if session else None
        if session is None or line is None or session.number in self._ended:
            return None
        ages = now - session.begun, now - session.seen
        limits = LASTS_SECONDS, IDLE_SECONDS
        if any(not -_SKEW_SECONDS <= age <= limit for age, limit in zip(ages, limits, strict=True)):
            return None
        return session, line

    def renewed(self, session: Session, now: float) -> str | None:
        """Return the cookie that says that somebody was here now; None while the one they have will do."""
        if now - session.seen < _RENEWED_AFTER_SECONDS:
            return None
        return self._sealed(session._replace(seen=int(now)))

    def csrf(self, *of: str) -> str:
        """Return the token against forgery of a session (its number), or of somebody whom a proxy names."""
        return self._signature("csrf", *of)

    def end(self, cookie: str) -> None:
        """End a session, whoever has its cookie; another console knows of it when its time is over."""
        if session := self._opened(cookie):
            self._ended[session.number] = None
            while len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)

    def _sealed(self, session: Session) -> str:
        text = base64.urlsafe_b64encode(json.dumps(session).encode()).decode().rstrip("=")
        return f"{text}.{self._signature('session', text)}"

    def _opened(self, cookie: str) -> Session | None:
        text, _, signature = cookie.partition(".")
        if len(cookie) > _LONGEST or not cookie.isascii():
            return None
        if not hmac.compare_digest(signature, self._signature("session", text)):
            return None
        try:
            return Session(*json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
        except (binascii.Error, ValueError, TypeError):
            return None  # of another version

    def _signature(self, *parts: str) -> str:
        mac = hmac.new(self._secret, "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")
