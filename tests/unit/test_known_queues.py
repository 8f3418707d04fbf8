"""The publisher remembers queues that take nothing, and tells of them now and then."""

from pamqp import commands as spec
from structlog.testing import capture_logs

from schemas.wire import DIRECT_REPLY
from worker.monitoring.readiness import Readiness
from worker.monitoring.tally import Tally
from worker.rabbitmq.known_queues import DEAD_PART, PART, KnownQueues
from worker.rabbitmq.topology import names_for
from worker.rabbitmq.writing import Outgoing
from worker.values import Receipt

NAMES = names_for("sessions")


def message(to: str, exchange: str = "") -> Outgoing:
    return Outgoing(exchange, to, b"", spec.Basic.Properties(message_id="1"))


def made(now: list[float]) -> tuple[KnownQueues, Readiness]:
    readiness = Readiness((PART, DEAD_PART))
    readiness.up(PART)
    readiness.up(DEAD_PART)
    return KnownQueues(NAMES, readiness, lambda: now[0]), readiness


def test_a_full_reply_queue_is_asked_again_after_a_while() -> None:
    now = [0.0]
    queues, readiness = made(now)
    queues.learn(message("full"), Receipt.REFUSED)
    queues.learn(message("gone"), Receipt.UNROUTABLE)

    assert queues.known(message("full")) is Receipt.REFUSED
    assert queues.known(message("gone")) is None, "it may be there the next time"
    now[0] = 10.0
    assert queues.known(message("full")) is Receipt.REFUSED
    now[0] = 10.1
    assert queues.known(message("full")) is None
    assert readiness.ready, "it is the requester's"


def test_an_address_that_cannot_be_read_is_remembered_and_not_too_many() -> None:
    queues, _ = made([0.0])
    queues.learn(message(f"{DIRECT_REPLY}first"), Receipt.UNPUBLISHABLE)
    queues.learn(message("large"), Receipt.UNPUBLISHABLE)

    assert queues.known(message(f"{DIRECT_REPLY}first")) is Receipt.UNPUBLISHABLE
    assert queues.known(message("large")) is None, "that was for the message, not the queue"
    for number in range(2000):
        queues.learn(message(f"{DIRECT_REPLY}{number}"), Receipt.UNPUBLISHABLE)
    assert queues.known(message(f"{DIRECT_REPLY}first")) is None
    assert queues.known(message(f"{DIRECT_REPLY}1999")) is Receipt.UNPUBLISHABLE


def test_of_many_addresses_the_one_that_was_longest_not_heard_of_is_forgotten() -> None:
    queues, _ = made([0.0])
    addresses = [message(f"{DIRECT_REPLY}{number}") for number in range(1000)]
    for address in [*addresses, addresses[0]]:
        queues.learn(address, Receipt.UNPUBLISHABLE)
    assert all(map(queues.known, addresses))

    queues.learn(message("full"), Receipt.REFUSED)

    assert [queues.known(address) is None for address in addresses[:3]] == [False, True, False]


def test_each_key_of_the_response_exchange_has_a_state_of_its_own() -> None:
    queues, readiness = made([0.0])
    completed, failed = message("completed", NAMES.responses), message("failed", NAMES.responses)
    queues.learn(failed, Receipt.UNROUTABLE)

    assert (queues.known(completed), queues.known(failed)) == (None, Receipt.UNROUTABLE)
    assert (queues.is_troubled("completed"), queues.is_troubled("failed")) == (False, True)
    assert "topology apply" in readiness.reasons[PART]
    queues.learn(completed, Receipt.REFUSED)
    assert "is it full" in readiness.reasons[PART]
    queues.learn(completed, Receipt.CONFIRMED)
    queues.nothing_waits("failed")
    assert readiness.ready
    assert queues.known(failed) is None


def test_a_dead_letter_that_finds_no_room_or_no_queue_is_told_until_one_goes_there() -> None:
    queues, readiness = made([0.0])
    dead = message("", NAMES.dead)
    seen = []
    for receipt in (Receipt.UNPUBLISHABLE, Receipt.REFUSED, Receipt.CONFIRMED, Receipt.UNROUTABLE):
        queues.learn(dead, receipt)
        seen.append(readiness.reasons.get(DEAD_PART, ""))

    assert (seen[0], seen[2]) == ("", "")
    assert f"{NAMES.dead} takes no more: is it full?" in seen[1]
    assert f"{NAMES.dead} has no queue behind it" in seen[3]
    assert queues.known(dead) is None
    queues.learn(dead, Receipt.UNPUBLISHABLE)
    assert DEAD_PART in readiness.reasons, "that was for the message, not the queue"


def test_what_happens_again_and_again_is_told_once_and_then_counted() -> None:
    tally = Tally()
    with capture_logs() as events:
        for number in range(500):
            tally.note("response.refused", "full", 1, request_id=str(number))
    assert [(one["responses"], one["request_id"]) for one in events] == [(1, "0")]
    with capture_logs() as events:
        for number in range(500):
            tally.note("response.unroutable", f"gone-{number}", 1)
    assert len(events) == 100, "99 queues and the others"


async def test_the_count_is_told_at_the_end_of_an_interval() -> None:
    tally = Tally()
    with capture_logs() as events:
        for number in range(500):
            tally.note("response.refused", "full", 1, request_id=str(number))
        await tally.tell()
        await tally.tell()
        tally.note("response.refused", "full", 1, request_id="next")

    assert [(one["responses"], one["request_id"]) for one in events] == [
        (1, "0"), (499, "499"), (1, "next"),
    ]  # fmt: skip
