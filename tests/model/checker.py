"""Visits every state that steps lead to, breadth first, and says how a broken promise comes about."""

import gc
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from model.draft import Entry
from model.promised import PROMISED, check
from model.protocol import Protocol
from model.states import Broken, State, canonical


class Edge(NamedTuple):
    """A step between two states of the graph, by their numbers."""

    before: int
    after: int
    entries: tuple[Entry, ...]


class Found(NamedTuple):
    """What there is to say of all states that were visited."""

    states: int
    steps: int
    depth: int  # of the state that is farthest from the beginning
    broken: str = ""
    trace: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        size = f"{self.states:,} states, {self.steps:,} steps, depth {self.depth}"
        if not self.broken:
            return f"every promise holds: {size}"
        lines = [f"{number:3} {name}" for number, name in enumerate(self.trace, 1)]
        return "\n".join([f"broken: {self.broken} ({size})", *lines])


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Spare the search for garbage: nothing that was visited is let go."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@_without_collecting()
def explore(protocol: Protocol, first: State, told: Callable[[Edge], None] | None = None) -> Found:
    """Visit all states. Stops at the first broken promise; at last looks for states that no way leads on from
    to where all is answered, without a fault. `told`: is called with each step that leads anywhere.
    """
    numbers: dict[State, int] = {canonical(first): 0}
    states, came_from, depths = [canonical(first)], array("i", [-1]), array("i", [0])
    backward: list[array[int]] = [array("i")]  # of each state, those that lead there without a fault
    steps, at = 0, 0

    def found(broken: str = "", trace: tuple[str, ...] = ()) -> Found:
        return Found(len(states), steps, depths[-1], broken, trace)

    while at < len(states):
        try:
            for step in protocol.steps(states[at]):
                steps += 1
                after = canonical(step.after)
                number = numbers.setdefault(after, len(states))
                if number == len(states):
                    states.append(after)
                    came_from.append(at)
                    depths.append(depths[at] + 1)
                    backward.append(array("i"))
                    check(after)
                if not step.fault:
                    backward[number].append(at)
                if told:
                    told(Edge(at, number, step.entries))
        except Broken as broken:
            way = _way(came_from, states, at)
            return found(str(broken), (*_names(protocol, first, way), *_last(protocol, first, way)))
        at += 1
    for wrong, is_well in PROMISED.items():
        lost = _first_lost(states, backward, is_well)
        if lost is not None:
            way = _way(came_from, states, lost)
            return found(wrong, (*_names(protocol, first, way), "... and nothing that follows mends it"))
    return found()


def _first_lost(
    states: list[State], backward: list["array[int]"], is_well: Callable[[State], bool]
) -> int | None:
    """Return the first state from which nothing leads to where all is well."""
    fine = bytearray(len(states))
    ahead = deque(number for number, state in enumerate(states) if is_well(state))
    for number in ahead:
        fine[number] = 1
    while ahead:
        for number in backward[ahead.popleft()]:
            if not fine[number]:
                fine[number] = 1
                ahead.append(number)
    lost = fine.find(0)
    return None if lost < 0 else lost


def _way(came_from: "array[int]", states: list[State], number: int) -> list[State]:
    way: list[State] = []
    while number > 0:
        way.append(states[number])
        number = came_from[number]
    return way[::-1]


def _walk(protocol: Protocol, first: State, way: list[State]) -> tuple[list[str], State]:
    """Go this way once more, with workers and requests that keep their names."""
    here, names = first, []
    for wanted in way:
        step = next(step for step in protocol.steps(here) if canonical(step.after) == wanted)
        names.append(step.name)
        here = step.after
    return names, here


def _names(protocol: Protocol, first: State, way: list[State]) -> list[str]:
    return _walk(protocol, first, way)[0]


def _last(protocol: Protocol, first: State, way: list[State]) -> list[str]:
    """Say which step breaks the promise at the end of this way."""
    _, here = _walk(protocol, first, way)
    try:
        for step in protocol.steps(here):
            name = step.name
            check(canonical(step.after))
    except Broken as broken:
        return [f"then: {broken}"]
    return [name]
