"""Asks the broker's management API: AMQP tells nothing of bindings, policies and nodes."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from worker.errors import WorkerError

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

    def __init__(self, session: aiohttp.ClientSession, url: str, vhost: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._vhost = vhost

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

    async def _get(self, *path: str) -> Any:  # noqa: ANN401 — any JSON
        """Return what lies there, or None where nothing does; raise ManagementError."""
        where = "/".join(quote(part, safe="") for part in path)
        try:
            async with self._session.get(URL(f"{self._url}/api/{where}", encoded=True)) as told:
                if told.status == HTTPStatus.NOT_FOUND:
                    return None
                if told.status == HTTPStatus.UNAUTHORIZED:
                    raise ManagementError(
                        "it does not tell this user: it needs the tag monitoring, and rights in the vhost"
                    )
                if told.status != HTTPStatus.OK:
                    raise ManagementError(f"it answered {told.status} {told.reason}")
                return await told.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ManagementError(f"it does not answer: {error or type(error).__name__}") from error


@asynccontextmanager
async def open_management(url: str, vhost: str, tls: ssl.SSLContext | None) -> AsyncIterator[Management]:
    """Open the API at this address, which has the user and the password; nothing is asked yet. Raises
    ManagementError for what is no address. No error shows a part of it.
    """
    try:
        parts = URL(url)
    except ValueError:
        parts = URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ManagementError("its address is not http://user:password@host:15672")
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
        connector=aiohttp.TCPConnector(ssl=tls or True),
    ) as session:
        yield Management(session, url, vhost)
