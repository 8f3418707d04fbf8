"""A check that fails, takes too long or cannot be done ends none of the others, and is not told as fine."""

import asyncio
from collections.abc import Mapping

import pytest

from worker.operations.doctor.finding import Check, Finding, Look, Part, Severity
from worker.operations.doctor.run import Report, chosen, needs_of, run
from worker.operations.doctor.site import Need, Site
from worker.settings import Settings

BOTH = {Need.POSTGRES: "no route", Need.TABLES: "no route"}


def site(lacking: Mapping[Need, str]) -> Site:
    return Site(Settings(amqp_url="amqp://a/b", database_url="postgresql://a/b"), lacking)


def check(name: str, look: Look, *needs: Need) -> Check:
    return Check(name, Part.POSTGRES, Severity.ERROR, "a fault", frozenset(needs), look)


def finds(name: str, *severities: Severity) -> Check:
    async def look(_site: Site) -> list[Finding]:
        return [Finding(name, severity, "it is", "mend it") for severity in severities]

    return check(name, look)


async def _raises(_site: Site) -> list[Finding]:
    raise RuntimeError("out of order")


async def _hangs(_site: Site) -> list[Finding]:
    await asyncio.Event().wait()
    raise AssertionError


async def carried_out(*checks: Check, lacking: Mapping[Need, str] | None = None) -> Report:
    return await run(site(lacking or {}), checks)


async def test_one_that_fails_or_takes_too_long_ends_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.operations.doctor.run.CHECK_SECONDS", 0.01)
    others = [finds(f"other-{number}", Severity.NOTE) for number in range(4)]

    report = await carried_out(check("raises", _raises), check("hangs", _hangs), *others)

    assert [(each.check, each.what) for each in report.findings[:2]] == [
        ("raises", "could not be looked at: RuntimeError: out of order"),
        ("hangs", "could not be looked at: no answer in time"),
    ]
    assert {each.severity for each in report.findings[:2]} == {Severity.WARNING}
    assert [each.check for each in report.findings[2:]] == [each.id for each in others]
    assert [each.check for each in report.unlooked] == ["raises", "hangs"]
    assert not report.away


async def test_what_needs_a_server_that_is_away_is_not_told_as_fine() -> None:
    report = await carried_out(check("of-tables", _raises, Need.TABLES), finds("other"), lacking=BOTH)

    assert (report.findings, report.away) == ([], True)
    assert [tuple(each) for each in report.unlooked] == [("of-tables", "Postgres: no route")]


async def test_the_worst_comes_first() -> None:
    report = await carried_out(
        finds("a", Severity.NOTE, Severity.ERROR), finds("b", Severity.WARNING, Severity.ERROR)
    )

    assert [(each.check, each.severity.value) for each in report.findings] == [
        ("a", "error"), ("b", "error"), ("b", "warning"), ("a", "note"),
    ]  # fmt: skip


def test_parts_and_checks_are_chosen_with_what_tells_that_their_server_is_away() -> None:
    assert {each.id for each in chosen(["pg-lock"])} == {"pg-lock", "pg-away"}
    assert {each.id for each in chosen(["paused"])} == {"paused", "pg-away", "pg-tables"}
    assert {each.part for each in chosen(["requests"])} == {Part.REQUESTS, Part.POSTGRES}
    assert needs_of(chosen(["requests"])) == {Need.POSTGRES, Need.TABLES}
    assert len({each.id for each in chosen(["requests", "paused"])}) == len(chosen(["requests"]))
    with pytest.raises(ValueError, match="nothing is neither a part nor a check"):
        chosen(["pg-lock", "nothing"])
