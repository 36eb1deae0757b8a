"""The bar of the quarter of an hour: boosted trees as somebody writes them who has no other tool.

    python -m bench.quarter_hour FOLDER [NAME ...]

For each deciding panel below (FOLDER holds them) the mean absolute error, on the test block of the
entry that `forecast add` writes, of boosted trees: absolute error, 400 trees, the step as an input,
the last rows, the same step of the last four seasons and of the last four longer seasons, hour,
weekday and day of the year; fitted once, nothing tuned, the same for every panel. Beside it, in
percent of it, the rows of the product that are no networks, and their mean with weights learnt on
validation as `stacked` has them. All are fitted on train and validation and never again. dengue is
not among them: its steps around New Year are of no calendar that `add` knows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from sklearn.ensemble import HistGradientBoostingRegressor

from forecast import models
from forecast.backtest.combinations import solve_on_simplex
from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.data import panel, splits
from forecast.data.guesses import guess_entry
from forecast.forecaster import Budget, Problem, fit
from forecast.forecaster.fitting import fit_again

TREES, MAX_ROWS, SEASONS = 400, 100_000, 4
ROWS = ("ridge", "arx", "nlinear", "boosting", "boosting_last", "knn")


class Deciding(NamedTuple):
    """A panel, its target, and the longer season in steps (1: none)."""

    file: str
    target: str
    long_season: int


PANELS = {
    "bike": Deciding("uci_bike_sharing_hourly.csv", "cnt", 168),
    "iowa": Deciding("iowa_ed_arrivals_hourly.csv", "Arrivals", 168),
    "household": Deciding("uci_household_power_hourly.parquet", "Global_active_power", 168),
    "vic": Deciding("vic_elec_halfhourly.parquet", "Demand", 336),
    "delhi": Deciding("delhi_climate_daily.csv", "meantemp", 365),
    "walmart": Deciding("walmart_stores_weekly.csv", "Weekly_Sales", 1),
    "tourism": Deciding("aus_tourism_quarterly.parquet", "Trips", 1),
}


def problem_of(deciding: Deciding, folder: Path) -> tuple[Problem, pd.DataFrame]:
    """The problem of the entry that `add` writes, of the rows of the file."""
    path = folder / deciding.file
    read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
    frame = read(path).rename(columns={deciding.target: "y"})
    names = ["unique_id"] if "unique_id" in frame else []
    frame = frame[[*names, "ds", "y"]].assign(ds=pd.to_datetime(frame["ds"]))
    if not names:
        frame["unique_id"] = "one"
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "rows.parquet"
        frame.to_parquet(copy)
        entry = yaml.safe_load(guess_entry(copy, "data/rows.parquet", "panel", target="y"))["panel"]
    entry["target"]["max_missing"] = 0.9
    dataset = validate_config(Dataset, entry, where="panel")
    frame = frame.assign(unique_id=frame["unique_id"].astype(str)).drop_duplicates(
        ["unique_id", "ds"]
    )
    series = panel.from_frame(frame, "panel", dataset.task)
    return Problem.of(series, splits.resolve_borders(series, dataset.splits)), frame


def contender_inputs(
    values: np.ndarray, times: pd.DatetimeIndex, cutoffs: np.ndarray, task, long_season: int
) -> np.ndarray:
    """(cutoffs * horizon, inputs): what the trees see of each cutoff and step."""
    steps = np.arange(1, task.horizon + 1)
    recent = min(max(2 * task.season_length, 8), 56)
    at = np.maximum(cutoffs[:, None] - np.arange(recent), 0)
    lags = np.repeat(values[at][:, None], task.horizon, axis=1)
    goal = cutoffs[:, None] + steps
    parts = [lags, np.broadcast_to(steps[None, :, None], (*goal.shape, 1))]
    for season in {task.season_length, long_season} - {1}:
        first = -(-task.horizon // season)
        for count in range(first, first + SEASONS):
            rows = goal - count * season
            parts.append(values[np.maximum(rows, 0)][..., None])
    clock = times[np.minimum(goal, len(times) - 1).ravel()]
    numbers = (clock.hour + clock.minute / 60, clock.day_of_week, clock.day_of_year)
    parts += [number.to_numpy().reshape(goal.shape)[..., None] for number in numbers]
    return np.concatenate(parts, axis=2).reshape(goal.size, -1)


def contender_error(problem: Problem, long_season: int) -> float:
    """Its mean absolute error on the test block, in scaled units."""
    task, xs, ys, tests = problem.panel.task, [], [], []
    count = sum(blocks.validation[1] for blocks in problem.blocks.values()) * task.horizon
    every = max(1, count // MAX_ROWS)
    for series in problem.panel.series:
        z = problem.scaled(series.unique_id)[:, 0]
        filled = pd.Series(z).ffill().fillna(0.0).to_numpy()
        times, stop = pd.DatetimeIndex(series.ds), problem.blocks[series.unique_id].validation[1]
        cutoffs = np.arange(task.lookback - 1, stop - task.horizon, every)
        steps = np.arange(1, task.horizon + 1)
        xs.append(contender_inputs(filled, times, cutoffs, task, long_season))
        ys.append(z[cutoffs[:, None] + steps].ravel())
        cutoffs = problem.rows(series.unique_id, "test")
        x = contender_inputs(filled, times, cutoffs, task, long_season)
        tests.append((x, z[cutoffs[:, None] + steps].ravel()))
    x, y = np.concatenate(xs), np.concatenate(ys)
    trees = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=TREES, early_stopping=False, random_state=0
    )
    trees.fit(x[np.isfinite(y)], y[np.isfinite(y)])
    errors = [np.abs(target - trees.predict(x)) for x, target in tests]
    return float(np.nanmean(np.concatenate(errors)))


def row_errors(problem: Problem) -> dict[str, float]:
    """Of the product's rows, and of their mean with weights from validation."""
    catalogue = yaml.safe_load(Path("configs/models.yaml").read_text())["models"]
    on_validation, on_test = {}, {}
    for name in ROWS:
        spec = models.spec(catalogue[name], where=name)
        options = {"skip": "linear", "seed": 0, "budget": Budget(1, 1)}
        first = fit(problem, spec, **options)
        second = fit_again(problem, spec, first, **options)
        on_validation[name] = scaled_errors(problem, first.forecaster, "validation")
        on_test[name] = scaled_errors(problem, second.forecaster, "test")
    errors = np.column_stack([*on_validation.values()])
    known = np.isfinite(errors).all(axis=1)
    weights = solve_on_simplex(errors[known].T @ errors[known] / known.sum(), 0.2)
    result = {name: float(np.nanmean(np.abs(each))) for name, each in on_test.items()}
    combined = np.column_stack([*on_test.values()]) @ weights
    return {**result, "stacked": float(np.nanmean(np.abs(combined)))}


def scaled_errors(problem: Problem, forecaster, block: str) -> np.ndarray:
    """(n,) target less forecast of every cutoff and step of a block, in scaled units."""
    errors = []
    for series in problem.panel.series:
        uid = series.unique_id
        rows = problem.rows(uid, block)
        for windows in problem.windows(uid, rows, horizon=problem.panel.task.horizon):
            target = problem.targets(uid, windows.rows, horizon=problem.panel.task.horizon)
            forecast = forecaster.spec.scaled_forecast(forecaster, windows)
            errors.append((target - forecast).ravel())
    return np.concatenate(errors)


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(PANELS)
    print("| panel | calendar | contender | " + " | ".join((*ROWS, "stacked")) + " | CPU s |")
    print("|---" * (len(ROWS) + 5) + "|")
    for name in names:
        began = time.process_time()
        problem, _ = problem_of(PANELS[name], folder)
        bar = contender_error(problem, PANELS[name].long_season)
        cells = [f"{100 * (error / bar - 1):+.1f} %" for error in row_errors(problem).values()]
        calendar = ", ".join(problem.panel.task.calendar_features)
        seconds = time.process_time() - began
        print(
            f"| {name} | {calendar} | {bar:.4f} | {' | '.join(cells)} | {seconds:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
