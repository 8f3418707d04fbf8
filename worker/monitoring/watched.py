"""Shows what one worker finds out for all: how long the queues are, how large the tables, what waits."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from worker.values import Receipt

_KEYS = 20  # that have a series each; a name may be anybody's text


class QueueDepth(NamedTuple):
    """The messages that lie ready in a queue, and how many consumers it has."""

    queue: str
    ready: int
    consumers: int


class QueueVolume(NamedTuple):
    """The bytes of the messages in a queue, and how many of these its consumers hold unacknowledged."""

    queue: str
    bytes: int
    unacknowledged: int


class Watched:
    """The metrics of the elected worker. The others show none of them, or 0."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        gauge = partial(Gauge, registry=registry)
        self.queue_messages = gauge(
            "worker_queue_messages", "Messages in each queue of the installation.", ["queue", "state"]
        )
        self.queue_bytes = gauge(
            "worker_queue_bytes",
            "Bytes of the bodies in each queue of the installation, where the management API is asked.",
            ["queue"],
        )
        self.queue_consumers = gauge(
            "worker_queue_consumers", "Consumers of each queue of the installation.", ["queue"]
        )
        self.table_bytes = gauge(
            "worker_table_bytes", "Bytes of each table on disk, its indexes included.", ["table"]
        )
        self.sealed_rows = gauge(
            "worker_sealed_rows",
            "Unfinished requests, dead letters in custody and the newest requests that need each key.",
            ["key"],
        )
        self.dead_letters = gauge(
            "worker_dead_letters_in_custody",
            "Dead letters in Postgres that are neither replayed nor dropped.",
        )
        self.lock_wait = gauge(
            "worker_lock_wait_seconds", "For how long a statement of the database has waited for a lock."
        )
        self.oldest_unfinished = gauge(
            "worker_oldest_unfinished_seconds",
            "Since when the oldest request on record that may begin has not been finished.",
        )
        self.events = Counter(
            "worker_events", "Events sent, by what the broker said.", ["result"], registry=registry
        )
        for receipt in (Receipt.CONFIRMED, Receipt.REFUSED):
            self.events.labels(receipt.value)
        self.events_lag = gauge(
            "worker_events_lag_seconds", "For how long the oldest event that is not sent has been on record."
        )
        self._depths: tuple[QueueDepth, ...] = ()
        self._volumes: tuple[QueueVolume, ...] = ()

    def show_queues(self, depths: Iterable[QueueDepth]) -> None:
        """Show the depths of these queues, and of no other."""
        self._depths = tuple(depths)
        self._draw_queues()

    def show_volumes(self, volumes: Iterable[QueueVolume]) -> None:
        """Show the volumes of these queues, and of no other."""
        self._volumes = tuple(volumes)
        self._draw_queues()

    def _draw_queues(self) -> None:
        for gauge in (self.queue_messages, self.queue_consumers, self.queue_bytes):
            gauge.clear()
        for depth in self._depths:
            self.queue_messages.labels(depth.queue, "ready").set(depth.ready)
            self.queue_consumers.labels(depth.queue).set(depth.consumers)
        for volume in self._volumes:
            self.queue_messages.labels(volume.queue, "unacknowledged").set(volume.unacknowledged)
            self.queue_bytes.labels(volume.queue).set(volume.bytes)

    def show_tables(self, sizes: Mapping[str, int]) -> None:
        for table, size in sizes.items():
            self.table_bytes.labels(table).set(size)

    def show_sealed(self, rows: Mapping[str, int]) -> None:
        """Show the keys that most rows need, and all the others as one."""
        self.sealed_rows.clear()
        for place, key in enumerate(sorted(rows, key=lambda key: (-rows[key], key))):
            self.sealed_rows.labels(key if place < _KEYS else "other").inc(rows[key])

    def forget(self) -> None:
        """Show nothing any more: another worker does."""
        self.show_queues(())
        self.show_volumes(())
        self.table_bytes.clear()
        self.sealed_rows.clear()
        self.dead_letters.set(0)
        self.lock_wait.set(0)
        self.oldest_unfinished.set(0)
