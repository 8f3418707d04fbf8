"""Draws from a seed what happens in a run: what is sent, how workers are set up, and what breaks when."""

import json
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from pamqp import commands as spec
from simulation.broker import Message
from simulation.clock import EPOCH
from simulation.table_rows import UNSTORABLE

PREFIX = "s"
SHARED, OWN, FULL, GONE = None, "reply-own", "reply-full", "reply-gone"
"""The addresses of responses: the shared queue, a requester's own, a full one, and one that is not there."""
_SENDING_SECONDS = 2.0
_BREAKING_SECONDS = 3.0
FAULTS = (
    "kill", "kill", "stop", "freeze", "cut", "cut", "postgres away", "postgres loses answers",
    "postgres loses calls", "postgres slow", "rabbitmq away", "network slow", "responses full", "pause",
    "clock jumps",
)  # fmt: skip
AT_A_MOMENT = (
    "kill",
    "kill",
    "kill",
    "freeze",
    "freeze",
    "stop",
    "cut its own",
    "answer lost",
    "postgres away",
)
HANDLED = ("good", "good", "good", "reject", "later", "error", "hang")
"""What a request lets the handler do, by its name."""
_KINDS = {
    "request": 38, "again": 20, "other": 10, "refused": 7, "unstorable": 4, "cancel": 20, "unreadable": 4,
}  # fmt: skip


class Sent(NamedTuple):
    """A message that a producer publishes at a time."""

    at: float
    kind: str  # request, other (content under a known id), refused, unstorable, cancel, unreadable
    request_id: UUID
    reply_to: str | None
    message: Message
    does: str = "good"
    deadline: bool = False


class Fault(NamedTuple):
    """Something that breaks at a time, or `delay` after the moment of this number: a commit, a publish or an
    acknowledgement; then it is the worker's whose moment it was.
    """

    at: float
    kind: str
    seconds: float
    which: int
    moment: int = 0
    delay: float = 0.0


@dataclass(frozen=True)
class Plan:
    seed: int
    workers: int
    handler: bool
    settings: tuple[tuple[str, Any], ...]
    in_order: bool  # callbacks run in the order in which they became ready
    sent: tuple[Sent, ...]
    faults: tuple[Fault, ...]
    skews: tuple[float, ...]

    @property
    def ends(self) -> float:
        """Return when nothing more is sent, and nothing more breaks."""
        return max(
            [one.at + 0.5 for one in self.sent]
            + [one.at + one.seconds for one in self.faults if not one.moment]
        )


def plan_of(seed: int) -> Plan:
    chance = random.Random(seed)  # noqa: S311 — a run is to be like the one before
    handler = chance.random() < 0.6
    settings = {
        "lease_seconds": chance.choice([1.0, 2.0, 4.0]),
        "batch_size": chance.choice([1, 2, 4, 16]),
        "batches": chance.choice([1, 2, 3]),
        "prefetch": chance.choice([1, 2, 4, 16]),
        "handler_concurrency": chance.choice([1, 2, 4]),
        "handler_timeout_seconds": 1.0,
        "max_attempts": chance.choice([2, 3]),
        "retry_base_seconds": 0.5,
        "retry_cap_seconds": 2.0,
        "retry_seconds": 0.0,
        "confirm_timeout_seconds": chance.choice([1.0, 3.0]),
        "grace_seconds": chance.choice([1.0, 5.0]),
        "max_waiting": chance.choice([0, 2, 1000]),
        "fair_shares": chance.random() < 0.7,
    }
    sent = [one for _ in range(chance.randint(1, 6)) for one in _of_one_request(chance, handler)]
    faults = [
        Fault(chance.uniform(0.0, _BREAKING_SECONDS), chance.choice(FAULTS), chance.uniform(0.1, 3.0),
              chance.randrange(100))
        for _ in range(chance.choice([0, 0, 1, 1, 2, 3, 5]))
    ]  # fmt: skip
    faults += [
        Fault(0.0, chance.choice(AT_A_MOMENT), chance.uniform(0.1, 3.0), 0,
              chance.randint(1, 8 * len(sent) + 4), chance.choice([0.0, chance.uniform(0, 0.006)]))
        for _ in range(chance.choice([0, 1, 2, 3, 4]))
    ]  # fmt: skip
    return Plan(
        seed=seed,
        workers=chance.choice([1, 2, 2, 3]),
        handler=handler,
        settings=tuple(settings.items()),
        in_order=chance.random() < 0.5,
        sent=tuple(sorted(sent, key=lambda one: one.at)),
        faults=tuple(sorted(faults)),
        skews=tuple(chance.choice([0.0, 0.0, chance.uniform(-2, 2)]) for _ in range(20)),
    )


def _of_one_request(chance: random.Random, handler: bool) -> list[Sent]:  # noqa: PLR0911 — one for each kind
    request_id = UUID(int=chance.getrandbits(128), version=4)
    at = chance.uniform(0, _SENDING_SECONDS)
    reply_to = chance.choice([SHARED, SHARED, SHARED, OWN, OWN, OWN, FULL, GONE])
    kind = chance.choices(
        ["request", "again", "other", "refused", "unstorable", "cancel", "unreadable"],
        [38, 20, 10, 7, 4, 20, 4],
    )[0]
    org = f"org-{chance.randrange(2)}"
    does = chance.choice(HANDLED) if handler else "good"
    headers: dict[str, Any] = {}
    if (when := chance.random()) < 0.15:
        headers["not_before"] = _moment(at + chance.uniform(0.2, 3))
    elif when < 0.3:
        headers["deadline"] = _moment(at + chance.uniform(0.01, 2))

    def send(at: float, kind: str = "request", name: str = does) -> Sent:
        body = {
            "request_id": str(request_id), "org_id": org, "operation": "create_session",
            "payload": {"name": name, "expiration_seconds": 3600},
        }  # fmt: skip
        message = _message("create", json.dumps(body).encode(), reply_to, headers)
        return Sent(at, kind, request_id, reply_to, message, does, "deadline" in headers)

    match kind:
        case "again":
            return [send(at), *(send(at + chance.uniform(0, 2.5)) for _ in range(chance.randint(1, 2)))]
        case "other":
            return [send(at), send(at + chance.uniform(0, 2), "other", "another name")]
        case "refused":
            return [send(at, "refused", "x" * 41)]
        case "unstorable":
            return [send(at, kind, UNSTORABLE)]
        case "cancel":
            body = json.dumps(
                {"request_id": str(request_id), "operation": "cancel_session", "reason": "a test"}
            )
            wish = _message("cancel", body.encode(), chance.choice([SHARED, OWN]), {})
            cancel = Sent(
                max(0.0, at + chance.uniform(-0.5, 2)),
                "cancel",
                request_id,
                wish.properties.reply_to,
                wish,
                does,
            )
            return [send(at), cancel]
        case "unreadable":
            return [Sent(at, "unreadable", request_id, None, _message("create", b"no json", None, {}))]
        case _:
            return [send(at)]


def _message(key: str, body: bytes, reply_to: str | None, headers: dict[str, Any]) -> Message:
    properties = spec.Basic.Properties(
        content_type="application/json", delivery_mode=2, reply_to=reply_to, headers=headers or None
    )
    return Message(body, properties, f"{PREFIX}.requests", key)


def _moment(seconds: float) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat()
