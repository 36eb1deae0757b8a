"""A picture of one forecast: the last of the history, the forecast, its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.forecaster.ensemble import percent
from forecast.system import files

if TYPE_CHECKING:
    import pandas as pd

    from forecast.operations.predicting import Forecast

PANELS = 6
INK, COLOUR = "#333333", "#d1495b"


def draw(found: Forecast, path: Path, units: Mapping[str, str]) -> Path:
    """A PNG with one panel per series and target (the first six), as much history as four horizons.

    units: of each target, for the axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = [(key, rows) for key, rows in found.table.groupby(["unique_id", "output"], sort=True)][:PANELS]
    figure = Figure(figsize=(9, 2.8 * len(groups) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for panel, ((unique_id, output), rows) in zip(axes, groups, strict=True):
        _draw(panel, found, str(unique_id), str(output), rows)
        panel.set_ylabel(units.get(str(output), ""), fontsize=9)
    axes[0].legend(fontsize=8, frameon=False, ncols=4, loc="upper left")
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path


def _draw(panel: Any, found: Forecast, unique_id: str, output: str, rows: pd.DataFrame) -> None:
    task = found.panel.task
    column = task.targets.index(output)
    series = found.panel.by_id[unique_id]
    seen = slice(-max(4 * len(rows), task.lookback // 2), None)
    panel.plot(series.ds[seen], series.values[seen, column], color=INK, linewidth=1.0, label="observed")
    panel.plot(rows["ds"], rows["y_hat"], color=COLOUR, linewidth=1.5, label="forecast")
    for level in found.levels:
        name = percent(level)
        panel.fill_between(
            rows["ds"],
            rows[f"lo_{name}"],
            rows[f"hi_{name}"],
            color=COLOUR,
            alpha=0.18,
            linewidth=0,
            label=f"{name} %",
        )
    panel.set_title(f"{unique_id}: {output}", fontsize=9, loc="left")
    panel.grid(visible=True, alpha=0.3)
