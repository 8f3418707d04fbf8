"""The work through psycopg, for the peers of threads and processes: one connection for each."""

import threading

import psycopg

from bench.peers.common import ACCEPT, CLAIM, DATABASE_URL, FINISH, SESSION, Task

_local = threading.local()


def record(task: Task) -> None:
    connection: psycopg.Connection | None = getattr(_local, "connection", None)
    if connection is None or connection.closed:
        connection = _local.connection = psycopg.connect(DATABASE_URL, autocommit=True)
    connection.execute(ACCEPT, task.accept)
    connection.execute(CLAIM, task.claim)
    with connection.transaction():
        connection.execute(SESSION, task.session)
        connection.execute(FINISH, task.finish)
