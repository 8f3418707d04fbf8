"""The client publishes requests and subscribes to responses; it needs only `aio-pika` and `schemas`.

A session for order 17, asked for with a key, so that asking again is safe:

>>> async def main():
...     async with Client(url) as client:  # amqp://user:password@broker/%2F
...         first = await client.create_session(org_id="org-1", payload={"name": "Support"}, key="order-17")
...         again = await client.create_session(org_id="org-1", payload={"name": "Support"}, key="order-17")
...         print(first.status.value, first.payload.session_id == again.payload.session_id)
>>> asyncio.run(main())
completed True

Every example here is run by a test, with a broker and a worker.
"""

from schemas import CreateSessionPayload, CreateSessionResponse, EventKind, RequestEvent
from worker.client.client import Client, Ending
from worker.client.errors import (
    BrokerUnreachable,
    ClientClosed,
    ClientError,
    EventsMissed,
    EventsOff,
    NotAllowed,
    QueueMissing,
    RequestInFlight,
    RequestTimedOut,
    RequestUnroutable,
    ResponseUnreadable,
    SessionFailed,
)
from worker.client.request import REQUEST_NAMESPACE, Request, request_id_for
from worker.client.subscription import Subscription
from worker.client.watching import Watch

__all__ = [
    "REQUEST_NAMESPACE",
    "BrokerUnreachable",
    "Client",
    "ClientClosed",
    "ClientError",
    "CreateSessionPayload",
    "CreateSessionResponse",
    "Ending",
    "EventKind",
    "EventsMissed",
    "EventsOff",
    "NotAllowed",
    "QueueMissing",
    "Request",
    "RequestEvent",
    "RequestInFlight",
    "RequestTimedOut",
    "RequestUnroutable",
    "ResponseUnreadable",
    "SessionFailed",
    "Subscription",
    "Watch",
    "request_id_for",
]
