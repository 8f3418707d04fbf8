"""Ports are ours alone, and are found again after a server on them has died."""

import random
import socket

import pytest

from worker.stack.errors import StackError
from worker.stack.ports import LOOPBACK, reserve


def _always(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(random, "choice", lambda _: number)


def test_no_two_are_the_same() -> None:
    ports = [reserve() for _ in range(50)]
    assert len({port.number for port in ports}) == 50
    for port in ports:
        port.release()


def test_a_reserved_one_is_not_chosen_again_until_it_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = reserve()
    _always(monkeypatch, port.number)
    with pytest.raises(StackError, match="no free port"):
        reserve()
    port.release()
    again = reserve()
    assert again.number == port.number
    again.release()


def test_one_that_somebody_listens_on_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        _always(monkeypatch, other.getsockname()[1])
        with pytest.raises(StackError, match="no free port"):
            reserve()


def test_a_server_can_listen_on_it() -> None:
    port = reserve()
    with socket.create_server((LOOPBACK, port.number)):
        pass
    port.release()
