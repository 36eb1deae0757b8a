"""The kinds of chart on the page, numbers in and SVG text out: lines over a common x
(`line_chart`), dots with intervals (`interval_chart`), points (`scatter`).

A role (`chosen`, `naive`, `skip`, `network`, `actual`, `other`) picks colour and dash in the CSS,
so a colour means the same everywhere and is never the only sign. `data-model` lets the page's
filter hide a mark; `data-y` feeds its tooltip.

They are drawn with a small SVG kit: `tag` and `text` write one element, `Scale` maps data to
pixels, `Figure` collects elements around a pair of axes. Colours and dashes are the page's CSS, by
class. Sizes are in SVG units, drawn near 1 unit = 1 CSS pixel, so text keeps its size on a phone. A
coordinate has one decimal at most, so that equal data are equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from forecast.report import text as words

CHARACTER = 6.6  # mean width of a character at the font size of labels (12)
LINE = 13.5  # least distance between two labels

Floats = NDArray[np.float64]


def as_markup(drawn_text: str) -> Markup:
    """What this package has drawn or written itself, in which everything foreign is escaped."""
    return Markup(drawn_text)  # noqa: S704


def floats(values: Any) -> Floats:
    """As float64; None is empty, and NaN inside a list."""
    return np.array([] if values is None else values, dtype=float)


def short(value: float) -> str:
    """A coordinate with one decimal at most: 12, 3.4."""
    return f"{value:.1f}".removesuffix(".0").replace("-0.0", "0")


def tag(kind: str, content: str = "", /, **attributes: object) -> str:
    """One element; `cls` is `class`, an underscore in a name becomes a hyphen, None leaves the
    attribute out.
    """
    opened = f"<{kind}"
    for key, value in attributes.items():
        if value is None:
            continue
        name = "class" if key == "cls" else key.replace("_", "-")
        value_text = short(value) if isinstance(value, float) else str(value)
        opened += f' {name}="{escape(value_text)}"'
    return f"{opened}>{content}</{kind}>" if content else f"{opened}/>"


def text(x: float, y: float, content: str, cls: str, **attributes: object) -> str:
    """A text element; `content` is escaped."""
    return tag("text", escape(content, quote=False), x=float(x), y=float(y), cls=cls, **attributes)


@dataclass(frozen=True)
class Scale:
    """Data from `low` to `high` on pixels from `start` to `end`; logarithmic on request."""

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


def pad_range(values: Iterable[float], *, share: float = 0.06) -> tuple[float, float]:
    """The range of the finite values, widened by `share` on both sides; never empty."""
    finite = [v for v in map(float, values) if math.isfinite(v)] or [0.0, 1.0]
    low = min(finite)
    high = max(finite)
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room


def label_ticks(ticks: Sequence[float]) -> list[str]:
    """The values of an axis with as many decimals as they need to differ."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(ticks[0]) or 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}".replace("-", "−") for value in ticks]


