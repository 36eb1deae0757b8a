"""The bar of the quarter of an hour: boosted trees as somebody writes them who has no other tool.

    python -m bench.quarter_hour FOLDER [--inputs] [NAME ...]

For each panel below (FOLDER holds them) the mean absolute error, on the test block of the
entry that `forecast add` writes, of boosted trees: absolute error, 400 trees, the step as an input,
the last rows, the same step of the last four seasons and of the last four longer seasons, hour,
weekday and day of the year, the newest values of the file's numbers, what is known ahead of the
step; fitted once, nothing tuned, the same for every panel. Beside it, in percent of it, rows of the
product that are no networks, and their mean with weights learnt on validation as `stacked` has
them; of this the coverage of its intervals in percent, and its CRPS. All are fitted on train and
validation and never again, on the newest `MAX_STEPS` of a series, `MAX_HOURS` of one of hours or
half hours.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from forecast import models
from forecast.backtest.combinations import MemberErrors, stack
from forecast.comparison.metrics import crps_quantiles
from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.config.task import Task
from forecast.data import panel, splits
from forecast.data.columns import add_known_ahead, trim_to_observed
from forecast.data.guesses.entry import guess_entry
from forecast.forecaster import Budget, Forecaster, Problem, fit
from forecast.forecaster.fitting import fit_again
from forecast.forecaster.intervals import (
    SHORT_BLOCK,
    Difficulty,
    SplitConformal,
    min_calibration_size,
    pool_short_series,
    usual_error,
    visible_volatility,
)
from forecast.models.statistical import StatisticalSpec

TREES, SEASONS = 400, 4
MAX_STEPS, MAX_HOURS, MAX_ROWS = 4_000, 8_000, 20_000
"""Of a series, its newest, and where a step is an hour or half of one; and of pairs of cutoff and
step that the contender is fitted on.
"""
ROWS = ("ridge", "nlinear", "boosting", "boosting_last")


class BarPanel(NamedTuple):
    """A panel, its target, the longer season in steps (1: none), the newest steps that are used,
    and the column of the times.
    """

    file: str
    target: str
    long_season: int
    max_steps: int = MAX_STEPS
    time: str = "ds"


PANELS = {
    "bike": BarPanel("uci_bike_sharing_hourly.csv", "cnt", 168, MAX_HOURS),
    "iowa": BarPanel("iowa_ed_arrivals_hourly.csv", "Arrivals", 168, MAX_HOURS),
    "household": BarPanel(
        "uci_household_power_hourly.parquet", "Global_active_power", 168, MAX_HOURS
    ),
    "vic": BarPanel("vic_elec_halfhourly.parquet", "Demand", 336, MAX_HOURS),
    "delhi": BarPanel("delhi_climate_daily.csv", "meantemp", 365),
    "walmart": BarPanel("walmart_stores_weekly.csv", "Weekly_Sales", 1),
    "tourism": BarPanel("aus_tourism_quarterly.parquet", "Trips", 1),
    "dengue": BarPanel("dengue_weekly.csv", "total_cases", 1),
    "spy": BarPanel("spy_realized_measures_daily.csv", "RV5", 22),
    "nab": BarPanel("nab_machine_temperature_5min.csv", "machine_temperature", 2016),
}
CONFIRMING = {
    "wikipedia": BarPanel("wikipedia_log_views_daily.csv", "log_views", 365),
    "opsd": BarPanel("opsd_germany_daily.csv", "Consumption", 365),
    "sunspots": BarPanel("sunspots_daily.csv", "sunspot_number", 27),
    "water": BarPanel(
        "water_demand_ferrara_hourly.parquet", "net_inflow_lps", 168, MAX_HOURS, "ds_utc"
    ),
    "melbourne": BarPanel(
        "melbourne_pedestrians_hourly.parquet", "Count", 168, MAX_HOURS, "ds_utc"
    ),
    "epf": BarPanel("epf_belgium_price_hourly.csv", "Price", 168, MAX_HOURS),
}
"""Opened once, after the rule of docs/research/quarter-hour.md was written."""


def problem_of(
    chosen: BarPanel, folder: Path, *, with_inputs: bool = False
) -> tuple[Problem, pd.DataFrame]:
    """The problem of the entry that `add` writes, of the newest rows of the file; `with_inputs`:
    with the numbers of the file, which the entry offers in a comment, as past inputs.
    """
    path = folder / chosen.file
    read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
    frame = read(path).rename(columns={chosen.target: "y"})
    frame["ds"] = frame[chosen.time]
    if "unique_id" not in frame:
        frame["unique_id"] = "one"
    numbers = frame.select_dtypes(["number", "bool"]).columns.difference(["unique_id", "y"])
    frame = frame[["unique_id", "ds", "y", *numbers]].assign(ds=pd.to_datetime(frame["ds"]))
    frame = frame.sort_values("ds").groupby("unique_id").tail(chosen.max_steps)
    text = written_entry(frame)
    if with_inputs:
        text = text.replace("# past_exogenous:", "past_exogenous:")
    frame = frame.assign(unique_id=frame["unique_id"].astype(str)).drop_duplicates(
        ["unique_id", "ds"]
    )
    return problem_from(frame, yaml.safe_load(text)["panel"]), frame


def written_entry(frame: pd.DataFrame, horizon: int | None = None) -> str:
    """The entry `panel` that `add` writes of the rows, whose target is `y`, for a horizon that is
    asked for (None: its own).
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "rows.parquet"
        frame.to_parquet(copy)
        return guess_entry(copy, "data/rows.parquet", "panel", target="y", horizon=horizon)


