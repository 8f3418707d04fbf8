"""Whatever a message holds, a worker reads it soon, in little memory, and knows what to do with it."""

import random

import pytest
from fuzz import cases
from fuzz.__main__ import judged
from fuzz.corpus import corpus
from fuzz.judging import judge

CASES = 20_000
SHARES = 10


@pytest.mark.parametrize("share", range(SHARES))
def test_each_promise_is_kept_whatever_a_message_holds(share: int) -> None:
    """`python -m fuzz --case NUMBER` (`PYTHONPATH=tests`) shows the one that breaks a promise."""
    kinds = set()
    for number in range(share, CASES, SHARES):
        try:
            kinds.add(judged(number).outcome.kind)
        except Exception as error:
            raise AssertionError(f"case {number}: {error}") from error
    assert kinds == {"completed", "failed", "cancelled", "unreadable"}


KEPT = dict(corpus())


@pytest.mark.parametrize("name", KEPT)
def test_what_once_did_harm_does_none(name: str) -> None:
    for seed in range(3):
        judge(KEPT[name], random.Random(seed), memory=True)  # noqa: S311 — as above


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    assert [cases.case(number) for number in range(50)] == [cases.case(number) for number in range(50)]
