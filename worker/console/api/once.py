"""Does a change once for each key that a program chooses, however often it is asked for."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from starlette.requests import Request

from worker.console.context import Desk
from worker.console.problems import Problem
from worker.operations import answered_calls
from worker.operations.json_text import as_json

HEADER: Final = "Idempotency-Key"
LONGEST: Final = 200
PATTERN: Final = r"^[!-~]{1,200}$"
PROBLEM_JSON: Final = "application/problem+json"
_KEY = re.compile(PATTERN)


class Told(NamedTuple):
    """An answer."""

    status: int
    text: str
    again: bool = False  # it was given before

    @property
    def media_type(self) -> str:
        return PROBLEM_JSON if self.status >= HTTPStatus.BAD_REQUEST else "application/json"


def key_of(request: Request) -> str:
    """Return the key of a change; raise a 400 where there is none."""
    key = request.headers.get(HEADER, "")
    if not _KEY.fullmatch(key):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"{HEADER}: a change needs one, of 1 to {LONGEST} printable characters of ASCII, and another one "
            "for each change: with the same one it is done once. Nothing was done.",
            kind="idempotency-key-missing",
        )
    return key


async def once(
    desk: Desk, key: str, asked: Sequence[str], body: bytes, do: Callable[[], Awaitable[Told]]
) -> Told:
    """Do it and keep the answer, or return the one that was given before.

    An answer that says that nothing was done is kept, too. Where a server was lost, or this process ended,
    nobody knows what was done: the key stays taken, and whoever asks again is told so.
    """
    head = "\0".join(asked).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(hashlib.sha256(head).digest() + body).digest()
    known = await answered_calls.begin(desk.database, desk.who.name, key, digest)
    if known is not None:
        if known.asked != digest:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"{HEADER}: something else was asked for with it within a day. Nothing was done.",
                title="The key is taken",
                kind="idempotency-key-reused",
            )
        if known.status is None or known.answer is None:
            raise Problem(
                HTTPStatus.CONFLICT,
                f"{HEADER}: this was begun at {known.begun_at.isoformat(timespec='seconds')}, and its end is "
                "not known: it is being done, or was cut off. Ask again in a moment, then see the audit.",
                title="It was begun before",
                kind="idempotency-key-in-use",
                retry_after=1,
            )
        return Told(known.status, known.answer, again=True)
    try:
        told = await do()
    except Problem as problem:
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        told = Told(problem.status, as_json(problem.document))
    await answered_calls.end(desk.database, desk.who.name, key, told.status, told.text)
    return told
