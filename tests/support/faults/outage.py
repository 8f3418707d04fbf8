"""Outages that a test brings about. Each proves that it began, and ends with its block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import pytest
from support.faults.proxy import Proxy
from support.servers import Faulty


class Breakable(Protocol):
    """A server that a test may break, and the network between it and the workers."""

    @property
    def server(self) -> Faulty: ...

    @property
    def network(self) -> Proxy: ...

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """The errors of a connection to a server that is gone."""

    async def connect(self) -> None:
        """Connects to the server past the network, and closes the connection; gives up after a second."""


@asynccontextmanager
async def stopped(site: Breakable) -> AsyncIterator[None]:
    await site.server.stop()
    with pytest.raises(site.refusals):
        await site.connect()
    try:
        yield
    finally:
        await site.server.start()


@asynccontextmanager
async def killed(site: Breakable) -> AsyncIterator[None]:
    await site.server.kill()
    with pytest.raises(site.refusals):
        await site.connect()
    try:
        yield
    finally:
        await site.server.start()


@asynccontextmanager
async def frozen(site: Breakable) -> AsyncIterator[None]:
    await site.server.freeze()
    with pytest.raises(TimeoutError):
        await site.connect()
    try:
        yield
    finally:
        await site.server.thaw()


@asynccontextmanager
async def cut_off(site: Breakable) -> AsyncIterator[None]:
    """The network ends every connection, and lets no new one through."""
    assert site.network.cut(refuse=True) > 0
    try:
        yield
    finally:
        site.network.heal()


@asynccontextmanager
async def half_open(site: Breakable) -> AsyncIterator[None]:
    """The network keeps every connection, and nothing passes."""
    assert site.network.stall() > 0
    try:
        yield
    finally:
        assert site.network.held_bytes > 0
        site.network.heal()
