"""Shows figures on the screen, as JSON, and as pictures."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
OURS, OTHERS = "#2563eb", "#9ca3af"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown; all columns but the first are aligned to the right."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def save(suite: str, figures: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    where = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    (RESULTS / f"{suite}.json").write_text(json.dumps({**where, **figures}, indent=1) + "\n")


def bars(suite: str, names: Sequence[str], values: Sequence[float], label: str) -> None:
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(names) + 1.2))
    drawn = axes.barh(names, values, color=[OURS if "this worker" in name else OTHERS for name in names])
    axes.bar_label(drawn, fmt="{:,.0f}", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.margins(x=0.12)
    _finish(figure, axes, suite)


def lines(
    suite: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    labels: tuple[str, str],
    top: float = 0,
    *,
    log: bool = False,
) -> None:
    figure, axes = plt.subplots(figsize=(9, 3.6))
    for name, points in curves.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=name)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, top or None)
    if len(curves) > 1:
        axes.legend(frameon=False)
    _finish(figure, axes, suite)


def _finish(figure: Any, axes: Any, suite: str) -> None:  # noqa: ANN401 — matplotlib's are barely typed
    RESULTS.mkdir(exist_ok=True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(RESULTS / f"{suite}.png", dpi=120)
    plt.close(figure)
