"""The stack decides whether to use Docker by asking a `docker` command, which these tests write."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.stack import docker as module
from worker.stack.docker import Docker

IMAGES = ["rabbitmq:4-management", "postgres:18"]
Fake = Callable[[str], Docker]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Writes a `docker` whose answers are the branches of a shell's `case` on its arguments."""

    def write(branches: str) -> Docker:
        command = tmp_path / "docker"
        command.write_text(f'#!/bin/sh\ncase "$*" in\n{branches}\n*) exit 1;;\nesac\n')
        command.chmod(0o755)
        return Docker({"PATH": f"{tmp_path}:/usr/bin:/bin"})

    return write


@pytest.fixture
def said() -> list[str]:
    return []


async def test_no_command(tmp_path: Path, said: list[str]) -> None:
    assert await Docker({"PATH": str(tmp_path)}).why_not(IMAGES, said.append) == ("there is no Docker here")


async def test_an_engine_elsewhere(fake: Fake, tmp_path: Path, said: list[str]) -> None:
    fake("*) exit 0;;")
    docker = Docker({"PATH": str(tmp_path), "DOCKER_HOST": "tcp://192.0.2.1:2375"})
    assert await docker.why_not(IMAGES, said.append) == "DOCKER_HOST is another machine"


async def test_no_engine(fake: Fake, said: list[str]) -> None:
    assert await fake("version*) exit 1;;").why_not(IMAGES, said.append) == ("no Docker engine answers")


async def test_an_engine_that_hangs(fake: Fake, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASK_SECONDS", 0.2)
    assert await fake("version*) exec sleep 60;;").why_not(IMAGES, said.append) == (
        "no Docker engine answers"
    )


async def test_images_at_hand_are_not_pulled(fake: Fake, said: list[str]) -> None:
    docker = fake("version*) echo 28;;\n'image inspect'*) echo sha256:1;;")
    assert await docker.why_not(IMAGES, said.append) is None
    assert said == []


async def test_an_image_that_is_missing_is_pulled(fake: Fake, said: list[str]) -> None:
    docker = fake(
        "version*) echo 28;;\n'image inspect'*postgres:18) echo sha256:1;;\n"
        "'pull rabbitmq:4-management') echo Pulling; echo done;;"
    )
    assert await docker.why_not(IMAGES, said.append) is None
    assert said == ["pulling rabbitmq:4-management …"]


async def test_an_engine_that_can_pull_nothing(fake: Fake, said: list[str]) -> None:
    reason = await fake("version*) echo 28;;").why_not(IMAGES, said.append)
    assert reason == "Docker cannot pull rabbitmq:4-management and postgres:18"


async def test_a_registry_that_never_answers_is_found_out_early(
    fake: Fake, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_WORD_SECONDS", 0.2)
    began = time.monotonic()
    docker = fake("version*) echo 28;;\npull*) exec sleep 60;;")
    assert await docker.why_not(IMAGES, said.append) is not None
    assert time.monotonic() - began < 10


async def test_a_pull_that_takes_too_long_is_given_up(
    fake: Fake, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PULL_SECONDS", 0.5)
    docker = fake("version*) echo 28;;\npull*) echo Pulling; exec sleep 60;;")
    assert await docker.why_not(IMAGES, said.append) is not None
