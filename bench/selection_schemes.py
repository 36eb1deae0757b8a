"""Three ways to choose a row, compared by what the chosen row scores later: the table in
docs/research/choosing-the-row.md.

    python -m bench.selection_schemes FOLDER [NAME ...]

FOLDER has weather/beijing_12stations_2013_2017.parquet, benchmarks/ETTh1.csv and the panels of
`bench.quarter_hour`, whose hours are cut to two years; weather and stocks are the project's own
(`make run` or `dvc repro prepare` first).

    origins 1 the validation block of the configuration, at the end of what may be learnt from
    blocks    as many rows in eight stretches over the last year and a quarter, with an embargo
              (hv-block)
    origins   two, three or four such blocks a quarter of a year apart, each behind a fit of its
              own; the mean of their scores, each over that of the naive forecast
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.quarter_hour import PANELS, problem_of
from forecast import models
from forecast.backtest.backtest import load_problem, load_tensorflow
from forecast.backtest.prepared_data import PreparedData
from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.config.reading import validate_config
from forecast.data import panel, splits
from forecast.data.splits import Blocks
from forecast.forecaster import Budget, FitResult, Forecaster, Problem, fit, fit_again

ROWS = {
    name: {"family": name}
    for name in ("naive", "seasonal_naive", "ridge", "arx", "tdnn", "gru", "narx")
}
ROWS["boosting"] = {"family": "sklearn"}
STRETCHES, BUDGET = 8, Budget(150, 25)
YEAR = {"weather": 8760, "beijing": 8760, "etth1": 4380, "stocks": 252}
"""Rows in which the stretches lie; half a year of ETTh1, which has one and a third to learn from.
"""
PANEL_YEAR = {"delhi": 365, "dengue": 52, "spy": 252, "bike": 8760, "iowa": 8760, "household": 8760}
"""The same of the deciding panels that are long enough, where the stretches are not tried."""
HOURLY: dict[str, Any] = {
    "source": {"kind": "file", "path": "none.csv"},
    "calendar": {"kind": "regular", "freq": "1h"},
    "horizon": 24,
    "lookback": 168,
    "season_length": 24,
    "step_size": 6,
    "licence": {"name": "none", "attribution": "none"},
}


@dataclass
class Spread(Problem):
    """Validation in `validation_stretches` [start, stop) per series, horizon rows before and
    lookback rows after unused.
    """

    validation_stretches: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def rows(self, unique_id: str, block: str) -> np.ndarray:
        task = self.panel.task
        if block == "validation":
            return np.concatenate(
                [
                    np.arange(a, b - task.horizon, task.step_size)
                    for a, b in self.validation_stretches[unique_id]
                ]
            )
        row_numbers = super().rows(unique_id, block)
        for start, stop in self.validation_stretches[unique_id] if block == "train" else ():
            row_numbers = row_numbers[
                (row_numbers < start - task.horizon) | (row_numbers >= stop + task.lookback)
            ]
        return row_numbers


def data(name: str, folder: Path) -> Problem:
    if name in PANEL_YEAR:
        two_years = max(2 * PANEL_YEAR[name], PANELS[name].max_steps)
        return problem_of(PANELS[name]._replace(max_steps=two_years), folder / "panels")[0]
    if name in ("weather", "stocks"):
        return load_problem(PreparedData(ProjectPaths.of("."), name, "frame.parquet", ""))
    if name == "etth1":
        raw = pd.read_csv(folder / "benchmarks/ETTh1.csv", nrows=14_400).rename(
            columns={"date": "ds"}
        )
        columns, calendar = ["OT", "HUFL", "MUFL"], ["hour_of_day", "day_of_week", "day_of_year"]
        shares = {"train": 0.6, "validation": 0.1, "calibration": 0.05}
    else:
        raw = pd.read_parquet(folder / "weather/beijing_12stations_2013_2017.parquet")
        raw = raw[raw["station"] == "Aotizhongxin"].assign(
            ds=pd.to_datetime(raw[["year", "month", "day", "hour"]])
        )
        columns, calendar = ["TEMP", "DEWP", "PRES"], ["hour_of_day", "day_of_year"]
        shares = {"train": 0.6, "validation": 0.05, "calibration": 0.05}
    frame = (
        raw[columns]
        .assign(unique_id="a", ds=pd.DatetimeIndex(raw["ds"]).as_unit("ns"))
        .sort_values("ds")
    )
    columns_of_entry = [{"column": column, "max_missing": 0.05} for column in columns]
    entry = {
        **HOURLY,
        "title": name,
        "target": columns_of_entry[0],
        "past_exogenous": columns_of_entry[1:],
        "calendar_features": calendar,
    }
    task = validate_config(Dataset, {**entry, "splits": shares}, where=name)
    hourly_panel = panel.from_frame(frame, name, task.task)
    return Problem.of(hourly_panel, splits.resolve_borders(hourly_panel, task.splits))


def schemes(name: str, problem: Problem) -> dict[str, list[Problem]]:
    year = (YEAR | PANEL_YEAR)[name]
    earlier = [moved(problem, quarter * year // 4) for quarter in (3, 2, 1, 0)]
    blocks = {"blocks": [spread(problem, year)]} if name in YEAR else {}
    return {**blocks, "origins": earlier}


def moved(problem: Problem, back: int) -> Problem:
    """The same with the validation block `back` rows earlier, and nothing after it to learn
    from.
    """
    blocks = {}
    for uid, cut in problem.blocks.items():
        end, rows = cut.validation[1] - back, cut.validation[1] - cut.validation[0]
        blocks[uid] = Blocks((0, end - rows), (end - rows, end), cut.calibration, cut.test)
    return replace(problem, blocks=blocks)


def spread(problem: Problem, year: int) -> Problem:
    blocks, stretches = {}, {}
    for uid, cut in problem.blocks.items():
        start, end = cut.validation
        each = max((end - start) // STRETCHES, 2 * problem.panel.task.horizon)
        first = max(int(0.15 * end), end - year - year // 4 - (end - start))
        stretches[uid] = [
            (int(a), int(a) + each) for a in np.linspace(first, end - each, STRETCHES)
        ]
        blocks[uid] = Blocks((0, end), (end, end), cut.calibration, cut.test)
    return Spread(
        problem.panel,
        problem.borders,
        blocks,
        problem.scaling,
        problem.channels,
        validation_stretches=stretches,
    )


def error(problem: Problem, model: Forecaster, block: str) -> float:
    """Mean absolute error over the spread of each series in the train rows."""
    by_series = []
    for series in problem.panel.series:
        rows = problem.rows(series.unique_id, block)
        y_hat = model.predict(problem.panel, {series.unique_id: rows})[series.unique_id]
        y = series.values[rows[:, None] + np.arange(1, y_hat.shape[1] + 1), : y_hat.shape[2]]
        by_series.append(np.nanmean(np.abs(y_hat - y)) / problem.scaling.scale[series.unique_id][0])
    return float(np.mean(by_series))


def compare_schemes(problem: Problem, parts: list[Problem]) -> pd.DataFrame:
    """Per row its score for the choice by the newest 1, 2, ... of `parts`, and later: fitted again
    on train and validation, on calibration and test.
    """
    scores = {}
    rows = {}
    for name, entry in ROWS.items():
        spec = models.spec(entry, where=name)
        options: dict[str, Any] = {
            "skip": "linear" if spec.has_skip else None,
            "seed": 0,
            "budget": BUDGET,
        }
        fits: list[FitResult] = [fit(part, spec, **options) for part in parts]
        scores[name] = [
            error(part, each.forecaster, "validation")
            for part, each in zip(parts, fits, strict=True)
        ]
        joined = {uid: cut.with_validation_in_train() for uid, cut in problem.blocks.items()}
        parts[-1].__dict__["joined"] = replace(problem, blocks=joined, chosen_by=parts[-1])
        final = fit_again(parts[-1], spec, fits[-1], **options).forecaster
        later_error = (error(problem, final, "calibration") + 2 * error(problem, final, "test")) / 3
        relative = np.divide(scores[name], scores["naive"])[::-1]
        rows[name] = {count: relative[:count].mean() for count in range(1, len(parts) + 1)}
        rows[name]["later"] = later_error
    return pd.DataFrame(rows).T


def main(folder: str, *names: str) -> None:
    load_tensorflow()
    for name in names or (*YEAR, *PANEL_YEAR):
        problem = data(name, Path(folder))
        for scheme, parts in schemes(name, problem).items():
            table = compare_schemes(problem, parts)
            ranks = table.corr(method="spearman")["later"]
            for count in table.columns.drop("later"):
                chosen = str(table[count].idxmin())
                above = table.loc[chosen, "later"] / table["later"].min() - 1
                print(
                    f"{name:9} {scheme} {count} chosen {chosen:10} {above:+.2%} above the best row"
                    f" later; Spearman {ranks[count]:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
