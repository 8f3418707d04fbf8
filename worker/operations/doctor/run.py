"""Carries out the checks: each by itself, in its own time, so that one that fails ends none of the others."""

import asyncio
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from worker.operations.doctor.checks import ALL
from worker.operations.doctor.checks.away import AWAY
from worker.operations.doctor.finding import CannotLook, Check, Finding, Severity
from worker.operations.doctor.site import AT_ONCE, SERVERS, Need, Site
from worker.postgres.database import describe

CHECK_SECONDS = 10
_IS_ON = {Need.TABLES: Need.POSTGRES, Need.MANAGEMENT: Need.BROKER}


class Unlooked(NamedTuple):
    """A check that could not be done, which says nothing about what it looks for."""

    check: str
    why: str


class Report(NamedTuple):
    """What was found, the worst first, and what could not be looked at."""

    checks: int
    findings: list[Finding]
    unlooked: list[Unlooked]
    away: bool  # a server that was to be looked at is

    def count(self, severity: Severity) -> int:
        return sum(each.severity is severity for each in self.findings)


def chosen(only: Collection[str]) -> list[Check]:
    """Return the checks of these parts and with these ids, all of them where none is named. With them goes
    what tells that something they need is not there. Raises ValueError for a name that nothing has.
    """
    known = {each.id for each in ALL} | {each.part.value for each in ALL}
    if unknown := [name for name in only if name not in known]:
        raise ValueError(f"{unknown[0]} is neither a part nor a check")
    wanted = [each for each in ALL if not only or each.id in only or each.part.value in only]
    needs = needs_of(wanted)
    return wanted + [check for need, check in AWAY.items() if need in needs and check not in wanted]


def needs_of(checks: Sequence[Check]) -> set[Need]:
    """Return what has to be opened for these checks, and what has to be there for that."""
    needs = {need for check in checks for need in check.needs}
    needs |= {need for need, check in AWAY.items() if check in checks}
    return _with_servers(needs)


def _with_servers(needs: AbstractSet[Need]) -> set[Need]:
    return {*needs, *(_IS_ON[need] for need in needs & _IS_ON.keys())}


async def run(site: Site, checks: Sequence[Check]) -> Report:
    """Carry out these checks, some of them at once."""
    turn = asyncio.Semaphore(AT_ONCE)
    unlooked: list[Unlooked] = []

    async def look(check: Check) -> list[Finding]:
        if missing := [need for need in Need if need in _with_servers(check.needs) & site.lacking.keys()]:
            why = "see pg-tables" if missing[0] is Need.TABLES else site.lacking[missing[0]]
            unlooked.append(Unlooked(check.id, f"{missing[0]}: {why}"))
            return []
        try:
            async with turn, asyncio.timeout(CHECK_SECONDS):
                return await check.look(site)
        except CannotLook as reason:
            unlooked.append(Unlooked(check.id, str(reason)))
            return []
        except Exception as error:  # noqa: BLE001 — whatever it is, the other checks go on
            unlooked.append(Unlooked(check.id, describe(error)))
            return [_failed(check, error)]

    found = [finding for each in await asyncio.gather(*map(look, checks)) for finding in each]
    away = any(need in site.lacking and need in needs_of(checks) for need in SERVERS)
    return Report(
        len(checks), sorted(found, key=lambda each: each.severity.rank),
        sorted(unlooked, key=lambda each: [check.id for check in checks].index(each.check)), away,
    )  # fmt: skip


def _failed(check: Check, error: Exception) -> Finding:
    return Finding(
        check.id, Severity.WARNING, f"could not be looked at: {describe(error)}",
        f"session-worker doctor --only {check.id}, once that is mended",
    )  # fmt: skip


def findings_as_records(report: Report) -> list[dict[str, Any]]:
    """Make a record of each finding, and of each check that could not be done."""
    found = [{**finding._asdict(), "severity": finding.severity.value} for finding in report.findings]
    return [*found, *({"check": check, "not_looked_at": why} for check, why in report.unlooked)]


def as_record(report: Report) -> dict[str, int]:
    """Say how much was found."""
    counted = {f"{each.value}s": report.count(each) for each in Severity}
    return {"checks": report.checks, "not_looked_at": len(report.unlooked), **counted}
