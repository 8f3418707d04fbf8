"""Sends the requests of the demonstration, and checks what comes back."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from schemas import CreateSessionResponse, is_session_id
from worker.cli.bulk.input_lines import InputLine
from worker.cli.bulk.sending import Result, send_one
from worker.client import Client, Request, Subscription

ORG = "demo"
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Seen:
    """One request of the demonstration: the outcome that was expected, and the one that came."""

    what: str
    expected: str
    got: str
    ok: bool
    seconds: float
    request_id: UUID | None
    response: CreateSessionResponse | None


Check = Callable[[CreateSessionResponse], bool]

# Each of these makes a session.
GOOD: dict[str, dict[str, Any]] = {
    "the smallest request": {},
    "a name, an hour to live": {"name": "Support chat", "expiration_seconds": 3600},
    "an assistant by its id": {"assistant_id": "asst_42"},
    "an assistant inline": {
        "assistant": {
            "name": "Guide",
            "first_message": "Hello! How can I help?",
            "model": {"provider": "openai", "model": "gpt-4o"},
        }
    },
    "camelCase": {"name": "Camel", "expirationSeconds": 600, "assistantId": "asst_42"},
    "a history of messages": {
        "messages": [
            {"role": "system", "message": "Be brief.", "time": 0, "seconds_from_start": 0},
            {
                "role": "user", "message": "Hello?", "time": 1, "end_time": 2, "seconds_from_start": 1,
            },
        ]
    },
    "a customer's number": {"customer": {"number": "+14155550100", "name": "Ada"}},
    "a case file": {"casefile_id": "cf_251013_abc123"},
    "a credential, sealed at rest": {
        "assistant": {
            "model": {"provider": "openai", "model": "gpt-4o"},
            "server": {"url": "https://example.com/hook", "headers": {"authorization": "Bearer demo"}},
        }
    },
}  # fmt: skip

# Each of these is refused, at this field.
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is too long": ({"name": "x" * 41}, "payload.name"),
    "a life that is too short": ({"expiration_seconds": 5}, "payload.expiration_seconds"),
    "a field that is not known": ({"colour": "blue"}, "payload.colour"),
    "a case file of another form": ({"casefile_id": "17"}, "payload.casefile_id"),
}


class Scenes:
    """Sends the requests one after the other and notes what came back."""

    def __init__(self, client: Client, own_queue: str, responses: Subscription) -> None:
        self._client = client
        self._own_queue = own_queue
        self._responses = responses
        self.seen: list[Seen] = []

    async def play(self) -> None:
        for what, payload in GOOD.items():
            await self._ask(what, "completed", Request(org_id=ORG, payload=payload), _has_session)
        await self._both_assistants()
        await self._repeats()
        for what, (payload, field) in BAD.items():
            bad = Request(org_id=ORG, payload=payload)
            await self._ask(what, "invalid_request", bad, partial(_names, field))
        await self._elsewhere()

    async def _both_assistants(self) -> None:
        payload = {"assistant_id": "asst_42", "assistant": {"name": "Ignored"}}
        await self._ask(
            "an assistant both ways: the id wins",
            "completed",
            Request(org_id=ORG, payload=payload),
            lambda got: "assistant" in got.metadata.get("ignored", ()),
        )

    async def _repeats(self) -> None:
        request_id = uuid4()
        request = Request(org_id=ORG, payload={"name": "Once"}, request_id=request_id)
        first = await self._ask("a request with an id", "completed", request, _has_session)
        await self._ask("the same again", "completed", request, lambda got: got == first)
        other = Request(org_id=ORG, payload={"name": "Other"}, request_id=request_id)
        await self._ask("its id with other content", "request_id_conflict", other)
        keyed = Request(org_id=ORG, payload={"name": "Order 17"}, key=f"order-17-{uuid4()}")
        order = await self._ask("a request with a key of one's own", "completed", keyed, _has_session)
        await self._ask("the same key again", "completed", keyed, lambda got: got == order)

    async def _elsewhere(self) -> None:
        """Ask for responses in a queue, and send a request that comes too late."""
        async with self._client.subscribe(self._own_queue) as own_responses:
            late = Request(
                org_id=ORG, payload={"name": "Late"}, request_id=uuid4(), reply_to=self._own_queue,
                deadline=datetime.now(UTC) - timedelta(seconds=1),
            )  # fmt: skip
            await self._note(
                "a deadline that has passed",
                "deadline_exceeded",
                late.request_id,
                self._through(late, own_responses),
            )
            own = Request(org_id=ORG, payload={"name": "Mine"}, request_id=uuid4(), reply_to=self._own_queue)
            await self._note(
                "a reply queue of one's own", "completed", own.request_id, self._through(own, own_responses)
            )
        shared = Request(org_id=ORG, payload={"name": "Ours"}, request_id=uuid4())
        await self._note(
            "no reply queue: the response queue", "completed", shared.request_id,
            self._through(shared, self._responses),
        )  # fmt: skip

    async def _through(self, request: Request, queue: Subscription) -> CreateSessionResponse | None:
        await self._client.submit(request)
        async for response in queue:
            if response.request_id == request.request_id:
                return response
        return None

    async def _ask(
        self, what: str, expected: str, request: Request, check: Check | None = None
    ) -> CreateSessionResponse | None:
        result: Result = await send_one(
            self._client, InputLine(len(self.seen) + 1, request), timeout=WAIT_SECONDS, wait=True
        )
        if result.response is None:
            self._add(what, expected, result.status, result.seconds, result.request_id, None, ok=False)
            return None
        await self._note(what, expected, result.request_id, _at_once(result.response), check, result.seconds)
        return result.response

    async def _note(
        self,
        what: str,
        expected: str,
        request_id: UUID | None,
        answer: Awaitable[CreateSessionResponse | None],
        check: Check | None = None,
        seconds: float | None = None,
    ) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                response = await answer
        except TimeoutError:
            response = None
        took = seconds if seconds is not None else time.perf_counter() - began
        got = outcome(response)
        ok = got == expected and response is not None and (check is None or check(response))
        self._add(what, expected, got, took, request_id, response, ok=ok)

    def _add(
        self, what: str, expected: str, got: str, seconds: float, request_id: UUID | None,
        response: CreateSessionResponse | None, *, ok: bool,
    ) -> None:  # fmt: skip
        self.seen.append(Seen(what, expected, got, ok, seconds, request_id, response))


def outcome(response: CreateSessionResponse | None) -> str:
    if response is None:
        return "no response"
    return "completed" if response.error is None else str(response.metadata.get("code"))


async def _at_once(response: CreateSessionResponse) -> CreateSessionResponse:
    return response


def _has_session(response: CreateSessionResponse) -> bool:
    return is_session_id(response.payload.session_id)


def _names(field: str, response: CreateSessionResponse) -> bool:
    errors: list[Mapping[str, str]] = response.metadata.get("errors", [])
    return any(error.get("field") == field for error in errors)
