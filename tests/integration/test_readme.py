"""The first requests of README.md run as they are, against a worker."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.harness import NewWorker

from schemas import is_session_id
from worker.settings import Settings

README = Path(__file__).parents[2] / "README.md"
_SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_URL = '"amqp://worker:local-only@localhost:5672/%2F"'


def snippet(imported: str, settings: Settings) -> str:
    """Returns the snippet that imports this, with the URLs of the test's servers."""
    text = next(text for text in _SNIPPET.findall(README.read_text("utf-8")) if f"import {imported}" in text)
    assert _URL in text
    url = repr(settings.amqp_url.get_secret_value())
    client = f"{url}, {settings.prefix!r}" if imported == "Client" else url
    return str(text).replace(_URL, client).replace("sessions.requests", f"{settings.prefix}.requests")


async def test_the_first_request_from_python(
    settings: Settings, new_worker: NewWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    await new_worker()
    text, _, _ = snippet("Client", settings).rpartition("asyncio.run(main())")
    names: dict[str, Any] = {}
    exec(compile(text, "README.md", "exec"), names)  # noqa: S102 — this is the point

    await names["main"]()

    assert is_session_id(capsys.readouterr().out.strip())


async def test_the_first_request_from_any_amqp_client(
    settings: Settings, new_worker: NewWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    await new_worker()
    program = compile(snippet("pika", settings), "README.md", "exec")

    await asyncio.to_thread(exec, program, {})

    response = json.loads(capsys.readouterr().out)
    assert response["status"] == "completed"
    assert is_session_id(response["payload"]["session_id"])
