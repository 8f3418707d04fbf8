"""Makes tokens, and reads the file that says who has one: each line a name, a role, and the token's hash.

A token is 256 random bits, so its plain SHA-256 says nothing of it: a slow hash is for words that people
choose.
"""

import hashlib
import re
import secrets
from pathlib import Path
from typing import Final, NamedTuple

from worker.console.access import Role
from worker.errors import SettingsError

MARK: Final = "swc_"
"""What each token begins with, so that a search for secrets finds it, and the console refuses an address."""
ANYBODY: Final = "*"
_HASH: Final = "sha256:"
_BY_PROXY: Final = "proxy"
_LINE = re.compile(r"(\S{1,80})\s+(viewer|operator|admin)(\s+payloads)?\s+(proxy|sha256:[0-9a-f]{64})")
_NAME = re.compile(r"[^\s*#]\S{0,79}")
TOKEN = re.compile(rf"{MARK}[A-Za-z0-9_-]{{43}}")


class Line(NamedTuple):
    """What the file says of somebody."""

    name: str
    role: Role
    payloads: bool
    proof: str  # `sha256:` and the hash of their token; `proxy`: the proxy says that it is they

    @property
    def text(self) -> str:
        words = (self.name, self.role.value, "payloads" if self.payloads else "", self.proof)
        return " ".join(filter(None, words))


class Known(NamedTuple):
    """All that the file says."""

    by_proof: dict[str, Line]
    by_proxy: dict[str, Line]

    def with_token(self, token: str) -> Line | None:
        """Return the line of whoever has this token."""
        return self.by_proof.get(_proof(token)) if TOKEN.fullmatch(token) else None

    def of_proxy(self, name: str) -> Line | None:
        """Return the line of somebody whom the proxy names: their own, or that of anybody."""
        line = self.by_proxy.get(name) or self.by_proxy.get(ANYBODY)
        return line and line._replace(name=name)


def new_token(name: str, role: Role, *, payloads: bool) -> tuple[str, Line]:
    """Make a token, which is shown once, and its line for the file. Raises ValueError for a bad name."""
    if not (_NAME.fullmatch(name) and name.isprintable()):
        raise ValueError(f"a name has 1 to 80 characters, no blank, and does not begin with {ANYBODY} or #")
    token = MARK + secrets.token_urlsafe(32)
    return token, Line(name, role, payloads, _proof(token))


class TokensFile:
    """Reads the file anew when it has changed: who is taken out of it is out at once."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._read_of: tuple[int, int, int] | None = None
        self._known = Known({}, {})
        self.read()

    def read(self) -> Known:
        """Return what the file says now. Raises SettingsError when it cannot be read."""
        try:
            told = self._path.stat()
            version = told.st_mtime_ns, told.st_size, told.st_ino
            if version != self._read_of:
                self._known = _known(self._path.read_text("utf-8"))
                self._read_of = version
        except (OSError, ValueError) as error:
            self._read_of = None
            why = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"WORKER_CONSOLE_TOKENS_FILE: {self._path}: {why}") from None
        return self._known


def _known(text: str) -> Known:
    known = Known({}, {})
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        found = _LINE.fullmatch(words)
        if not found:
            raise ValueError(
                f"line {number} is not NAME ROLE [payloads] sha256:HASH, nor NAME ROLE [payloads] proxy, "
                "with a ROLE of viewer, operator or admin"
            )
        name, role, payloads, proof = found.groups()
        if name == ANYBODY and proof != _BY_PROXY:
            raise ValueError(f"line {number}: {ANYBODY} is for whoever a proxy names")
        made = Line(name, Role(role), bool(payloads), proof)
        place, key = (known.by_proxy, name) if proof == _BY_PROXY else (known.by_proof, proof)
        if key in place:
            raise ValueError(f"line {number}: it is there twice")
        place[key] = made
    return known


def _proof(token: str) -> str:
    return _HASH + hashlib.sha256(token.encode()).hexdigest()
