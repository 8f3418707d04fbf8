"""What a publisher says of messages before it sends them."""

from types import SimpleNamespace
from typing import Any

from pamqp import commands as spec
from pamqp.header import ContentHeader

from worker.monitoring.readiness import Readiness
from worker.process.failpoint import FailPoint
from worker.rabbitmq.publisher import PART, Publisher


def test_while_it_is_not_connected_it_refuses_no_properties() -> None:
    """How large they may be is known on a connection; the broker says it then."""
    publisher = Publisher(Readiness([PART]), 5, FailPoint(""))

    assert publisher.carries(spec.Basic.Properties(headers={"x-reason": "k" * 200_000}))


def test_on_a_connection_it_refuses_what_no_frame_holds() -> None:
    publisher = Publisher(Readiness([PART]), 5, FailPoint(""))
    properties = spec.Basic.Properties(headers={"x-reason": "k" * 200})
    size = len(ContentHeader(properties=properties).marshal())
    for most, carried in ((size, True), (size - 1, False)):
        line: Any = SimpleNamespace(channel=SimpleNamespace(max_content_size=most))
        publisher._line = line
        assert publisher.carries(properties) is carried
