"""Says what each user of the broker may do: the names are those of the topology, and no others."""

import base64
import hashlib
import secrets
from enum import StrEnum
from typing import Any, NamedTuple

from schemas import RequestStatus
from worker.rabbitmq.topology import design

DEFAULT_EXCHANGE = "amq.default"  # how the broker names it where it speaks of rights
REPLY_QUEUES = r"amq\.gen-.*"  # which the broker names; whoever declares one has it for himself (exclusive)
_SALT_BYTES = 4
_ONE_REQUEST = r"^\*\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"  # all events of one, for who knows its id
_ENDS = (RequestStatus.COMPLETED.value, RequestStatus.FAILED.value)  # the keys of responses


class Actor(StrEnum):
    """What a user of the broker is for."""

    PRODUCER = "producer"
    SUBSCRIBER = "subscriber"
    WORKER = "worker"
    CONSOLE = "console"


class Topics(NamedTuple):
    """The keys with which a user may publish to a topic exchange, and bind queues to it."""

    exchange: str
    write: str
    read: str


class Rights(NamedTuple):
    """Patterns of the names of exchanges and queues: the broker does not tell the two apart."""

    configure: str
    write: str
    read: str
    topics: tuple[Topics, ...] = ()
    tags: tuple[str, ...] = ()


def rights_of(actor: Actor, prefix: str) -> Rights:
    """Return what this actor needs, and no more."""
    topology = design(prefix, limits_from_policy=False, events=True, spread=2)
    names = topology.names
    match actor:
        case Actor.PRODUCER:
            # With a queue that the broker names it watches its requests.
            read = _these(topology.events.name, replies=True)
            return Rights(
                _these(replies=True), _these(names.requests, replies=True), read,
                (Topics(topology.events.name, write=_these(), read=_ONE_REQUEST),),
            )  # fmt: skip
        case Actor.SUBSCRIBER:
            # The queue of copies is one that the broker names, too.
            read = _these(names.responses, topology.events.name, replies=True)
            return Rights(_these(replies=True), _these(replies=True), read)
        case Actor.WORKER:
            # It declares all of these at its start, and again when one was deleted. There may be shards that
            # its settings do not know.
            its = dict.fromkeys(thing.name for thing in topology.declared if thing.name != topology.shards[1])
            more = topology.names.requests.replace(".", r"\.") + r"\.[0-9]+"
            return Rights(
                _these(*its, more=more), _these(*its, DEFAULT_EXCHANGE, more=more), _these(*its, more=more),
                (Topics(names.responses, write=_these(*_ENDS), read=".*"),),
                ("monitoring",),
            )  # fmt: skip
        case Actor.CONSOLE:
            # It sends requests, cancellations, responses and dead letters again; depths need no right.
            return Rights(
                _these(), _these(names.requests, names.responses, DEFAULT_EXCHANGE), _these(),
                (Topics(names.responses, write=_these(*_ENDS), read=_these()),),
                ("monitoring",),
            )  # fmt: skip


class User(NamedTuple):
    """A user of the broker. Without the hash of a password, one that is there already."""

    name: str
    actor: Actor
    password_hash: str | None = None


def definitions(user: User, prefix: str, vhost: str) -> dict[str, Any]:
    """Return what `rabbitmqctl import_definitions` reads. A user who is named there without a password would
    lose the one that he has: so without a hash the user is left out, and only the rights are set.
    """
    rights = rights_of(user.actor, prefix)
    whose = {"user": user.name, "vhost": vhost}
    patterns = {"configure": rights.configure, "write": rights.write, "read": rights.read}
    told: dict[str, Any] = {
        "permissions": [whose | patterns],
        "topic_permissions": [whose | topics._asdict() for topics in rights.topics],
    }
    if user.password_hash is None:
        return told
    made = {
        "name": user.name,
        "password_hash": user.password_hash,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": list(rights.tags),
    }
    return {"users": [made], **told}


def hashed(password: str) -> str:
    """Hash a password as RabbitMQ keeps it, with a salt."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _these(*names: str, replies: bool = False, more: str | None = None) -> str:
    """Return the pattern of these names alone; of none, a pattern that no name matches. `more`: a pattern of
    further names.
    """
    patterns = [name.replace(".", r"\.") for name in names] + [REPLY_QUEUES] * replies
    if more:
        patterns.append(more)
    match patterns:
        case []:
            return "^$"
        case [one]:
            return f"^{one}$"
        case _:
            return f"^({'|'.join(patterns)})$"
