"""Makes the Markdown table of all metrics, which `docs/metrics.md` has."""

from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from worker.monitoring.metrics import Metrics

_HEAD = "| name | labels | meaning | watch |\n|---|---|---|---|\n"
_LINKS = {  # from words of a meaning, to what says more
    "first confirmed response": "#end-to-end",
    "each stage": "#stages",
    "one worker": "#what-one-worker-finds-out",
    "one call of the handler at a time": "handlers.md#the-breaker",
    "Events sent": "contract.md#events",
}


def metrics_table() -> str:
    """Return what each metric's help says, with its labels, in the order in which they are registered."""
    return _HEAD + "".join(f"{_row(metric)}\n" for metric in _all())


def name_of(metric: MetricWrapperBase) -> str:
    """Return a metric's name in a query."""
    return f"{metric._name}_total" if isinstance(metric, Counter) else metric._name  # noqa: SLF001 — no other way to ask


def labels_of(metric: MetricWrapperBase) -> tuple[str, ...]:
    return tuple(metric._labelnames)  # noqa: SLF001 — as above


def _all() -> Iterator[MetricWrapperBase]:
    for each in Metrics().registry._collector_to_names:  # noqa: SLF001 — as above
        if isinstance(each, MetricWrapperBase):
            yield each


def _row(metric: MetricWrapperBase) -> str:
    meaning, _, watch = metric._documentation.removesuffix(".").partition(". Watch: ")  # noqa: SLF001 — as above
    for words, target in _LINKS.items():
        meaning = meaning.replace(words, f"[{words}]({target})", 1)
    labels = ", ".join(f"`{label}`" for label in labels_of(metric))
    return f"| `{name_of(metric)}` | {labels} | {meaning} | {watch} |"
