"""Runs the program of standard input as where `session-worker[client]` alone is installed: nothing else that
is installed here can be imported.
"""

import re
import sys
from importlib.metadata import packages_distributions, requires

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,.-]*\])?[^;]*(?:;(.*))?")


def closure(distribution: str, extra: str = "") -> set[str]:
    """Return a distribution with all that it brings, by the names in their normal form."""
    found, ahead = set(), [(normal(distribution), extra)]
    while ahead:
        name, wanted = ahead.pop()
        if name in found:
            continue
        found.add(name)
        for line in requires(name) or ():
            match = _REQUIREMENT.match(line)
            assert match, line
            of_extra = re.search(r"extra == ['\"]([\w-]+)['\"]", match[2] or "")
            if of_extra is None or of_extra[1] == wanted:
                ahead.append((normal(match[1]), ""))
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class NotInstalled:
    """Finds nothing of what is not there."""

    def __init__(self, allowed: set[str]) -> None:
        self._denied = {
            module
            for module, distributions in packages_distributions().items()
            if not {normal(each) for each in distributions} & allowed
        }

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name.partition(".")[0] in self._denied:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    sys.meta_path.insert(0, NotInstalled(closure("session-worker", "client")))
    exec(compile(sys.stdin.read(), "README.md", "exec"))  # noqa: S102 — this is the point
