"""Draws charts as SVG: pure functions, no script, no inline style; console.css has the colours.

Each returns the text of one `svg` element, safe to stand in a page as it is.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 600, 170
_LEFT, _BOTTOM, _TOP, _RIGHT = 66, 22, 12, 8
_TICKS = 4
_STEPS = (1, 2, 2.5, 5, 10)
Scale = Callable[[float], float]


class Series(NamedTuple):
    """A line: its name, which is its class too (`in`, `out`, `failed`, `p50`, `p99`, …), and its points."""

    name: str
    points: Sequence[
        tuple[float, float | None]
    ]  # when, in seconds since 1970; None: nothing is known of then


class Mark(NamedTuple):
    """Something that happened at a time, as a deploy."""

    at: float
    text: str
    kind: str = "deploy"  # its class


class Bar(NamedTuple):
    """A bar: how long it is, what it says, and its class."""

    label: str
    value: float
    kind: str = ""
    title: str = ""


def line(
    series: Sequence[Series],
    marks: Sequence[Mark] = (),
    *,
    title: str,
    unit: str = "",
    begin: float | None = None,
    end: float | None = None,
) -> Markup:
    """Draw lines over time. `title` says in words what is drawn, for who does not see it."""
    times = [at for each in series for at, value in each.points if value is not None]
    begin = min(times, default=0.0) if begin is None else begin
    end = max(times, default=1.0) if end is None else end
    span = max(end - begin, 1.0)
    top = _round_up(
        max((value for each in series for _, value in each.points if value is not None), default=0)
    )

    def x(at: float) -> float:
        return _LEFT + (at - begin) / span * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - value / top * (HEIGHT - _BOTTOM - _TOP)

    parts = [_grid(top, y, unit), _times(begin, end, x)]
    parts += [
        Markup(
            '<g class="mark {kind}"><line x1="{x}" x2="{x}" y1="{top}" y2="{low}"/><title>{text}</title></g>'
        ).format(x=f"{x(mark.at):.1f}", top=_TOP, low=HEIGHT - _BOTTOM, text=mark.text, kind=mark.kind)
        for mark in marks
        if begin <= mark.at <= end
    ]
    parts += [
        Markup('<path class="line {name}" d="{path}"><title>{name}</title></path>').format(
            name=each.name,
            path=_path([(x(at), None if value is None else y(value)) for at, value in each.points]),
        )
        for each in series
    ]
    return _svg(title, WIDTH, HEIGHT, parts, "chart")


def bars(rows: Sequence[Bar], *, title: str, unit: str = "") -> Markup:
    """Draw a bar for each row, one below the other, with its label before and its value behind it."""
    height, label, room = 20, 160, 60
    most = max((row.value for row in rows), default=0) or 1
    parts = [
        Markup(
            '<g><title>{title}</title><text class="label" x="{lx}" y="{ty}">{label}</text>'
            '<rect class="bar {kind}" x="{x}" y="{y}" width="{width}" height="{height}"/>'
            '<text class="value" x="{vx}" y="{ty}">{value}</text></g>'
        ).format(
            title=row.title or row.label, label=row.label[:24], kind=row.kind,
            value=f"{row.value:,.4g}{unit}",
            lx=label - 6, x=label, y=number * height + 3, ty=number * height + 14, height=height - 6,
            width=f"{max(1.0, row.value / most * (WIDTH - label - room)):.1f}",
            vx=f"{label + row.value / most * (WIDTH - label - room) + 5:.1f}",
        )
        for number, row in enumerate(rows)
    ]  # fmt: skip
    return _svg(title, WIDTH, max(1, len(rows)) * height, parts, "bars")


def histogram(
    columns: Sequence[tuple[float, Sequence[tuple[str, float]]]], *, title: str, width_seconds: float
) -> Markup:
    """Draw a column for each time, of parts on top of each other: `(when, ((class, how many), …))`."""
    if not columns:
        return _svg(title, WIDTH, HEIGHT, [], "chart")
    begin, end = columns[0][0], columns[-1][0] + width_seconds
    top = _round_up(max(sum(number for _, number in parts) for _, parts in columns))
    inner = WIDTH - _LEFT - _RIGHT

    def x(at: float) -> float:
        return _LEFT + (at - begin) / (end - begin) * inner

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - value / top * (HEIGHT - _BOTTOM - _TOP)

    drawn = [_grid(top, y, ""), _times(begin, end, x)]
    wide = max(0.5, width_seconds / (end - begin) * inner - 1)
    for at, parts in columns:
        below = 0.0
        for kind, number in parts:
            if number:
                drawn.append(
                    Markup(
                        '<rect class="bar {kind}" x="{x}" y="{y}" width="{width}" height="{height}">'
                        "<title>{when}: {number} {kind}</title></rect>"
                    ).format(
                        kind=kind,
                        x=f"{x(at):.1f}",
                        y=f"{y(below + number):.1f}",
                        width=f"{wide:.1f}",
                        height=f"{max(0.5, y(below) - y(below + number)):.1f}",
                        when=_clock(at),
                        number=f"{number:,.0f}",
                    )
                )
                below += number
    return _svg(title, WIDTH, HEIGHT, drawn, "chart")


def sparkline(values: Sequence[float], *, title: str) -> Markup:
    """Draw a small line that shows a course, and no numbers."""
    wide, high = 120, 24
    top = max(values, default=0) or 1
    step = wide / max(1, len(values) - 1)
    path = _path(
        [(number * step, high - 2 - value / top * (high - 4)) for number, value in enumerate(values)]
    )
    return _svg(title, wide, high, [Markup('<path class="line" d="{}"/>').format(path)], "sparkline")


def _svg(title: str, width: int, height: int, parts: Sequence[Markup], kind: str) -> Markup:
    return Markup(
        '<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{parts}</svg>'
    ).format(kind=kind, width=width, height=height, title=title, parts=Markup("").join(parts))


def _grid(top: float, y: Scale, unit: str) -> Markup:
    values = [top * number / _TICKS for number in range(_TICKS + 1)]
    return Markup("").join(
        Markup(
            '<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
            '<text class="tick" x="{tx}" y="{ty}">{value}</text>'
        ).format(
            left=_LEFT, right=WIDTH - _RIGHT, y=f"{y(value):.1f}", tx=_LEFT - 5, ty=f"{y(value) + 3.5:.1f}",
            value=f"{_short(value)}{unit}",
        )
        for value in values
    )  # fmt: skip


def _times(begin: float, end: float, x: Scale) -> Markup:
    at = [begin + (end - begin) * number / _TICKS for number in range(_TICKS + 1)]
    return Markup("").join(
        Markup('<text class="time{edge}" x="{x}" y="{y}">{text}</text>').format(
            x=f"{x(each):.1f}", y=HEIGHT - 3, text=_clock(each), edge=" last" if each == at[-1] else ""
        )
        for each in at
    )


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    """Write the path of a line, which stops where nothing is known."""
    parts, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x:.1f},{y:.1f}")
        pen = "L"
    return "".join(parts)


def _round_up(value: float) -> float:
    """Return the next number that people like to read, for the top of a scale."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 10.0 ** -len(f"{1 / value:.0f}")
    return next(step * unit for step in _STEPS if step * unit >= value)


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M}"
