"""What becomes of each response by the receipt that it got: noted, put on record to wait, or sent apart."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from pamqp import commands as spec
from structlog.testing import capture_logs

from schemas.wire import DIRECT_REPLY
from worker.messages.envelope import Message
from worker.monitoring.metrics import Metrics
from worker.monitoring.tally import Tally
from worker.monitoring.tracing import Tracing
from worker.process.identity import Identity
from worker.rabbitmq.topology import names_for
from worker.rabbitmq.writing import Outgoing
from worker.steps.answering import Answering
from worker.values import Answer, Receipt, Route, Unreadable

CONFIRMED, REFUSED, UNROUTABLE = Receipt.CONFIRMED, Receipt.REFUSED, Receipt.UNROUTABLE
UNPUBLISHABLE = Receipt.UNPUBLISHABLE
NAMES = names_for("sessions")
ME = Identity(UUID(int=7), "host", 42, "1.2.3")
DIRECT = f"{DIRECT_REPLY}abc"


class Others:
    """Stands for what carries messages, and gives the receipts that it is told to; and for what keeps a
    response that waits.
    """

    def __init__(self, *receipts: Receipt | None, apart: Sequence[Receipt] = ()) -> None:
        self.receipts, self.of_those_apart = list(receipts), list(apart)
        self.sent: list[Outgoing] = []
        self.apart: list[Outgoing] = []
        self.asked: list[bool] = []
        self.noted: list[tuple[list[int], int | None]] = []
        self.waits: list[tuple[int, str | None, Receipt | None]] = []
        self.kept: list[str] = []
        self.carries_all = True
        self.metrics = Metrics()
        nothing: Any = self
        self.answering = Answering(
            ME, NAMES, nothing, nothing, nothing, self.note, Tally(), self.metrics, Tracing()
        )

    def carries(self, _properties: spec.Basic.Properties) -> bool:
        return self.carries_all

    async def publish(self, messages: Sequence[Outgoing], *, ask: bool = False) -> list[Receipt | None]:
        self.sent += messages
        self.asked.append(ask)
        return self.receipts[: len(messages)]

    async def publish_apart(self, messages: Sequence[Outgoing]) -> list[Receipt]:
        self.apart += messages
        return self.of_those_apart[: len(messages)]

    def note(self, request_ids: Sequence[UUID], lease: int | None) -> None:
        self.noted.append(([one.int for one in request_ids], lease))

    async def put(self, undelivered: Sequence[Any]) -> int:
        self.waits += [(one.request_id.int, one.reply_to, one.why) for one in undelivered]
        return 1

    async def put_other(self, answers: Sequence[Answer]) -> None:
        self.kept += [answer.message_id for answer in answers]

    def metric(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name)


def answer(number: int, to: str | None = None, *, lease: int | None = 5, recorded: bool = True) -> Answer:
    request_id = UUID(int=number)
    return Answer(
        request_id=request_id,
        status="completed",
        code=None,
        body=f"body-{number}",
        message_id=str(request_id) if recorded else f"{request_id}.other",
        route=Route(to, None, None),
        lease=lease,
    )


async def test_each_goes_to_who_asked_or_to_all_and_what_is_confirmed_is_noted_by_its_lease() -> None:
    others = Others(CONFIRMED, CONFIRMED, CONFIRMED)
    answers = [answer(1), answer(2, "mine", lease=6), answer(3, lease=None)]

    assert await others.answering.answer(answers) == [True, True, True]

    assert [(one.exchange, one.routing_key, one.body) for one in others.sent] == [
        (NAMES.responses, "completed", b"body-1"),
        ("", "mine", b"body-2"),
        (NAMES.responses, "completed", b"body-3"),
    ]
    assert sorted(others.noted, key=str) == [([1], 5), ([2], 6), ([3], None)]
    assert (others.waits, others.kept, others.apart, others.asked) == ([], [], [], [False])
    assert await others.answering.answer([]) == []


async def test_what_no_queue_takes_waits_on_record_with_the_reason() -> None:
    others = Others(UNROUTABLE, REFUSED, CONFIRMED)
    with capture_logs() as events:
        taken = await others.answering.answer([answer(1), answer(2, "full"), answer(3)], ask=True)

    assert taken == [False, False, True]
    assert others.waits == [(1, None, UNROUTABLE), (2, "full", REFUSED)]
    assert (others.noted, others.kept, others.asked) == ([([3], 5)], [], [True])
    assert [event["event"] for event in events] == ["responses.no_queue", "response.refused"]
    assert others.metric("worker_given_up_responses_total") == 1
    assert not others.answering.to_go_apart.is_set()


@pytest.mark.parametrize("receipt", [UNROUTABLE, REFUSED])
async def test_an_answer_that_is_on_no_record_is_kept_if_it_is_for_all(receipt: Receipt) -> None:
    others = Others(receipt, receipt, CONFIRMED)
    answers = [answer(1, recorded=False), answer(2, "mine", recorded=False), answer(3, recorded=False)]

    assert await others.answering.answer(answers) == [False, False, True]

    assert others.kept == [f"{UUID(int=1)}.other"]
    assert (others.waits, others.noted) == ([], [])


async def test_of_those_that_go_apart_the_stored_ones_wait_for_it_and_the_others_go_now() -> None:
    others = Others(None, None, CONFIRMED, apart=[CONFIRMED])
    answers = [answer(1, DIRECT), answer(2, DIRECT, recorded=False), answer(3)]

    assert await others.answering.answer(answers) == [False, True, True]

    assert [one.body for one in others.apart] == [b"body-2"]
    assert others.waits == [(1, DIRECT, None)]
    assert others.noted == [([3], 5)]
    assert others.answering.to_go_apart.is_set()


@pytest.mark.parametrize("how", [{"copies": True}, {"again": True}])
async def test_a_copy_and_what_may_have_been_answered_before_go_apart_now(how: dict[str, bool]) -> None:
    others = Others(None, UNROUTABLE, UNROUTABLE, apart=[CONFIRMED])
    answers = [answer(1, DIRECT), answer(2), answer(3, "gone")]

    assert await others.answering.answer(answers, **how) == [True, False, False]

    assert [one.body for one in others.apart] == [b"body-1"]
    assert others.kept == [str(UUID(int=2))], "a copy of what is stored"
    if "copies" in how:
        assert (others.noted, others.waits) == ([], []), "they are not the requester's"
    else:
        assert (others.noted, others.waits) == ([([1], 5)], [(3, "gone", UNROUTABLE)])


async def test_those_that_go_apart_are_noted_as_any_other() -> None:
    others = Others(apart=[CONFIRMED, UNPUBLISHABLE])

    await others.answering.answer_apart([answer(1, DIRECT), answer(2, DIRECT)])

    assert [one.body for one in others.apart] == [b"body-1", b"body-2"]
    assert others.noted == [([1], 5)]
    assert others.waits == [(2, DIRECT, UNPUBLISHABLE)]


async def test_of_those_that_went_apart_one_that_no_queue_takes_waits_as_any_other() -> None:
    others = Others(apart=[UNROUTABLE])

    await others.answering.answer_apart([answer(1)])

    assert (others.waits, others.kept) == ([(1, None, UNROUTABLE)], [])


async def test_one_that_has_to_go_apart_is_told_of_whatever_waits_beside_it() -> None:
    others = Others(None, REFUSED)

    await others.answering.answer([answer(1, DIRECT), answer(2, "full")])

    assert others.answering.to_go_apart.is_set()


def unreadable() -> tuple[Message, Unreadable]:
    return Message(b"?", spec.Basic.Properties(app_id="shop"), None), Unreadable("not JSON")


def worker_and_version(one: Outgoing) -> tuple[object, object]:
    headers = one.properties.headers or {}
    return headers["x-worker"], headers["x-version"]


async def test_a_dead_letter_goes_to_their_exchange_with_its_reason_and_who_wrote_it() -> None:
    others = Others(CONFIRMED, REFUSED, UNROUTABLE)
    with capture_logs() as events:
        assert await others.answering.bury([unreadable()] * 3) == [True, False, False]

    assert {(one.exchange, one.body, *worker_and_version(one)) for one in others.sent} == {
        (NAMES.dead, b"?", "host:42", "1.2.3")
    }
    assert {(one.properties.headers or {})["x-reason"] for one in others.sent} == {"not JSON"}
    assert [event["event"] for event in events][-2:] == ["dead_letter.refused", "dead_letter.no_queue"]
    assert others.apart == []


async def test_a_dead_letter_over_which_the_broker_stumbles_is_sent_bare_and_apart() -> None:
    others = Others(CONFIRMED, UNPUBLISHABLE, UNPUBLISHABLE, apart=[CONFIRMED, UNPUBLISHABLE])

    assert await others.answering.bury([unreadable()] * 3) == [True, True, False]

    assert [worker_and_version(one) for one in others.apart] == [("host:42", "1.2.3")] * 2
    assert "did not take" in str((others.apart[0].properties.headers or {})["x-reason"])


async def test_a_dead_letter_whose_properties_no_frame_holds_is_a_bare_one() -> None:
    others = Others(CONFIRMED)
    others.carries_all = False

    assert await others.answering.bury([unreadable()]) == [True]

    assert worker_and_version(others.sent[0]) == ("host:42", "1.2.3")
    assert "did not take" in str((others.sent[0].properties.headers or {})["x-reason"])
