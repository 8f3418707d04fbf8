"""Sends many requests, some at a time in flight, and reports each result as soon as it is there."""

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
from worker.cli.bulk.input_lines import InputLine
from worker.client import Client, ClientError, Request, RequestInFlight, RequestTimedOut, SessionFailed

_STEP = math.log(1.02)


@dataclass(frozen=True)
class Result:
    """The outcome of one request."""

    number: int
    status: str  # completed, failed, timed_out, submitted, not_sent
    request_id: UUID | None
    seconds: float
    response: CreateSessionResponse | None = None
    code: str = ""
    error: str = ""

    def record(self) -> dict[str, Any]:
        """The result as JSON for programs: the response itself where there is one."""
        if self.response is not None:
            return self.response.model_dump(mode="json")
        known: dict[str, object] = {
            "request_id": self.request_id,
            "status": self.status,
            "error": self.error or None,
        }
        return {name: value for name, value in known.items() if value is not None}


@dataclass
class Totals:
    """The outcomes of all requests, counted: memory does not grow with their number."""

    outcomes: Counter[str] = field(default_factory=Counter)
    before: int = 0  # of them, those that earlier runs finished
    seconds: Counter[int] = field(default_factory=Counter)  # by logarithm: each step is two per cent longer
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
        """Milliseconds from the call to the response, precise to a per cent."""
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


async def send_one(
    client: Client,
    line: InputLine,
    *,
    timeout: float,  # noqa: ASYNC109 — the request's own
    wait: bool,
    resumable: bool = False,
) -> Result:
    """Send one request and return its result. Only an error that concerns every request is raised.

    `resumable`: the request gets no deadline, since a later run asks for it again if this one ends early.
    """
    request, began = line.request, time.perf_counter()

    def result(status: str, request_id: UUID | None, **known: Any) -> Result:  # noqa: ANN401 — fields of a result
        return Result(line.number, status, request_id, time.perf_counter() - began, **known)

    if request is None:
        return result("not_sent", None, error=line.problem)
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
                not_before=request.not_before, timeout=None if resumable else seconds,
            )  # fmt: skip
    except TimeoutError:
        raise RequestTimedOut(request.identity(), seconds) from None


async def send_all(
    client: Client,
    lines: AsyncGenerator[InputLine, None],
    report: Callable[[Result], None],
    *,
    at_once: int,
    timeout: float,  # noqa: ASYNC109 — each request's own
    wait: bool,
    resumable: bool = False,
) -> Totals:
    """Send every line, `at_once` in flight: memory does not grow with their number."""
    totals = Totals()
    turn = asyncio.Lock()

    async def send_in_turn() -> None:
        while True:
            async with turn:
                line = await anext(lines, None)
            if line is None:
                return
            result = await send_one(client, line, timeout=timeout, wait=wait, resumable=resumable)
            totals.add(result)
            report(result)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(send_in_turn())
    except* (ClientError, exits.CommandError, BrokenPipeError) as errors:
        first = errors.exceptions[0]
    else:
        totals.ended = time.perf_counter()
        return totals
    raise first
