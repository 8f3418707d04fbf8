"""Uses a wheel as the project in the current folder does, which has a `worker.py` and `schemas/` of its own.

tests/unit/test_release.py runs it, with the contents of the wheel in PYTHONPATH.
"""

import asyncio
import base64
import importlib
import io
import json
import pickle
import pkgutil
import runpy
import sys
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import session_worker
from session_worker import client, handlers, schemas, testing
from session_worker.testing import TriedAgain, call, example_request

HERE = Path.cwd()
_TRIES = 10
_READING = {
    "protocol": "reading.protocol",
    "reader": "reading.reader",
    "decoding": "messages.decoding",
    "sealing": "messages.sealing",
    "envelope": "messages.envelope",
}


def everything_is_imported() -> None:
    """Nothing in the wheel imports the repository's names: they are the project's own."""
    for module in pkgutil.walk_packages(session_worker.__path__, "session_worker."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    asked = {name for name in sys.modules if name.partition(".")[0] in ("worker", "schemas")}
    assert all(HERE in Path(sys.modules[name].__file__ or "").parents for name in asked), asked
    for public, private in (
        (client, "_worker.client"),
        (handlers, "_worker.handlers"),
        (schemas, "_schemas"),
    ):
        offered = importlib.import_module(f"session_worker.{private}")
        assert {name: getattr(public, name) for name in offered.__all__} == {
            name: getattr(offered, name) for name in offered.__all__
        }
    assert testing.call.__module__ == "session_worker._worker.testing.calling"
    plugin = next(iter(entry_points(group="pytest11", name="session-worker"))).load()
    assert plugin.session_worker.__name__ == "session_worker"


async def a_handler_is_called() -> None:
    outcome = await call("rooms:create")
    assert outcome.response.metadata == {"room": f"room-{outcome.response.payload.session_id}"}
    failed = await call("rooms:create", example_request(payload={"name": "broken"}))
    assert isinstance(failed, TriedAgain)
    assert failed.failure is not None
    assert failed.failure.place == "worker.py:3 room_name", "the project's own code"


async def an_import_of_before_is_told_the_name() -> None:
    refused = importlib.import_module("session_worker._worker.errors").SettingsError
    with pytest.raises(refused, match=r"what a worker gives to handlers is in session_worker\.handlers"):
        await call("before:create")


def values_are_pickled() -> None:
    request = schemas.CreateSessionRequest.model_validate(example_request())
    assert pickle.loads(pickle.dumps(request)) == request  # noqa: S301 — its own
    assert type(pickle.loads(pickle.dumps(handlers.Rejected("no")))) is handlers.Rejected  # noqa: S301 — as above


async def another_process_reads() -> None:
    private = {
        name: importlib.import_module(f"session_worker._worker.{path}") for name, path in _READING.items()
    }
    keys = f"k1:{base64.b64encode(bytes(32)).decode()}"
    settings = private["protocol"].ReaderSettings(keys, private["decoding"].Limits(1 << 20), True, "")
    reading = private["reader"].Reader(settings, private["sealing"].parse_seal_keys(keys))
    properties = importlib.import_module("pamqp.commands").Basic.Properties()
    body = json.dumps(example_request()).encode()
    read = await reading.read(private["envelope"].Message(body, properties, None))
    assert (type(read).__name__, read.refusal) == ("Arrival", None), read
    await reading.close()


def the_command_checks_a_handler() -> None:
    """Once more if the machine has held all up for a tenth of a second: the handler does not."""
    sys.argv[1:] = ["handler", "check", "rooms:create"]
    for _ in range(_TRIES):
        said = io.StringIO()
        with redirect_stdout(said), pytest.raises(SystemExit) as ended:
            runpy.run_module("session_worker", run_name="__main__")
        if "it held up the event loop" not in said.getvalue():
            break
    print(said.getvalue())
    assert not ended.value.code, ended.value.code


everything_is_imported()
asyncio.run(a_handler_is_called())
asyncio.run(an_import_of_before_is_told_the_name())
values_are_pickled()
asyncio.run(another_process_reads())
the_command_checks_a_handler()
