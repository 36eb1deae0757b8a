"""A small SVG kit for `charts`: scales with readable ticks, lines, bands and labels as text.

`tag` and `text` write one element, `Scale` maps data to pixels, `Figure` collects elements around a
pair of axes. Colours and dashes are the page's CSS, by class. Sizes are in SVG units, drawn near 1
unit = 1 CSS pixel, so text keeps its size on a phone. A coordinate has one decimal at most, so that
equal data are equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

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
    log: bool = False

    def __call__(self, values: float | Sequence[float] | Floats) -> Floats:
        """The pixels of data values."""
        low, high = self.low, self.high
        data = np.asarray(values, float)
        if self.log:
            low, high, data = np.log10(low), np.log10(high), np.log10(data)
        return np.asarray(self.start + (data - low) / (high - low) * (self.end - self.start))

    def ticks(self, about_how_many: int = 4) -> list[float]:
        """About so many, 1, 2 or 5 times a power of ten apart; of a logarithmic scale powers of
        ten, with 2 and 5 times them when they are few.
        """
        if self.log:
            first_power = math.floor(math.log10(self.low))
            last_power = math.ceil(math.log10(self.high))
            powers = 10.0 ** np.arange(first_power, last_power + 1)
            powers_shown = powers[(powers >= self.low) & (powers <= self.high)]
            if len(powers_shown) >= 3:
                return powers_shown[:: max(1, len(powers_shown) // about_how_many)].tolist()
            few = np.outer(powers, (1, 2, 5)).ravel()
            return few[(few >= self.low) & (few <= self.high)].tolist()
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
