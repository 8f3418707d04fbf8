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
            "worker_queue_messages",
            "Messages in each queue of the installation: that lie `ready`, and, where "
            "`MANAGEMENT_URL` is set, that consumers hold `unacknowledged`; one worker. Watch: "
            "`…requests` grows: more comes than is done; `…responses`: nobody reads them.",
            ["queue", "state"],
        )
        self.queue_bytes = gauge(
            "worker_queue_bytes",
            "Bytes of the bodies in each queue, where `MANAGEMENT_URL` is set; one worker. Watch: its "
            "growth against the broker's disk and memory.",
            ["queue"],
        )
        self.queue_consumers = gauge(
            "worker_queue_consumers",
            "Consumers of each queue; one worker. Watch: 0 for `…responses` while messages lie there.",
            ["queue"],
        )
        self.table_bytes = gauge(
            "worker_table_bytes",
            "Bytes of each table on disk, its indexes included; one worker. Watch: its growth against "
            "your disk.",
            ["table"],
        )
        self.sealed_rows = gauge(
            "worker_sealed_rows",
            "Rows that need each key, of those that are soon counted: unfinished requests, dead "
            "letters, and the newest 10,000 requests; every ten minutes; after 20 keys `other`; one "
            "worker. Watch: an old key that grows: some worker still seals with it. `session-worker "
            "keys report` counts all.",
            ["key"],
        )
        self.dead_letters = gauge(
            "worker_dead_letters_in_custody",
            "Dead letters in Postgres, neither replayed nor dropped, counted up to "
            "`WORKER_MAX_DEAD_LETTERS`; one worker. Watch: it stands at `WORKER_MAX_DEAD_LETTERS`.",
        )
        self.lock_wait = gauge(
            "worker_lock_wait_seconds",
            "For how long a statement of the database has waited for a lock, the longest one; one "
            "worker. Watch: above 5.",
        )
        self.oldest_unfinished = gauge(
            "worker_oldest_unfinished_seconds",
            "Since when the oldest request on record that may begin has not been finished; one "
            "worker. Watch: it grows.",
        )
        self.events = Counter(
            "worker_events",
            "Events sent, those that are sent again too: `confirmed`, or `refused` by a full queue of "
            "somebody who watches; one worker. Watch: `refused` rises: somebody misses events.",
            ["result"],
            registry=registry,
        )
        for receipt in (Receipt.CONFIRMED, Receipt.REFUSED):
            self.events.labels(receipt.value)
        self.events_lag = gauge(
            "worker_events_lag_seconds",
            "For how long the oldest event that is not sent has been on record; one worker. Watch: above 60.",
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
