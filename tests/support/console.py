"""Opens the console in the test's own process, without a port, and logs in to it."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
from pydantic import SecretStr
from support.access import PASSWORD, as_user
from support.harness import eventually

from worker.console.access import Role
from worker.console.app import make_app
from worker.console.health import Health
from worker.console.tokens import new_token
from worker.monitoring.readiness import Readiness
from worker.postgres import migrate
from worker.postgres.grants import Kind
from worker.settings import Settings

ADDRESS = "http://console.test"
_CSRF = re.compile(r'name="csrf" value="([^"]*)"')
_TAGS = re.compile(r"<[^>]+>")


class Console:
    """A console that is open. Everybody has a token: viewer, operator, admin, and anna, an admin who may see
    payloads.
    """

    def __init__(self, exits: AsyncExitStack, app: Any, tokens: dict[str, str], file: Path) -> None:
        self._exits = exits
        self.app = app
        self.tokens = tokens
        self.file = file

    async def client(self, name: str | None = None, *, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """Return the browser of somebody who has logged in, or of nobody."""
        made = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, client=(address, 50_000)), base_url=ADDRESS
        )
        await self._exits.enter_async_context(made)
        if name is not None:
            answer = await made.post("/login", data={"token": self.tokens[name]})
            assert answer.status_code == 303, answer.text
        return made

    async def bearer(self, name: str) -> httpx.AsyncClient:
        """Return a program that sends somebody's token."""
        made = await self.client()
        made.headers["Authorization"] = f"Bearer {self.tokens[name]}"
        return made


@asynccontextmanager
async def open_console(settings: Settings, folder: Path, **changes: Any) -> AsyncIterator[Console]:
    """Open the console of an installation, with a console's role in its database."""
    url = await console_url(settings.database_url.get_secret_value())
    theirs = settings.model_copy(update={"database_url": SecretStr(url)})
    async with open_console_as(theirs, folder, **changes) as opened:
        yield opened


@asynccontextmanager
async def open_console_as(settings: Settings, folder: Path, **changes: Any) -> AsyncIterator[Console]:
    """Open the console of an installation as the settings say."""
    file, tokens = folder / "tokens", {}
    lines = ["# who may log in"]
    for name, role in (*((role.value, role) for role in Role), ("anna", Role.ADMIN)):
        tokens[name], line = new_token(name, role, payloads=name == "anna")
        lines.append(line.text)
    file.write_text("\n".join(lines), "utf-8")
    mine = settings.model_copy(update={"console": True, "console_tokens_file": str(file), **changes})
    async with make_app(mine, Health(Readiness(()), None)) as app, AsyncExitStack() as exits:
        yield Console(exits, app, tokens, file)


async def console_url(url: str) -> str:
    """Return the URL of a database for its consoles: their role is made for the first, and ends with the
    database.
    """
    role = f"{urlsplit(url).path[1:]}_console"
    try:
        await migrate.create_role(url, role, PASSWORD)
    except asyncpg.DuplicateObjectError:
        pass
    else:
        await migrate.grant(url, role, kind=Kind.CONSOLE)
    return as_user(url, role)


async def reached(console: Console) -> Console:
    """Wait until the console has reached Postgres, and return it."""
    client = await console.bearer("viewer")

    async def look() -> bool:
        return (await client.get("/audit")).status_code != HTTPStatus.SERVICE_UNAVAILABLE

    await eventually(look)
    return console


async def act(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Open the form of an action, and send it with these fields; return the page that it leads to."""
    form = await client.get(path)
    assert form.status_code == 200, form.text
    answer = await client.post(path, data={"csrf": csrf_of(form), **fields})
    assert answer.status_code == 303, text_of(answer)
    return await client.get(answer.headers["location"])


def csrf_of(page: httpx.Response) -> str:
    found = _CSRF.search(page.text)
    assert found, "the page has no form"
    return html.unescape(found[1])


def text_of(page: httpx.Response) -> str:
    """Return what somebody reads of a page."""
    return " ".join(html.unescape(_TAGS.sub(" ", page.text)).split())
