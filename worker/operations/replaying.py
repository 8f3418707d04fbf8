"""Sends dead letters again: to where they belong, or to a queue of somebody's choice."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from schemas.wire import CANCEL_TYPE, RESPONSE_TYPE
from worker.errors import PublishInterrupted
from worker.messages.custody import message_to_send
from worker.messages.decoding import Limits, decode, is_response
from worker.messages.envelope import Message, property_text
from worker.messages.json_body import parse_loosely
from worker.messages.mending import Edit, Unmendable, mended
from worker.messages.sealing import SealKeys, is_same_request
from worker.operations import audit, dead_letters
from worker.operations.dead_letters import Listed, Whole
from worker.postgres.database import Database
from worker.postgres.transactions import Transactions
from worker.rabbitmq.connection import Broker, close
from worker.rabbitmq.line import Line
from worker.rabbitmq.topology import CANCEL_KEY, REQUEST_KEY, Names
from worker.rabbitmq.writing import Outgoing, open_proven_line, write_one
from worker.values import Arrival, Cancellation, Read, Receipt, Unreadable

AT_ONCE = 20  # are read, sent and noted together


class Prospect(StrEnum):
    """What will become of a dead letter that is sent again."""

    NEW = "new"
    ANSWERED = "answered from the record"
    CONFLICT = "conflict"
    UNREADABLE = "still unreadable"
    CANCELLATION = "cancellation"
    RESPONSE = "response"
    REDIRECTED = "redirected"


LEFT = (Prospect.CONFLICT, Prospect.UNREADABLE)  # these are not sent: they would only fail
_UNSENT = {
    Receipt.UNROUTABLE: "no queue took it",
    Receipt.REFUSED: "its queue is full",
    Receipt.UNPUBLISHABLE: "the broker does not take it",
}


class Judged(NamedTuple):
    """A dead letter, what would be sent of it, and what would become of that."""

    letter: Whole
    outgoing: Outgoing
    prospect: Prospect
    why: str | None = None


class Sent(NamedTuple):
    """What became of one: it was sent, or it was left for this reason."""

    id: UUID
    prospect: Prospect
    left: str | None


class Replaying:
    """Judges dead letters, and sends those that have a prospect. One is noted as replayed only after the
    broker has confirmed it. Whoever is killed in between sends some again: their request ids tell. Of two
    who send the same at once, one does.
    """

    def __init__(
        self,
        database: Database,
        keys: SealKeys,
        names: Names,
        limits: Limits,
        *,
        edits: Sequence[Edit] = (),
        bodies: Mapping[UUID, bytes] | None = None,
        to: str | None = None,
        sender: str | None = None,
    ) -> None:
        """`edits`: what is changed in each body. `bodies`: bodies in the place of theirs. `to`: the queue to
        which all go as they are, in the place of where they belong; raises RefusedQueue for one of the
        worker's own. `sender`: the user of the broker that it is done as, where workers go by that.
        """
        if to is not None:
            limits.replies._replace(pattern=None).require(to)
        self._database = database
        self._keys = keys
        self._names = names
        self._orgs, self._limits = limits.orgs, limits._replace(orgs=None)
        self._edits = edits
        self._bodies = bodies or {}
        self._to = to
        self._sender = sender
        self._new: dict[UUID, bytes] = {}  # the fingerprints of those that were judged as new before

    async def judged(self, ids: Sequence[UUID]) -> AsyncIterator[list[Judged]]:
        """Judge these, some at a time, in their order. Those that are no longer kept are left out."""
        for start in range(0, len(ids), AT_ONCE):
            letters = await dead_letters.read(self._database, ids[start : start + AT_ONCE], self._keys)
            yield await self._judge([letter for letter in letters if letter.about.state == "kept"])

    async def replay(
        self,
        broker: Broker,
        ids: Sequence[UUID],
        *,
        rate: float,
        by: str,
        reason: str | None,
        about: Mapping[str, Any],
        seconds: float,
    ) -> AsyncIterator[list[Sent]]:
        """Send these at most at this rate, and tell of each part of them what became of it; what somebody
        else sends now, or is no longer kept, is not told of. Raises PublishInterrupted when the broker is
        lost: what was not confirmed is still kept.

        A part is held, sent and noted in one transaction, with a row of the audit: these rows are one entry.
        """
        connection = await broker.connect()
        try:
            line = await open_proven_line(connection, seconds)
            noted = {**about, "selected": len(ids), "run": audit.new_run()}
            clock = asyncio.get_running_loop().time
            begun, sent = clock(), 0
            size = max(1, min(AT_ONCE, int(rate)))
            async with self._database.transactions() as transactions:
                for start in range(0, len(ids), size):
                    await asyncio.sleep(begun + sent / rate - clock())
                    async with transactions.one():
                        part = ids[start : start + size]
                        held = [row["id"] for row in await transactions.call("hold_dead_letters", part)]
                        judged = [one async for some in self.judged(held) for one in some]
                        done = await self._send(line, judged, seconds)
                        await self._note(transactions, judged, done, by=by, reason=reason, about=noted)
                    sent += sum(one.left is None for one in done)
                    yield done
        finally:
            await close(connection)

    async def _send(self, line: Line, judged: Sequence[Judged], seconds: float) -> list[Sent]:
        going = [one for one in judged if one.prospect not in LEFT]
        try:
            async with asyncio.timeout(seconds):
                receipts = await self._publish(line, [one.outgoing for one in going])
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not line.channel.is_closed:
                raise
            raise PublishInterrupted(f"the broker was lost, or did not confirm: {error!r}"[:300]) from error
        ids = [one.letter.about.id for one in going]
        said = {each: _UNSENT.get(receipt) for each, receipt in zip(ids, receipts, strict=True)}
        return [
            Sent(
                one.letter.about.id,
                one.prospect,
                f"{one.prospect}: {one.why}" if one.prospect in LEFT else said[one.letter.about.id],
            )
            for one in judged
        ]

    async def _publish(self, line: Line, messages: Sequence[Outgoing]) -> list[Receipt]:
        if len({message.properties.message_id for message in messages}) == len(messages):
            return await asyncio.gather(*(self._publish_one(line, message) for message in messages))
        # The client library tells those in flight apart by their message ids.
        return [await self._publish_one(line, message) for message in messages]

    async def _publish_one(self, line: Line, message: Outgoing) -> Receipt:
        receipt = await write_one(line.channel, message)
        if receipt is not Receipt.UNROUTABLE or message.exchange or self._to is not None:
            return receipt
        # The queue of a single reader is gone: its response goes to where all can find it.
        key = _status(_object_in(message.body))
        return await write_one(
            line.channel, message._replace(exchange=self._names.responses, routing_key=key)
        )

    async def _note(
        self,
        transactions: Transactions,
        judged: Sequence[Judged],
        done: Sequence[Sent],
        *,
        by: str,
        reason: str | None,
        about: Mapping[str, Any],
    ) -> None:
        places = {
            sent.id: one.outgoing.exchange or one.outgoing.routing_key
            for one, sent in zip(judged, done, strict=True)
            if sent.left is None
        }
        if places:
            action = "dead.replay" if self._to is None else "dead.redirect"
            await transactions.call(
                "note_replayed", list(places), list(places.values()), by, reason, action, json.dumps(about)
            )

    async def _judge(self, letters: Sequence[Whole]) -> list[Judged]:
        now = datetime.now(UTC)
        judged: list[Judged] = []
        arrivals: dict[int, Arrival] = {}
        for letter in letters:
            one, arrival = self._read(letter, now)
            if arrival is not None:
                arrivals[len(judged)] = arrival
            judged.append(one)
        known = {
            row["request_id"]: row["fingerprint"]
            for row in await self._database.call(
                "known", [arrival.request_id for arrival in arrivals.values()], aside=True
            )
        }
        for index, arrival in arrivals.items():
            judged[index] = self._held_against_record(judged[index], arrival, known.get(arrival.request_id))
        return judged

    def _read(self, letter: Whole, now: datetime) -> tuple[Judged, Arrival | None]:
        """Find out where a letter belongs and whether a worker could read it, as it is after the edits."""
        about = letter.about
        body = self._bodies.get(about.id, letter.body)
        why = None
        try:
            body = mended(body, self._edits, about.id)
        except Unmendable as error:
            why = f"the edit does not fit: {error}"
        message = message_to_send(about.id, body, letter.properties, letter.headers, self._sender)
        if self._to is not None:
            return Judged(letter, Outgoing("", self._to, body, message.properties), Prospect.REDIRECTED), None
        outgoing = self._where(message)
        if why is not None:
            return Judged(letter, outgoing, Prospect.UNREADABLE, why), None
        if outgoing.exchange != self._names.requests:
            return Judged(letter, outgoing, Prospect.RESPONSE), None
        message = message._replace(sent_to_cancel=outgoing.routing_key == CANCEL_KEY)
        read = decode(message, self._limits, self._keys, now)
        if (why := _unreadable(read) or self._of_another(about, read)) is not None:
            return Judged(letter, outgoing, Prospect.UNREADABLE, why), None
        if isinstance(read, Arrival):
            late = read.deadline_at is not None and read.deadline_at <= now
            return Judged(letter, outgoing, Prospect.NEW, "its deadline has passed" if late else None), read
        return Judged(letter, outgoing, Prospect.CANCELLATION), None

    def _of_another(self, about: Listed, read: Read) -> str | None:
        """Say why its sender may not ask for this: an operator who sends it again would grant it. What an
        operator has changed is the operator's word.
        """
        if self._orgs is None or self._edits or about.id in self._bodies or about.user_id is None:
            return None
        org = read.org_id if isinstance(read, Arrival) else None
        if org is None or self._orgs.may_act(about.user_id, org):
            return None
        return f"its sender {about.user_id} may not act for its organisation"

    def _held_against_record(self, one: Judged, arrival: Arrival, stored: bytes | None) -> Judged:
        fingerprint = stored or self._new.get(arrival.request_id)
        if fingerprint is not None:
            if is_same_request(arrival, fingerprint, self._keys):
                return one._replace(prospect=Prospect.ANSWERED)
            which = "is on record" if stored is not None else "is among these"
            return one._replace(
                prospect=Prospect.CONFLICT, why=f"the request id {which} with another content"
            )
        if arrival.refusal is not None:
            return one._replace(prospect=Prospect.UNREADABLE, why=arrival.refusal.reason)
        self._new[arrival.request_id] = arrival.fingerprint
        return one

    def _where(self, message: Message) -> Outgoing:
        """Find out where a message belongs, by what it is. A response is never sent as a request: it would be
        answered, to somebody who was told the truth before.
        """
        body, properties = message.body, message.properties
        document = _object_in(body)
        if properties.message_type == RESPONSE_TYPE or is_response(document):
            reader = property_text(properties.reply_to)
            if reader is not None and self._limits.replies.refuses(reader) is None:
                return Outgoing("", reader, body, properties)
            return Outgoing(self._names.responses, _status(document), body, properties)
        is_cancel = properties.message_type == CANCEL_TYPE or document.get("operation") == "cancel_session"
        return Outgoing(self._names.requests, CANCEL_KEY if is_cancel else REQUEST_KEY, body, properties)


def _unreadable(read: Read) -> str | None:
    """Say why a worker could do nothing with it; None if it could."""
    match read:
        case Unreadable(reason=reason):
            return reason
        case Cancellation(invalid=refusal):
            return refusal.reason if refusal else None
        case Arrival():
            return None
        case _:
            return read.refusal.reason


def _object_in(body: bytes) -> dict[str, object]:
    document = parse_loosely(body)
    return document if isinstance(document, dict) else {}


def _status(document: Mapping[str, object]) -> str:
    """Return the key that a response goes with: no user may publish with another one."""
    return "completed" if document.get("status") == "completed" else "failed"


def as_record(one: Judged) -> dict[str, Any]:
    """Say what would become of a dead letter."""
    place = one.outgoing.exchange or one.outgoing.routing_key
    return {"id": one.letter.about.id, "prospect": one.prospect.value, "why": one.why, "to": place}
