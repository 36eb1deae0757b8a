"""The kinds of chart on the page: lines, stems, dots with intervals, scatter.

Numbers in, SVG text out.

A role (`chosen`, `naive`, `skip`, `network`, `actual`, `other`) picks colour and dash in the CSS,
so a colour means the same everywhere and is never the only sign. `data-model` lets the page's
filter hide a mark; `data-y` feeds its tooltip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.report import text as words
from forecast.report.svg import (
    CHARACTER,
    Figure,
    Floats,
    Scale,
    clip_line,
    pad_range,
    short,
    spread,
    tag,
    text,
    tick_label,
)

WIDTH, HEIGHT = 360.0, 236.0
ORDER = ("other", "nominal", "seed", "network", "skip", "naive", "seasonal", "chosen", "actual")
NAMED = ("network", "skip", "naive", "seasonal", "chosen", "actual")


@dataclass(frozen=True)
class Line:
    """One line: x and y (n,), optional bands (low, high), widest first, the `model` the page's
    filter knows it by.
    """

    name: str
    x: Floats
    y: Floats
    role: str = "other"
    model: str = ""
    bands: tuple[tuple[Floats, Floats], ...] = ()
    tip: str = ""
    dot: int | None = None


@dataclass(frozen=True)
class Axes:
    """Titles with units, the ticks of x, what each x is called (`moments`), how a y is shown.

    Optional: the range of y, a dotted upright at x = `divide`, a base line at y = `level`.
    """

    label: str
    x_title: str
    y_title: str
    x_ticks: Sequence[tuple[float, str]]
    y_range: tuple[float, float] | None = None
    divide: float | None = None
    level: float | None = None
    moments: Sequence[str] = ()
    show: Callable[[float], str] | None = None
    size: tuple[float, float] = (WIDTH, HEIGHT)


def line_chart(lines: Sequence[Line], axes: Axes) -> str:
    """Lines over a common x.

    Named roles get a label at their right end and a place in the tooltip.
    """
    lines = sorted(lines, key=lambda line: ORDER.index(line.role))
    labelled_lines = [line for line in lines if line.role in NAMED and np.isfinite(line.y).any()]
    room = (
        max((len(line.name) for line in labelled_lines), default=0) * CHARACTER + 12
        if labelled_lines
        else 10.0
    )
    figure = _frame(lines, axes, room)
    for line in lines:
        figure.add(_draw_line(figure, line, axes.show or words.figure))
    ends = [float(figure.y(line.y[np.isfinite(line.y)][-1])) for line in labelled_lines]
    places = spread(
        [min(max(end, figure.y.end), figure.y.start) for end in ends], 26, figure.y.start
    )
    for line, place in zip(labelled_lines, places, strict=True):
        label_position = figure.x.end + 5, place + 4
        figure.add(
            text(*label_position, line.name, f"name {line.role}", data_model=line.model or None)
        )
    # else there is no common x for a tooltip
    if labelled_lines and len({len(line.x) for line in labelled_lines}) == 1:
        figure.attributes["data_x"] = " ".join(
            short(float(px)) for px in figure.x(labelled_lines[0].x)
        )
        figure.attributes["data_xl"] = "|".join(axes.moments)
    return figure.render()


def _frame(lines: Sequence[Line], axes: Axes, room: float) -> Figure:
    width, height = axes.size
    height -= 0 if axes.x_title else 14
    values = np.concatenate(
        [y for line in lines for y in (line.y, *(edge for band in line.bands for edge in band))]
    )
    low, high = axes.y_range or pad_range(values)
    xs = np.concatenate([line.x for line in lines])
    y = Scale(low, high, height - (40 if axes.x_title else 26), 22)
    ticks = y.ticks()
    tick_texts = [axes.show(tick) if axes.show else tick_label(tick, ticks) for tick in ticks]
    left = max(map(len, tick_texts)) * CHARACTER + 10
    spare = 0.0 if xs.max() > xs.min() else 0.5
    x = Scale(float(xs.min()) - spare, float(xs.max()) + spare, left, width - room)
    figure = Figure(width, height, x, y, axes.label)
    figure.y_axis(axes.y_title, ticks, axes.show)
    figure.x_axis(axes.x_title, axes.x_ticks)
    if axes.level is not None:
        figure.add(
            tag(
                "path",
                d=f"M{short(x.start)} {short(float(y(axes.level)))}H{short(x.end)}",
                cls="base",
            )
        )
    if axes.divide is not None:
        figure.add(
            tag("path", d=f"M{short(float(x(axes.divide)))} 22V{short(y.start)}", cls="divide")
        )
    return figure


def _draw_line(figure: Figure, line: Line, show: Callable[[float], str]) -> str:
    x, y = clip_line(line.x, line.y, figure.y.low, figure.y.high)
    parts = []
    for band in line.bands:
        low, high = (np.clip(edge, figure.y.low, figure.y.high) for edge in band)
        parts.append(figure.band(line.x, low, high, line.role))
    parts.append(figure.line(x, y, line.role))
    if line.tip:
        parts.append(figure.line(x, y, "hit"))
    if line.dot is not None:
        at = float(figure.x(line.x[line.dot])), float(figure.y(line.y[line.dot]))
        parts.append(tag("circle", cx=at[0], cy=at[1], r=3.2, cls=f"dot {line.role}"))
    values = (
        "|".join(show(v) if np.isfinite(v) else "" for v in line.y) if line.role in NAMED else None
    )
    name_attributes = {"data_name": line.name, "data_y": values} if values else {}
    tip = {"data_tip": line.tip} if line.tip else {}
    return tag(
        "g", "".join(parts), cls="s", data_model=line.model or None, **name_attributes, **tip
    )


def stem_chart(values: Floats, band: Floats, *, label: str, x_title: str) -> str:
    """Autocorrelations (lags,) as stems from zero inside the band (lags,) that chance would stay
    in.
    """
    lags = np.arange(1.0, len(values) + 1)
    edge = max(0.1, 1.15 * float(np.nanmax(np.abs(np.concatenate([values, band])))))
    ticks = [(float(lag), str(int(lag))) for lag in lags if len(lags) <= 12 or lag % 4 == 0]
    axes = Axes(label, x_title, "autocorrelation", ticks, (-edge, edge), level=0.0)
    figure = _frame([Line("", lags, values)], axes, 10.0)
    figure.add(figure.band(lags, -band, band, "nominal"))
    zero = float(figure.y(0.0))
    for px, py, value, room in zip(figure.x(lags), figure.y(values), values, band, strict=True):
        role = "out" if abs(value) > room else "in"
        figure.add(
            tag(
                "path",
                d=f"M{short(float(px))} {short(zero)}V{short(float(py))}",
                cls=f"stem {role}",
            )
        )
        figure.add(tag("circle", cx=float(px), cy=float(py), r=3.2, cls=f"stemhead {role}"))
    return figure.render()


@dataclass(frozen=True)
class Interval:
    """One row of an interval chart: `low` and `high` may be NaN when only the value is known."""

    name: str
    value: float
    low: float
    high: float
    word: str
    model: str
    tip: str


def interval_chart(
    rows: Sequence[Interval], *, label: str, x_title: str, show: Callable[[float], str]
) -> str:
    """Dot and interval per row around a line at zero, with the verdict's word at the right."""
    left = max(len(row.name) for row in rows) * CHARACTER + 10
    right = max(len(row.word) for row in rows) * CHARACTER + 14
    bounds = [0.0, *(b for row in rows for b in (row.value, row.low, row.high))]
    height = 26.0 * len(rows) + 50
    x, y = Scale(*pad_range(bounds), left, WIDTH - right), Scale(0, 1, height - 36, 10)
    figure = Figure(WIDTH, height, x, y, label)
    ticks = x.ticks(round((x.end - x.start) / (CHARACTER * 9)))
    for value in ticks:
        px = short(float(x(value)))
        figure.add(tag("path", d=f"M{px} 8V{short(y.start)}", cls="zero" if value == 0 else "rule"))
    figure.x_axis(x_title, [(value, show(value)) for value in ticks])
    for number, row in enumerate(rows):
        figure.add(_interval(figure, row, 22 + 26.0 * number))
    return figure.render()


