"""Keeps back what the AMQP libraries log: our own lines tell of a lost connection and its remedy."""

import logging

_LIBRARIES = ("aio_pika", "aiormq")


def silence() -> None:
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)
