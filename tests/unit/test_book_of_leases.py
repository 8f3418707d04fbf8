"""The book of a worker's leases, which it keeps in memory between two statements."""

from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, cast
from uuid import UUID

import pytest

from worker.monitoring.profile import Profile
from worker.postgres import leases as leases_module
from worker.postgres.leases import Leases, Notes
from worker.postgres.put_off import PutOffLine
from worker.postgres.waiting_answers import Unanswered, Undelivered, WaitingAnswers
from worker.postgres.waiting_line import WaitingLine
from worker.values import Failure, Receipt

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def book() -> Leases:
    """Returns leases that ask no database: nothing here is a statement."""
    return Leases(cast("Any", None), UUID(int=9), 30)


def handed(leases: Leases, *released: int) -> Notes:
    """Hands all notes to a statement that finds these leases to be the worker's."""
    with leases._all_notes() as notes:
        notes.released.update(released)
    return notes


def left_over(leases: Leases) -> list[object]:
    return [one for one in (leases._busy_with, leases._leaving, leases._begun) if one]


def test_each_lease_has_a_number_of_its_own() -> None:
    leases = book()

    assert len({leases.new() for _ in range(9)}) == 9


def test_what_was_published_under_a_lease_goes_with_the_note_that_it_is_done_and_nothing_is_left() -> None:
    leases = book()
    with leases.take() as lease:
        leases.note_published([ONE], lease)
        leases.note_published([TWO], lease)
        assert handed(leases) == Notes.none(), "it is not done"

    assert handed(leases, lease) == Notes([], [], {lease: [ONE, TWO]}, {lease})
    assert handed(leases) == Notes.none()
    assert left_over(leases) == []


def test_what_was_published_under_a_lease_that_others_have_by_now_is_noted_by_itself() -> None:
    leases = book()
    with leases.take() as lost, leases.take() as own:
        leases.note_published([TWO], lost)
        leases.note_published([ONE], own)
    handed(leases, own)

    assert handed(leases) == Notes([TWO], [], {}, set())
    assert left_over(leases) == []


def test_a_lease_that_was_another_s_is_done_by_its_number_and_what_is_published_under_it_by_itself() -> None:
    leases = book()
    leases._busy_with.add(77)
    with leases.holding(77):
        leases.note_published([TWO, ONE], 77)

    assert handed(leases) == Notes([ONE, TWO], [77], {}, set())
    assert left_over(leases) == []


def test_a_lease_whose_work_fails_is_not_done_and_what_was_published_is_noted_by_itself() -> None:
    leases = book()

    def work() -> None:
        with leases.take() as lease:
            leases.note_published([ONE], lease)
            raise ValueError("it fails")

    with pytest.raises(ValueError, match="it fails"):
        work()

    assert handed(leases) == Notes([ONE], [], {}, set())
    assert left_over(leases) == []


def test_the_notes_of_a_statement_that_fails_go_with_the_next_one() -> None:
    leases = book()
    leases.note_published([ONE])
    leases.done(77)
    with leases.take() as lease:
        leases.note_published([TWO], lease)

    def statement() -> None:
        with leases._all_notes():
            leases.note_published([THREE])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        statement()

    assert leases._leaving == {77, lease}, "they may still be on record"
    assert handed(leases, lease) == Notes([ONE, THREE], [77], {lease: [TWO]}, {lease})
    assert left_over(leases) == []


def test_a_batch_takes_along_which_batches_are_done_and_leaves_the_rest_to_the_notes() -> None:
    """A lease that was another's tells of the responses under it until they are noted, in one statement."""
    leases = book()
    leases.note_published([ONE])
    leases.done(77)
    with leases.take() as lost, leases.take() as own:
        leases.note_published([TWO], lost)

    with leases.batches_done() as notes:
        assert notes == Notes([], [], {own: [], lost: [TWO]}, set())
        notes.released.add(own)

    assert leases._leaving == {77}
    assert handed(leases) == Notes([ONE, TWO], [77], {}, set())
    assert left_over(leases) == []


def test_of_a_batch_that_goes_on_for_long_each_response_is_noted_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(leases_module.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined] # its own clock
    leases = book()
    with leases.take() as lease, leases.take():
        leases.note_published([ONE], lease)
        now[0] += 0.4
        leases.note_published([TWO], lease)
        leases._note_late_ones()
        assert handed(leases) == Notes.none()
        now[0] += 0.2
        leases._note_late_ones()
        assert handed(leases).published == [ONE, TWO]
        now[0] += 60
        leases.note_published([THREE], lease)
        leases._note_late_ones()
        assert handed(leases) == Notes.none(), "the third came just now"

    assert handed(leases).confirmed[lease] == [THREE]


class Asked:
    """Notes what the database is asked, and answers with the same rows each time."""

    def __init__(self, *rows: dict[str, object]) -> None:
        self.rows = list(rows)
        self.asked: list[tuple[object, ...]] = []

    async def call(self, *asked: object, **how: object) -> list[dict[str, object]]:
        self.asked.append(asked)
        self.how = how
        return self.rows


