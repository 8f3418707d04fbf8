"""The model keeps every promise, in any order of its steps, and breaks one without any of its guards."""

import pytest
from model.checker import explore
from model.guards import FAULTS, GUARDS
from model.histories import words_of_the_law, words_of_the_model
from model.protocol import Protocol
from model.removed import REMOVED, explore_without
from model.states import beginning

from worker import law


def test_two_workers_with_two_requests_keep_every_promise_whatever_fault_there_is() -> None:
    found = explore(Protocol(FAULTS), beginning(requests=2, workers=2, faults=1))

    print(found.text)
    assert not found.broken, found.text
    assert found.states > 5_000


def test_each_guard_has_a_scope() -> None:
    assert REMOVED.keys() == GUARDS.keys()


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_a_promise_is_broken(guard: str) -> None:
    found = explore_without(guard)

    print(f"without {guard!r} ({GUARDS[guard]}), {found.text}")
    assert REMOVED[guard].broken in found.broken, found.text
    assert len(found.trace) <= 25, "somebody can read it"
    if REMOVED[guard].most > 2:  # the others are part of what is visited below
        sound = explore_without(guard, guarded=True)
        assert not sound.broken, sound.text


def test_with_one_request_and_two_faults_they_do_so_and_its_histories_are_those_of_the_law() -> None:
    words, found = words_of_the_model(faults=2)

    print(found.text)
    assert not found.broken, found.text
    assert found.states > 10_000
    assert words == {word for word in words if law.is_history(word)}, "and no other, however long"
    assert {word for word in words if len(word) <= 3} == words_of_the_law(longest=3)
    assert max(map(len, words)) == 5, "some have two attempts more"
