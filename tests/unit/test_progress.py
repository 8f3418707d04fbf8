"""Of calls that take long it is written how far they are, and of others nothing."""

from uuid import UUID

import pytest

from worker.handlers import LONGEST_TEXT, Context
from worker.steps import progress
from worker.steps.progress import News, Progress
from worker.values import Route, Work

NOTHING = News([], [])


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "monotonic", made)
    return made


def work(number: int, attempt: int = 1) -> Work:
    return Work(UUID(int=number), attempt, f"ts_{number}", Route(None, None, None))


def test_a_call_is_news_once_it_is_long_then_when_it_tells_something_and_at_its_end(clock: Clock) -> None:
    calls = Progress()

    with calls.of(work(1)) as tell:
        tell(0.1, "early")
        assert calls.news(9) == NOTHING
    assert calls.news(9) == NOTHING, "a short call leaves nothing behind"

    with calls.of(work(2)) as tell:
        clock.now += 2
        (silent,) = calls.news(9).told
        assert (silent.request_id, silent.attempt, silent.seconds) == (UUID(int=2), 1, 2.0)
        assert (silent.fraction, silent.text, silent.told_seconds) == (None, None, None)
        assert calls.news(9) == NOTHING
        tell(0.2, "first")
        tell(0.4, "warming")
        clock.now += 1
        (told,) = calls.news(9).told
        assert (told.seconds, told.fraction, told.text, told.told_seconds) == (3.0, 0.4, "warming", 1.0)
    assert calls.news(9) == News([], [(UUID(int=2), 1)])
    assert calls.news(9) == NOTHING

    with calls.of(work(3)):
        clock.now += 2
        calls.news(9)
    with calls.of(work(3, attempt=2)):
        clock.now += 2
        (again,), ended = calls.news(9)
        assert (again.attempt, ended) == (2, []), "its row takes the place of the one before"


def test_where_many_have_news_each_has_its_turn(clock: Clock) -> None:
    calls = Progress()
    tells = [calls.of(work(number)).__enter__() for number in range(3)]
    clock.now += 2

    seen = []
    for _ in range(3):
        seen.append([one.request_id.int for one in calls.news(2).told])
        for tell in tells:
            tell(0.5, "")

    assert seen == [[0, 1], [2, 0], [1, 2]]


def test_what_a_call_says_is_made_fit_to_be_shown() -> None:
    heard: list[tuple[float | None, str]] = []
    context = Context("ts_1", 1, None, on_progress=lambda fraction, text: heard.append((fraction, text)))

    for fraction in (0.25, 1, -3, 1.0000001, float("nan"), float("inf"), None):
        context.progress(fraction)
    context.progress(text="caf\udce9\0" + "x" * 1000)
    Context("ts_1", 1, None).progress(0.5, "nobody hears it")

    assert [fraction for fraction, _ in heard] == [0.25, 1.0, 0.0, 1.0, None, 1.0, None, None]
    assert heard[-1][1] == ("caf?\N{REPLACEMENT CHARACTER}" + "x" * 1000)[:LONGEST_TEXT]
