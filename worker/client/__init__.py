"""For those who publish requests and subscribe to responses; needs only `aio-pika` and `schemas`.

async with Client("amqp://user:password@broker/") as client:
    response = await client.create_session(org_id="org-1", payload={"name": "Support"}, key="order-17")
    print(response.payload.session_id)
"""

from schemas import CreateSessionPayload, CreateSessionResponse
from worker.client.client import Client, Ending
from worker.client.errors import (
    BrokerUnreachable,
    ClientClosed,
    ClientError,
    QueueMissing,
    RequestInFlight,
    RequestTimedOut,
    RequestUnroutable,
    ResponseUnreadable,
    SessionFailed,
)
from worker.client.request import REQUEST_NAMESPACE, Request, request_id_for
from worker.client.subscription import Subscription

__all__ = [
    "REQUEST_NAMESPACE",
    "BrokerUnreachable",
    "Client",
    "ClientClosed",
    "ClientError",
    "CreateSessionPayload",
    "CreateSessionResponse",
    "Ending",
    "QueueMissing",
    "Request",
    "RequestInFlight",
    "RequestTimedOut",
    "RequestUnroutable",
    "ResponseUnreadable",
    "SessionFailed",
    "Subscription",
    "request_id_for",
]
