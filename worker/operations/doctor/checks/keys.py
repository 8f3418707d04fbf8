"""Looks at the keys that seal credentials: those of the live workers, else those of this environment."""

from collections.abc import Iterable

from schemas import FailureCode
from worker.messages.sealing import parse_seal_keys
from worker.operations import counts
from worker.operations.doctor.finding import CannotLook, Check, Finding, Part, Severity
from worker.operations.doctor.site import Need, Site
from worker.operations.doctor.words import count, some
from worker.operations.keys import PLACES, QUICK, Place, SealedRows, keys_of_workers, rows_by_key

_NEEDS = frozenset({Need.TABLES})
_MOST_READ = 50_000  # requests, which are read within a check's time
_HERE = "this environment"


async def _missing(site: Site) -> list[Finding]:
    """Find rows that nobody opens. Where there are few, finished requests and sessions are read, too."""
    rows = await rows_by_key(site.database, PLACES if await _are_few(site) else QUICK)
    found = []
    for place, names in (await _rings(site)).items():
        for key, needed in _by_key(row for row in rows if row.key not in names).items():
            listed = ", ".join(f"{number:,} {where}" for where, number in needed.items())
            stuck = bool(needed.keys() & {*QUICK})
            what = f"the key {key!r} is not in WORKER_SEAL_KEYS of {place}, and rows need it: {listed}"
            remedy = (
                f"put {key!r} behind the others in WORKER_SEAL_KEYS of all workers; what a lost key sealed "
                "cannot be read again: session-worker keys report"
            )
            found.append(Finding("keys-missing", Severity.ERROR if stuck else Severity.WARNING, what, remedy))
    return found


async def _unused(site: Site) -> list[Finding]:
    if not await _are_few(site):
        raise CannotLook(
            f"more than {_MOST_READ:,} requests are on record, and to read them takes long: session-worker "
            "keys report"
        )
    needed = {row.key for row in await rows_by_key(site.database)}
    found = []
    for place, names in (await _rings(site)).items():
        if idle := [name for name in names[1:] if name not in needed]:
            what = f"nothing is sealed with {', '.join(map(repr, idle))} of WORKER_SEAL_KEYS of {place}"
            remedy = "take it out, once it is in no queue and no backup that you may need"
            found.append(Finding("keys-unused", Severity.NOTE, what, remedy))
    return found


async def _none(site: Site) -> list[Finding]:
    without = [place for place, names in (await _rings(site)).items() if not names]
    kept = await counts.kept(site.database)
    refused = sum(each.number for each in kept if each.code == FailureCode.SECRETS_REFUSED)
    if not without or not refused:
        return []
    what = (
        f"WORKER_SEAL_KEYS of {some(without)} has no key, and {count(refused, 'request')} on record, with "
        "credentials, came to secrets_refused for it"
    )
    remedy = 'echo "k1:$(openssl rand -base64 32)" makes one: set it in WORKER_SEAL_KEYS of all workers'
    return [Finding("keys-none", Severity.WARNING, what, remedy)]


async def _rings(site: Site) -> dict[str, tuple[str, ...]]:
    """Return the names of the keys, by who has them: live workers that have the same stand together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for worker, names in await keys_of_workers(site.database, site.settings.lease_seconds):
        alike.setdefault(names, []).append(worker)
    if not alike:
        return {_HERE: parse_seal_keys(site.settings.seal_keys.get_secret_value()).names}
    return {some(workers): names for names, workers in alike.items()}


async def _are_few(site: Site) -> bool:
    return sum(each.number for each in await counts.kept(site.database)) <= _MOST_READ


def _by_key(rows: Iterable[SealedRows]) -> dict[str, dict[Place, int]]:
    found: dict[str, dict[Place, int]] = {}
    for row in rows:
        found.setdefault(row.key, {})[row.place] = row.rows
    return found


CHECKS: tuple[Check, ...] = (
    Check(
        "keys-missing", Part.KEYS, Severity.ERROR,
        "rows that are sealed with a key that is not set", _NEEDS, _missing,
    ),
    Check("keys-unused", Part.KEYS, Severity.NOTE, "a key that seals nothing", _NEEDS, _unused),
    Check(
        "keys-none", Part.KEYS, Severity.WARNING,
        "requests with credentials are refused, since there is no key", _NEEDS, _none,
    ),
)  # fmt: skip
