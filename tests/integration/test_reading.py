"""A worker with a handler reads large requests in another process."""

import json

import asyncpg
from structlog.testing import capture_logs
from support.handlers import steer
from support.harness import Desk, NewWorker, good_request, row_of

from schemas import CreateSessionRequest
from worker.handlers import Context, RetryLater

LARGE = "x" * 40_000


async def test_a_handler_gets_a_large_request_whole_at_each_attempt(
    new_worker: NewWorker, desk: Desk
) -> None:
    seen = []

    async def act(request: CreateSessionRequest, context: Context) -> None:
        seen.append(request)
        if context.attempt == 1:
            raise RetryLater(0, "once more")

    await new_worker(handler=steer(act))
    request = good_request() | {"metadata": {"a": LARGE}}

    assert (await desk.ask(request)).status == "completed"

    assert seen == [CreateSessionRequest.model_validate(request)] * 2


async def test_a_stored_request_that_kills_its_reader_ends_answered(
    new_worker: NewWorker, desk: Desk, db: asyncpg.Connection
) -> None:
    async def act(_request: CreateSessionRequest, _context: Context) -> None:
        raise RetryLater(0, "once more")

    await new_worker(handler=steer(act), mode="test", fail_point="while_reading:kill:KILLER")
    request = good_request()
    # As it comes it does not hold the word, as it is stored it does.
    body = json.dumps(request | {"metadata": {"a": LARGE, "b": "KILLER"}}).replace("KILLER", "\\u004bILLER")

    with capture_logs() as events:
        answer = await desk.ask(body)

    assert answer.metadata["code"] == "attempts_exhausted"
    assert "ended the process that read it" in (answer.error or "")
    assert (await row_of(db, request["request_id"]))["status"] == "failed"
    died = [one for one in events if one["event"] == "reader.died"]
    assert [(one["request_id"], one["attempt"]) for one in died] == [
        (request["request_id"], 1),
        (request["request_id"], 2),
    ]
