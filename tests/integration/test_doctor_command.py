"""`session-worker doctor` says what is wrong, to people and to programs, and which server is away."""

import json
from typing import Any

import pytest
from support.databases import with_database

from worker.cli import event_loop
from worker.cli.main import main
from worker.operations import steering
from worker.operations.doctor.site import Need, visit
from worker.postgres.migrate import settle
from worker.settings import Settings

HOSTILE = "\x1b[31m<b>o'7</b>" + "x" * 100


@pytest.fixture
def environ(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AMQP_URL", settings.amqp_url.get_secret_value())
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("WORKER_PREFIX", settings.prefix)
    monkeypatch.setenv("WORKER_MODE", "test")  # else loggers keep the level of this one
    monkeypatch.delenv("MANAGEMENT_URL", raising=False)
    return monkeypatch


async def pause(settings: Settings, org: str) -> None:
    """Pauses an organisation of this prefix, to which the tables belong from now on."""
    await settle(settings.database_url.get_secret_value(), None, settings.prefix)
    async with visit(settings, {Need.TABLES}, 10) as site:
        await steering.pause(site.database, "org", org, reason="too many", by="ann@ops")


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_what_it_says_and_its_exit_codes(
    settings: Settings, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ.delenv("AMQP_URL")  # which these need not
    well = main(["doctor", "--only", "retries-overdue,paused"])
    said = capsys.readouterr().out
    event_loop.run(pause(settings, HOSTILE))
    noted = main(["doctor", "--only", "paused"])
    told = capsys.readouterr().out
    as_json = main(["doctor", "--only", "requests", "--json"])
    *found, summary = records(capsys.readouterr().out)
    environ.setenv("WORKER_PREFIX", "other")
    wrong = main(["doctor", "--only", "paused"])
    explained = capsys.readouterr().out

    assert (well, said) == (0, "4 checks, nothing wrong\n")
    assert (noted, as_json, wrong) == (0, 0, 1)
    assert told.startswith("NOTE     paused: the organisation ")
    assert "\x1b" not in told
    assert "         → session-worker resume --org " in told
    assert told.endswith("\n3 checks, 1 note\n")
    (paused,) = found
    assert set(paused) == {"check", "severity", "what", "remedy"}
    assert (paused["check"], paused["severity"]) == ("paused", "note")
    assert summary == {"checks": 14, "not_looked_at": 0, "errors": 0, "warnings": 0, "notes": 1}
    assert explained.startswith("ERROR    pg-tables: ")
    assert "not looked at: paused (the tables: see pg-tables)\n" in explained
    assert explained.endswith("\n3 checks, 1 error, 1 could not be looked at\n")


def test_it_says_which_server_is_away(
    environ: pytest.MonkeyPatch, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    url = with_database(settings.database_url.get_secret_value(), "nowhere")
    environ.setenv("DATABASE_URL", url)
    code = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    as_json = main(["doctor", "--only", "paused", "--json"])
    found = records(capsys.readouterr().out)
    environ.setenv("AMQP_URL", "amqp://nobody:nothing@127.0.0.1:1/x")
    broker = main(["doctor", "--only", "broker-away"])
    of_broker = capsys.readouterr().out

    assert (code, as_json) == (3, 3)
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("ERROR    pg-away: Postgres cannot be reached: ")
    assert any(line.startswith("not looked at: pg-tables, pg-lock, ") for line in lines)
    assert [each["check"] for each in found[:-1]] == ["pg-away", "paused", "pg-tables"]
    assert found[1]["not_looked_at"] == f"Postgres: {found[0]['what'].partition('reached: ')[2]}"
    assert found[-1]["errors"] == 1
    assert (broker, of_broker.startswith("ERROR    broker-away: RabbitMQ cannot be reached: ")) == (3, True)


def test_a_name_that_nothing_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--only", "postgres,nothing"]) == 2
    assert "--only: nothing is neither a part nor a check" in capsys.readouterr().err
