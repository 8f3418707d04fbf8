"""What a publisher says of messages before it sends them."""

from pamqp import commands as spec

from worker.monitoring.readiness import Readiness
from worker.process.failpoint import FailPoint
from worker.rabbitmq.publisher import PART, Publisher


def test_while_it_is_not_connected_it_refuses_no_properties() -> None:
    """How large they may be is known on a connection; the broker says it then."""
    publisher = Publisher(Readiness([PART]), 5, FailPoint(""))

    assert publisher.carries(spec.Basic.Properties(headers={"x-reason": "k" * 200_000}))