def problem_from(frame: pd.DataFrame, entry: dict[str, Any]) -> Problem:
    """The problem of an entry of such rows."""
    entry["target"]["max_missing"] = 0.9
    dataset = validate_config(Dataset, entry, where="panel")
    rows = trim_to_observed(add_known_ahead(frame, dataset), dataset)
    series = panel.from_frame(rows, "panel", dataset.task)
    return Problem.of(series, splits.resolve_borders(series, dataset.splits))


def contender_inputs(
    values: np.ndarray,
    inputs: np.ndarray,
    series: panel.Series,
    cutoffs: np.ndarray,
    task: Task,
    long_season: int,
) -> np.ndarray:
    """(cutoffs * horizon, inputs): what the trees see of each cutoff and step."""
    times = pd.DatetimeIndex(series.ds)
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
    parts.append(np.repeat(inputs[cutoffs][:, None], task.horizon, axis=1))
    plan = series.values[cutoffs, len(task.observed_names) :]
    parts.append(plan.reshape(len(cutoffs), -1, task.horizon).swapaxes(1, 2))
    return np.concatenate(parts, axis=2).reshape(goal.size, -1)


class Pairs(NamedTuple):
    """What is learnt from, x (n * H, inputs) and y (n * H,) of all series together, and the same of
    the test block by series.
    """

    x: np.ndarray
    y: np.ndarray
    tests: list[tuple[np.ndarray, np.ndarray]]


def contender_pairs(problem: Problem, frame: pd.DataFrame, long_season: int) -> Pairs:
    """In scaled units; a target that was not observed is NaN."""
    columns = frame.columns.difference(["unique_id", "ds", "y"])
    by_series = {uid: rows.set_index("ds")[columns] for uid, rows in frame.groupby("unique_id")}
    task, xs, ys, tests = problem.panel.task, [], [], []
    count = sum(blocks.validation[1] for blocks in problem.blocks.values()) * task.horizon
    every = max(1, count // MAX_ROWS)
    for series in problem.panel.series:
        z = problem.scaled(series.unique_id)[:, 0]
        filled = pd.Series(z).ffill().fillna(0.0).to_numpy()
        stop = problem.blocks[series.unique_id].validation[1]
        inputs = by_series[series.unique_id].reindex(series.ds).ffill().to_numpy(float)
        cutoffs = np.arange(task.lookback - 1, stop - task.horizon, every)
        steps = np.arange(1, task.horizon + 1)
        xs.append(contender_inputs(filled, inputs, series, cutoffs, task, long_season))
        ys.append(z[cutoffs[:, None] + steps].ravel())
        cutoffs = problem.rows(series.unique_id, "test")
        x = contender_inputs(filled, inputs, series, cutoffs, task, long_season)
        tests.append((x, z[cutoffs[:, None] + steps].ravel()))
    return Pairs(np.concatenate(xs), np.concatenate(ys), tests)


def contender_error(pairs: Pairs) -> float:
    """Its mean absolute error on the test block, in scaled units."""
    trees = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=TREES, early_stopping=False, random_state=0
    )
    is_known = np.isfinite(pairs.y)
    with threadpool_limits(1):  # on busy cores spinning threads take ten times as long
        trees.fit(pairs.x[is_known], pairs.y[is_known])
    errors = [np.abs(target - trees.predict(x)) for x, target in pairs.tests]
    return float(np.nanmean(np.concatenate(errors)))


