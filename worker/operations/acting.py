"""Says for one request what retrying, resending or cancelling it takes: a message, or why there is none.

A failure is a result: what is on record of a failed request stays. Its retry is another request, with an id
that follows from the selection and the old id, so that the same selection never makes two.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from schemas.secret import may_hold_secrets
from schemas.wire import DIRECT_REPLY
from worker.client.request import RequestMessage, cancellation
from worker.errors import SealError
from worker.messages.envelope import response_properties
from worker.messages.reply_rule import ReplyRule
from worker.messages.sealing import SealKeys
from worker.operations.selections import Selection
from worker.rabbitmq.topology import Names
from worker.rabbitmq.writing import Outgoing
from worker.values import Answer, Route

APP_ID = "session-worker cli"
_RETRIES = UUID("3a0e9d6f-4bb7-5ad0-9a63-5f0c1e2b7d48")  # the namespace of the ids of retries
_FINISHED = ("completed", "failed")

Row = Mapping[str, Any]


class Left(NamedTuple):
    """A request that is left alone, and why."""

    state: str  # skipped: as it should be; failed: somebody has to look
    why: str


def require_way_back(to: str, names: Names, replies: ReplyRule) -> None:
    """Raise RefusedQueue unless answers may be sent there. The response queue stands for its exchange."""
    if to != names.responses:
        replies.require(to)


class Acting:
    """Makes the message that one action on one request takes."""

    def __init__(
        self, selection: Selection, names: Names, keys: SealKeys, replies: ReplyRule, sender: str | None
    ) -> None:
        """`sender`: the user of the broker that it is done as, where workers go by that."""
        self._selection = selection
        self._names = names
        self._replies = replies
        self._sender = sender
        self._keys = keys
        self._to: str | None = selection.options.get("to")
        self._own_answer: bool = selection.options.get("answer") != "none"

    def plan(self, row: Row, as_which: UUID | None = None) -> Outgoing | Left:
        """Say what to publish for this request, or why nothing is. `as_which`: the id of its retry, where
        another selection gave it one.
        """
        if row["status"] is None:
            return Left("skipped", "not on record, or deleted as old")
        match self._selection.action:
            case "retry":
                return self._retry(row, as_which or self.retry_id(row["request_id"]))
            case "resend":
                return self._resend(row)
            case "cancel":
                return self._cancel(row)

    def retry_id(self, request_id: UUID) -> UUID:
        """Return the id of its retry: each run of the same selection has the same."""
        return uuid5(_RETRIES, f"{self._selection.id}:{request_id}")

    def _retry(self, row: Row, new: UUID) -> Outgoing | Left:
        if row["status"] != "failed":
            return Left("skipped", f"it is {row['status']}: only what has failed is retried")
        if row["refused"]:
            return Left("skipped", "its content was refused, and is not kept: there is nothing to send again")
        try:
            body = _with_id(row["body"], row["request_id"], new, self._keys)
        except SealError as error:
            return Left("failed", str(error))
        way_back = self._way_back(row["reply_to"])
        if astray := self._astray(way_back):
            return astray
        trace = {"traceparent": row["traceparent"]} if row["traceparent"] else {}
        message = RequestMessage(new, body, trace, way_back, row["correlation_id"] or str(new))
        return self._asked(message)

    def _way_back(self, reply_to: str | None) -> str | None:
        """Return where the answer of a retry goes; None: to the response queue."""
        if self._to is not None:
            return None if self._to == self._names.responses else self._to
        direct = reply_to is not None and reply_to.startswith(DIRECT_REPLY)
        return reply_to if self._own_answer and not direct else None

    def _resend(self, row: Row) -> Outgoing | Left:
        if row["response"] is None:
            return Left("skipped", f"it is {row['status']}: there is no response yet")
        reply_to = self._to or row["reply_to"]
        if self._to == self._names.responses:
            reply_to = None
        if reply_to is not None and reply_to.startswith(DIRECT_REPLY):
            return Left("skipped", "it was asked for by a call that waits no more: say --to QUEUE")
        if astray := self._astray(reply_to):
            return astray
        answer = Answer(
            request_id=row["request_id"],
            status=row["status"],
            code=row["error_code"],
            body=row["response"],
            message_id=str(row["request_id"]),
            route=Route(reply_to, row["correlation_id"], row["traceparent"]),
        )
        exchange, key = ("", reply_to) if reply_to else (self._names.responses, row["status"])
        return Outgoing(exchange, key, answer.body.encode(), response_properties(answer, datetime.now(UTC)))

    def _cancel(self, row: Row) -> Outgoing | Left:
        if row["status"] in _FINISHED:
            return Left("skipped", f"it is {row['status']} already")
        return self._asked(cancellation(row["request_id"], self._selection.reason))

    def _asked(self, message: RequestMessage) -> Outgoing:
        properties = message.properties(APP_ID, None, self._sender)
        return Outgoing(self._names.requests, message.routing_key, message.body, properties)

    def _astray(self, reply_to: str | None) -> Left | None:
        """Leave alone what would be answered where answers may not go; None: it may."""
        if reply_to is None or self._replies.refuses(reply_to) is None:
            return None
        return Left("failed", f"answers may not go to its queue {reply_to}: say --to QUEUE")


def _with_id(body: str, old: UUID, new: UUID, keys: SealKeys) -> bytes:
    """Make the message of a request from what is stored of another: its secrets opened, with a new id."""
    document = json.loads(body)
    if may_hold_secrets(body):
        document["payload"] = keys.open_document(document["payload"], old)
    document |= {"request_id": str(new), "timestamp": datetime.now(UTC).isoformat(timespec="microseconds")}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