def _interval(figure: Figure, row: Interval, py: float) -> str:
    value = float(figure.x(row.value))
    cls = words.word_class(row.word)
    parts = [text(0, py + 4, row.name, "name row")]
    if np.isfinite(row.low) and np.isfinite(row.high):
        ends = [short(float(px)) for px in figure.x([row.low, row.high])]
        parts.append(tag("path", d=f"M{ends[0]} {short(py)}H{ends[1]}", cls=f"span {cls}"))
    parts.append(tag("circle", cx=value, cy=py, r=4.2, cls=f"point {cls}"))
    parts.append(text(figure.x.end + 8, py + 4, row.word, f"tick {cls}"))
    hit = tag("rect", x=0.0, y=py - 12, width=figure.width, height=24.0, cls="hit")
    return tag("g", "".join(parts) + hit, cls="s", data_model=row.model, data_tip=row.tip)


@dataclass(frozen=True)
class Point:
    """A point of `scatter`, with what is shown on touch."""

    name: str
    x: float
    y: float
    role: str
    model: str
    tip: str


def scatter(points: Sequence[Point], axes: Axes, show: Callable[[float], str]) -> str:
    """Points over a logarithmic x; named roles are labelled, the others show their name on
    touch.
    """
    xs = [point.x for point in points]
    x = Scale(min(xs) / 1.6, max(xs) * 1.6, 48, WIDTH - 12, log=True)
    y = Scale(*pad_range([point.y for point in points]), HEIGHT - 40, 22)
    figure = Figure(WIDTH, HEIGHT, x, y, axes.label)
    figure.y_axis(axes.y_title)
    figure.x_axis(axes.x_title, [(tick, show(tick)) for tick in x.ticks(5)])
    for point in sorted(points, key=lambda p: ORDER.index(p.role)):
        px, py = float(x(point.x)), float(y(point.y))
        marks = tag("circle", cx=px, cy=py, r=4.5, cls=f"dot {point.role}")
        marks += tag("circle", cx=px, cy=py, r=12, cls="hit")
        if point.role in NAMED:
            end = px + 9 + len(point.name) * CHARACTER > WIDTH
            anchor = {"text_anchor": "end"} if end else {}
            marks += text(
                px + (-9 if end else 9), py + 4, point.name, f"name {point.role}", **anchor
            )
        figure.add(tag("g", marks, cls="s", data_model=point.model, data_tip=point.tip))
    return figure.render()
