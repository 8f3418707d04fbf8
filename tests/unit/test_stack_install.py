"""Where RabbitMQ is missing and may not be installed, one sentence says what to do."""

import shutil

import pytest

from worker.stack import install
from worker.stack.errors import StackError
from worker.stack.install import ensure_rabbitmq


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Makes a machine without RabbitMQ, with an ordinary user and only these commands."""
    present: set[str] = set()
    monkeypatch.setattr(install, "find_programs", lambda: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in present else None)
    return present


@pytest.mark.usefixtures("commands")
async def test_without_a_package_manager() -> None:
    with pytest.raises(StackError, match=r"no apt-get to install it with.*set AMQP_URL"):
        await ensure_rabbitmq(lambda _: None, {})


async def test_without_the_right_to_install(commands: set[str]) -> None:
    commands.add("apt-get")
    with pytest.raises(StackError, match=r"needs root or a sudo without password.*set AMQP_URL"):
        await ensure_rabbitmq(lambda _: None, {})


async def test_where_it_is_there_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "find_programs", lambda: "/somewhere")
    said: list[str] = []
    await ensure_rabbitmq(said.append, {})
    assert said == []
