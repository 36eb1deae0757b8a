"""The kinds of chart on the page, numbers in and SVG text out: lines over a common x
(`line_chart`), dots with intervals (`interval_chart`).

A role (`chosen`, `naive`, `skip`, `network`, `actual`, `other`) picks colour and dash in the CSS,
so a colour means the same everywhere and is never the only sign. `data-model` lets the page's
filter hide a mark; `data-y` feeds its tooltip.

Here coordinates are computed: `Scale` maps data to pixels, `Frame` has a pair of axes. The elements
are written by `templates/lines.svg.j2` and `intervals.svg.j2`. Colours and dashes are the page's
CSS, by class. Sizes are in SVG units, drawn near 1 unit = 1 CSS pixel, so text keeps its size on a
phone. A coordinate has one decimal at most, so that equal data are equal bytes.

Another kind of chart is a function of `Axes` and its marks that returns `Markup`, with a template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from forecast.report import text as words
from forecast.system.errors import MINUS

CHARACTER = 6.6  # mean width of a character at the font size of labels (12)
LINE = 13.5  # least distance between two labels
PADDING = 0.06

Floats = NDArray[np.float64]


def floats(values: Any) -> Floats:
    """The values as float64; None is empty, and NaN inside a list."""
    return np.array([] if values is None else values, dtype=float)


@dataclass(frozen=True)
class Scale:
    """Data from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, values: float | Sequence[float] | Floats) -> Floats:
        """The pixels of data values."""
        share = (np.asarray(values, float) - self.low) / (self.high - self.low)
        return np.asarray(self.start + share * (self.end - self.start))

    def ticks(self, about_how_many: int = 4) -> list[float]:
        """About so many, 1, 2 or 5 times a power of ten apart."""
        raw = (self.high - self.low) / max(1, about_how_many)
        power = 10.0 ** math.floor(math.log10(raw))
        # the factor nearest to raw / power, by ratio
        factor = (1, 2, 5, 10)[int(np.searchsorted(np.sqrt([2, 10, 50]), raw / power))]
        step = power * factor
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        digits = max(12, 3 - math.floor(math.log10(step)))  # binary noise goes, whatever the unit
        return [round(i * step, digits) for i in range(first, last + 1)]


def pad_range(values: Iterable[float]) -> tuple[float, float]:
    """The range of the finite values, widened by 6 % on both sides; never empty."""
    finite = [v for v in map(float, values) if math.isfinite(v)] or [0.0, 1.0]
    low = min(finite)
    high = max(finite)
    room = PADDING * ((high - low) or abs(high)) or 1.0
    return low - room, high + room


