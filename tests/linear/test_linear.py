"""The checker finds each violation that is planted in what clients see, and takes whatever may be."""

import itertools
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from linear.checker import Operation, not_linearizable, received, sent, unanswered
from linear.recorder import Recorder
from linear.specification import (
    ABSENT,
    CANCELLED,
    Answered,
    Asked,
    Cancelled,
    Looked,
    Refused,
    State,
    What,
    after,
)

A, B = "cf_260101_a", "cf_260101_b"
DONE = Answered("completed", None, A, "id", b"session 1")
GONE = Answered("failed", CANCELLED, A, "id", b"cancelled")
EARLY = GONE._replace(content=None)
LATE = Answered("failed", "deadline_exceeded", A, "id", b"too late")
OTHERS = Refused(B, "id.b", b"conflict")


def ask(at: float, content: str = A) -> Operation:
    return sent(Asked(content), at, confirmed=True)


def maybe_ask(at: float, content: str = A) -> Operation:
    return sent(Asked(content), at, confirmed=False)


def cancel(at: float, *, confirmed: bool = True) -> Operation:
    return sent(Cancelled(), at, confirmed=confirmed)


def get(at: float, seen: Answered | Refused = DONE) -> Operation:
    return received(seen, at)


def look(begun: float, ended: float, status: str, attempt: int = 1) -> Operation:
    return Operation(Looked(status, attempt), begun, ended)


LAWFUL: dict[str, list[Operation]] = {
    "asked and answered": [ask(0), get(1)],
    "copies": [ask(0), get(1), ask(2), get(3), get(4)],
    "a publish of which nobody knows": [maybe_ask(0), ask(2), get(1), get(3)],
    "never came": [maybe_ask(0), look(1, 2, ABSENT, 0)],
    "taken after its confirm": [ask(0), look(1, 2, ABSENT, 0), look(3, 4, "pending", 0), get(5)],
    "retried": [
        ask(0), look(1, 2, "processing"), look(3, 4, "processing", 3), get(5), look(6, 7, "completed", 4),
    ],
    "answered, as somebody looks": [ask(0), get(2), look(1, 3, "processing")],
    "received long after the end": [ask(0), look(1, 2, "completed"), look(3, 4, "completed"), get(9)],
    "cancelled": [ask(0), cancel(1), get(2, GONE)],
    "cancelled before it came": [cancel(0), ask(1), get(2, EARLY), ask(3, B), get(4, EARLY)],
    "seen on its way, cancelled before it came": [
        cancel(0), ask(1), look(2, 3, "processing"), look(4, 5, "failed"), get(6, EARLY),
    ],
    "cancelled while nobody knows of its publish": [maybe_ask(0), cancel(1), get(2, GONE)],
    "cancelled too late": [ask(0), get(1), cancel(2), get(3)],
    "a cancellation that may have come": [ask(0), cancel(1, confirmed=False), get(2)],
    "too late": [ask(0), look(1, 2, "failed"), get(3, LATE)],
    "a conflict": [ask(0), get(1), ask(2, B), get(3, OTHERS), ask(4, B), get(5, OTHERS)],
    "the other one came first": [ask(0, B), ask(1), get(2), get(3, OTHERS)],
    "not settled": [ask(0)],
}  # fmt: skip

UNLAWFUL: dict[str, list[Operation]] = {
    "the answer has changed": [ask(0), get(1), get(2, DONE._replace(body=b"session 2"))],
    "its message id has changed": [ask(0), get(1), get(2, DONE._replace(message_id="other"))],
    "completed after cancelled": [ask(0), cancel(1), get(2, GONE), get(3)],
    "cancelled after completed": [ask(0), get(1), cancel(2), get(3, GONE)],
    "too late after cancelled": [ask(0), cancel(1), look(2, 3, "failed"), get(4, GONE), get(5, LATE)],
    "cancelled, and nobody had": [ask(0), get(1, GONE)],
    "cancelled before anybody had": [ask(0), get(1, GONE), cancel(2)],
    "answered before it was asked for": [get(0), ask(1)],
    "answered, and nobody had asked": [get(0)],
    "its status goes back": [ask(0), look(1, 2, "processing"), look(3, 4, "pending", 0)],
    "its attempt goes back": [ask(0), look(1, 2, "processing", 2), look(3, 4, "processing")],
    "its status goes back in one attempt": [ask(0), look(1, 2, "processing"), look(3, 4, "pending")],
    "it ended in an attempt before": [ask(0), look(1, 2, "processing", 2), look(3, 4, "completed")],
    "an answer to nobody": [get(0, LATE._replace(content=None))],
    "another attempt after the end": [ask(0), look(1, 2, "completed"), look(3, 4, "completed", 2)],
    "lost after it was seen": [ask(0), look(1, 2, "pending", 0), look(3, 4, ABSENT, 0)],
    "lost after it was answered": [ask(0), get(1), look(2, 3, ABSENT, 0)],
    "on its way after it was answered": [ask(0), get(1), look(2, 3, "processing", 2)],
    "failed on record, completed to its client": [ask(0), look(1, 2, "failed"), get(3)],
    "ended twice": [ask(0), look(1, 2, "failed"), look(3, 4, "completed")],
    "there before it was asked for": [look(0, 1, "pending", 0), ask(2)],
    "completed for other content": [ask(0), get(1), ask(2, B), get(3, DONE._replace(content=B))],
    "completed for content of nobody": [ask(0), get(1, DONE._replace(content=B))],
    "a conflict with itself": [ask(0), get(1), get(2, OTHERS._replace(content=A))],
    "a conflict of nobody": [ask(0), get(1), get(2, OTHERS)],
    "a conflict before there is anything": [ask(0, B), get(1, OTHERS), ask(2)],
    "two answers to a conflict": [ask(0), ask(1, B), get(2, OTHERS), get(3, OTHERS._replace(body=b"2"))],
    "a conflict with what was cancelled before": [cancel(0), ask(1, B), get(2, EARLY), get(3, OTHERS)],
    "completed, cancelled before it came": [cancel(0), ask(1), look(2, 3, "completed"), get(4, EARLY)],
    "neither one nor the other": [ask(0), ask(0, B), get(1), get(2, DONE._replace(content=B))],
}  # fmt: skip


