"""What one round of one contender came to."""

from typing import NamedTuple


class Figures(NamedTuple):
    """A contender's round; processor time is per request."""

    name: str
    requests: int
    per_second: float
    cpu_us: float
    broker_us: float
    postgres_us: float
    load_us: float
    """What it takes to publish a request and to hear its answer."""
    machine_us: float
    """All that the machine did meanwhile."""
    rss_mb: float

    @property
    def all_four_us(self) -> float:
        return self.cpu_us + self.broker_us + self.postgres_us + self.load_us
