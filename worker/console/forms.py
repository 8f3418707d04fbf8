"""Reads the form of a POST: urlencoded, small, and soon."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from worker.console.problems import Problem, bad

MOST_BYTES = 2 << 20  # an edited dead letter is the largest
MOST_FIELDS = 1_000
LONGEST_REASON = 500
_SECONDS = 10


async def form_of(request: Request) -> Mapping[str, str]:
    """Return the fields of the form; of several with one name the last counts. It may be called again."""
    known: Mapping[str, str] | None = getattr(request.state, "form", None)
    if known is None:
        known = request.state.form = _fields(request, await body_of(request))
    return known


async def body_of(request: Request, most: int = MOST_BYTES) -> bytes:
    """Read the body, within bounds of size and time."""
    body = bytearray()
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise Problem(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"It is longer than {most:,} bytes. Nothing was done.",
                    )
    except TimeoutError:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "It did not arrive in time. Nothing was done.") from None
    except ClientDisconnect:
        raise bad("It was broken off. Nothing was done.") from None
    return bytes(body)


def reason_of(form: Mapping[str, str]) -> str:
    """Return the reason that every change needs; raise a problem where there is none."""
    reason = form.get("reason", "").strip()
    if not reason:
        raise bad("A reason is required: the audit keeps it. Nothing was done.")
    if len(reason) > LONGEST_REASON:
        raise bad(f"The reason has more than {LONGEST_REASON} characters. Nothing was done.")
    return reason


def _fields(request: Request, body: bytes) -> Mapping[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/x-www-form-urlencoded":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "A form is application/x-www-form-urlencoded. Nothing was done.",
        )
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise bad("The form cannot be read. Nothing was done.") from None
    return {name: value.replace("\r\n", "\n") for name, value in pairs}
