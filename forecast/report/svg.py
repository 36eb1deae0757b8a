"""A small SVG kit: scales with readable ticks, lines, bands and labels as compact text.

Colours are the page's CSS.

Sizes are in SVG units, drawn near 1 unit = 1 CSS pixel, so text keeps its size on a phone.
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
    parts = [kind]
    for key, value in attributes.items():
        if value is None:
            continue
        attribute_text = short(value) if isinstance(value, float) else str(value)
        parts.append(
            f'{"class" if key == "cls" else key.replace("_", "-")}="{escape(attribute_text)}"'
        )
    opened = " ".join(parts)
    return f"<{opened}>{content}</{kind}>" if content else f"<{opened}/>"


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
        low, high, data = (
            np.log10(v) if self.log else np.asarray(v, float) for v in (self.low, self.high, values)
        )
        return np.asarray(self.start + (data - low) / (high - low) * (self.end - self.start))

    def ticks(self, about_how_many: int = 4) -> list[float]:
        """About `wanted`, 1, 2 or 5 times a power of ten apart; of a logarithmic scale powers of
        ten, with 2 and 5 times them when they are few.
        """
        if self.log:
            ends = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            known = [m * 10.0**p for p in range(ends[0], ends[1] + 1) for m in (1, 2, 5)]
            powers = [power for power in known[::3] if self.low <= power <= self.high]
            few = [tick for tick in known if self.low <= tick <= self.high]
            return powers[:: max(1, len(powers) // about_how_many)] if len(powers) >= 3 else few
        raw = (self.high - self.low) / max(1, about_how_many)
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * min((1, 2, 5, 10), key=lambda m: abs(math.log(m * power / raw)))
        first = math.ceil(self.low / step - 1e-9)
        digits = max(12, 3 - math.floor(math.log10(step)))  # binary noise goes, whatever the unit
        return [
            round(i * step, digits) for i in range(first, math.floor(self.high / step + 1e-9) + 1)
        ]


def pad_range(values: Iterable[float], *, share: float = 0.06) -> tuple[float, float]:
    """The range of the finite values, widened by `share` on both sides; never empty."""
    finite = [v for v in map(float, values) if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room


def tick_label(value: float, ticks: Sequence[float]) -> str:
    """The value with as many decimals as the ticks need to differ."""
    step = min((abs(b - a) for a, b in pairwise(ticks)), default=abs(value) or 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}".replace("-", "−")


def clip_line(x: Floats, y: Floats, low: float, high: float) -> tuple[Floats, Floats]:
    """The line within [low, high]: cut where it crosses a bound, NaN beyond, so that it leaves and
    comes back.
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
    """Positions near `wanted`, at least `gap` apart and inside [low, high] as far as they fit,
    order kept.
    """
    order = sorted(range(len(desired)), key=lambda i: (desired[i], i))
    positions: list[float] = []
    for i in order:
        positions.append(max(desired[i], positions[-1] + gap if positions else low))
    limit = high
    for k in reversed(range(len(positions))):
        positions[k] = min(positions[k], limit)
        limit = positions[k] - gap
    return [place for _, place in sorted(zip(order, positions, strict=True))]


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

    def add(self, *parts: str) -> None:
        """Append elements, drawn over those before."""
        self.parts.extend(parts)

    def y_axis(
        self,
        title: str,
        ticks: list[float] | None = None,
        show: Callable[[float], str] | None = None,
    ) -> None:
        """Horizontal grid lines with values at the left; the title stands above, horizontally."""
        ticks = self.y.ticks() if ticks is None else ticks
        for value, py in zip(ticks, self.y(ticks), strict=True):
            self.add(
                tag("path", d=f"M{short(self.x.start)} {short(py)}H{short(self.x.end)}", cls="rule")
            )
            label = show(value) if show else tick_label(value, ticks)
            self.add(text(self.x.start - 5, py + 4, label, "tick", text_anchor="end"))
        self.add(text(2, 11, title, "axis"))

    def x_axis(self, title: str, ticks: Sequence[tuple[float, str]]) -> None:
        """A base line with labelled ticks; the outer labels are kept inside the figure."""
        base = max(self.y.start, self.y.end)
        self.add(
            tag("path", d=f"M{short(self.x.start)} {short(base)}H{short(self.x.end)}", cls="base")
        )
        for value, label in ticks:
            px = float(self.x(value))
            half = len(label) * CHARACTER / 2
            anchor = "end" if px + half > self.width else "start" if px - half < 0 else "middle"
            self.add(tag("path", d=f"M{short(px)} {short(base)}v4", cls="base"))
            self.add(text(px, base + 16, label, "tick", text_anchor=anchor))
        if title:
            self.add(
                text(
                    (self.x.start + self.x.end) / 2, base + 31, title, "axis", text_anchor="middle"
                )
            )

    def line(self, x: Sequence[float] | Floats, y: Sequence[float] | Floats, cls: str) -> str:
        """A line through data points."""
        return tag("path", d=path(self.x(x), self.y(y)), cls=f"line {cls}")

    def band(self, x: Floats, low: Floats, high: Floats, cls: str) -> str:
        """The area between two lines."""
        px = self.x(x)
        there = np.concatenate([px, px[::-1]])
        return tag(
            "path",
            d=path(there, np.concatenate([self.y(low), self.y(high)[::-1]])) + "Z",
            cls=f"band {cls}",
        )

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
