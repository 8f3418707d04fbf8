"""Reads what has been judged of what comes from elsewhere (supply.toml), and the lock files."""

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LOCKS = tuple(sorted((ROOT / "requirements").glob("*.lock")))
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


class Judgement(NamedTuple):
    """Why a known vulnerability may stay, and until when."""

    id: str
    package: str
    why: str
    until: date


class Supply(NamedTuple):
    vulnerabilities: tuple[Judgement, ...]
    allowed: frozenset[str]
    other_licences: dict[str, str]
    without_digest: dict[str, str]


def judged(file: Path = ROOT / "deploy" / "supply.toml") -> Supply:
    told = tomllib.loads(file.read_text("utf-8"))
    return Supply(
        vulnerabilities=tuple(Judgement(**each) for each in told.get("vulnerability", ())),
        allowed=frozenset(told["licences"]["allowed"]),
        other_licences=told["licences"]["others"],
        without_digest=told["images"]["without_digest"],
    )


def passed(vulnerabilities: tuple[Judgement, ...], today: date) -> Iterator[Judgement]:
    """Yield the judgements whose day has passed."""
    return (each for each in vulnerabilities if each.until < today)


def pinned(lock: Path) -> dict[str, str]:
    """Return the packages that a lock file pins, with their versions."""
    return {name.lower(): version for name, version in _PINNED.findall(lock.read_text("utf-8"))}
