"""A worker logs how it treats requests: its handler and settings."""

import re
from importlib.metadata import version

import pytest
from structlog.testing import capture_logs
from support.handlers import PATH
from support.harness import NewWorker

from worker.monitoring import log
from worker.monitoring.profile import Profile, build_of, differences
from worker.settings import Settings


@pytest.fixture(autouse=True)
def _talkative(settings: Settings) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))


async def test_what_a_worker_is_stands_in_its_first_line(new_worker: NewWorker, prefix: str) -> None:
    with capture_logs() as events:
        await new_worker(handler=PATH)
        await new_worker()

    started = [event for event in events if event["event"] == "worker.starting"]
    shown = [(one["prefix"], one["handler"], bool(one["handler_build"])) for one in started]
    assert shown == [(prefix, PATH, True), (prefix, "built-in", False)]


def test_a_build_is_what_the_setting_says_or_is_made_of_package_and_file() -> None:
    assert build_of(PATH, "3f2c1aa") == "3f2c1aa"
    assert re.fullmatch("[0-9a-f]{8}", build_of(PATH, "") or "")
    assert re.fullmatch(
        re.escape(version("structlog")) + r"\+[0-9a-f]{8}", build_of("structlog.dev:x", "") or ""
    )
    assert build_of("", "3f2c1aa") is None


def test_another_file_under_the_same_name_is_a_difference() -> None:
    mine = Profile("rooms:create", "3f2c1aaa", {"max_attempts": 5})

    assert differences(mine, mine) == {}
    assert differences(mine, mine._replace(handler_build="77777777")) == {
        "handler_build": ("3f2c1aaa", "77777777")
    }
    assert differences(mine, mine._replace(settings={"max_attempts": 5, "new": 1})) == {}
