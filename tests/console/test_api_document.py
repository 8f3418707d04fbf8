"""The document of the API tells the truth: what it allows is answered as it says, the rest is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, reject, settings
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.console import open_console, reached
from support.planted import Planted, plant
from support.sealed import put_dead_letter, ring, ring_text

from worker.console.api.call import Call
from worker.console.api.openapi import document
from worker.console.routes import ROUTES
from worker.settings import Settings

Case = schemathesis.Case[Any]
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, negative_data_rejection, missing_required_header,
]  # fmt: skip
EXAMPLES = 4  # of each call, and as many that are wrong


@pytest_asyncio.fixture
async def program(
    here: Settings, record: asyncpg.Connection, tmp_path_factory: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A program that may do everything, where there is something of each kind."""
    at = datetime.now(UTC) - timedelta(minutes=5)
    await plant(record, [Planted(at, org="org-7", code="rejected", reason="no room", payload={"name": "x"})])
    await put_dead_letter(record, b"no JSON", ring("k1"))
    folder = tmp_path_factory.mktemp("api")
    async with open_console(here, folder, seal_keys=SecretStr(ring_text("k1"))) as opened:
        yield await (await reached(opened)).bearer("anna")


# The app draws pauses meanwhile, in the thread of its loop.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
async def test_each_call_takes_and_gives_what_the_document_says(program: httpx.AsyncClient) -> None:
    loop, tried = asyncio.get_running_loop(), set()

    def send(case: Case) -> httpx.Response:
        asked: dict[str, Any] = case.as_transport_kwargs(base_url="http://console.test")
        asked["content"] = asked.pop("data", None)
        taken: dict[str, Any] = {
            name: asked.get(name) for name in ("method", "url", "params", "headers", "json", "content")
        }
        return asyncio.run_coroutine_threadsafe(program.request(**taken), loop).result(30)

    def try_out() -> None:
        whole = {**document(ROUTES), "security": []}  # the token is always sent
        for found in schemathesis.openapi.from_dict(whole).get_all_operations():
            operation: Any = found.ok()  # type: ignore[union-attr]  # the document is valid
            _try(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), send)
            if operation.definition.raw["parameters"]:
                _try(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), send)
            tried.add(operation.label)

    await asyncio.to_thread(try_out)
    assert len(tried) == sum(isinstance(row.endpoint, Call) for row in ROUTES)


def _try(strategy: Any, send: Callable[[Case], httpx.Response]) -> None:
    @settings(
        max_examples=EXAMPLES, database=None, derandomize=True, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=strategy)
    def one(case: Case) -> None:
        try:
            answer = send(case)
        except httpx.InvalidURL:
            reject()  # the client sends no address as long as that
        case.validate_response(answer, checks=CHECKS)

    one()
