"""Keeps the calls that wait for their response, and sends them again when a connection was lost."""

import asyncio
import json
import logging

from aiormq.abc import DeliveredMessage
from pydantic import ValidationError

from schemas import CreateSessionResponse
from worker.client.errors import ClientClosed, RequestInFlight, ResponseUnreadable
from worker.client.request import RequestMessage
from worker.client.sender import Sender
from worker.rabbitmq.connection import Broker

_log = logging.getLogger("session_worker.client")


class _Call:
    """One request in flight, and how many wait for its response."""

    def __init__(self, message: RequestMessage) -> None:
        self.message = message
        self.response: asyncio.Future[CreateSessionResponse] = asyncio.get_running_loop().create_future()
        self.sending: asyncio.Task[None] | None = None
        self.waiting = 0

    def fail(self, error: Exception) -> None:
        if not self.response.done():
            self.response.set_exception(error)
            self.response.exception()  # nobody may be left to ask for it


class Calls:
    """Keeps all calls of a client in one table, which the one reply queue is looked up in."""

    def __init__(
        self, broker: Broker, exchange: str, app_id: str, user: str | None, confirm_seconds: float
    ) -> None:
        self.sender = Sender(
            broker, exchange, app_id, user, confirm_seconds, self._on_reply, self._send_again
        )
        self._calls: dict[str, _Call] = {}

    async def ask(self, message: RequestMessage) -> CreateSessionResponse:
        """Send a request and return its response, however often the broker goes away meanwhile."""
        call = self._join(message)
        try:
            return await asyncio.shield(call.response)
        finally:
            call.waiting -= 1
            if not call.waiting:
                self._calls.pop(message.call, None)
                if call.sending is not None:
                    call.sending.cancel()

    async def close(self) -> None:
        for call in self._calls.values():
            call.fail(ClientClosed("the client was closed before the response came"))
        await self.sender.close()

    def _join(self, message: RequestMessage) -> _Call:
        """Join the call for the same request, or begin one: they wait for the same response."""
        call = self._calls.get(message.call)
        if call is None:
            call = self._calls[message.call] = _Call(message)
            self._send(call)
        elif not _same_content(call.message.body, message.body):
            raise RequestInFlight(message.request_id)
        call.waiting += 1
        return call

    def _send(self, call: _Call) -> None:
        call.sending = asyncio.create_task(self.sender.send(call.message, answer_here=True))
        call.sending.add_done_callback(lambda task: _pass_on(task, call))

    def _send_again(self) -> None:
        """Send all calls again on a new connection: the old one's reply queue is gone with it. The same id
        makes the copy harmless, and a response that was given already is given again. A request that is still
        being sent names the new queue by itself.
        """
        for call in self._calls.values():
            if call.sending is not None and call.sending.done() and not call.response.done():
                self._send(call)

    async def _on_reply(self, message: DeliveredMessage) -> None:
        call = self._calls.get(str(message.header.properties.correlation_id))
        if call is None or call.response.done():
            return  # a second copy, or nobody waits any more
        try:
            response = CreateSessionResponse.model_validate_json(message.body)
        except ValidationError:
            problem = f"the reply to request {call.message.request_id} is no CreateSessionResponse"
            _log.warning(problem)
            call.fail(ResponseUnreadable(problem))
        else:
            call.response.set_result(response)


def _same_content(first: bytes, second: bytes) -> bool:
    return first == second or _canonical(first) == _canonical(second)


def _canonical(body: bytes) -> str:
    document = json.loads(body)
    document.pop("timestamp", None)  # when it was asked for is no part of what is asked for
    return json.dumps(document, sort_keys=True)


def _pass_on(task: "asyncio.Task[None]", call: _Call) -> None:
    if not task.cancelled() and (error := task.exception()) is not None and isinstance(error, Exception):
        call.fail(error)
