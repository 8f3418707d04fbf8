"""Many requests at once: so many in flight, each with its result as soon as it is there."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from schemas import CreateSessionResponse
from worker.cli import exits
from worker.cli.bulk.input_lines import Document
from worker.client import Client, ClientError, Request, RequestInFlight, RequestTimedOut, SessionFailed

_STEP = math.log(1.02)


@dataclass(frozen=True)
class Result:
    """What became of one request."""

    number: int
    status: str  # completed, failed, timed_out, submitted, not_sent
    request_id: UUID | None
    seconds: float
    response: CreateSessionResponse | None = None
    code: str = ""
    error: str = ""

    def record(self) -> dict[str, Any]:
        """For programs: the response itself where there is one."""
        if self.response is not None:
            return self.response.model_dump(mode="json")
        known: dict[str, object] = {
            "request_id": self.request_id,
            "status": self.status,
            "error": self.error or None,
        }
        return {name: value for name, value in known.items() if value is not None}


@dataclass
class Tally:
    """What became of all of them, in a space that does not grow with their number."""

    outcomes: Counter[str] = field(default_factory=Counter)
    before: int = 0  # how many of them earlier runs did
    seconds: Counter[int] = field(default_factory=Counter)  # each step of it is two per cent
    began: float = field(default_factory=time.perf_counter)
    ended: float | None = None

    def add(self, result: Result) -> None:
        self.outcomes[result.code or result.status] += 1
        if result.response is not None:
            self.seconds[round(math.log(max(result.seconds, 1e-6)) / _STEP)] += 1

    @property
    def total(self) -> int:
        return self.outcomes.total()

    @property
    def rate(self) -> float:
        return (self.total - self.before) / max(1e-9, (self.ended or time.perf_counter()) - self.began)

    def quantiles(self) -> dict[str, float]:
        """Milliseconds from the call to the response, to a per cent."""
        if not self.seconds:
            return {}
        return {name: self._quantile(share) for name, share in (("p50", 0.5), ("p99", 0.99))}

    def _quantile(self, share: float) -> float:
        left = int(self.seconds.total() * share)
        for step in sorted(self.seconds):
            left -= self.seconds[step]
            if left < 0:
                break
        return round(math.exp(step * _STEP) * 1000, 1)

    def exit_code(self) -> int:
        bad = self.total - self.outcomes["completed"] - self.outcomes["submitted"]
        if not bad:
            return exits.OK
        return exits.TIMED_OUT if bad == self.outcomes["timed_out"] else exits.FAILED


async def ask(
    client: Client,
    document: Document,
    *,
    timeout: float,  # noqa: ASYNC109 — the request's own
    wait: bool,
    resumable: bool = False,
) -> Result:
    """One request and its result. Raises only what concerns every request. One that is `resumable` has no
    deadline: should nobody wait for its response any more, someone will come and ask for it again."""
    request, began = document.request, time.perf_counter()

    def result(status: str, request_id: UUID | None, **known: Any) -> Result:  # noqa: ANN401 — fields of a result
        return Result(document.number, status, request_id, time.perf_counter() - began, **known)

    if request is None:
        return result("not_sent", None, error=document.problem)
    try:
        if not wait:
            return result("submitted", await client.submit(request, timeout=timeout))
        response = await _response(client, request, timeout, resumable=resumable)
    except SessionFailed as failed:
        return result("failed", failed.request_id, response=failed.response, code=str(failed.code))
    except RequestTimedOut as late:
        return result("timed_out", late.request_id, error=str(late))
    except (ValueError, RequestInFlight) as error:
        return result("not_sent", None, error=f"cannot be sent: {error}")
    return result("completed", response.request_id, response=response)


async def _response(
    client: Client, request: Request, seconds: float, *, resumable: bool
) -> CreateSessionResponse:
    try:
        async with asyncio.timeout(seconds if resumable else None):
            return await client.create_session(
                org_id=request.org_id, payload=request.payload, user_id=request.user_id,
                request_id=request.request_id, key=request.key, metadata=request.metadata,
                timeout=None if resumable else seconds,
            )  # fmt: skip
    except TimeoutError:
        raise RequestTimedOut(request.identity(), seconds) from None


async def ask_all(
    client: Client,
    documents: AsyncGenerator[Document, None],
    report: Callable[[Result], None],
    *,
    at_once: int,
    timeout: float,  # noqa: ASYNC109 — each request's own
    wait: bool,
    resumable: bool = False,
) -> Tally:
    """Every document, `at_once` in flight: memory does not grow with their number."""
    tally = Tally()
    turn = asyncio.Lock()

    async def serve() -> None:
        while True:
            async with turn:
                document = await anext(documents, None)
            if document is None:
                return
            result = await ask(client, document, timeout=timeout, wait=wait, resumable=resumable)
            tally.add(result)
            report(result)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(serve())
    except* (ClientError, exits.CommandError, BrokenPipeError) as errors:
        first = errors.exceptions[0]
    else:
        tally.ended = time.perf_counter()
        return tally
    raise first
