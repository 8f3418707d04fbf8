"""Asks for known vulnerabilities of every package that a lock file pins: `make audit`.

Each has to be judged in supply.toml, with a day until which that holds. Exit code 1: one is not, or its day
has passed. Exit code 3: the service that knows them did not answer, so nothing is known.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from judged import LOCKS, ROOT, Judgement, judged, passed

FOUND, UNKNOWN = 1, 3


class Vulnerability(NamedTuple):
    package: str
    version: str
    ids: tuple[str, ...]  # its own first, then others of the same
    mended_in: str


class UnknownError(Exception):
    """The service did not answer for a lock file; the text says what it said."""


def audit(lock: Path) -> list[Vulnerability]:
    """Return the known vulnerabilities of what a lock file pins."""
    command = (sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--disable-pip",
               "--require-hashes", f"--requirement={lock}")  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — the command of this file
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        raise UnknownError((done.stderr.strip().splitlines() or ["no word"])[-1]) from None
    return found_in(packages)


def found_in(packages: Sequence[dict[str, Any]]) -> list[Vulnerability]:
    """Read what pip-audit tells. Raises UnknownError where it could not find out about a package."""
    if skipped := [each for each in packages if "skip_reason" in each]:
        first = skipped[0]
        raise UnknownError(
            f"{len(skipped)} packages were not looked up; {first['name']}: {first['skip_reason']}"
        )
    return [
        Vulnerability(
            each["name"],
            each["version"],
            (each_one["id"], *each_one["aliases"]),
            ", ".join(each_one["fix_versions"]),
        )
        for each in packages
        for each_one in each["vulns"]
    ]


def not_judged(found: Sequence[Vulnerability], judgements: Sequence[Judgement]) -> list[Vulnerability]:
    """Return those that nobody has judged."""
    known = {(each.package.lower(), each.id) for each in judgements}
    return [each for each in found if not any((each.package.lower(), one) in known for one in each.ids)]


def main() -> int:
    supply, code = judged(), 0
    for each in passed(supply.vulnerabilities, datetime.now(UTC).date()):
        print(
            f"{each.package}: {each.id} was judged until {each.until}: judge it anew, or pin another version"
        )
        code = FOUND
    for lock in LOCKS:
        name = lock.relative_to(ROOT)
        try:
            found = audit(lock)
        except UnknownError as error:
            print(
                f"{name}: not audited, since the service that knows vulnerabilities gave no answer: {error}"
            )
            code = code or UNKNOWN
            continue
        wrong = not_judged(found, supply.vulnerabilities)
        for one in wrong:
            mended = f"mended in {one.mended_in}" if one.mended_in else "not mended yet"
            what = f"{name}: {one.package} {one.version}: {one.ids[0]}, {mended}"
            print(f"{what}: pin that, or judge it in supply.toml")
        print(f"{name}: {len(found)} known vulnerabilities, {len(wrong)} of them not judged")
        code = FOUND if wrong else code
    return code


if __name__ == "__main__":
    sys.exit(main())