def label_ticks(ticks: Sequence[float]) -> list[str]:
    """The values of an axis with as many decimals as they need to differ."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(ticks[0]) or 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}".replace("-", MINUS) for value in ticks]


def name_ticks(names: Sequence[str]) -> list[tuple[float, str]]:
    """About four of the names of the places 0, 1, ... as the ticks of an axis."""
    every = max(1, -(-len(names) // 4))
    return [(float(i), names[i]) for i in range(0, len(names), every)]


def path(x: Floats, y: Floats) -> str:
    """SVG path data through the points; a missing one breaks the line."""
    parts, pen_down = [], False
    for px, py in zip(x, y, strict=True):
        if not (math.isfinite(px) and math.isfinite(py)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{words.short(px)} {words.short(py)}")
        pen_down = True
    return "".join(parts)


def spread(desired: Sequence[float], low: float, high: float, gap: float = LINE) -> list[float]:
    """Positions near the `desired` ones, at least `gap` apart and inside [low, high] as far as they
    fit, in the same order.
    """
    order = sorted(range(len(desired)), key=desired.__getitem__)
    positions = [0.0] * len(desired)
    least = low
    for i in order:
        positions[i] = max(desired[i], least)
        least = positions[i] + gap
    most = high
    for i in reversed(order):
        positions[i] = min(positions[i], most)
        most = positions[i] - gap
    return positions


WIDTH, HEIGHT = 360.0, 236.0
ORDER = ("other", "network", "skip", "naive", "seasonal", "chosen", "actual")
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


@dataclass(frozen=True)
class Frame:
    """The axes of a chart: its size, where data lie in it, and the ticks of y with their labels."""

    width: float
    height: float
    x: Scale
    y: Scale
    y_ticks: Sequence[tuple[float, str]] = ()

    def path(self, line: Line) -> str:
        """SVG path data of a line, without the points beyond the axes."""
        is_within = (self.y.low <= line.y) & (line.y <= self.y.high)
        return path(self.x(line.x), self.y(np.where(is_within, line.y, np.nan)))

    def outline(self, x: Floats, low: Floats, high: Floats) -> str:
        """SVG path data around the area between two lines, which ends at the axes."""
        edges = np.concatenate([low, high[::-1]]).clip(self.y.low, self.y.high)
        return path(self.x(np.concatenate([x, x[::-1]])), self.y(edges)) + "Z"

    def anchor(self, px: float, label: str) -> str:
        """How the label of a tick at pixel `px` is aligned, so that it stays inside the figure."""
        half = len(label) * CHARACTER / 2
        if px + half > self.width:
            return "end"
        return "start" if px < half else "middle"


def line_chart(lines: Sequence[Line], axes: Axes) -> Markup:
    """Lines over a common x, drawn in the order of their roles.

    Named roles get a label at their right end and a place in the tooltip.
    """
    # what stands out is drawn last
    lines = sorted(lines, key=lambda line: ORDER.index(line.role))
    labelled_lines = [line for line in lines if line.role in NAMED and np.isfinite(line.y).any()]
    room = 10.0
    if labelled_lines:
        room = max(len(line.name) for line in labelled_lines) * CHARACTER + 12
    frame = _frame(lines, axes, room)
    ends = [float(frame.y(line.y[np.isfinite(line.y)][-1])) for line in labelled_lines]
    label_places = spread(np.clip(ends, frame.y.end, frame.y.start).tolist(), 26, frame.y.start)
    return words.render(
        "lines.svg.j2",
        frame=frame,
        axes=axes,
        lines=lines,
        labels=list(zip(labelled_lines, label_places, strict=True)),
        # else there is no common x for a tooltip
        has_tooltip=len({len(line.x) for line in labelled_lines}) == 1,
        named=NAMED,
        show=axes.show or words.figure,
    )


def _frame(lines: Sequence[Line], axes: Axes, room: float) -> Frame:
    """Axes around all lines and their bands; `room`: pixels at the right for the labels."""
    base = HEIGHT - 40  # room for the tick labels and the title of x
    height = HEIGHT if axes.x_title else HEIGHT - 14
    values = [line.y for line in lines]
    for line in lines:
        for low_edge, high_edge in line.bands:
            values += [low_edge, high_edge]
    low, high = axes.y_range or pad_range(np.concatenate(values))
    y = Scale(low, high, base, 22)
    ticks = y.ticks()
    labels = label_ticks(ticks)
    if axes.show:
        labels = [axes.show(tick) for tick in ticks]
    xs = np.concatenate([line.x for line in lines])
    spare = 0.0 if xs.max() > xs.min() else 0.5
    left = max(map(len, labels)) * CHARACTER + 10
    x = Scale(float(xs.min()) - spare, float(xs.max()) + spare, left, WIDTH - room)
    return Frame(WIDTH, height, x, y, list(zip(ticks, labels, strict=True)))


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
) -> Markup:
    """Dot and interval per row around a line at zero, with the verdict's word at the right; `show`
    writes a tick.
    """
    left = max(len(row.name) for row in rows) * CHARACTER + 10
    right = max(len(row.word) for row in rows) * CHARACTER + 14
    bounds = [0.0]
    for row in rows:
        bounds += [row.value, row.low, row.high]
    height = 26.0 * len(rows) + 50
    x = Scale(*pad_range(bounds), left, WIDTH - right)
    frame = Frame(WIDTH, height, x, Scale(0, 1, height - 36, 10))
    for about_how_many in (6, 4, 3, 2, 1):
        ticks = x.ticks(about_how_many)
        lengths = np.array([len(show(value)) for value in ticks])
        room = (lengths[:-1] + lengths[1:] + 1) / 2  # in characters, with a gap
        if np.all(np.diff(x(ticks)) >= room * CHARACTER):
            break
    axes = Axes(label, x_title, "", [(value, show(value)) for value in ticks])
    return words.render("intervals.svg.j2", frame=frame, axes=axes, rows=rows)