def clip_line(x: Floats, y: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """The line through x and y (n,) within [low, high]: with a point where it crosses a bound, and
    NaN beyond, so that a drawn line leaves and comes back.
    """
    points: list[tuple[float, float]] = []
    for i in range(len(x)):
        if i and np.isfinite(y[i - 1]) and np.isfinite(y[i]):
            crossed = [b for b in (low, high) if (y[i - 1] - b) * (y[i] - b) < 0]
            for bound in sorted(crossed, reverse=bool(y[i] < y[i - 1])):
                share = (bound - y[i - 1]) / (y[i] - y[i - 1])
                points.append((float(x[i - 1] + share * (x[i] - x[i - 1])), bound))
        points.append((float(x[i]), float(y[i]) if low <= y[i] <= high else math.nan))
    clipped = np.array(points, float).reshape(-1, 2)
    return clipped[:, 0], clipped[:, 1]


def path(x: Floats, y: Floats) -> str:
    """SVG path data through the points; a missing one breaks the line."""
    parts, pen_down = [], False
    for px, py in zip(x, y, strict=True):
        if not (math.isfinite(px) and math.isfinite(py)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{short(px)} {short(py)}")
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


@dataclass
class Figure:
    """An SVG under construction: a frame with axes into which marks are added in drawing order."""

    width: float
    height: float
    x: Scale
    y: Scale
    label: str
    parts: list[str] = field(default_factory=list)
    attributes: dict[str, object] = field(default_factory=dict)

    def add(self, part: str) -> None:
        """Append an element, drawn over those before."""
        self.parts.append(part)

    def add_level(self, py: float, cls: str) -> None:
        """A horizontal line over the width of the axes, at pixel `py`."""
        path = f"M{short(self.x.start)} {short(py)}H{short(self.x.end)}"
        self.add(tag("path", d=path, cls=cls))

    def add_upright(self, px: float, top: float, bottom: float, cls: str) -> None:
        """A vertical line between two pixels."""
        self.add(tag("path", d=f"M{short(px)} {short(top)}V{short(bottom)}", cls=cls))

    def y_axis(self, title: str, ticks: Sequence[tuple[float, str]]) -> None:
        """Horizontal grid lines with labels at the left; the title stands above, horizontally."""
        for value, label in ticks:
            py = float(self.y(value))
            self.add_level(py, "rule")
            self.add(text(self.x.start - 5, py + 4, label, "tick", text_anchor="end"))
        self.add(text(2, 11, title, "axis"))

    def x_axis(self, title: str, ticks: Sequence[tuple[float, str]]) -> None:
        """A base line with labelled ticks; the outer labels are kept inside the figure."""
        base = max(self.y.start, self.y.end)
        self.add_level(base, "base")
        for value, label in ticks:
            px = float(self.x(value))
            half = len(label) * CHARACTER / 2
            anchor = "middle"
            if px + half > self.width:
                anchor = "end"
            elif px < half:
                anchor = "start"
            self.add_upright(px, base, base + 4, "base")
            self.add(text(px, base + 16, label, "tick", text_anchor=anchor))
        if title:
            middle = (self.x.start + self.x.end) / 2
            self.add(text(middle, base + 31, title, "axis", text_anchor="middle"))

    def line(self, x: Sequence[float] | Floats, y: Sequence[float] | Floats, cls: str) -> str:
        """A line through data points, as an element that is not added yet."""
        return tag("path", d=path(self.x(x), self.y(y)), cls=f"line {cls}")

    def band(self, x: Floats, low: Floats, high: Floats, cls: str) -> str:
        """The area between two lines, as an element that is not added yet."""
        px = self.x(x)
        around = path(
            np.concatenate([px, px[::-1]]), np.concatenate([self.y(low), self.y(high)[::-1]])
        )
        return tag("path", d=around + "Z", cls=f"band {cls}")

    def render(self) -> str:
        """The whole figure as one SVG element."""
        box = f"0 0 {short(self.width)} {short(self.height)}"
        return tag(
            "svg",
            "".join(self.parts),
            viewBox=box,
            role="img",
            aria_label=self.label,
            **self.attributes,
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
    """Lines over a common x, drawn in the order of their roles.

    Named roles get a label at their right end and a place in the tooltip.
    """
    lines = sorted(lines, key=_drawing_order)
    labelled_lines = [line for line in lines if line.role in NAMED and np.isfinite(line.y).any()]
    room = 10.0
    if labelled_lines:
        room = max(len(line.name) for line in labelled_lines) * CHARACTER + 12
    figure = _frame(lines, axes, room)
    for line in lines:
        figure.add(_draw_line(figure, line, axes.show or words.figure))
    ends = [float(figure.y(line.y[np.isfinite(line.y)][-1])) for line in labelled_lines]
    label_places = spread(np.clip(ends, figure.y.end, figure.y.start).tolist(), 26, figure.y.start)
    for line, py in zip(labelled_lines, label_places, strict=True):
        model = line.model or None
        px = figure.x.end + 5
        figure.add(text(px, py + 4, line.name, f"name {line.role}", data_model=model))
    # else there is no common x for a tooltip
    if len({len(line.x) for line in labelled_lines}) == 1:
        figure.attributes["data_x"] = " ".join(map(short, figure.x(labelled_lines[0].x).tolist()))
        figure.attributes["data_xl"] = "|".join(axes.moments)
    return figure.render()


def _drawing_order(line: Line) -> int:
    """What stands out is drawn last."""
    return ORDER.index(line.role)


def _frame(lines: Sequence[Line], axes: Axes, room: float) -> Figure:
    """Axes around all lines and their bands; `room`: pixels at the right for the labels."""
    width, height = axes.size
    base = height - 40  # room for the tick labels and the title of x
    if not axes.x_title:
        height -= 14
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
    x = Scale(float(xs.min()) - spare, float(xs.max()) + spare, left, width - room)
    figure = Figure(width, height, x, y, axes.label)
    figure.y_axis(axes.y_title, list(zip(ticks, labels, strict=True)))
    figure.x_axis(axes.x_title, axes.x_ticks)
    if axes.level is not None:
        figure.add_level(float(y(axes.level)), "base")
    if axes.divide is not None:
        figure.add_upright(float(x(axes.divide)), 22, y.start, "divide")
    return figure


def _draw_line(figure: Figure, line: Line, show: Callable[[float], str]) -> str:
    """Bands, the line, its dot and what a touch shows, as one group; `show` writes a y."""
    bounds = figure.y.low, figure.y.high
    x, y = clip_line(line.x, line.y, *bounds)
    content = ""
    for low, high in line.bands:
        content += figure.band(line.x, np.clip(low, *bounds), np.clip(high, *bounds), line.role)
    content += figure.line(x, y, line.role)
    if line.tip:
        content += figure.line(x, y, "hit")
    if line.dot is not None:
        px = float(figure.x(line.x[line.dot]))
        py = float(figure.y(line.y[line.dot]))
        content += tag("circle", cx=px, cy=py, r=3.2, cls=f"dot {line.role}")
    name = values = None
    if line.role in NAMED:
        name = line.name
        values = "|".join(show(value) if np.isfinite(value) else "" for value in line.y)
    return tag(
        "g",
        content,
        cls="s",
        data_model=line.model or None,
        data_name=name,
        data_y=values,
        data_tip=line.tip or None,
    )


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
    y = Scale(0, 1, height - 36, 10)
    figure = Figure(WIDTH, height, x, y, label)
    for about_how_many in (6, 4, 3, 2, 1):
        ticks = x.ticks(about_how_many)
        lengths = np.array([len(show(value)) for value in ticks])
        room = (lengths[:-1] + lengths[1:] + 1) / 2  # in characters, with a gap
        if np.all(np.diff(x(ticks)) >= room * CHARACTER):
            break
    for value in ticks:
        figure.add_upright(float(x(value)), 8, y.start, "zero" if value == 0 else "rule")
    figure.x_axis(x_title, [(value, show(value)) for value in ticks])
    for number, row in enumerate(rows):
        figure.add(_interval(figure, row, 22 + 26.0 * number))
    return figure.render()


def _interval(figure: Figure, row: Interval, py: float) -> str:
    """One row, around pixel `py`, as one group with what a touch shows."""
    cls = words.word_class(row.word)
    content = text(0, py + 4, row.name, "name row")
    if np.isfinite(row.low) and np.isfinite(row.high):
        low, high = map(short, figure.x([row.low, row.high]).tolist())
        content += tag("path", d=f"M{low} {short(py)}H{high}", cls=f"span {cls}")
    content += tag("circle", cx=float(figure.x(row.value)), cy=py, r=4.2, cls=f"point {cls}")
    content += text(figure.x.end + 8, py + 4, row.word, f"tick {cls}")
    content += tag("rect", x=0.0, y=py - 12, width=figure.width, height=24.0, cls="hit")
    return tag("g", content, cls="s", data_model=row.model, data_tip=row.tip)
