"""Has the doctor look at an installation, for tests that plant what it should find."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from worker.operations.doctor.checks import ALL
from worker.operations.doctor.finding import Finding
from worker.operations.doctor.run import Report, run
from worker.operations.doctor.site import Need, Site, visit
from worker.settings import Settings


@asynccontextmanager
async def visited(settings: Settings, *needs: Need, management_url: str | None = None) -> AsyncIterator[Site]:
    """Opens what the checks need, and asserts that it is there."""
    async with visit(settings, needs, 10, management_url) as site:
        assert not site.lacking.keys() & set(needs)
        yield site


async def planted(site: Site, *ids: str) -> dict[str, list[Finding]]:
    """Returns what these checks find, and asserts that each finds something, and nothing worse than it says.

    Each id of a check stands in such a call, as `test_doctor.py` asserts: the fault was planted.
    """
    report = await examined(site, *ids)
    assert not report.unlooked, report.unlooked
    found = {name: [each for each in report.findings if each.check == name] for name in ids}
    assert [name for name, findings in found.items() if not findings] == []
    worst = {check.id: check.worst for check in ALL}
    assert [each for each in report.findings if each.severity.rank < worst[each.check].rank] == []
    return found


async def examined(site: Site, *ids: str) -> Report:
    """Returns the report of these checks alone."""
    checks = [check for check in ALL if check.id in ids]
    assert len(checks) == len(ids), f"no such check: {set(ids) - {check.id for check in checks}}"
    return await run(site, checks)
