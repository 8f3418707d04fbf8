"""An error's type and place are kept, and never a word of its text."""

import asyncio
import json
import sys
from typing import Any

import pytest
from support.handlers import blurts_out_secrets

from schemas import CreateSessionRequest
from worker.handlers import Context, RetryLater
from worker.steps import failure
from worker.values import Failure

REQUEST = CreateSessionRequest.model_validate(
    {"request_id": "6f1f6a52-8f0a-4c6c-9f4a-0d6a7f2b1c3d", "org_id": "o", "operation": "create_session",
     "payload": {"name": "canary"}}
)  # fmt: skip
CONTEXT = Context("ts_1", 1, None)


async def in_a_library(_request: Any, _context: Any) -> None:
    json.loads('{"canary": ')


class Calls:
    async def __call__(self, _request: Any, _context: Any) -> None:
        self.helper()

    def helper(self) -> None:
        raise KeyError("canary")


async def error_of(handler: Any) -> BaseException:
    try:
        await handler(REQUEST, CONTEXT)
    except BaseException as error:  # noqa: BLE001 — whatever it is
        return error
    raise AssertionError("it raises")


async def test_the_place_is_the_handler_s_innermost_frame_and_not_a_library_s() -> None:
    found = failure.raised(await error_of(in_a_library), in_a_library)

    line = in_a_library.__code__.co_firstlineno + 1
    assert found == Failure(
        kind="raised",
        reason="the handler raised JSONDecodeError",
        error_type="JSONDecodeError",
        place=f"{_shown()}:{line} in_a_library",
    )


async def test_a_method_is_told_with_its_class() -> None:
    found = failure.raised(await error_of(Calls()), Calls())

    assert found.place == f"{_shown()}:{Calls.helper.__code__.co_firstlineno + 1} Calls.helper"


async def test_a_handler_in_another_module_is_told_by_its_file() -> None:
    found = failure.raised(await error_of(blurts_out_secrets), blurts_out_secrets)

    assert found.place is not None
    assert found.place.startswith("support/handlers.py:")
    assert found.place.endswith(" blurts_out_secrets")
    assert "canary" not in repr(found)


async def test_a_time_out_is_told_with_the_place_where_the_call_was() -> None:
    async def slow() -> None:
        await asyncio.Event().wait()

    error: BaseException | None = None
    try:
        async with asyncio.timeout(0):
            await slow()
    except TimeoutError as raised:
        error = raised
    assert error is not None

    found = failure.timed_out(error, in_a_library, 0.5)

    assert (found.kind, found.reason) == ("timeout", "the handler took longer than 0.5 s")
    assert found.place is not None
    assert found.place.endswith("slow")


def test_a_time_out_of_a_thread_is_told_with_the_place_where_the_thread_is() -> None:
    found = failure.timed_out(TimeoutError(), in_a_library, 2, thread=sys._getframe())

    assert found.reason == "the handler took longer than 2 s"
    assert found.place is not None
    assert found.place.endswith("test_a_time_out_of_a_thread_is_told_with_the_place_where_the_thread_is")


@pytest.mark.parametrize("reason", ["x" * 10_000, "no\0thing", "half \udce9"])
def test_whatever_an_author_says_fits_the_record(reason: str) -> None:
    found = failure.put_off(RetryLater(1, reason), RetryLater(1, reason).reason, in_a_library)

    assert len(found.reason) <= 500
    assert "\0" not in found.reason
    found.reason.encode()


def test_an_error_that_did_not_come_out_of_the_handler_has_no_place() -> None:
    assert failure.raised(KeyError("canary"), in_a_library).place is None


def _shown() -> str:
    return f"{__name__.replace('.', '/')}.py"