@pytest.mark.parametrize("name", LAWFUL)
def test_what_may_be_is_explained(name: str) -> None:
    for order in (LAWFUL[name], LAWFUL[name][::-1]):
        assert not_linearizable(order) is None


@pytest.mark.parametrize("name", UNLAWFUL)
def test_what_must_not_be_is_found(name: str) -> None:
    for order in (UNLAWFUL[name], UNLAWFUL[name][::-1]):
        assert "then it cannot be that" in str(not_linearizable(order))


def test_each_request_that_was_taken_is_answered_after_it() -> None:
    for open_ones in ([ask(0)], [ask(0), get(1), ask(2)], [ask(0), get(1), ask(1, B)], [ask(1), get(0)]):
        assert "not answered" in str(unanswered(open_ones))
    for all_answered in ([maybe_ask(0)], [cancel(0)], [ask(0), ask(2), get(3)], [ask(0, B), get(1, EARLY)]):
        assert unanswered(all_answered) is None


def test_twenty_copies_and_looks_are_judged_at_once() -> None:
    copies = [get(2 + number) for number in range(20)]
    looks = [look(0, 1 + number, "processing", 1 + number % 3) for number in range(12)]

    assert not_linearizable([ask(0), *copies, *looks]) is None
    assert not_linearizable([ask(0), *copies, *looks, get(99, GONE)]) is not None


def plainly(operations: Sequence[Operation]) -> bool:
    """Tells by trying every order of every choice of the unsure ones whether one explains all."""
    sure = [one for one in operations if one.sure]
    unsure = [one for one in operations if not one.sure]
    chosen = itertools.chain.from_iterable(
        itertools.combinations(unsure, size) for size in range(len(unsure) + 1)
    )
    return any(_explains(order) for some in chosen for order in itertools.permutations([*sure, *some]))


def _explains(order: Sequence[Operation]) -> bool:
    state: State | None = State()
    for place, one in enumerate(order):
        if any(later.ended < one.begun for later in order[place + 1 :]):
            return False
        if state is None or (state := after(state, one.what)) is None:
            return False
    return True


def test_the_search_finds_what_trying_every_order_finds() -> None:
    dice = random.Random(17)  # noqa: S311 — cases, no secret
    kinds: list[What] = [
        Asked(A), Asked(A), Asked(B), Cancelled(), DONE, GONE, EARLY, OTHERS, Looked(ABSENT, 0),
        Looked("processing", 1), Looked("completed", 1), Looked("failed", 2),
    ]  # fmt: skip
    found = {True: 0, False: 0}
    for _ in range(1_500):
        case = [_placed(what, dice) for what in dice.choices(kinds, k=5)]
        expected = plainly(case)
        assert (not_linearizable(case) is None) == expected, case
        found[expected] += 1

    assert min(found.values()) > 100, "both kinds of cases"


def _placed(what: What, dice: random.Random) -> Operation:
    at = float(dice.randrange(6))
    match what:
        case Asked() | Cancelled():
            return sent(what, at, confirmed=dice.random() < 0.7)
        case Answered() | Refused():
            return received(what, at)
        case Looked():
            return Operation(what, at, at + dice.randrange(3))


RESPONSE = '{"request_id": "%s", "status": "%s", "payload": {"casefile_id": "%s"}, "metadata": %s}'


def body_of(request_id: UUID, status: str, content: str, metadata: str = "{}") -> bytes:
    return (RESPONSE % (request_id, status, content, metadata)).encode()


def test_the_recorder_keeps_what_is_judged() -> None:
    recorder, sound, torn, late = Recorder(), uuid4(), uuid4(), uuid4()
    for request_id in (sound, torn):
        with recorder.sending(request_id, Asked(A)):
            recorder.look(request_id, ABSENT, 0, 0.0)
    with pytest.raises(OSError, match="gone"), recorder.sending(late, Asked(A)):
        raise OSError("gone")
    recorder.may_have_been(late, Cancelled())
    assert recorder.judge(settled=False) == []
    assert {each.request_id for each in recorder.judge(settled=True)} == {str(sound), str(torn)}

    for request_id in (sound, torn):
        recorder.receive(str(request_id), body_of(request_id, "completed", A))
    with recorder.sending(sound, Asked(B)):
        pass
    assert recorder.unanswered() == 1
    recorder.receive(f"{sound}.b", body_of(sound, "failed", B, '{"code": "request_id_conflict"}'))
    assert (recorder.unanswered(), recorder.judge(settled=True)) == (0, [])
    recorder.receive(str(torn), body_of(torn, "failed", A, '{"code": "cancelled"}'))
    (broken,) = recorder.judge(settled=True)
    assert (broken.promise, broken.request_id) == ("linearizable", str(torn))
    assert recorder.counts() == {"asked": 4, "looked": 2, "cancelled": 1, "answered": 3, "refused": 1}
