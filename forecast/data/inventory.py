"""Summary of each dataset's stored snapshot: rows, range, gaps, age, digest, last revision; and a plot of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.data import preparation, quality, snapshots
from forecast.data.calendars import ended
from forecast.system.errors import ForecastError

MAX_SERIES = 6
MAX_POINTS = 100_000


def summary(name: str, dataset: Dataset, *, root: Path, now: pd.Timestamp) -> dict[str, Any]:
    """One row of `forecast data`; `warnings` counts what the data checks find as of `now`."""
    if not ProjectPaths.of(root).pointer(name).exists():
        return _row(name, state=f"not fetched; run `forecast fetch {name}`")
    try:
        frame = preparation.check_data(name, dataset, root=root)
        raw = preparation.fetch(name, dataset, root=root)
    except ForecastError as error:
        return _row(name, state=str(error))
    pointer, record = snapshots.read_pointer(root, name), snapshots.provenance(root, name)
    described = quality.describe(frame, dataset)
    found = quality.findings(preparation.comparable(raw, dataset), dataset, as_of=pd.Timestamp(pointer.as_of))
    return {
        "dataset": name,
        "source": dataset.source.kind,
        "series": len(described["series"]),
        "rows": described["rows"],
        "first": frame["ds"].min().isoformat(),
        "last": frame["ds"].max().isoformat(),
        "gaps": described["gaps"],
        "age": age(dataset, frame["ds"].max(), now),
        "as_of": pointer.as_of,
        "sha256": pointer.sha256[:12],
        "snapshots": len(snapshots.snapshots(root, name)),
        "revised": record.get("revised_values", 0),
        "warnings": len(found),
        "state": "good" if not record.get("failed") else f"kept without {', '.join(record['failed'])}",
    }


def age(dataset: Dataset, last: pd.Timestamp, now: pd.Timestamp) -> str:
    """How long ago the last row became known, in words."""
    old = now - ended(dataset.calendar, [last])[0]
    days = old / pd.Timedelta(1, "D")
    return f"{days:.0f} days" if days >= 2 else f"{old / pd.Timedelta(1, 'h'):.0f} hours"


def plot(name: str, dataset: Dataset, *, root: Path, path: Path) -> Path:
    """A PNG with one panel per column and one line per series (the first six), missing steps left open.

    Kept out of reports/ on purpose: prices under personal-use terms must not travel with a report.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from forecast.system import files

    frame = preparation.check_data(name, dataset, root=root)
    shown = [column for column in dataset.columns if column.lead <= 1]
    names = [column.column for column in shown]
    figure = Figure(figsize=(11, 2.2 * len(names) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for column, panel in zip(shown, panels, strict=True):
        _draw(panel, frame, dataset, column.column)
        panel.set_ylabel(f"{column.column}\n{column.unit}".strip(), fontsize=9)
    count = frame["unique_id"].nunique()
    some = f" (the first {MAX_SERIES} of {count} series)" if count > MAX_SERIES else ""
    panels[0].set_title(f"{dataset.title}{some}. {dataset.licence.attribution}", fontsize=9, loc="left")
    if count > 1:  # below everything: over a panel it would hide lines
        lines, names = panels[0].get_legend_handles_labels()
        figure.legend(lines, names, fontsize=8, ncols=MAX_SERIES, loc="outside lower center", frameon=False)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path


def _draw(panel: Any, frame: pd.DataFrame, dataset: Dataset, column: str) -> None:
    from forecast.data.calendars import grid

    for series in sorted(frame["unique_id"].unique())[:MAX_SERIES]:
        values = frame[frame["unique_id"] == series].set_index("ds")[column]
        full = values.reindex(grid(dataset.calendar, values.index[0], values.index[-1]))
        thinned = full.iloc[:: max(1, len(full) // MAX_POINTS)]
        panel.plot(thinned.index, thinned.to_numpy(), linewidth=0.7, label=str(series))
    panel.grid(visible=True, alpha=0.3)


def _row(name: str, *, state: str) -> dict[str, Any]:
    columns = ("source", "series", "rows", "first", "last", "gaps", "age", "as_of", "sha256", "snapshots", "revised")
    return {"dataset": name, **dict.fromkeys((*columns, "warnings")), "state": state}
