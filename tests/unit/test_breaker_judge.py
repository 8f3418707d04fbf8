"""The handler is judged by its last calls: by how many failed, and of how many requests."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.steps.breaker import LAST_CALLS, LEAST_REQUESTS, NEVER, Judge, Opened

IDS = [UUID(int=number) for number in range(1, 101)]
ENDS = st.sampled_from(("failed", "put_off", "answered"))


def fail(judge: Judge, *request_ids: UUID) -> Opened | None:
    """Notes failures of these requests; returns what the last one came to."""
    return [judge.failed(request_id) for request_id in request_ids][-1]


def open_judge() -> Judge:
    judge = Judge(0.5)
    assert fail(judge, *IDS[:LEAST_REQUESTS]) == Opened(LEAST_REQUESTS, LEAST_REQUESTS)
    return judge


def test_it_opens_when_more_than_the_share_of_the_last_calls_failed() -> None:
    judge = Judge(0.5)
    for request_id in IDS[: 2 * LAST_CALLS]:
        assert not judge.answered(request_id)

    half = LAST_CALLS // 2
    assert fail(judge, *IDS[:half]) is None, "half is not more than half"
    assert not judge.open
    assert judge.failed(IDS[half]) == Opened(half + 1, LAST_CALLS)
    assert judge.open


def test_a_few_requests_that_fail_again_and_again_open_nothing() -> None:
    judge = Judge(0.1)
    few = IDS[: LEAST_REQUESTS - 1]

    assert fail(judge, *few * 20) is None
    assert judge.failed(IDS[50]) == Opened(LAST_CALLS, LAST_CALLS)


def test_what_asks_for_another_try_is_no_failure_and_closes_nothing() -> None:
    judge = Judge(0.5)
    for request_id in IDS[:LEAST_REQUESTS]:
        judge.put_off(request_id)
    assert fail(judge, *IDS[:LEAST_REQUESTS]) is None, "it is half of them"

    judge = open_judge()
    judge.put_off(IDS[0])
    assert judge.answered(IDS[0]), "it was open until now"


def test_after_it_has_closed_the_failures_before_it_count_for_nothing() -> None:
    judge = open_judge()
    assert fail(judge, *IDS) is None, "it is open already"
    assert judge.answered(IDS[0])

    assert fail(judge, *IDS[: LEAST_REQUESTS - 1]) is None
    assert judge.failed(IDS[LEAST_REQUESTS]) == Opened(LEAST_REQUESTS, LEAST_REQUESTS + 1)


@pytest.mark.parametrize(
    ("failed", "blamed"),
    [
        (IDS[:1], False),
        (IDS[:1] * 3, False),  # it may be the request
        (IDS[:2], True),
        ([IDS[0], IDS[1], None, IDS[0]], False),  # the other one failed before a success
    ],
)
def test_the_handler_is_to_blame_once_others_fail_too(failed: list[UUID | None], blamed: bool) -> None:
    judge = Judge(0.5)
    for request_id in failed:
        if request_id is None:
            judge.answered(IDS[9])
        else:
            judge.failed(request_id)

    assert judge.blames_handler == blamed


def test_while_it_is_open_the_handler_is_to_blame() -> None:
    assert open_judge().blames_handler


@given(st.lists(st.tuples(ENDS, st.sampled_from(IDS[:8]))), st.sampled_from((0.1, 0.5, 0.9, NEVER)))
def test_whatever_comes_it_is_open_from_too_many_failures_to_an_answer(
    calls: list[tuple[str, UUID]], share: float
) -> None:
    judge, since = Judge(share), list[tuple[str, UUID]]()
    for end, request_id in calls:
        was_open = judge.open
        opened = getattr(judge, end)(request_id)
        if was_open:
            assert judge.open == (end != "answered")
            since = [(end, request_id)] if end == "answered" else []
            continue
        since = [*since, (end, request_id)][-LAST_CALLS:]
        failed = [one for how, one in since if how == "failed"]
        too_many = len(failed) > share * len(since) and len(set(failed)) >= LEAST_REQUESTS
        assert judge.open == (end == "failed" and too_many)
        assert not judge.open or opened == Opened(len(failed), len(since))
    if share == NEVER:
        assert not judge.open
        assert not judge.blames_handler
