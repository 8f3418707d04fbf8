"""Asks the broker's management API: AMQP tells nothing of bindings, policies and nodes.

It is asked rarely, and by the standard library's client in a thread: no other part needs one.
"""

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from worker.errors import WorkerError
from worker.tls_words import tls_in_words

_ANSWER_SECONDS = 8


class ManagementError(WorkerError):
    """The management API does not answer, or does not tell this user."""


class QueueDetails(NamedTuple):
    """A queue as the broker has it; limits may come from its arguments and from policies."""

    name: str
    arguments: Mapping[str, Any]
    policy: Mapping[str, Any]  # what its policy and the operators' policy say together
    policies: tuple[str, ...]  # their names
    leader: str | None
    members: tuple[str, ...]
    online: tuple[str, ...]
    bytes: int | None  # of the bodies; None: the broker keeps no statistics
    unacknowledged: int | None  # messages that its consumers hold


class Node(NamedTuple):
    """A node of the cluster. What one that does not run would say is 0."""

    name: str
    runs: bool
    memory_alarm: bool
    memory: int
    memory_limit: int
    disk_alarm: bool
    disk_free: int
    disk_limit: int


class Management:
    """Asks about one vhost, as a user with the tag `monitoring` at least."""

    def __init__(self, address: SplitResult, vhost: str, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._vhost = vhost
        self._tls = tls
        known = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
        self._headers = {
            "Authorization": f"Basic {b64encode(known.encode()).decode()}",
            "Content-Type": "application/json",
        }

    async def queue(self, name: str) -> QueueDetails | None:
        """Return what there is to say of a queue; None: it is not there."""
        told = await self._get("queues", self._vhost, name)
        if told is None:
            return None
        return QueueDetails(
            name=name,
            arguments=told.get("arguments") or {},
            policy=told.get("effective_policy_definition") or {},
            policies=tuple(filter(None, (told.get("policy"), told.get("operator_policy")))),
            leader=told.get("leader"),
            members=tuple(told.get("members") or ()),
            online=tuple(told.get("online") or ()),
            bytes=told.get("message_bytes"),
            unacknowledged=told.get("messages_unacknowledged"),
        )

    async def keys_between(self, exchange: str, queue: str) -> list[str] | None:
        """Return the keys with which a queue is bound to an exchange; None: one of them is not there."""
        for kind, name in (("exchanges", exchange), ("queues", queue)):
            if await self._get(kind, self._vhost, name) is None:
                return None  # which not every version says of the bindings themselves
        told = await self._get("bindings", self._vhost, "e", exchange, "q", queue)
        return [binding["routing_key"] for binding in told or []]

    async def nodes(self) -> list[Node]:
        return [
            Node(
                name=told["name"],
                runs=bool(told.get("running")),
                memory_alarm=bool(told.get("mem_alarm")),
                memory=told.get("mem_used", 0),
                memory_limit=told.get("mem_limit", 0),
                disk_alarm=bool(told.get("disk_free_alarm")),
                disk_free=told.get("disk_free", 0),
                disk_limit=told.get("disk_free_limit", 0),
            )
            for told in await self._get("nodes") or []
        ]

    async def define(self, definitions: Mapping[str, Any]) -> None:
        """Import definitions, as an administrator; raise ManagementError. What they do not name stays."""
        await self._call("definitions", body=json.dumps(definitions))

    async def _get(self, *path: str) -> Any:  # noqa: ANN401 — any JSON
        """Return what lies there, or None where nothing does; raise ManagementError."""
        return await self._call(*path)

    async def _call(self, *path: str, body: str | None = None) -> Any:  # noqa: ANN401 — as above
        where = "/".join(quote(part, safe="") for part in path)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                status, told = await asyncio.to_thread(
                    self._ask, f"{self._address.path.rstrip('/')}/api/{where}", body
                )
                if status == HTTPStatus.NOT_FOUND:
                    return None
                if status == HTTPStatus.UNAUTHORIZED:
                    raise ManagementError(
                        "it does not tell this user: it needs the tag monitoring, and rights in the vhost"
                    )
                if status not in (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
                    raise ManagementError(f"it answered {status}")
                return json.loads(told) if told else None
        except (HTTPException, OSError, TimeoutError, ValueError) as error:
            why = tls_in_words(error) or str(error) or type(error).__name__
            raise ManagementError(f"it does not answer: {why}") from error

    def _ask(self, path: str, body: str | None) -> tuple[int, bytes]:
        """Ask on a connection of its own; this blocks."""
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "https":
            connection: HTTPConnection = HTTPSConnection(
                host, port, timeout=_ANSWER_SECONDS, context=self._tls
            )
        else:
            connection = HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("POST" if body else "GET", path, body, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def open_management(url: str, vhost: str, tls: ssl.SSLContext | None) -> Management:
    """Return the API at this address, which has the user and the password; nothing is asked yet. Raises
    ManagementError for what is no address. No error shows a part of it.
    """
    try:
        address = urlsplit(url)
        fit = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        fit = False
    if not fit:
        raise ManagementError("its address is not http://user:password@host:15672")
    return Management(address, vhost, tls)
