"""The charts of the page as SVG: lines over a common x (`line_chart`), and dots with intervals
(`interval_chart`).

Coordinates are computed here (`PixelScale` maps data to pixels, `Frame` has two axes); the
templates `lines.svg.j2` and `intervals.svg.j2` write the elements. The role of a line (`ROLES`) is
its CSS class and sets colour and dash, so a colour means the same in all charts and is never the
only sign. The page's filter hides marks by `data-model`; tooltips show `data-y`.

One SVG unit is about one CSS pixel, so text keeps its size on a phone. Coordinates have at most one
decimal, so that equal data give equal bytes.
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

from forecast.report import text
from forecast.system.errors import MINUS

CHARACTER = 6.6
"""Mean width of a character at the font size of labels (12)."""
DIGIT = 7.7
"""Width of a digit, a sign or `%` at that size, with a small gap."""
LABEL_GAP = 13.5
"""Least distance between two labels."""
PADDING = 0.06
"""Free space above and below the data, as a share of their range."""

Floats = NDArray[np.float64]


def floats(values: Any) -> Floats:
    """The values as float64; None in a list is NaN."""
    return np.array(values, dtype=float)


@dataclass(frozen=True)
class PixelScale:
    """Data from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, values: float | Sequence[float] | Floats) -> Floats:
        """The pixels of data values."""
        share = (np.asarray(values, float) - self.low) / (self.high - self.low)
        return np.asarray(self.start + share * (self.end - self.start))

    def ticks(self, most_steps: int = 6) -> list[float]:
        """Round values in equal steps, at most so many of them, as matplotlib places ticks."""
        from matplotlib.ticker import MaxNLocator  # a fifth of a second

        locator = MaxNLocator(most_steps, steps=[1, 2, 5, 10])
        values = locator.tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)  # 0.3 may be 0.30000000000000004 as a tick
        low, high = self.low - slack, self.high + slack
        return [float(value) for value in values if low <= value <= high]


def pad_range(values: Iterable[float]) -> tuple[float, float]:
    """The range of the finite values, widened by PADDING on both sides; never empty."""
    finite = [v for v in map(float, values) if math.isfinite(v)] or [0.0, 1.0]
    low = min(finite)
    high = max(finite)
    padding = PADDING * ((high - low) or abs(high)) or 1.0
    return low - padding, high + padding


