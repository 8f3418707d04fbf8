"""A worker logs how it treats requests: its handler and settings."""

import re
from importlib.metadata import version

import pytest
from structlog.testing import capture_logs
from support.handlers import PATH, harmless, steer
from support.harness import Desk, NewWorker, good_request, told

from worker.monitoring import log
from worker.monitoring.profile import Profile, build_of, differences
from worker.postgres.installation import database_of
from worker.services import minute
from worker.settings import Settings


@pytest.fixture(autouse=True)
def _talkative(settings: Settings) -> None:
    log.configure(settings.model_copy(update={"log_level": "info"}))


async def test_what_a_worker_is_stands_in_its_first_line_and_what_it_does_in_one_a_minute(
    new_worker: NewWorker, desk: Desk, prefix: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minute, "INTERVAL_SECONDS", 0.01)
    with capture_logs() as events:
        await new_worker(handler=steer(harmless))  # else it does what a test before had it do
        await new_worker()
        assert (await desk.ask(good_request())).status == "completed"
        await told(events, "worker.minute", 1)

    started = [event for event in events if event["event"] == "worker.starting"]
    shown = [(one["prefix"], one["handler"], bool(one["handler_build"])) for one in started]
    assert shown == [(prefix, PATH, True), (prefix, "built-in", False)]
    assert started[0]["settings_digest"] == started[1]["settings_digest"]
    assert f"@{started[0]['database']}" in settings.database_url.get_secret_value()
    assert database_of("postgresql://u:12/conspicuous@h/db") is None, "that may be a part of a password"
    (done,) = [event for event in events if event["event"] == "request.completed"]
    assert done["path"] == "direct"
    assert done["took_ms"] >= 0 <= done["waited_ms"]


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
