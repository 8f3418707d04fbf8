"""`handler check` finds what is wrong with a handler before a worker has it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.handlers import steer
from support.logging_kept import logging_kept

from schemas import CreateSessionRequest
from worker.cli.main import main
from worker.handlers import Context, RetryLater

OURS = "support.handlers:"
_TRIES = 10


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WORKER_HANDLER_TIMEOUT_SECONDS", "5")
    monkeypatch.setenv("WORKER_MODE", "test")
    with logging_kept():
        yield


def checked(
    capsys: pytest.CaptureFixture[str], handler: str, *options: str, blocks: bool = False
) -> tuple[int, str]:
    """Checks a handler. If it is no handler that blocks, it was the machine that held all up for a tenth of a
    second, and it is checked again.
    """
    for _ in range(_TRIES):
        code = main(["handler", "check", handler, *options])
        shown = capsys.readouterr()
        told = shown.out + shown.err
        if blocks or "it held up the event loop" not in told:
            break
    return code, told


@pytest.mark.parametrize(
    ("handler", "code", "says"),
    [
        (f"{OURS}rooms", 0, ["in the event loop, with a lifespan", '"room": "blue"', "nothing is wrong"]),
        (f"{OURS}in_a_thread", 0, ["in a thread, no lifespan", '"status": "completed"', "nothing is wrong"]),
        (f"{OURS}rejects", 0, ['"reason_code": "no_seats"', '"seats": 0', '"error": "no seats left"']),
        (f"{OURS}counts", 1, ["! the second call came to something else"]),
        (
            f"{OURS}blocks",
            1,
            ["! it held up the event loop for 0.", "support/handlers.py:", " blocks. Await"],
        ),
        (
            f"{OURS}blurts_out_secrets",
            1,
            ["! the first call failed: the handler raised RuntimeError, at supp"],
        ),
        (f"{OURS}cannot_be_opened", 1, ["failed at the start: ConnectionRefusedError", "(masked)@rooms"]),
        (f"{OURS}takes_nothing", 2, ["cannot be called with (request, context)"]),
        ("no_such_module:create", 2, ["No module named 'no_such_module'"]),
    ],
)
def test_what_is_wrong_is_said_and_is_the_exit_code(
    capsys: pytest.CaptureFixture[str], handler: str, code: int, says: list[str]
) -> None:
    found = checked(capsys, handler, blocks=handler == f"{OURS}blocks")

    assert found[0] == code, found[1]
    assert [words for words in says if words not in found[1]] == []
    assert "canary" not in found[1]


def test_a_request_of_one_s_own_and_the_answer_for_programs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def act(request: CreateSessionRequest, context: Context) -> dict[str, Any]:
        if request.payload.name == "busy":
            raise RetryLater(reason="no room is free")
        return {"name": request.payload.name, "attempt": context.attempt}

    told = []
    for name in ("Ann", "busy"):
        body = {
            "request_id": "0b9fd3a3-6f0e-4a5b-9d70-6d1c0d2c7a11",
            "org_id": "o",
            "operation": "create_session",
        }
        (tmp_path / "a.json").write_text(json.dumps({**body, "payload": {"name": name}}), "utf-8")
        code, text = checked(capsys, steer(act), "--request", str(tmp_path / "a.json"), "--json")
        assert code == 0
        told.append(json.loads(text))
    (tmp_path / "a.json").write_text('{"org_id": 7, "secret": "canary"}', "utf-8")
    wrong = checked(capsys, steer(act), "--request", str(tmp_path / "a.json"))
    missing = checked(capsys, steer(act), "--request", str(tmp_path / "b.json"))

    assert [one["calls"][1]["outcome"] for one in told] == ["completed", "put off: no room is free"]
    assert told[0]["calls"][0]["response"]["metadata"] == {"name": "Ann", "attempt": 1}
    assert (told[1]["calls"][0]["response"], told[1]["findings"]) == (None, [])
    assert (told[0]["handler"], told[0]["runs_in"], len(told[0]["build"])) == (steer(act), "event loop", 8)
    assert wrong[0] == missing[0] == 2
    assert "is no request: " in wrong[1]
    assert "canary" not in wrong[1]
    assert "b.json: No such file" in missing[1]
