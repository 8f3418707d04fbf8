"""Shows which workers an installation has, and what this one is."""

from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from worker.monitoring.profile import Profile


class Crowd:
    """The metrics of the workers of one installation."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        gauge = partial(Gauge, registry=registry)
        self.live = gauge(
            "worker_live_workers",
            "Workers with a sign of life within their lease; each shows the same number. Watch: fewer "
            "than you run.",
            ["prefix"],
        )
        self.silent = gauge(
            "worker_silent_workers",
            "Workers whose last sign of life is older than that, by a quarter of an hour at most: one "
            "that stops in order is not among them; each shows the same. Watch: above 0: killed, "
            "frozen, or without Postgres.",
        )
        self.differing = gauge(
            "worker_differing_workers",
            "Other live workers with another handler, build or setting than this one. Watch: above 0 "
            "for longer than a rollout takes.",
        )
        self.shard_served = gauge(
            "worker_shard_served",
            "1 for each shard that this worker reads; none without shards. Watch: summed by `shard`, 0.",
            ["shard"],
        )
        self.shards_unserved = gauge(
            "worker_shards_unserved",
            "Shards that no worker reads; each shows the same number. Watch: above 0 for ten seconds.",
        )
        self.build_info = gauge(
            "worker_build_info",
            "Always 1; tells the series of two builds apart. `build` is `WORKER_BUILD`, or is made of the "
            "handler's package and file.",
            ["version", "handler", "build", "prefix"],
        )

    def show_shards(self, served: Iterable[int], unserved: int) -> None:
        """Show which shards this worker reads, and how many nobody does."""
        self.shard_served.clear()
        for shard in served:
            self.shard_served.labels(str(shard)).set(1)
        self.shards_unserved.set(unserved)

    def show_build(self, prefix: str, version: str, profile: Profile) -> None:
        self.build_info.labels(version, profile.handler_name, profile.handler_build or "", prefix).set(1)
