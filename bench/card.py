"""Says what was measured on what: the versions of all parts, on the card of each table."""

import importlib.metadata
import os
import platform
from contextlib import suppress

import aiormq
import asyncpg

_PACKAGES = (
    "uvloop", "aio-pika", "aiormq", "asyncpg", "psycopg", "faststream", "taskiq", "taskiq-aio-pika", "celery",
    "dramatiq",
)  # fmt: skip
_SETTINGS = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "wal_compression")


async def card_of(amqp_url: str, database_url: str) -> dict[str, str]:
    """Ask the servers and the installed packages for their versions."""
    card = {"cores": str(os.cpu_count()), "Python": platform.python_version()}
    broker = await aiormq.connect(amqp_url)
    card["RabbitMQ"] = str(broker.server_properties.get("version"))
    card["Erlang"] = str(broker.server_properties.get("platform")).removeprefix("Erlang/OTP ")
    await broker.close()
    postgres = await asyncpg.connect(database_url)
    for name in _SETTINGS:
        card[name.replace("server_version", "Postgres")] = await postgres.fetchval(f"show {name}")
    await postgres.close()
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            card[name] = importlib.metadata.version(name)
    return card


def in_words(card: dict[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in card.items())


def series(version: str) -> str:
    """Name the series of a version: 4.1.0 is of 4.1."""
    return ".".join(version.split(".")[:2])
