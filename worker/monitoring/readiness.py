"""Tells whether a worker can do its work now, and if not, why: one reason for each part that is down."""

import asyncio
from collections.abc import Iterable

from worker.rules import Pause


class Readiness:
    """The state of the parts that a worker needs. Each part says when it is up, and why it is down."""

    def __init__(self, parts: Iterable[str]) -> None:
        self.parts = tuple(parts)
        self.pause: Pause | None = None
        """The pause because of which the worker begins nothing. It is ready all the same."""
        self._reasons: dict[str, str] = dict.fromkeys(self.parts, "starting")
        self._changed = asyncio.Event()

    def up(self, part: str) -> None:
        if self._reasons.pop(part, None) is not None:
            self._wake()

    def down(self, part: str, reason: str) -> None:
        if self._reasons.get(part) != reason:
            self._reasons[part] = reason
            self._wake()

    @property
    def reasons(self) -> dict[str, str]:
        return dict(self._reasons)

    @property
    def ready(self) -> bool:
        return not self._reasons

    def are_up(self, *parts: str) -> bool:
        return self._reasons.keys().isdisjoint(parts)

    async def change(self) -> None:
        """Return when a part has changed, or `nudge` was called."""
        await self._changed.wait()

    def nudge(self) -> None:
        """Wake all that wait for a change, so that they look again."""
        self._wake()

    async def until_up(self, *parts: str) -> None:
        """Return once all of these parts are up; every part when none is named."""
        while any(part in self._reasons for part in parts) if parts else self._reasons:
            await self._changed.wait()

    async def until_down(self, part: str | None = None) -> None:
        """Return once this part, or any, is down."""
        while not self._reasons if part is None else part not in self._reasons:
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
