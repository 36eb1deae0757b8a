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
    kept: list[pd.DataFrame] = []
    cutoffs = np.sort(series["cutoff"].unique())[::-1]
    for cutoff in cutoffs:
        if len(kept) == ORIGINS:
            break
        rows = series[series["cutoff"] == cutoff]
        if kept and rows["ds"].max() > kept[-1]["ds"].min():
            continue
        kept.append(rows.groupby(["step", "ds"], as_index=False)[["y", "y_hat"]].mean())
    return kept[::-1]


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
    from matplotlib.dates import ConciseDateFormatter

    actual = pd.concat(origins)
    axes.plot(actual["ds"], actual["y"], color=INK, linewidth=1.2, label="actual")
    for number, origin in enumerate(origins):
        label = f"forecast, {len(origin)} steps from each origin" if number == 0 else None
        axes.plot(origin["ds"], origin["y_hat"], color=FORECAST, linewidth=1.4, marker=".", markersize=3, label=label)
    axes.set_title(name, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