async def test_each_sign_of_life_names_what_the_worker_is_busy_with_until_it_is_done() -> None:
    asked = Asked({"heartbeat": None, "id": 77, "holder_silent": True, "spends_attempt": False})
    leases = Leases(cast("Any", asked), UUID(int=9), 30)
    with leases.take() as lease:
        await leases.heartbeat("host", 1, "1.0")
        assert asked.asked[-1][6] == [lease]
        (taken,) = await leases.take_over(5, from_silent_holders=True)
        assert taken == (77, True, False)
        await leases.heartbeat("host", 1, "1.0")
        assert sorted(cast("list[int]", asked.asked[-1][6])) == sorted([lease, 77])
    leases.done(77)
    await leases.heartbeat("host", 1, "1.0")
    assert asked.asked[-1][6] == []


async def test_leases_of_silent_workers_are_judged_by_the_last_sign_of_life_and_others_by_themselves() -> (
    None
):
    asked = Asked({"heartbeat": "then", "id": 77, "holder_silent": False, "spends_attempt": False})
    leases = Leases(cast("Any", asked), UUID(int=9), 30)
    await leases.heartbeat("host", 1, "1.0")

    await leases.take_over(5, from_silent_holders=True)
    await leases.take_over(5, from_silent_holders=False)

    assert [statement[4] for statement in asked.asked[1:]] == ["then", None]


async def test_no_two_workers_have_a_lease_of_one_number() -> None:
    found: set[int] = set()
    for number in range(3):
        leases = Leases(cast("Any", Asked({"number": number, "heartbeat": None})), UUID(int=9), 30)
        await leases.register("host", 1, "1.0")
        found |= {leases.new() for _ in range(9)}

    assert len(found) == 27
    assert {type(one) for one in found} == {int}


async def test_what_was_confirmed_in_a_batch_that_goes_on_is_written_with_the_other_notes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(leases_module.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined] # its own clock
    asked = Asked({"released": []})
    leases = Leases(cast("Any", asked), UUID(int=9), 30)
    with leases.take() as lease:
        leases.note_published([ONE], lease)
        await leases.flush_notes()
        assert asked.asked == []
        now[0] += 1
        await leases.flush_notes()
        assert [statement[:2] for statement in asked.asked] == [("note", [ONE])]


async def test_after_an_outage_it_shows_that_it_lives_long_before_others_take_its_leases_over() -> None:
    asked = Asked({"heartbeat": None})

    await Leases(cast("Any", asked), UUID(int=9), 30).heartbeat("host", 1, "1.0")

    assert 0 < cast("float", asked.how["again_within"]) <= 30 / 3


async def test_each_sign_of_life_shows_with_which_handler_and_settings_it_works() -> None:
    asked = Asked({"number": 3, "heartbeat": None})
    leases = Leases(cast("Any", asked), UUID(int=9), 30)

    await leases.register("host", 1, "1.0", Profile("shop:create", "build-7", {"lanes": 2}))
    await leases.heartbeat("host", 1, "1.0")

    assert [statement[-3:] for statement in asked.asked[:1]] == [("shop:create", "build-7", '{"lanes": 2}')]
    assert asked.asked[1][7:10] == ("shop:create", "build-7", '{"lanes": 2}')


def test_the_columns_of_a_failure_name_the_worker_that_made_the_attempt() -> None:
    line = PutOffLine(cast("Any", None), book())
    failures = [
        Failure("raised", "it raised", "KeyError", "a.py:1 f"),
        Failure("worker_lost", "lost", worker=TWO),
        None,
    ]

    assert line._failure_columns(failures) == (
        [UUID(int=9), TWO, None],
        ["raised", "worker_lost", None],
        ["KeyError", None, None],
        ["it raised", "lost", None],
        ["a.py:1 f", None, None],
    )


async def test_what_was_not_tried_waits_without_a_reason() -> None:
    asked = Asked({"waits": True}, {"waits": False}, {"waits": False})
    waiting = [Undelivered(TWO, "mine", Receipt.REFUSED), Undelivered(ONE, None, None)]

    assert await WaitingAnswers(cast("Any", asked)).put(waiting) == 2, "given up"
    assert asked.asked[0][1:3] == ([ONE, TWO], [None, "refused"])
    assert asked.asked[0][-1] == [None, "mine"]


@pytest.mark.parametrize(
    "question",
    [
        lambda asked: PutOffLine(asked, book()).due_now(9),
        lambda asked: WaitingAnswers(asked).forget_other(9.0, 9),
        lambda asked: WaitingAnswers(asked).count(),
        lambda asked: WaitingLine(asked, book()).next_in(),
        lambda asked: WaitingLine(asked, book()).awake(),
        lambda asked: WaitingLine(asked, book()).count(9),
    ],
)
async def test_a_question_for_which_no_request_waits_stops_no_worker_when_it_is_refused(
    question: Callable[[Any], Coroutine[Any, Any, object]],
) -> None:
    asked = Asked(defaultdict(int, reason="rate", waiting=1, oldest_seconds=2.0))

    await question(asked)

    assert asked.how == {"aside": True}


async def test_as_many_answers_as_were_forgotten_are_told() -> None:
    assert await WaitingAnswers(cast("Any", Asked({"forgotten": 3}))).forget_other(9.0, 9) == 3


async def test_what_is_too_late_is_not_looked_for_in_the_lines() -> None:
    asked: Any = Asked()

    assert await WaitingLine(asked, book()).take(7, 9, late_ones=True) == []
    assert asked.asked == []


async def test_what_waits_for_an_answer_is_counted_by_its_reason() -> None:
    asked: Any = Asked({"state": "full", "waiting": 4, "oldest_seconds": 5.0})

    assert await WaitingAnswers(asked).count() == [Unanswered("full", 4, 5.0)]
