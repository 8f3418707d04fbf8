"""Types what the pages show into a real shell with the real tools, and compares what comes back.

`session-worker` alone is started as tests/support/prepared.py does: quicker, and a process all the same.
"""

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from shlex import join, quote
from typing import NamedTuple

from support.prepared import start_worker

PATIENCE_SECONDS = 110.0
_LONGEST_LINE = 1 << 22
_NONE = asyncio.subprocess.DEVNULL
_SIZE = struct.pack("HHHH", 24, 80, 0, 0)
# Hands its words, variables and streams to the test, and ends as the process does that is started there.
# Another shell asks: this one's streams have to be its own when the test takes them.
_STUB = """#!/bin/sh
mkfifo "$TYPIST/$$.code"
{ cat /proc/$$/environ; printf '\\0'; printf '%s\\0' "$@"; } >"$TYPIST/$$.words"
(echo $$ >"$TYPIST/asked")
read -r code <"$TYPIST/$$.code"
exit "$code"
"""
_BARE_WORD = re.compile(r"[A-Za-z]{3,}")
_AROUND = ".,:;()[]{}`\"'│─"


class Typed(NamedTuple):
    code: int
    out: str  # and what went to stderr, as on a terminal


class Typist:
    """Somebody at a terminal, who answers each question with yes."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self.environ = dict(environ)
        self.meant: dict[str, str] = {}  # what stands on a page for something else
        self.functions: list[str] = []  # of the shell
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._wrong: Exception | None = None

    async def type(self, command: str, *, until: str = "") -> Typed:
        """Type a command, and wait for its end. Where it goes on by itself, it is ended as by `kill` once it
        has said a word.
        """
        command = self.meaning(command)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, _SIZE)
        quiet = termios.tcgetattr(theirs)
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, quiet)
        os.write(ours, b"y\n")
        try:
            shell = await asyncio.create_subprocess_exec(
                "bash", "-o", "pipefail", "-c", "\n".join([*self.functions, command]),
                env=self.environ, cwd=self._folder, stdin=theirs, stdout=theirs, stderr=theirs,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(theirs)
        said: list[str] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._read(ours, until, said)
                code = await shell.wait()
        except TimeoutError:
            raise AssertionError(f"$ {command}\n{''.join(said)}\nit has not ended") from None
        if self._wrong is not None:
            raise self._wrong
        return Typed(code, "".join(said).replace("\r\n", "\n"))

    def has_command(self, name: str, words: Sequence[str], environ: Mapping[str, str]) -> None:
        """Give a command a name, and variables that it alone gets."""
        exports = "".join(f"export {name}={quote(value)}\n" for name, value in environ.items())
        self.has_program(name, f'#!/bin/sh\n{exports}exec {join(words)} "$@"\n')

    def has_program(self, name: str, script: str) -> None:
        """Put a program into a folder that comes first on the PATH."""
        program = self._folder / ".typist" / name
        program.write_text(script, "utf-8")
        program.chmod(0o755)

    def meaning(self, text: str) -> str:
        if not self.meant:
            return text
        names = sorted(self.meant, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, names)), lambda found: self.meant[found[0]], text)

    async def _read(self, terminal: int, until: str, said: list[str]) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(terminal, "rb", 0)
        )
        with closing(transport), suppress(OSError):  # how a terminal says that nobody is left
            while chunk := await reader.read(1 << 16):
                said.append(chunk.decode("utf-8", "replace"))
                if until and until in "".join(said) and self._process is not None:
                    until = ""
                    self._process.terminate()

    def serve(self) -> None:
        """Stand in for each stub that asks, until a process of the number 0 does. For a thread of its own."""
        with os.fdopen(os.open(self._folder / ".typist" / "asked", os.O_RDWR), "rb", 0) as asked:
            for line in iter(asked.readline, b"0\n"):
                self._loop.call_soon_threadsafe(self._begin, int(line))

    def _begin(self, pid: int) -> None:
        task = self._loop.create_task(self._stand_for(pid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for number in self._told:
            os.close(number)

    async def _stand_for(self, pid: int) -> None:
        """Do what a stub with this process id is there for, and tell it the exit code."""
        place, code = self._folder / ".typist", -1
        try:
            code = await self._run(pid, (place / f"{pid}.words").read_text("utf-8"))
        except Exception as error:  # noqa: BLE001 — it is raised where the command is typed
            self._wrong = error
        told = os.open(place / f"{pid}.code", os.O_RDWR | os.O_NONBLOCK)
        os.write(told, b"%d\n" % (code & 255))
        self._told.append(told)  # what nobody has read would be lost where nobody has it open

    async def _run(self, pid: int, asked: str) -> int:
        variables, _, words = asked.partition("\0\0")
        environ = dict(each.split("=", 1) for each in variables.split("\0") if "=" in each)
        streams = [os.open(f"/proc/{pid}/fd/{number}", os.O_NOCTTY | bool(number)) for number in range(3)]
        try:
            self._process = process = await start_worker(
                words.split("\0")[:-1], environ,
                stdin=streams[0], stdout=streams[1], stderr=streams[2], limit=_LONGEST_LINE,
            )  # fmt: skip
        finally:
            for stream in streams:
                os.close(stream)
        return await process.wait()


@asynccontextmanager
async def typist(folder: Path, **variables: str) -> AsyncIterator[Typist]:
    """Have somebody sit in a folder, with these variables and none of this project's from outside."""
    place = folder / ".typist"
    place.mkdir()
    os.mkfifo(place / "asked")
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL") if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    path = f"{place}:{os.environ['PATH']}"
    made = Typist(folder, kept | variables | {"PATH": path, "TYPIST": str(place), "TERM": "dumb"})
    made.has_program("session-worker", _STUB)
    first = await start_worker(("--version",), made.environ, stdin=_NONE, stdout=_NONE, stderr=_NONE, limit=1)
    await first.wait()  # to prepare for it may take as long as all that follows
    serving = asyncio.create_task(asyncio.to_thread(made.serve))
    try:
        yield made
    finally:
        (place / "asked").write_text("0\n")
        await serving
        made.close()


def lacks(out: str, shown: str) -> set[str]:
    """Return the words of a shown output that the real one has not. Numbers, ids, names, one or many, and how
    it is laid out may differ.
    """
    return words_of(shown) - words_of(out)


def words_of(text: str) -> set[str]:
    bare = (each.strip(_AROUND) for each in text.split())
    return {word.removesuffix("s") for word in bare if _BARE_WORD.fullmatch(word)}
