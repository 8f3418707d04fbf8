"""Installs RabbitMQ with the system's package manager, where that is allowed."""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping

from worker.stack.commands import run
from worker.stack.errors import StackError
from worker.stack.rabbitmq import find_programs

_INSTALL_SECONDS = 600.0
_LAST_LINES = 8
_REMEDY = (
    "RabbitMQ is not installed here, and {why}. Install it (Debian, Ubuntu: "
    "sudo apt-get install rabbitmq-server; macOS: brew install rabbitmq), or start Docker, "
    "or set AMQP_URL to a broker that runs."
)

# Debian starts a broker on the standard port when its package is installed; policy-rc.d is
# its way to forbid that, and a file that is there already is left alone. Others may be
# installing at this moment, so both steps wait for their lock.
_SCRIPT = """
set -eu
cd /
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod 755 "$policy"
fi
for try in 1 2 3 4 5 6; do apt-get -q update && break; sleep 5; done
apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$1"
"""


async def ensure_rabbitmq(say: Callable[[str], None], environ: Mapping[str, str]) -> None:
    """Return when RabbitMQ's programs are on this machine, or raise an error that says what to do."""
    if find_programs() is not None:
        return
    why_not = await install("rabbitmq-server", say, environ)
    if find_programs() is None:
        raise StackError(_REMEDY.format(why=why_not))
    say("installed RabbitMQ")


async def install(package: str, say: Callable[[str], None], environ: Mapping[str, str]) -> str:
    """Install a package; return why it may still be missing, for the case that it is."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get to install it with"
    sudo = await _become_root()
    if sudo is None:
        return "installing it needs root or a sudo without password"
    say(f"installing {package} with apt-get (once; up to some minutes) …")
    command = (*sudo, "sh", "-c", _SCRIPT, "sh", package)
    try:
        # A package manager that is cut off in the middle leaves the system's packages half installed.
        ended = await run(*command, env=environ, limit=_INSTALL_SECONDS, end_with_us=False)
        words = ended.words
    except TimeoutError:
        words = f"it did not end in {_INSTALL_SECONDS:.0f} s"
    last = "\n".join(f"  | {line}" for line in words.splitlines()[-_LAST_LINES:])
    return f"apt-get could not install it:\n{last}\n"


async def _become_root() -> tuple[str, ...] | None:
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo") is None:
        return None
    process = await asyncio.create_subprocess_exec(
        *("sudo", "-n", "true"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return ("sudo", "-n") if await process.wait() == 0 else None
