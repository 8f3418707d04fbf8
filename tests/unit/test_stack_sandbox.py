"""What a stack started is ended, and its folder removed, however its owner ends."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from worker.stack import reaper
from worker.stack.errors import StackError
from worker.stack.program import Program
from worker.stack.sandbox import Sandbox, open_sandbox

# Servers that start another process; the second one does not end by SIGTERM.
PAIR = "sleep 1000 & echo started; wait"
STUBBORN = "trap '' TERM; sleep 1000 & echo started; while :; do wait; done"


async def _server(sandbox: Sandbox, script: str = PAIR) -> Program:
    log = sandbox.path / "log"
    program = await sandbox.start(*("sh", "-c", script), env={}, log=log, user=None, end_by=signal.SIGTERM)
    async with asyncio.timeout(60):
        while "started" not in log.read_text():  # noqa: ASYNC110 - it says so in a file
            await asyncio.sleep(0.01)
    return program


def _tree(program: Program) -> list[psutil.Process]:
    processes = reaper.tree(psutil.Process(program.pid))
    assert len(processes) == 2
    return processes


@pytest.mark.parametrize("script", [PAIR, STUBBORN])
async def test_all_ends_with_the_block(script: str) -> None:
    async with open_sandbox() as sandbox:
        processes = _tree(await _server(sandbox, script))
    assert not any(map(reaper.alive, processes))
    assert not sandbox.path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_all_ends_though_its_reaper_is_told_to_end_as_well(number: signal.Signals) -> None:
    """A service manager signals every process in this way."""
    others = set(psutil.Process().children())
    async with open_sandbox() as sandbox:
        processes = _tree(await _server(sandbox))
        mine = set(psutil.Process().children()) - others
        (kept,) = (each for each in mine if any("reaper" in word for word in each.cmdline()))
        kept.send_signal(number)
    assert not any(map(reaper.alive, processes))
    assert not sandbox.path.exists()


async def test_what_a_command_has_started_ends_with_it() -> None:
    async with open_sandbox() as sandbox:
        command = f"sleep 1000 & echo $! > {sandbox.path}/child; wait"
        with pytest.raises(StackError, match="did not end"):
            await sandbox.run("sh", "-c", command, env={}, limit=1)
        child = int((sandbox.path / "child").read_text())
        _until(lambda: not _runs(child))


async def test_all_ends_with_an_error_in_the_block() -> None:
    seen: list[tuple[Sandbox, list[psutil.Process]]] = []

    async def fail() -> None:
        async with open_sandbox() as sandbox:
            seen.append((sandbox, _tree(await _server(sandbox))))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    [(sandbox, processes)] = seen
    assert not any(map(reaper.alive, processes))
    assert not sandbox.path.exists()


async def test_all_ends_when_it_is_cancelled_and_cancelled_again() -> None:
    started: asyncio.Future[tuple[Sandbox, list[psutil.Process]]] = asyncio.Future()

    async def hold() -> None:
        async with open_sandbox() as sandbox:
            started.set_result((sandbox, _tree(await _server(sandbox, STUBBORN))))
            await asyncio.Event().wait()

    task = asyncio.ensure_future(hold())
    sandbox, processes = await started
    task.cancel()
    await asyncio.wait({task}, timeout=0.1)
    assert not task.done(), "the clean-up is still at it"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(map(reaper.alive, processes))
    assert not sandbox.path.exists()


OWNER = """
import asyncio, signal
from worker.stack.sandbox import open_sandbox
async def main():
    async with open_sandbox() as sandbox:
        program = await sandbox.start("sleep", "1000", env={"PATH": "/usr/bin:/bin"},
            log=sandbox.path / "log", user=None, end_by=signal.SIGKILL)
        print(sandbox.path, program.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_all_ends_when_the_owner_is_killed() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:  # noqa: S603
        assert owner.stdout is not None
        folder, pid = owner.stdout.readline().split()
        left = [psutil.Process(int(pid)), *psutil.Process(owner.pid).children(recursive=True)]
        assert Path(folder).is_dir()
        owner.kill()
    psutil.wait_procs(left, timeout=20)
    assert not any(map(reaper.alive, left))
    assert not Path(folder).exists()


HEADLESS = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
print(flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_is_alive_for_as_long_as_one_of_its_threads() -> None:
    command = [sys.executable, "-c", HEADLESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        process.stdout.readline()
        seen = psutil.Process(process.pid)
        _until(lambda: seen.status() == psutil.STATUS_ZOMBIE)
        assert reaper.alive(seen)
        process.kill()
        _until(lambda: not reaper.alive(seen))
        assert seen.is_running(), "nobody has waited for it yet"


def _runs(pid: int) -> bool:
    try:
        return reaper.alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def _until(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.01)


async def test_freeze_stops_the_whole_tree_and_thaw_wakes_it() -> None:
    async with open_sandbox() as sandbox:
        program = await _server(sandbox)
        processes = _tree(program)
        await program.freeze()
        assert {each.status() for each in processes} == {psutil.STATUS_STOPPED}
        await program.thaw()
        assert psutil.STATUS_STOPPED not in {each.status() for each in processes}


async def test_a_frozen_tree_ends_with_the_block_too() -> None:
    async with open_sandbox() as sandbox:
        program = await _server(sandbox)
        processes = _tree(program)
        await program.freeze()
    assert not any(map(reaper.alive, processes))


async def test_kill_returns_when_the_whole_tree_is_gone() -> None:
    async with open_sandbox() as sandbox:
        program = await _server(sandbox)
        processes = _tree(program)
        await program.kill()
        assert not any(map(reaper.alive, processes))
        assert not program.running


async def test_a_command_that_fails_says_what_it_printed() -> None:
    async with open_sandbox() as sandbox:
        with pytest.raises(StackError, match=r"(?s)sh failed \(3\).*no such luck"):
            await sandbox.run("sh", "-c", "echo no such luck; exit 3", env={})
        with pytest.raises(StackError, match="sleep did not end in 0 s"):
            await sandbox.run("sleep", "100", env={"PATH": "/usr/bin:/bin"}, limit=0.1)


async def test_a_command_for_the_end_is_run(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    async with open_sandbox() as sandbox:
        await sandbox.at_end("touch", str(sign))
        await sandbox.at_end("no-such-command")
    assert sign.exists()
