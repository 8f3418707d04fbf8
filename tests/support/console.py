"""Opens the console in this process, and asks it as somebody who may do something there."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from support.harness import eventually

from worker.console.access import Role
from worker.console.app import make_app
from worker.console.health import Health
from worker.console.tokens import new_token
from worker.monitoring.readiness import Readiness
from worker.settings import Settings


class NewConsole:
    """Makes clients of consoles. All of a test's ask one, unless a setting is another or `apart` is said."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings.model_copy(update={"console_tokens_file": str(folder / "tokens")})
        self._tokens = folder / "tokens"
        self._tokens.touch()
        self._opened: dict[str, tuple[AsyncExitStack, Any]] = {}

    async def __call__(
        self, role: str, *, name: str = "", payloads: bool = False, by_cookie: bool = False, apart: str = "",
        **settings: Any,
    ) -> httpx.AsyncClient:  # fmt: skip
        """Returns a client of somebody with this role: with a token, or logged in as a browser is."""
        token, line = new_token(name or f"{role}-{uuid4().hex[:6]}", Role(role), payloads=payloads)
        with self._tokens.open("a") as file:
            file.write(f"{line.text}\n")
        key = apart + repr(sorted(settings.items()))
        if key not in self._opened:
            stack = AsyncExitStack()
            made = make_app(self._settings.model_copy(update=settings), Health(Readiness([]), None))
            self._opened[key] = stack, await stack.enter_async_context(made)
        stack, app = self._opened[key]
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://console")
        if by_cookie:
            assert (await client.post("/login", data={"token": token})).status_code == 303
        else:
            client.headers["authorization"] = f"Bearer {token}"

        async def is_there() -> bool:
            return (await client.get("/audit")).status_code != 503

        await eventually(is_there)
        return client

    async def end(self, apart: str = "") -> None:
        """Ends a console, as a stop of its process does."""
        stack, _ = self._opened.pop(apart + "[]")
        await stack.aclose()

    async def close(self) -> None:
        for stack, _ in self._opened.values():
            await stack.aclose()


@asynccontextmanager
async def consoles(settings: Settings, folder: Path) -> AsyncIterator[NewConsole]:
    """Yields what makes clients; ends all that was opened."""
    made = NewConsole(settings, folder)
    try:
        yield made
    finally:
        await made.close()
