"""Has large and suspect messages read in a process of its own: none of them holds up or ends the worker."""

import asyncio
import pickle
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from worker.errors import KilledItsReader, ReaderUnavailable, SealError
from worker.messages.decoding import refuse_killer
from worker.messages.envelope import Message
from worker.messages.heaviness import is_heavy
from worker.messages.sealing import SealKeys
from worker.process import own_command
from worker.reading.protocol import LENGTH_BYTES, NotRestored, ReaderSettings, ToRead, ToRestore, framed
from worker.values import Read, Requested

SUSPECT_DELIVERIES = 3  # a message that came back as often may be what ends its workers
_TRIES = 2  # the first death may be an accident
_START_SECONDS = 60
_READ_SECONDS = 120  # far above the limit of processor time that the process sets itself
_CLOSE_SECONDS = 1
_log = structlog.get_logger(__name__)


class Reader:
    """Asks the reader process; starts it when it is first needed, and again when it has died."""

    def __init__(self, settings: ReaderSettings, keys: SealKeys) -> None:
        self._settings = settings
        self._keys = keys
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()

    def is_for(self, message: Message) -> bool:
        """Tells whether the reader process reads a message. A body beyond the limit is not read at all."""
        return (
            message.dropped is None
            and len(message.body) <= self._settings.limits.max_body_bytes
            and (message.delivery_count >= SUSPECT_DELIVERIES or is_heavy(message.body))
        )

    async def read(self, message: Message) -> Read:
        """Decodes a message as `decode` does; refuses one that ends its reader. Raises ReaderUnavailable."""
        now = datetime.now(UTC)
        try:
            read: Read = await self._ask(ToRead(message, now), {"deliveries": message.delivery_count})
        except KilledItsReader:
            return refuse_killer(message, self._settings.limits, self._keys, now)
        return read

    async def restore(self, body: str, request_id: UUID) -> tuple[Requested, str]:
        """Restores a request as `restore` does. Raises KilledItsReader, ReaderUnavailable, SealError or
        ValueError.
        """
        answer = await self._ask(ToRestore(body, request_id), {"request_id": str(request_id)})
        if isinstance(answer, NotRestored):
            raise SealError(answer.reason) if answer.sealed else ValueError(answer.reason)
        restored: tuple[Requested, str] = answer
        return restored

    async def close(self) -> None:
        """Ends the reader process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 — it was started with one
        process.stdin.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await process.wait()
        except TimeoutError:
            await _kill(process)

    async def _ask(self, question: object, about: dict[str, Any]) -> Any:  # noqa: ANN401 — any answer
        async with self._one_at_a_time:
            for attempt in range(1, _TRIES + 1):
                process = self._process or await self._start()
                begun = time.perf_counter()
                try:
                    async with asyncio.timeout(_READ_SECONDS):
                        return await _exchange(process, framed(question))
                except (EOFError, OSError, TimeoutError, asyncio.CancelledError) as error:
                    # It is killed: an answer that it has begun would be taken for that to the next question.
                    self._process = None
                    code = await _kill(process)
                    if isinstance(error, asyncio.CancelledError):
                        raise
                    seconds = round(time.perf_counter() - begun, 3)
                    _log.warning("reader.died", code=code, seconds=seconds, attempt=attempt, **about)
            raise KilledItsReader

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                *own_command.of_module(f"{__package__}.reader_process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches the worker alone
            )
        except OSError as error:
            raise ReaderUnavailable(f"the process that reads cannot be started: {error}") from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                await _exchange(process, framed(self._settings))
        except BaseException as error:
            code = await _kill(process)
            if isinstance(error, EOFError | OSError | TimeoutError):
                raise ReaderUnavailable(f"the process that reads ended as it started, code {code}") from error
            raise
        self._process = process
        _log.info("reader.started", pid=process.pid)
        return process


async def _exchange(process: asyncio.subprocess.Process, question: bytes) -> Any:  # noqa: ANN401 — any answer
    assert process.stdin is not None  # noqa: S101 — it was started with both
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(question)
    await process.stdin.drain()
    head = await process.stdout.readexactly(LENGTH_BYTES)
    answer = await process.stdout.readexactly(int.from_bytes(head, "big"))
    return pickle.loads(answer)  # noqa: S301 — this program wrote it


async def _kill(process: asyncio.subprocess.Process) -> int:
    with suppress(ProcessLookupError):
        process.kill()
    return await process.wait()
