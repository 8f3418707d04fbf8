"""The log has one event a line, nothing of a payload, and little from the libraries."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from support.logging_kept import logging_kept

from worker.monitoring import log
from worker.monitoring.tracing import Tracing, in_use
from worker.settings import Settings

CANARY = "canary-in-a-local-variable"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    with logging_kept():
        yield


class Written:
    """Returns what the test has written to stderr so far."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self._text = ""

    @property
    def text(self) -> str:
        self._text += self._capture.readouterr().err
        return self._text


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Written:
    return Written(capsys)


def made(**changes: Any) -> Settings:
    return Settings(amqp_url="amqp://h/", database_url="postgresql://h/x", **changes)


def test_an_event_is_one_json_line_with_what_is_bound(written: Written) -> None:
    log.configure(made(log_format="json"), process=3)

    structlog.get_logger("worker.x").info("request.completed", request_id="r-1", attempt=2, note="a\nb")

    assert written.text.count("\n") == 1
    event = json.loads(written.text)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "request.completed",
        "level": "info",
        "process": 3,
        "request_id": "r-1",
        "attempt": 2,
        "note": "a\nb",
    }


class Traced(Tracing):
    """Has a trace for one request."""

    def trace_id_of(self, event: structlog.typing.EventDict) -> str | None:
        return "trace-1" if event.get("request_id") == "r-1" else None


@pytest.fixture
def traced() -> Iterator[None]:
    before = in_use.set(Traced())
    yield
    in_use.reset(before)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("otlp_endpoint", ["", "http://collector:4318"])
def test_events_that_are_logged_together_are_those_that_are_logged_one_by_one(
    written: Written, log_format: str, otlp_endpoint: str
) -> None:
    log.configure(made(log_format=log_format, log_level="info", otlp_endpoint=otlp_endpoint), process=3)
    logger = structlog.get_logger("worker.x")
    events = [{"event": "request.completed", "request_id": f"r-{n}", "note": "ü\n", "n": n} for n in range(3)]

    for event in events:
        logger.info(**event)
    log.info_each(logger, events)
    log.info_each(logger, [])
    log.configure(made(log_format=log_format, log_level="warning"))
    log.info_each(structlog.get_logger("worker.x"), events)

    lines = [re.sub(r"20[0-9T:.-]+Z", "", line) for line in written.text.splitlines()]
    parsed = [json.loads(line) for line in lines] if log_format == "json" else lines
    assert len(lines) == 6
    assert parsed[:3] == parsed[3:]
    assert written.text.count("trace-1") == (2 if otlp_endpoint else 0)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_less_severe_than_the_level_is_not_logged(
    written: Written, level: str, shown: list[str]
) -> None:
    log.configure(made(log_level=level, log_format="json"))
    logger = structlog.get_logger("worker.x")

    for method in ("debug", "info", "warning", "error"):
        getattr(logger, method)(method)

    assert [json.loads(line)["event"] for line in written.text.splitlines()] == shown


def test_away_from_a_terminal_it_is_json(written: Written) -> None:
    log.configure(made())

    structlog.get_logger("worker.x").warning("request.retry")

    assert json.loads(written.text)["event"] == "request.retry"


def fail(what: str = "what happened") -> None:
    secret = CANARY
    if secret:
        raise ValueError(what)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_what_happened_and_no_variables(written: Written, log_format: str) -> None:
    log.configure(made(log_level="debug", log_format=log_format))

    try:
        fail()
    except ValueError:
        structlog.get_logger("worker.x").exception("batch.failed")

    assert "what happened" in written.text
    assert "in fail" in written.text
    assert CANARY not in written.text.replace("\n", "")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_client_libraries_do_not_print_frames_at_debug_level(written: Written, log_format: str) -> None:
    log.configure(made(log_level="debug", log_format=log_format))

    for name in ("aiormq.connection", "aio_pika.channel", "aiormq"):
        logging.getLogger(name).debug("Received frame %r", CANARY)
        logging.getLogger(name).warning("Received frame %r", CANARY)
        logging.getLogger(name).error("Received frame %r", CANARY)
    logging.getLogger("asyncio").warning("Executing %s took long", CANARY)
    logging.getLogger("asyncpg").info("Query %s", CANARY)

    assert written.text == ""
    structlog.get_logger("worker.x").debug("request.accepted")
    assert "request.accepted" in written.text


def test_another_library_s_warning_comes_in_the_same_form(written: Written) -> None:
    log.configure(made(log_format="json"))

    logging.getLogger("some.library").warning("mind %s", "this")

    event = json.loads(written.text)
    assert (event["event"], event["level"], event["logger"]) == ("mind this", "warning", "some.library")


OBEYED = "x\x1b[2J\x1b]0;gone\x07\u202e\x9b"


def test_a_terminal_obeys_nobody_s_words(written: Written) -> None:
    log.configure(made(log_format="console"))

    structlog.get_logger("worker.x").warning(
        "response.unroutable", queue=OBEYED, both=f"a b {OBEYED}", n=[OBEYED]
    )
    logging.getLogger("some.library").warning("mind %s", OBEYED)
    try:
        fail(OBEYED)
    except ValueError:
        structlog.get_logger("worker.x").exception("batch.failed")

    assert [each for each in written.text if not each.isprintable() and each != "\n"] == []
    assert "queue='x\\x1b[2J\\x1b]0;gone\\x07\\u202e\\x9b'" in written.text, "it is still told"
    assert written.text.count("\\x1b[2J") == 5
