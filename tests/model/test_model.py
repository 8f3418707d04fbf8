"""The model keeps every promise, whatever the order of its steps, and breaks one without any of its guards."""

import pytest
from model.checker import explore
from model.protocol import FAULTS, GUARDS, Protocol
from model.removed import REMOVED, explore_without
from model.states import beginning


@pytest.mark.parametrize(("requests", "faults"), [(1, 2), (2, 1)])
def test_two_workers_keep_every_promise_whatever_happens(requests: int, faults: int) -> None:
    found = explore(Protocol(FAULTS), beginning(requests, 2, faults))

    print(f"{requests} requests, 2 workers, {faults} faults: {found.text}")
    assert not found.broken, found.text
    assert found.states > 5_000


def test_each_guard_has_a_scope() -> None:
    assert REMOVED.keys() == GUARDS.keys()


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_a_promise_is_broken(guard: str) -> None:
    found = explore_without(guard)
    sound = explore_without(guard, guarded=True)

    print(f"without {guard!r} ({GUARDS[guard]}), {found.text}")
    assert REMOVED[guard].broken in found.broken, found.text
    assert len(found.trace) <= 25, "somebody can read it"
    assert not sound.broken, sound.text
