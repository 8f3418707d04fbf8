"""What an endpoint raises instead of an answer: one sentence for people, which the app shows in its frame."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from worker.console.access import GIVEN_BY, Right


class Problem(Exception):
    """Ends a request with a status and a sentence. A page of the console shows it in the frame, the API as
    problem+json.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        title: str | None = None,
        retry_after: int | None = None,
        kind: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """`kind`: what it is for programs, where its status does not say it; `more`: what else they get."""
        super().__init__(detail)
        self.status = status
        self.title = title or status.phrase
        self.detail = detail
        self.retry_after = retry_after
        self.kind = kind or KINDS[status]
        self.more = more or {}

    @property
    def document(self) -> dict[str, Any]:
        """Return it as problem+json (RFC 9457)."""
        return {
            "type": f"{TYPES}{self.kind}", "title": self.title, "status": int(self.status),
            "detail": self.detail, **self.more,
        }  # fmt: skip


TYPES: Final = "urn:session-worker:problem:"
KINDS: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "bad-request",
    HTTPStatus.UNAUTHORIZED: "no-token",
    HTTPStatus.FORBIDDEN: "right-missing",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.REQUEST_TIMEOUT: "too-slow",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.GONE: "page-gone",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "wrong-media-type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid-body",
    HTTPStatus.TOO_MANY_REQUESTS: "too-many-wrong-tokens",
    HTTPStatus.INTERNAL_SERVER_ERROR: "fault",
    HTTPStatus.SERVICE_UNAVAILABLE: "server-away",
}
"""What a problem of this status is called for programs; these words never change."""


def bad(detail: str) -> Problem:
    """Make the problem of an address or a form that says something wrong: which part, and why."""
    return Problem(HTTPStatus.BAD_REQUEST, detail)


def not_found(detail: str) -> Problem:
    """Make the problem of something that is not there; say what may have become of it."""
    return Problem(HTTPStatus.NOT_FOUND, detail)


def conflict(detail: str) -> Problem:
    """Make the problem of a change that somebody else was quicker with."""
    return Problem(HTTPStatus.CONFLICT, detail)


def away(server: str, why: str) -> Problem:
    """Make the problem of a server that does not answer: `Postgres` or `RabbitMQ`."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, f"{server} is away: {why}", title=f"{server} is away", retry_after=5
    )


def not_in_time(why: str) -> Problem:
    """Make the problem of a statement that Postgres has not done in time, or that somebody has ended."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"Postgres is there, but has not done this in time: {why}. The statement has changed nothing.",
        title="Postgres has not done this in time", retry_after=5, kind="not-in-time",
    )  # fmt: skip


def lacks(right: Right) -> Problem:
    """Make the problem of somebody who lacks a right, which it names."""
    detail = f"You lack the right “{right.value}”: {GIVEN_BY[right]}. Nothing was done."
    return Problem(HTTPStatus.FORBIDDEN, detail, title="You may not do this", more={"right": right.value})
