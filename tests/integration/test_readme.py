"""The first requests of README.md run as they are, against a worker."""

import asyncio
import json
import os
import re
import sys

import pytest
from support.harness import NewWorker
from support.snippets import ROOT

from schemas import is_session_id
from worker.settings import Settings

README = ROOT / "README.md"
_SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_URL = '"amqp://worker:local-only@localhost:5672/%2F"'


def snippet(imported: str, settings: Settings) -> str:
    """Returns the snippet that imports this, with the URLs of the test's servers."""
    text = next(text for text in _SNIPPET.findall(README.read_text("utf-8")) if f"import {imported}" in text)
    assert _URL in text
    url = repr(settings.amqp_url.get_secret_value())
    client = f"{url}, {settings.prefix!r}" if imported == "Client" else url
    return str(text).replace(_URL, client).replace("sessions.requests", f"{settings.prefix}.requests")


async def test_the_first_request_from_python_needs_the_extra_client_alone(
    settings: Settings, new_worker: NewWorker
) -> None:
    """It is run where nothing else can be imported. `make test-packages` installs the wheel with it."""
    await new_worker()
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "tests" / "support" / "only_client.py",
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(snippet("Client", settings).encode())

    assert is_session_id(out.decode().strip()), err.decode()


async def test_the_first_request_from_any_amqp_client(
    settings: Settings, new_worker: NewWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    await new_worker()
    program = compile(snippet("pika", settings), "README.md", "exec")

    await asyncio.to_thread(exec, program, {})

    response = json.loads(capsys.readouterr().out)
    assert response["status"] == "completed"
    assert is_session_id(response["payload"]["session_id"])
