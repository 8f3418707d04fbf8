"""Holds the licence of every installed package that a lock file pins against the list in supply.toml."""

import re
import sys
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import cast

from judged import LOCKS, judged, pinned

_NAMES = {  # of classifiers and of free text, in words of SPDX
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}
_OPERATORS = re.compile(r"\s+(?:AND|OR)\s+|[()]")
_LONGEST = 60  # of a name; what is longer is the licence itself


def licences_of(package: Distribution) -> set[str]:
    """Return the licences of a package: those of its expression, of its classifiers, or of its text."""
    about = cast("Message", package.metadata)  # which is what it is
    if expression := about.get("License-Expression"):
        return {each for each in map(str.strip, _OPERATORS.split(expression)) if each}
    classified = {
        each.rpartition(" :: ")[2]
        for each in about.get_all("Classifier") or ()
        if each.startswith("License ::") and not each.endswith(("OSI Approved", "DFSG approved"))
    }
    told = classified or {(about.get("License") or "").strip()[:_LONGEST]}
    return {_NAMES.get(each.lower(), each) for each in told}


def wrong_ones(locks: tuple[Path, ...] = LOCKS) -> list[str]:
    """Return a sentence for each installed package whose licence is not on the list."""
    supply = judged()
    wanted = {name for lock in locks for name in pinned(lock)}
    wrong = []
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        others = licences_of(package) - supply.allowed
        if others and name in wanted and name not in supply.other_licences:
            wrong.append(
                f"{name}: its licence {', '.join(sorted(others)) or 'is not told'} is not on the list"
            )
    return sorted(wrong)


if __name__ == "__main__":
    found = wrong_ones()
    print("\n".join(found) if found else "each licence is on the list of deploy/supply.toml")
    sys.exit(bool(found))
