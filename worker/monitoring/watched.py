"""Shows what one worker finds out for all: how long the queues are, how large the tables, what waits."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge


class QueueDepth(NamedTuple):
    """The messages that lie ready in a queue, and how many consumers it has."""

    queue: str
    ready: int
    consumers: int


class Watched:
    """The metrics of the elected worker. The others show none of them, or 0."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        gauge = partial(Gauge, registry=registry)
        self.queue_messages = gauge(
            "worker_queue_messages", "Messages in each queue of the installation.", ["queue", "state"]
        )
        self.queue_consumers = gauge(
            "worker_queue_consumers", "Consumers of each queue of the installation.", ["queue"]
        )
        self.table_bytes = gauge(
            "worker_table_bytes", "Bytes of each table on disk, its indexes included.", ["table"]
        )
        self.lock_wait = gauge(
            "worker_lock_wait_seconds", "For how long a statement of the database has waited for a lock."
        )
        self.oldest_unfinished = gauge(
            "worker_oldest_unfinished_seconds",
            "Since when the oldest request on record that may begin has not been finished.",
        )

    def show_queues(self, depths: Iterable[QueueDepth]) -> None:
        """Show these queues, and no other."""
        self.queue_messages.clear()
        self.queue_consumers.clear()
        for depth in depths:
            self.queue_messages.labels(depth.queue, "ready").set(depth.ready)
            self.queue_consumers.labels(depth.queue).set(depth.consumers)

    def show_tables(self, sizes: Mapping[str, int]) -> None:
        for table, size in sizes.items():
            self.table_bytes.labels(table).set(size)

    def forget(self) -> None:
        """Show nothing any more: another worker does."""
        self.show_queues(())
        self.table_bytes.clear()
        self.lock_wait.set(0)
        self.oldest_unfinished.set(0)
