"""Runs a command of this machine to its end and reads what it prints."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple


class Ended(NamedTuple):
    code: int
    words: str


async def run(*command: str, env: Mapping[str, str], limit: float, end_with_us: bool = True) -> Ended:
    """Return the command's exit code and its words. TimeoutError after `limit` seconds.

    `end_with_us`: kill the command when the time is over or we are cancelled; else it goes on by itself.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        words, _ = await asyncio.wait_for(process.communicate(), limit)
    finally:
        if process.returncode is None and end_with_us:
            process.kill()
    return Ended(await process.wait(), words.decode(errors="replace"))
