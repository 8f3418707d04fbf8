"""Spin says of the protocol what the model says: promises hold, and without a guard one is broken."""

from pathlib import Path

from model.guards import FAULTS, GUARDS
from model.removed import REMOVED
from support.spin import IN_THE_MIDST, Verifier, names_in_the_model


def test_its_guards_and_faults_are_those_of_the_model() -> None:
    assert names_in_the_model() == [*GUARDS, *FAULTS]


def test_spin_is_of_the_same_opinion(tmp_path: Path) -> None:
    spin = Verifier(tmp_path)

    for sound in (spin.visit(requests=1, most=2), spin.visit(requests=2, most=1)):
        print(sound.text)
        assert not sound.broken, sound.text
        assert sound.states > 40_000
    for guard, scope in REMOVED.items():
        requests = IN_THE_MIDST if scope.steps else scope.requests
        found = spin.visit_without(guard, requests, scope.most, scope.faults)
        print(f"without {guard!r}, {found.text}")
        assert scope.broken in found.broken, f"without {guard!r}, {found.text}"
        assert len(found.trace) <= 25
