"""Runs Spin on tests/model/core.pml, the second opinion on the model of the protocol."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from model.guards import FAULTS, GUARDS
from support.compiler import built_program, preprocessor
from support.debian import program

MODEL: Final = Path(__file__).parents[1] / "model" / "core.pml"
IN_THE_MIDST: Final = 3
"""So many requests mean two, of which one was accepted when the lease of its batch was taken over."""
_DEFINED = re.compile(r"^#define ([A-Z_]+) +(\d+)\b", re.MULTILINE)
_STORED = re.compile(r"^ *(\d+) states, stored", re.MULTILINE)
_BROKEN = re.compile(r"^broken: (.+?)pan:", re.MULTILINE)
_STEP = re.compile(r"^(?:\([^)]*\) )?(?:[AB]\b|r[12] |no more faults).*", re.MULTILINE)
_LIMIT_SECONDS: Final = 1800


class Visited(NamedTuple):
    states: int
    broken: str = ""
    trace: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        result = f"broken: {self.broken}" if self.broken else "every promise holds"
        return "\n".join([f"{result} ({self.states:,} states)", *self.trace])


class Verifier:
    """The verifier that Spin writes, compiled for all states, and for short ways to an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        words = [str(program("spin")), f"-P{preprocessor()}", "-a", str(MODEL)]
        subprocess.run(  # noqa: S603 — Spin
            words, cwd=folder, check=True, capture_output=True, text=True
        )
        self._deep = self._compiled("deep", "-DSAFETY")
        self._short = self._compiled("short", "-DSAFETY", "-DBFS")

    def _compiled(self, name: str, *options: str) -> Path:
        return built_program(self._folder / "pan.c", self._folder / name, *options)

    def visit(self, requests: int, most: int, faults: Iterable[str] = FAULTS) -> Visited:
        """Visit all states, with every guard."""
        return self._run(self._deep, self._given("", faults, most, requests, noted=True))

    def visit_for_circles(self, requests: int, most: int) -> Visited:
        """Visit all states, and look for ways that never end. There are none: no worker turns in a circle."""
        circling = self._compiled("circling", "-DNP")
        return self._run(circling, self._given("", FAULTS, most, requests, noted=True), "-l")

    def visit_without(self, guard: str, requests: int, most: int, faults: Iterable[str]) -> Visited:
        """Visit states without this guard, until a promise is broken."""
        return self._run(self._short, self._given(guard, faults, most, requests, noted=False))

    @staticmethod
    def _given(
        without: str, faults: Iterable[str], most: int, requests: int, *, noted: bool
    ) -> dict[str, str]:
        return {
            "WITHOUT": str([*GUARDS].index(without) + 1 if without else 0),
            "CAN": str(sum(2 << FAULTS.index(fault) for fault in faults)),
            "FAULTS": str(most),
            "REQUESTS": str(requests),
            "NOTED": str(int(noted)),
        }

    def _run(self, verifier: Path, given: dict[str, str], *options: str) -> Visited:
        def run(*words: str) -> str:
            return subprocess.run(  # noqa: S603 — what Spin has written
                [verifier, *words], cwd=self._folder, env=given, timeout=_LIMIT_SECONDS,
                capture_output=True, text=True, check=False,
            ).stdout  # fmt: skip

        told = run(*options, "-m10000", "-w22")
        stored = _STORED.search(told)
        assert stored is not None, told
        states = int(stored[1])
        if "errors: 0" in told:
            return Visited(states)
        replayed = run("-r", f"{MODEL.name}.trail")
        broken = _BROKEN.search(replayed)
        return Visited(states, broken[1] if broken else told, tuple(_STEP.findall(replayed)))


def names_in_the_model() -> list[str]:
    """Return the names of its guards and faults, in the words of guards.py."""
    text = MODEL.read_text("utf-8")
    named = [(name, int(number)) for name, number in _DEFINED.findall(text)]
    numbers = [*range(1, len(GUARDS) + 1), *range(1, len(FAULTS) + 1)]
    assert [number for _, number in named[: len(numbers)]] == numbers
    return [name.lower().replace("_", " ") for name, _ in named[: len(numbers)]]