class Scaled(NamedTuple):
    """Targets and forecasts (n, H) of a block by series, in scaled units."""

    targets: dict[str, np.ndarray]
    forecasts: dict[str, np.ndarray]

    @property
    def errors(self) -> np.ndarray:
        """Of every cutoff and step, one series after the other."""
        return np.concatenate(
            [(self.targets[uid] - self.forecasts[uid]).ravel() for uid in self.targets]
        )


class Row(NamedTuple):
    """What a row of the product forecasts."""

    validation: Scaled
    calibration: Scaled
    test: Scaled


def fit_row(problem: Problem, name: str) -> Row:
    """A row of configs/models.yaml: chosen on train, fitted on train and validation."""
    catalogue = yaml.safe_load(Path("configs/models.yaml").read_text())["models"]
    spec = models.spec(catalogue[name], where=name)
    options = {"skip": "linear", "seed": 0, "budget": Budget(1, 1)}
    first = fit(problem, spec, **options)
    second = fit_again(problem, spec, first, **options).forecaster
    validation = scaled_forecasts(problem, first.forecaster, "validation")
    later_blocks = [scaled_forecasts(problem, second, block) for block in ("calibration", "test")]
    return Row(validation, *later_blocks)


def scaled_forecasts(problem: Problem, forecaster: Forecaster, block: str) -> Scaled:
    """Of the first target, from windows in the units of the forecaster."""
    targets, forecasts = {}, {}
    horizon = problem.panel.task.horizon
    for series in problem.panel.series:
        rows = problem.rows(series.unique_id, block)
        if len(rows):
            known = problem.targets(series.unique_id, rows, horizon=horizon)
            targets[series.unique_id] = known[:, :, 0]
            forecasts[series.unique_id] = series_forecasts(forecaster, series, rows)
    return Scaled(targets, forecasts)


def series_forecasts(forecaster: Forecaster, series: panel.Series, rows: np.ndarray) -> np.ndarray:
    """(n, H) in scaled units, of the first target of a series at `rows`."""
    spec = forecaster.spec
    if isinstance(spec, StatisticalSpec):  # reads every row, not windows
        return spec.forecast_series(forecaster, series, rows)[:, :, 0]
    batches = forecaster.windows(series, rows)
    parts = [spec.scaled_forecast(forecaster, each)[:, :, 0] for each in batches]
    return np.concatenate(parts)


def combine(problem: Problem, rows: list[Row]) -> Row:
    """Their mean with weights learnt on validation, as `stacked` has them."""
    weights = stack(validation_errors(problem, rows))
    blocks = []
    for block in range(3):
        parts = [row[block] for row in rows]
        forecasts = {
            uid: sum(
                weight * part.forecasts[uid] for weight, part in zip(weights, parts, strict=True)
            )
            for uid in parts[0].forecasts
        }
        blocks.append(Scaled(parts[0].targets, forecasts))
    return Row(*blocks)


def validation_errors(problem: Problem, rows: list[Row]) -> MemberErrors:
    """The errors on validation that weights are learnt from; every row is a member."""
    horizon = problem.panel.task.horizon
    cutoffs, errors = [], []
    for uid, target in rows[0].validation.targets.items():
        missed = np.stack([target - row.validation.forecasts[uid] for row in rows], axis=2)
        errors.append((missed / (np.nanmean(np.abs(missed)) or 1.0)).reshape(-1, len(rows)))
        cutoffs.append(np.repeat(problem.rows(uid, "validation"), horizon))
    joined, at = np.concatenate(errors), np.concatenate(cutoffs)
    known = np.isfinite(joined).all(axis=1)
    names = tuple(map(str, range(len(rows))))
    return MemberErrors(names, {}, {}, at[known], at[known] + horizon, joined[known])


class Calibrated(NamedTuple):
    """Of a series: the margins of the calibration block, those of the newest errors known at each
    test cutoff, and the difficulty of these.
    """

    before: SplitConformal
    newest: SplitConformal
    difficulty: Difficulty


