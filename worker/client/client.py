"""The client that producers and subscribers call."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from schemas import CreateSessionPayload, CreateSessionResponse, FailureCode, RequestStatus
from schemas.wire import CANCEL_TYPE
from worker.client.calls import Calls
from worker.client.errors import ClientClosed, NotAllowed, RequestTimedOut, SessionFailed
from worker.client.request import Request, RequestMessage, cancellation, message_of, request_id_for
from worker.client.submitting import submit_in_order
from worker.client.subscription import Subscription
from worker.client.tracing import creating
from worker.client.watching import Watch, Watches
from worker.process import own_task
from worker.rabbitmq.connection import Broker
from worker.rabbitmq.topology import events_of, names_for, own_names

Payload = CreateSessionPayload | Mapping[str, Any]


@dataclass(frozen=True)
class Ending:
    """The end of a request that was to be cancelled. A request that had ended before stays as it was.

    >>> async def main():
    ...     async with Client(url) as client:
    ...         ending = await client.cancel(UUID("6f9f1c0e-6c0b-4a55-9d5e-0f4b8f5f5c11"))
    ...         print(ending.cancelled, ending.response.metadata)
    >>> asyncio.run(main())
    True {'code': 'cancelled'}
    """

    response: CreateSessionResponse

    @property
    def request_id(self) -> UUID:
        return self.response.request_id

    @property
    def cancelled(self) -> bool:
        """False: it was too late, and `response` says what the request came to instead."""
        return self.response.metadata.get("code") == FailureCode.CANCELLED


class Client:
    """Sends requests and receives responses. One serves a whole program: thousands of calls share it.

    It connects with its first call. A broker that goes away is waited for: requests that wait for their
    response are sent again with the same id, which never makes a second session.

    >>> async def main():
    ...     async with Client(url) as client:
    ...         calls = [client.create_session(org_id="org-1", key=f"order-{n}") for n in range(200)]
    ...         responses = await asyncio.gather(*calls)
    ...         print(len({response.payload.session_id for response in responses}))
    >>> asyncio.run(main())
    200

    `broker_user`: the name of the user in the URL, for workers that go by who sends (`not_allowed`).
    """

    def __init__(
        self,
        amqp_url: str,
        prefix: str = "sessions",
        *,
        app_id: str = "session-client",
        broker_user: str | None = None,
        connect_timeout: float = 10,
        confirm_timeout: float = 15,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._broker = Broker(amqp_url, tls, app_id)
        self._names = names_for(prefix)
        self._own_names = own_names(prefix)
        self._connect_timeout = connect_timeout
        self._calls = Calls(self._broker, self._names.requests, app_id, broker_user, confirm_timeout)
        self._watches = Watches(self._broker, events_of(prefix).name, connect_timeout)
        self._subscriptions: list[Subscription] = []
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Calls that still wait end with ClientClosed; responses in hand that are not done with go back."""
        self._closed = True
        if self._opening is not None:
            await own_task.end([self._opening])
        await self._calls.close()
        await self._watches.close()
        await asyncio.gather(*(subscription.close() for subscription in self._subscriptions))

    async def connect(self) -> None:
        """Connect now rather than with the first call. Raises BrokerUnreachable when that takes too long.

        >>> async def main():
        ...     client = Client("amqp://127.0.0.1:1/%2F", connect_timeout=0.1)
        ...     try:
        ...         await client.connect()
        ...     except BrokerUnreachable as error:
        ...         print("no broker there")
        >>> asyncio.run(main())
        no broker there
        """
        self._refuse_if_closed()
        if self._opening is None or _failed(self._opening):
            self._opening = asyncio.create_task(self._calls.sender.link.open(self._connect_timeout))
        try:
            await asyncio.shield(self._opening)
        except asyncio.CancelledError:
            if not own_task.is_being_cancelled():
                self._refuse_if_closed()
            raise

    async def create_session(
        self,
        *,
        org_id: str,
        payload: Payload | None = None,
        user_id: str | None = None,
        request_id: UUID | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        not_before: datetime | None = None,
        traceparent: str | None = None,
        timeout: float | None = 30,  # noqa: ASYNC109 — it travels with the request, as its deadline
    ) -> CreateSessionResponse:
        """Ask for a session and return the response: there is one. Raises SessionFailed when there is none,
        and RequestTimedOut when that is not known in time; the same request may then be asked again, by its
        id.

        `key` is the caller's own name for the request, unique in the organisation, such as an order's number:
        whoever asks with it again gets the same session. After `timeout` a worker does not begin the request
        any more; None waits for ever. No worker begins it before `not_before`. The call waits for that too,
        so a `timeout` that ends earlier is a ValueError, and nothing is sent; `submit` waits for no response.

        >>> async def main():
        ...     async with Client(url) as client:
        ...         payload = CreateSessionPayload(name="Support", expiration_seconds=3600)
        ...         response = await client.create_session(org_id="org-1", payload=payload, timeout=20)
        ...         print(response.status.value, response.payload.session_id.startswith("ts_"))
        ...         try:
        ...             await client.create_session(org_id="org-1", payload={"name": 17})
        ...         except SessionFailed as failed:
        ...             print(failed.code.value, failed.errors)
        >>> asyncio.run(main())
        completed True
        invalid_request [{'field': 'payload.name', 'reason': 'must be a string'}]

        With no worker there to answer, it is asked again later; what counts is the id:

        >>> async def later():
        ...     async with Client(idle_url) as client:
        ...         try:
        ...             await client.create_session(org_id="org-1", key="order-17", timeout=0.2)
        ...         except RequestTimedOut as late:
        ...             print(late.request_id == request_id_for("org-1", "order-17"))
        >>> asyncio.run(later())
        True
        """
        message = message_of(
            Request(
                org_id=org_id, payload=payload or {}, user_id=user_id, request_id=request_id, key=key,
                metadata=metadata or {}, not_before=not_before, deadline=_deadline(timeout),
                traceparent=traceparent,
            )
        )  # fmt: skip
        response = await self._ask(message, timeout)
        if response.status is RequestStatus.FAILED:
            raise NotAllowed(response) if _is_not_allowed(response) else SessionFailed(response)
        return response

    async def cancel(
        self,
        request_id: UUID | None = None,
        *,
        key: str | None = None,
        org_id: str | None = None,
        reason: str | None = None,
        timeout: float | None = 30,  # noqa: ASYNC109 — has an error of its own
    ) -> Ending:
        """Cancel a request, by its id or by its `key` in the organisation `org_id`, and return how it ended.

        Whoever asked for the session gets `failed` with the code `cancelled` and the reason, now, or when the
        request comes that is cancelled here before it was sent; a session is never made. A request that is
        finished stays as it is, which is no error. Raises RequestTimedOut when no worker answered in time:
        the cancellation may have got to the broker or not, and to cancel again is safe. Raises NotAllowed
        when the request is another organisation's, or none.

        >>> async def main():
        ...     async with Client(url) as client:
        ...         ending = await client.cancel(key="order-17", org_id="org-1", reason="sold out")
        ...         print(ending.cancelled, ending.response.error)
        ...         try:
        ...             await client.create_session(org_id="org-1", key="order-17")
        ...         except SessionFailed as failed:
        ...             print(failed.code.value)
        ...         done = await client.create_session(org_id="org-1", key="order-18")
        ...         ending = await client.cancel(done.request_id)
        ...         print(ending.cancelled, ending.response == done)
        >>> asyncio.run(main())
        True cancelled: sold out
        cancelled
        False True
        """
        request_id = _named(request_id, key, org_id)
        response = await self._ask(cancellation(request_id, reason), timeout)
        if _is_not_allowed(response):
            raise NotAllowed(response)
        return Ending(response)

    async def submit(
        self,
        request: Request | None = None,
        *,
        timeout: float | None = 30,  # noqa: ASYNC109 — has an error of its own
        **fields: Any,  # noqa: ANN401 — those of Request, which checks them
    ) -> UUID:
        """Publish a request and return its id once the broker has confirmed it: it will be answered, at its
        `reply_to` or else in the response queue. Takes a Request or its fields. The `timeout` is that of the
        confirmation alone: it says nothing of `not_before` and `deadline`.

        >>> async def main():
        ...     async with Client(url) as client:
        ...         request_id = await client.submit(org_id="org-1", key="order-17")
        ...         print(request_id == request_id_for("org-1", "order-17"))
        ...         tomorrow = datetime.now(UTC) + timedelta(days=1)
        ...         await client.submit(org_id="org-1", key="order-18", not_before=tomorrow)
        >>> asyncio.run(main())
        True
        """
        message = message_of(request if request is not None else Request(**fields))
        await self._submit(message, timeout)
        return message.request_id

    def submit_many(
        self,
        requests: Iterable[Request] | AsyncIterable[Request],
        *,
        window: int = 256,
        timeout: float | None = 30,
    ) -> AsyncGenerator[UUID, None]:
        """Publish many requests, `window` of them in flight, and yield their ids in the order given, each
        when it is confirmed. The first that cannot be sent ends it with its error, when all before are
        confirmed.

        >>> async def main():
        ...     async with Client(url) as client:
        ...         requests = (Request(org_id="org-1", key=f"order-{n}") for n in range(1000))
        ...         confirmed = [request_id async for request_id in client.submit_many(requests)]
        ...         print(len(confirmed), confirmed[17] == request_id_for("org-1", "order-17"))
        >>> asyncio.run(main())
        1000 True
        """
        return submit_in_order(requests, lambda message: self._submit(message, timeout), window)

    def subscribe(
        self,
        queue: str | None = None,
        *,
        copies: bool = False,
        prefetch: int = 100,
        remember: int = 10_000,
        limit: int | None = None,
        drain: bool = False,
    ) -> Subscription:
        """Read responses from `<prefix>.responses`, or from a queue of your own, each once: the last
        `remember` message ids tell repeats. Responses are shared with whoever else reads the queue; one
        subscription is for one task. `copies` leaves the queue alone and gets a copy of each response that is
        published from now on. It ends after `limit` responses and has brought no other ahead then; with
        `drain`, after what lay in the queue when it began.

        >>> async def main():
        ...     async with Client(url) as client:
        ...         wanted = {await client.submit(org_id="org-1") for _ in range(3)}
        ...         async with client.subscribe() as responses:
        ...             async for response in responses:  # acknowledged when the next one is asked for
        ...                 print(response.status.value)
        ...                 wanted.remove(response.request_id)
        ...                 if not wanted:
        ...                     responses.stop()
        >>> asyncio.run(main())
        completed
        completed
        completed
        """
        self._refuse_if_closed()
        subscription = Subscription(
            self._broker, self._names, queue, copies=copies, prefetch=prefetch, remember=remember,
            connect_seconds=self._connect_timeout, limit=limit, drain=drain,
        )  # fmt: skip
        self._subscriptions = [known for known in self._subscriptions if not known.closed] + [subscription]
        return subscription

    def watch(
        self, request_id: UUID | None = None, *, key: str | None = None, org_id: str | None = None
    ) -> Watch:
        """Watch a request, by its id or by its `key` in the organisation `org_id`: iterate over what happens
        to it, until its last event. Raises EventsOff where the workers tell no events (WORKER_EVENTS).

        It shows what happens from when it is entered: so enter it before the request is sent. Of a request
        that was finished before nothing comes; where that may be, set a time-out, and ask for its response
        with the same id. Raises EventsMissed when the connection was away for more than five minutes. All
        watches of a client share one connection.

        >>> async def main():
        ...     async with Client(url) as client:
        ...         async with client.watch(key="order-19", org_id="org-1") as events:
        ...             await client.submit(org_id="org-1", key="order-19")
        ...             async for event in events:
        ...                 print(event.kind.value, event.attempt)
        >>> asyncio.run(main())
        accepted 0
        processing 1
        completed 1
        """
        self._refuse_if_closed()
        return Watch(self._watches, _named(request_id, key, org_id))

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")

    async def _ask(self, message: RequestMessage, seconds: float | None) -> CreateSessionResponse:
        with creating(message, self._names.requests) as traced:
            try:
                async with asyncio.timeout(seconds):
                    await self.connect()
                    return await self._calls.ask(traced)
            except TimeoutError:
                raise self._too_late(message, seconds) from None

    async def _submit(self, message: RequestMessage, seconds: float | None) -> None:
        if message.reply_to in self._own_names:
            raise ValueError(
                f"reply_to: {message.reply_to} is one of the worker's own queues: name one of yours"
            )
        with creating(message, self._names.requests) as traced:
            try:
                async with asyncio.timeout(seconds):
                    await self.connect()
                    await self._calls.sender.send(traced)
            except TimeoutError:
                raise self._too_late(message, seconds) from None

    def _too_late(self, message: RequestMessage, seconds: float | None) -> RequestTimedOut:
        sender = self._calls.sender
        connection = "" if sender.connected else f", without a connection to RabbitMQ ({sender.link.reason})"
        cancelling = message.message_type == CANCEL_TYPE
        return RequestTimedOut(message.request_id, seconds or 0, connection, cancelling=cancelling)


def _named(request_id: UUID | None, key: str | None, org_id: str | None) -> UUID:
    if (request_id is None) == (key is None) or (key is None) != (org_id is None):
        raise ValueError("give a request_id, or a key and the org_id that it belongs to")
    return request_id_for(org_id or "", key or "") if request_id is None else request_id


def _failed(task: "asyncio.Task[None]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _is_not_allowed(response: CreateSessionResponse) -> bool:
    return response.metadata.get("code") == FailureCode.NOT_ALLOWED


def _deadline(timeout: float | None) -> datetime | None:
    if timeout is None:
        return None
    try:
        return datetime.now(UTC) + timedelta(seconds=timeout)
    except OverflowError:
        return None  # beyond the calendar