def label_ticks(ticks: Sequence[float]) -> list[str]:
    """The ticks of an axis as text, with as many decimals as they need to differ."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(ticks[0]) or 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}".replace("-", MINUS) for value in ticks]


def name_ticks(names: Sequence[str]) -> list[tuple[float, str]]:
    """About four ticks of an axis on which the names stand at 0, 1, 2 and so on."""
    every = max(1, -(-len(names) // 4))
    return [(float(i), names[i]) for i in range(0, len(names), every)]


def path(x: Floats, y: Floats) -> str:
    """SVG path data through the points; a missing one breaks the line."""
    parts = []
    pen_down = False
    for px, py in zip(x, y, strict=True):
        if not (math.isfinite(px) and math.isfinite(py)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{text.short(px)} {text.short(py)}")
        pen_down = True
    return "".join(parts)


def spread(
    desired: Sequence[float], low: float, high: float, gap: float = LABEL_GAP
) -> list[float]:
    """Positions near the `desired` ones, in the same order: at least `gap` apart, and within
    [low, high] as far as they fit.
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
ROLES = ("other", "network", "skip", "naive", "seasonal", "chosen", "actual")
"""The roles of lines in the order in which they are drawn: the last one is on top."""
NAMED_ROLES = ROLES[1:]
"""The roles of lines with a label and a place in the tooltip."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    x: Floats
    """(n,)."""
    y: Floats
    """(n,); NaN breaks the line."""
    role: str = "other"
    model: str = ""
    """The model for the filter of the page."""
    bands: tuple[tuple[Floats, Floats], ...] = ()
    """Bands around the line, each (low, high), the widest first."""
    tip: str = ""
    """The tooltip of the whole line."""
    dot: int | None = None
    """The number of a point that is marked by a dot."""


@dataclass(frozen=True)
class Axes:
    """The axes of a chart; titles contain the units."""

    label: str
    """The description of the chart for screen readers."""
    x_title: str
    y_title: str
    x_ticks: Sequence[tuple[float, str]]
    y_range: tuple[float, float] | None = None
    """None: around all lines and bands."""
    divider_x: float | None = None
    """The x of a dotted vertical line."""
    base_y: float | None = None
    """The y of a horizontal base line."""
    x_names: Sequence[str] = ()
    """The name of each x in the tooltip."""
    show: Callable[[float], str] | None = None
    """Writes a value of y; None: as `text.figure`."""


@dataclass(frozen=True)
class Frame:
    """The size of a chart, the scales of its axes, and the ticks of y with their labels."""

    width: float
    height: float
    x: PixelScale
    y: PixelScale
    y_ticks: Sequence[tuple[float, str]] = ()

    def path(self, line: Line) -> str:
        """SVG path data of a line, without the points outside of the y axis."""
        is_within = (self.y.low <= line.y) & (line.y <= self.y.high)
        return path(self.x(line.x), self.y(np.where(is_within, line.y, np.nan)))

    def outline(self, x: Floats, low: Floats, high: Floats) -> str:
        """SVG path data around the area between two lines, clipped to the y axis."""
        edges = np.concatenate([low, high[::-1]]).clip(self.y.low, self.y.high)
        return path(self.x(np.concatenate([x, x[::-1]])), self.y(edges)) + "Z"

    def anchor(self, px: float, label: str) -> str:
        """The `text-anchor` of the label of a tick at pixel `px` that keeps it inside the chart."""
        half = len(label) * CHARACTER / 2
        if px + half > self.width:
            return "end"
        return "start" if px < half else "middle"


def line_chart(lines: Sequence[Line], axes: Axes) -> Markup:
    """A chart of lines over a common x, drawn in the order of ROLES. Lines of NAMED_ROLES have a
    label at their right end and a place in the tooltip.
    """
    lines = sorted(lines, key=lambda line: ROLES.index(line.role))
    labelled_lines = [
        line for line in lines if line.role in NAMED_ROLES and np.isfinite(line.y).any()
    ]
    label_width = 10.0
    if labelled_lines:
        label_width = max(len(line.name) for line in labelled_lines) * CHARACTER + 12
    frame = _frame(lines, axes, label_width)
    ends = [float(frame.y(line.y[np.isfinite(line.y)][-1])) for line in labelled_lines]
    label_places = spread(np.clip(ends, frame.y.end, frame.y.start).tolist(), 26, frame.y.start)
    return text.render(
        "lines.svg.j2",
        frame=frame,
        axes=axes,
        lines=lines,
        labels=list(zip(labelled_lines, label_places, strict=True)),
        # a tooltip needs a common x
        has_tooltip=len({len(line.x) for line in labelled_lines}) == 1,
        named=NAMED_ROLES,
        show=axes.show or text.figure,
    )


def _frame(lines: Sequence[Line], axes: Axes, label_width: float) -> Frame:
    """The frame around all lines and bands; `label_width`: pixels at the right."""
    base = HEIGHT - 40  # below are the tick labels and the title of x
    height = HEIGHT if axes.x_title else HEIGHT - 14
    values = [line.y for line in lines]
    for line in lines:
        for low_edge, high_edge in line.bands:
            values += [low_edge, high_edge]
    low, high = axes.y_range or pad_range(np.concatenate(values))
    y = PixelScale(low, high, base, 22)
    ticks = y.ticks()
    labels = label_ticks(ticks)
    if axes.show:
        labels = [axes.show(tick) for tick in ticks]
    xs = np.concatenate([line.x for line in lines])
    spare = 0.0 if xs.max() > xs.min() else 0.5
    left = max(map(len, labels)) * CHARACTER + 10
    x = PixelScale(float(xs.min()) - spare, float(xs.max()) + spare, left, WIDTH - label_width)
    return Frame(WIDTH, height, x, y, list(zip(ticks, labels, strict=True)))


@dataclass(frozen=True)
class Interval:
    """One row of an interval chart; `low` and `high` are NaN if only the value is known."""

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
    """A chart with a dot and an interval per row around a line at zero, and the word of the test at
    the right. `show` writes a tick.
    """
    left = max(len(row.name) for row in rows) * CHARACTER + 10
    right = max(len(row.word) for row in rows) * CHARACTER + 14
    bounds = [0.0]
    for row in rows:
        bounds += [row.value, row.low, row.high]
    height = 26.0 * len(rows) + 50
    x = PixelScale(*pad_range(bounds), left, WIDTH - right)
    frame = Frame(WIDTH, height, x, PixelScale(0, 1, height - 36, 10))
    for most_steps in (8, 6, 4, 3, 2):
        ticks = x.ticks(most_steps)
        labels = [show(value) for value in ticks]
        widths = DIGIT * np.array(list(map(len, labels)))
        if np.all(np.diff(x(ticks)) >= (widths[:-1] + widths[1:]) / 2):
            break
    axes = Axes(label, x_title, "", list(zip(ticks, labels, strict=True)))
    return text.render("intervals.svg.j2", frame=frame, axes=axes, rows=rows)
