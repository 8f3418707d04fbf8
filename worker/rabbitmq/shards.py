"""Names the shards: the queues that requests are spread over, by a hash. The first is the request queue."""

from aiormq.abc import FieldValue

MOST = 64
HASHING = "x-consistent-hash"  # the type of the exchange that spreads
HASH: dict[str, FieldValue] = {
    "hash-property": "correlation_id"
}  # what is without it goes to one and the same shard
WEIGHT = "1"  # the key of each binding to it: all shards get the same share
LED_ANYWHERE = {"x-queue-leader-locator": "balanced"}  # else the node that a worker is connected to leads all
PLUGIN = "rabbitmq_consistent_hash_exchange"
NO_PLUGIN = (
    f"spreads the requests over shards, and this broker has no exchanges of the type {HASHING}. Remedy: "
    f"`rabbitmq-plugins enable {PLUGIN}` on each of its nodes (it comes with RabbitMQ, and no node has to be "
    "restarted); or WORKER_SHARDS=1"
)


def queues_of(requests: str, shards: int) -> tuple[str, ...]:
    """Return the names of so many shards."""
    return (requests, *(f"{requests}.{number}" for number in range(2, shards + 1)))


def share_of(place: int, readers: int, shards: int) -> range:
    """Return the shards, by number, of the reader at this place among so many, counted from 0. Each shard has
    a reader, and each reader a shard: of more readers than shards, some read the same one.
    """
    return range(place % shards + 1, shards + 1, readers)
