"""Makes users and roles with the rights that `session-worker access` prints, and reads in docs/access.md what
these are said to be.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp
import asyncpg
from yarl import URL

from worker.postgres import migrate
from worker.postgres.grants import Kind
from worker.rabbitmq.access import Actor, User, definitions, hashed

PASSWORD = "made-up"
_PAGE = Path(__file__).parents[2] / "docs" / "access.md"
_VERB = re.compile(r"(\w+)(?: \(([^)]*)\))?(?:, |$)")

Said = Mapping[str, frozenset[str] | None]  # each verb, and the columns that it is restricted to


class Admin:
    """Changes a broker through its management API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, *path: str) -> Any:
        async with self._session.get(self._at(path), raise_for_status=True) as answer:
            return await answer.json()

    async def put(self, *path: str, **body: Any) -> None:
        async with self._session.put(self._at(path), json=body, raise_for_status=True):
            pass

    async def post(self, *path: str, **body: Any) -> None:
        async with self._session.post(self._at(path), json=body, raise_for_status=True):
            pass

    async def delete(self, *path: str) -> None:
        async with self._session.delete(self._at(path), raise_for_status=True):
            pass

    async def set_policy(self, name: str, queue: str, **definition: Any) -> None:
        pattern = f"^{queue.replace('.', '[.]')}$"
        policy = {key.replace("_", "-"): value for key, value in definition.items()}
        path = ("policies", "/", name)
        await self.put(*path, pattern=pattern, definition=policy, priority=10, **{"apply-to": "queues"})

    async def status(self, method: str, *path: str, **body: Any) -> int:
        """Return how a request is answered, whatever that is."""
        async with self._session.request(method, self._at(path), json=body or None) as answer:
            return answer.status

    def _at(self, path: tuple[str, ...]) -> URL:
        return URL(f"{self._url}/api/{'/'.join(quote(part, safe='') for part in path)}", encoded=True)


@asynccontextmanager
async def administrator(management_url: str) -> AsyncIterator[Admin]:
    async with aiohttp.ClientSession() as session:
        yield Admin(session, management_url)


@asynccontextmanager
async def broker_users(admin: Admin, prefix: str, vhost: str = "/") -> AsyncIterator[dict[Actor, str]]:
    """Has a user for each actor while the context is open, and yields their names."""
    users = {actor: f"{prefix}-{actor}" for actor in Actor}
    try:
        for actor, name in users.items():
            await admin.post("definitions", **definitions(User(name, actor, hashed(PASSWORD)), prefix, vhost))
        yield users
    finally:
        for name in users.values():
            await admin.status("DELETE", "users", name)


@asynccontextmanager
async def roles(url: str, prefix: str) -> AsyncIterator[dict[Kind, str]]:
    """Has a role of each kind in this database while the context is open, and yields their names."""
    names = {kind: f"{prefix}_{kind}" for kind in Kind}
    try:
        for kind, name in names.items():
            await migrate.create_role(url, name, PASSWORD)
            await migrate.grant(url, name, kind=kind)
        yield names
    finally:
        await forget_roles(url, *names.values())


async def forget_roles(url: str, *names: str) -> None:
    """Drops roles, and what they own in this database."""
    admin = await asyncpg.connect(url)
    for name in names:
        if await admin.fetchval("select exists (select from pg_roles where rolname = $1)", name):
            await admin.execute(f'drop owned by "{name}" cascade; drop role "{name}"')
    await admin.close()


def as_user(url: str, name: str, *, path: str | None = None) -> str:
    """Return such a URL for another user, and perhaps another vhost or database."""
    address = urlsplit(url)
    netloc = f"{name}:{PASSWORD}@{address.netloc.rpartition('@')[2]}"
    return urlunsplit(address._replace(netloc=netloc, path=address.path if path is None else path))


def said_of(what: str) -> dict[str, dict[str, Said]]:
    """Return a table of the page: what each role may do with each exchange, queue, table or function."""
    text = _PAGE.read_text("utf-8")
    found = re.search(rf"^\| {what} (\|.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no table of each {what}"
    head, _, *rows = found[1].splitlines()
    actors = [cell.strip() for cell in head.strip("|").split("|")]
    said: dict[str, dict[str, Said]] = {}
    for row in rows:
        first, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        for name in re.findall(r"`([^`]+)`", first) if first.startswith("`") else [first]:
            assert name not in said, name
            said[name] = {actor: _said(cell) for actor, cell in zip(actors, cells, strict=True)}
    return said


def _said(cell: str) -> Said:
    return {verb: frozenset(of.split(", ")) if of else None for verb, of in _VERB.findall(cell)}