def calibrate_series(problem: Problem, row: Row, transform: str = "none") -> dict[str, Calibrated]:
    """By series that has test origins; short calibration blocks rank their errors together.

    transform: that of the target, where `row` is in the units of the file
    """
    task = problem.panel.task
    before = {}
    newest = {}
    difficulties = {}
    for uid in row.test.forecasts:
        of_block = {
            name: difficulty_of(problem, uid, problem.rows(uid, name))
            for name in ("validation", "calibration", "test")
        }
        calibrated = SplitConformal.calibrate(
            row.calibration.targets[uid],
            row.calibration.forecasts[uid],
            of_block["calibration"],
            lookback=task.lookback,
            transform=transform,
        )
        blocks = (row.validation, row.calibration)
        known = [(block.targets[uid], block.forecasts[uid]) for block in blocks]
        sizes = np.array([usual_error(known, transform)])
        before[uid] = replace(calibrated, usual_errors=sizes)
        resized = before[uid]
        if len(row.calibration.targets[uid]) >= SHORT_BLOCK:
            resized = resized.resized(*known[0], of_block["validation"])
        newest[uid] = resized.followed_by(
            row.test.targets[uid],
            row.test.forecasts[uid],
            of_block["test"],
            step_size=task.step_size,
        )
        difficulties[uid] = of_block["test"]
    before, newest = pool_short_series(before), pool_short_series(newest)
    return {uid: Calibrated(before[uid], newest[uid], difficulties[uid]) for uid in before}


def difficulty_of(problem: Problem, uid: str, rows: np.ndarray) -> Difficulty:
    """Of the forecasts of a series at its `rows`."""
    task, series = problem.panel.task, problem.panel.by_id[uid]
    ds = series.ds[rows[:, None] + np.arange(1, task.horizon + 1)]
    before = visible_volatility(problem.scaling, series, rows, task)[:, 0]
    return Difficulty.of_targets(before, ds, task)


def interval_scores(
    problem: Problem, row: Row, transform: str = "none"
) -> tuple[float, float, float]:
    """Share of test targets inside of the 80 and 95 % intervals, pooled, in percent, and the CRPS
    of nine deciles in the units of `row`; NaN where calibration supports no such interval.

    transform: as in `calibrate_series`
    """
    is_inside_by_level: dict[float, list[np.ndarray]] = {0.8: [], 0.95: []}
    scores = []
    calibrated = calibrate_series(problem, row, transform)
    for uid, forecast in row.test.forecasts.items():
        target = row.test.targets[uid]
        _, intervals, now = calibrated[uid]
        quantiles = [forecast]
        n_errors = intervals.counts.min()
        levels = [
            level for level in (0.2, 0.4, 0.6, 0.8, 0.95) if min_calibration_size(level) <= n_errors
        ]
        bounds = intervals.bounds_in_turn(forecast, now, levels)
        for level, low, high in zip(levels, *bounds, strict=True):
            if level < 0.95:
                quantiles = [low, *quantiles, high]
            if level in is_inside_by_level:
                is_inside = (low <= target) & (target <= high)
                is_inside_by_level[level].append(is_inside[np.isfinite(target)])
        if len(quantiles) == 9:
            grid, is_known = np.stack(quantiles, axis=-1), np.isfinite(target)
            levels = np.arange(0.1, 0.95, 0.1)
            scores.append(crps_quantiles(target[is_known], grid[is_known], levels))
    shares = [
        100 * np.concatenate(each).mean() if len(each) == len(row.test.forecasts) else np.nan
        for each in is_inside_by_level.values()
    ]
    return shares[0], shares[1], float(np.mean(scores)) if scores else np.nan


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--inputs"]
    folder, names = Path(arguments[0]), arguments[1:] or list(PANELS)
    panels = PANELS | CONFIRMING
    print_header()
    for name in names:
        with_inputs = "--inputs" in sys.argv
        problem, frame = problem_of(panels[name], folder, with_inputs=with_inputs)
        print_row(name, problem, frame, panels[name].long_season)


def print_header() -> None:
    """The first lines of the table."""
    print("| panel | lookback, calendar | contender | " + " | ".join((*ROWS, "stacked")), end="")
    print(" | 80 % | 95 % | CRPS | CPU s |\n" + "|---" * (len(ROWS) + 8) + "|")


def print_row(name: str, problem: Problem, frame: pd.DataFrame, long_season: int) -> None:
    """The line of a problem, whose rows are those of `frame`: contender, rows of the product, and
    their mean with its intervals.
    """
    began = time.process_time()
    bar = contender_error(contender_pairs(problem, frame, long_season))
    rows = {row: fit_row(problem, row) for row in ROWS}
    rows["stacked"] = combine(problem, list(rows.values()))
    cells = []
    for fitted in rows.values():
        error = float(np.nanmean(np.abs(fitted.test.errors)))
        cells.append(f"{100 * (error / bar - 1):+.1f} %")
    low, high, crps = interval_scores(problem, rows["stacked"])
    task = problem.panel.task
    print(
        f"| {name} | {task.lookback} {', '.join(task.calendar_features)} | {bar:.4f} | "
        f"{' | '.join(cells)} | {low:.0f} | {high:.0f} | {crps:.3f} | "
        f"{time.process_time() - began:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
