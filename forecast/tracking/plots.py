"""The picture of a run: the last forecasts of the test block against what happened."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ("unique_id", "cutoff", "step", "ds", "block", "y", "y_hat")
SERIES = 2
ORIGINS = 8
INK, FORECAST = "#333333", "#d1495b"


def forecast_plot(forecasts: Path, title: str) -> bytes | None:
    """A PNG of at most two series and the last eight non-overlapping origins; None without test forecasts.

    `forecasts` is a record's forecasts.parquet; several seeds are shown as their mean.
    """
    frame = pd.read_parquet(forecasts, columns=list(COLUMNS), filters=[("block", "==", "test")])
    series = list(dict.fromkeys(frame["unique_id"]))[:SERIES]
    panels = [(name, last_origins(frame[frame["unique_id"] == name])) for name in series]
    return _drawn(panels, title) if panels else None


def last_origins(series: pd.DataFrame) -> list[pd.DataFrame]:
    """The last origins whose horizons do not overlap, oldest first; each with the mean of `y_hat` over seeds."""
    steps = series.groupby("cutoff")["ds"]
    first: dict[Any, Any] = steps.min().to_dict()
    last = steps.max().to_dict()
    kept: list[Any] = []
    for cutoff in sorted(first, reverse=True):
        if len(kept) < ORIGINS and (not kept or last[cutoff] <= first[kept[-1]]):
            kept.append(cutoff)
    rows = series[series["cutoff"].isin(kept)]
    means = rows.groupby(["cutoff", "step", "ds"], as_index=False)[["y", "y_hat"]].mean()
    return [origin for _, origin in means.groupby("cutoff")]


def _drawn(panels: list[tuple[str, list[pd.DataFrame]]], title: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 2.9 * len(panels) + 0.4), dpi=90)
    FigureCanvasAgg(figure)
    for axes, (name, origins) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        _panel(axes, name, origins)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    inch = 1 / figure.get_figheight()
    figure.subplots_adjust(left=0.09, right=0.98, top=1 - 0.6 * inch, bottom=0.4 * inch, hspace=0.4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panel(axes: Any, name: str, origins: list[pd.DataFrame]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    actual = pd.concat(origins)
    label = f"forecast, {len(origins[0])} steps from each origin"
    # One line with a break after each origin: drawing is most of what publishing costs.
    broken = pd.concat([part for origin in origins for part in (origin, origin.tail(1).assign(y_hat=np.nan))])
    axes.plot(actual["ds"], actual["y"], color=INK, linewidth=1.2, label="actual")
    axes.plot(broken["ds"], broken["y_hat"], color=FORECAST, linewidth=1.4, marker=".", markersize=3, label=label)
    axes.set_title(name, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    ticks = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(ticks))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
