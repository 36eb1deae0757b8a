"""reports/live.html: how the champions' issued forecasts did, beside what their test blocks promised.

A page of its own: report.html is made from the pipeline's outputs alone and is the same bytes for the same outputs,
while this one changes with every forecast whose actuals arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from forecast.report import text
from forecast.report.charts import Axes, Line, line_chart
from forecast.report.figures import Panel
from forecast.report.page import TEMPLATES, environment
from forecast.report.tables import Cell, Row, Table, number, whole

SIZE = (720.0, 260.0)
ALONE = "no forecast has met its actuals yet"


@dataclass(frozen=True)
class LiveDataset:
    """What the page shows of one dataset.

    issues: one row per issue with known actuals: `cutoff, version, error, naive`, both relative to the test error at
    the same steps (1: as on test). versions: one mapping each: version, model, issues, scored, error, skill, coverage.
    """

    name: str
    title: str
    as_of: str
    issues: pd.DataFrame
    versions: Sequence[dict[str, Any]]


def render_live(datasets: Sequence[LiveDataset]) -> str:
    """The page's HTML; equal content is equal bytes."""
    context = {
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        "datasets": [
            {"name": d.name, "title": d.title, "as_of": d.as_of, "panel": _panel(d), "table": _table(d), "none": ALONE}
            for d in datasets
        ],
    }
    return str(environment().get_template("live.html.j2").render(context))


def _panel(dataset: LiveDataset) -> dict[str, Any] | None:
    """Error of each issue over the error on test, with the last value's; None before the first known actual."""
    rows = dataset.issues.sort_values("cutoff")
    if rows.empty:
        return None
    x = np.arange(len(rows), dtype=np.float64)
    lines = [
        Line("champion", x, rows["error"].to_numpy(np.float64), "chosen"),
        Line("last value", x, rows["naive"].to_numpy(np.float64), "naive"),
    ]
    moments = [f"{cutoff:%Y-%m-%d %H:%M}" for cutoff in rows["cutoff"]]
    shown = np.unique(np.linspace(0, len(rows) - 1, 5).round().astype(int))
    label = f"Live error of {dataset.name} by cutoff, relative to the test error"
    axes = Axes(
        label, "cutoff of the forecast (UTC)", "error / test error", [(float(i), moments[i][:10]) for i in shown],
        level=1.0, moments=moments, size=SIZE,
    )  # fmt: skip
    panel = Panel("Error of each issued forecast", line_chart(lines, axes), "1 is what the test block promised")
    return {**vars(panel), "svg": Markup(panel.svg)}  # noqa: S704  (every text in it is escaped)


def _table(dataset: LiveDataset) -> Table:
    levels = sorted({level for version in dataset.versions for level in version["coverage"]}, key=float)
    columns = [
        ("Version", "the registry's number, and the model"),
        ("issued", "forecasts kept"),
        ("scored", "of these with known actuals"),
        ("error / test", "mean error over the test error at the same steps; 1 is as expected"),
        ("skill", "1 - error / error of repeating the last value, at the same cutoffs"),
        *((f"in {level} %", f"share of actuals inside the {level} % interval") for level in levels),
    ]
    return Table(columns, [_row(version, levels) for version in dataset.versions])


def _row(version: dict[str, Any], levels: Sequence[str]) -> Row:
    inside = [version["coverage"].get(level) for level in levels]
    cells = [
        whole(version["issues"]), whole(version["scored"]), number(version["error"]), _percent(version["skill"]),
        *(_percent(share) for share in inside),
    ]  # fmt: skip
    return Row(f"{version['version']} ({version['model']})", cells)


def _percent(share: float | None) -> Cell:
    return Cell(text.NOTHING) if share is None else Cell(f"{100 * share:.1f} %".replace("-", text.MINUS), share)
