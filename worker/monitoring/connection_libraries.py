"""Keeps back what libraries log of their connections: our own lines tell of a lost one and its remedy."""

import logging

_LOGGERS = ("aio_pika", "aiormq", "asyncpg.pool")


def silence() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
