"""Which mechanisms between the ridge and the served row gain anything: each is left out in turn.

    python -m bench.ablation FOLDER RESULTS NAME[+inputs|+members] ...

For each panel NAME (FOLDER holds the files, as for `bench.quarter_hour`) the rows of `MEMBERS` and
their combination `stacked` as the default grid has them, on the test block of the entry that
`forecast add` writes. Then the same with one mechanism left out: of the linear maps (`MAPS`), which
are fitted anew with everything that stands on them; of the combination, the choice and the
intervals, which are replayed on stored forecasts. RESULTS gets one line per panel and mechanism,
how much larger the error is without it, in percent; `python -m bench.ablation RESULTS` prints the
table. `+inputs` asks of one-step maps on a panel with inputs, `+members` how much larger the error
of the served row is without a member that it does not have. Rule and result:
docs/research/mechanisms.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.quarter_hour import CONFIRMING, PANELS, BarPanel, problem_of
from forecast import models
from forecast.backtest import combinations
from forecast.backtest.backtest import forecast_blocks
from forecast.backtest.candidates import Candidate
from forecast.backtest.timeline import CandidateFitter, fit_through_time
from forecast.config.models import Combination
from forecast.config.task import Task
from forecast.data.sources import packaged
from forecast.forecaster import Budget, Problem, intervals
from forecast.forecaster.ensemble import block_errors
from forecast.models import choice, skip
from forecast.models import problem as problems
from forecast.models.families import window_linear

MAX_STEPS = 3_000
LINEAR = ("ridge", "arx", "nlinear", "climatology_ar")
TREES = ("boosting", "boosting_last")
MEMBERS = ("ridge", "nlinear", "climatology_ar", *TREES)
FORMER = ("arx", "knn")
RULE = Combination(members=MEMBERS, weights="stacked", refit="monthly")
LEVELS = (0.8, 0.95)
ALL_PANELS = {
    **PANELS,
    **CONFIRMING,
    "brent": BarPanel("energy_spot_prices_daily.csv", "brent_usd_bbl", 1),
    "dublin": BarPanel("dublin", "temp", 1),
    "indices": BarPanel("indices", "close", 1),
    "range": BarPanel("indices", "daily_range", 1),
}
Patch = tuple[Any, str, Any]
"""A module or class, a name in it, and what stands there instead."""
Forecasts = dict[str, pd.DataFrame]
"""By row the table of `forecast_blocks`."""


def season_repeated(carry: skip.Carry, past: np.ndarray, horizon: int) -> np.ndarray:
    """Instead of `Carry.forecast_inputs`: what was a season before."""
    filled = skip.fill_gaps(past)[0]
    season = min(carry.season_length, filled.shape[1])
    return filled[:, np.arange(horizon) % season - season]


def change_nothing(shape: skip.Skip, *_: Any) -> Iterator[skip.Skip]:
    """Instead of the shapes next to a shape: itself alone."""
    yield shape


def weigh_lowest(errors: np.ndarray) -> np.ndarray:
    """Instead of `choice.mean_weights`: all weight on the setting with the lowest error."""
    return np.eye(len(errors))[errors.argmin()]


ONE_PENALTY = (100.0,)
MAPS: dict[str, list[Patch]] = {
    "products with the calendar": [(problems, "calendar_harmonics", lambda *_: ())],
    "search by one change at a time": [(choice, "_neighbours", change_nothing)],
    "mean over settings": [
        (each, "mean_weights", weigh_lowest) for each in (choice, window_linear)
    ],
    "penalty searched": [(each, "PENALTIES", ONE_PENALTY) for each in (choice, window_linear)],
    "lags searched": [(Task, "candidate_lags", lambda task: [task.lookback])],
    "level left out where it gains nothing": [(choice, "LEVEL_GAIN", -np.inf)],
    "share of the change by series": [(choice, "weigh_changes", lambda _: {})],
    "folds of the whole history": [(problems, "HISTORY_FOLDS", 10**9)],
    "missing steps filled": [
        (each, "fill_missing_targets", lambda _, target: target) for each in (skip, window_linear)
    ],
}
CARRIED: dict[str, list[Patch]] = {
    "inputs carried by a fit: the last value": [(problems.Problem, "_fit_carry", lambda _: None)],
    "inputs carried by a fit: a season before": [(skip.Carry, "forecast_inputs", season_repeated)],
}
"""Concern one-step maps on panels with inputs."""


STACKED: dict[str, tuple[Combination, list[Patch]]] = {
    "weights learnt every month": (RULE.model_copy(update={"refit": "never"}), []),
    "pull towards equal weights": (RULE, [(combinations, "PENALTY", 0.0)]),
    "absolute errors": (RULE, [(combinations, "ERROR_FLOOR", 1e9)]),
    "weights learnt": (RULE.model_copy(update={"weights": "equal", "refit": "never"}), []),
    **{
        f"member {name}": (
            RULE.model_copy(update={"members": tuple(each for each in MEMBERS if each != name)}),
            [],
        )
        for name in MEMBERS
    },
}


@contextmanager
def patched(patches: list[Patch]) -> Iterator[None]:
    """With what stands instead, as long as the context lasts."""
    before = [getattr(place, name) for place, name, _ in patches]
    try:
        for place, name, value in patches:
            setattr(place, name, value)
        yield
    finally:
        for (place, name, _), value in zip(patches, before, strict=True):
            setattr(place, name, value)


def read_problem(name: str, folder: Path, *, with_inputs: bool) -> Problem:
    """The problem of a panel, or of a packaged series, of its newest rows."""
    panel = ALL_PANELS[name]._replace(max_steps=MAX_STEPS)
    if panel.file == "dublin":
        frame = pd.read_parquet(next(Path("data/snapshots/weather").glob("**/*.parquet")))
    elif panel.file == "indices":
        request: Any = None
        frame = packaged._us_indices(request)[0]
        frame["daily_range"] = np.log(frame["high"] / frame["low"])
    else:
        return problem_of(panel, folder, with_inputs=with_inputs)[0]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.parquet"
        frame[["unique_id", "ds", panel.target]].to_parquet(path)
        return problem_of(panel._replace(file=path.name), path.parent)[0]


def fit_rows(problem: Problem, names: tuple[str, ...], refit: str = "monthly") -> Forecasts:
    """Each row as the default grid has it, but for its refits, through all blocks."""
    catalogue = yaml.safe_load(Path("configs/models.yaml").read_text())["models"]
    tables = {}
    for name in names:
        entry = {**catalogue[name], "refit": "never" if name in TREES else refit}
        spec = models.spec(entry, where=name)
        if spec.reason_unsuited(problem.panel.task.season_length):
            continue
        fitter = CandidateFitter(Candidate(name, spec, "baseline", None), 0, Budget(1, 1))
        fresh = Problem.of(problem.panel, problem.borders)
        tables[name] = forecast_blocks(fit_through_time(fresh, fitter).timeline, fresh, 0)
    return tables


def combine(problem: Problem, rows: Forecasts, rule: Combination) -> pd.DataFrame:
    """The table of a combination of those of `rows` that are members."""
    rows = {name: rows[name] for name in (*rule.members, *rule.steady) if name in rows}
    first = next(iter(rows.values()))
    records: Any = {name: SimpleNamespace(model=name, kind="regression") for name in rows}

    values = {name: table["y_hat"].to_numpy() for name, table in rows.items()}
    keys = first[combinations.FORECAST_KEYS]
    rule = rule.without_members({*rule.members, *rule.steady} - set(rows))
    return combinations._combine_forecasts(rule, records, keys, values)[1]


def scale_of(problem: Problem) -> dict[str, float]:
    """By series the mean absolute seasonal difference of its train rows, first target."""
    season = problem.panel.task.season_length
    scale = {}
    for series in problem.panel.series:
        start, stop = problem.blocks[series.unique_id].train
        y = series.values[start:stop, 0]
        scale[series.unique_id] = float(np.nanmean(np.abs(y[season:] - y[:-season])))
    return scale


def error_of(problem: Problem, table: pd.DataFrame, block: str = "test") -> float:
    """Mean over series of the scaled absolute error on a block."""
    rows = table[table["block"] == block]
    missed = (rows["y"] - rows["y_hat"]).abs().groupby(rows["unique_id"]).mean()
    scale = pd.Series(scale_of(problem))
    scale = scale[scale > 0]
    return float((missed.reindex(scale.index) / scale).mean())


def interval_error(problem: Problem, table: pd.DataFrame) -> float:
    """Mean over levels and series of the scaled interval score on the test block, of intervals from
    the newest errors.
    """
    task = problem.panel.task
    scale = scale_of(problem)
    scores = []
    for uid, series_rows in table.groupby("unique_id"):
        (calibration_y, *known), (y, y_hat, difficulty) = (
            block_errors(series_rows[series_rows["block"] == block], task)
            for block in ("calibration", "test")
        )
        conformal = intervals.SplitConformal.calibrate(
            calibration_y, *known, lookback=task.lookback
        )
        conformal = conformal.followed_by(y, y_hat, difficulty, step_size=task.step_size)
        n = len(calibration_y)
        levels = [level for level in LEVELS if (n + 1) * level <= n]
        bounds = conformal.bounds_in_turn(y_hat, difficulty, levels)
        for level, low, high in zip(levels, *bounds, strict=True):
            outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
            score = (high - low) + 2 / (1 - level) * outside
            scores.append(float(np.nanmean(score)) / scale[str(uid)])
    return float(np.mean(scores)) if scores else np.nan


def examine(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """What leaving out each mechanism changes on one panel, in percent of the error."""
    problem = read_problem(name, folder, with_inputs=False)
    base = fit_rows(problem, (*LINEAR, *TREES))
    served = combine(problem, base, RULE)
    errors = {row: error_of(problem, table) for row, table in {**base, "served": served}.items()}

    def line(mechanism: str, row: str, value: float, reference: float) -> dict[str, Any]:
        change = 100 * (value / reference - 1)
        return {"panel": name, "mechanism": mechanism, "row": row, "change": change, "error": value}

    for row, error in errors.items():
        yield line(f"= {row}", row, error, errors["served"])
    for mechanism, (rule, patches) in STACKED.items():
        with patched(patches):
            table = combine(problem, base, rule)
        yield line(mechanism, "served", error_of(problem, table), errors["served"])
    lowest = min(base, key=lambda row: error_of(problem, base[row], "validation"))
    yield line("combined, not the lowest row", "served", errors[lowest], errors["served"])
    score = interval_error(problem, served)
    for mechanism, patches in {
        "width by restlessness": [(intervals, "POWER", 0.0)],
        "exponent 3/8, not 1/2": [(intervals, "POWER", 1.0)],
        "rows of the prior": [(intervals, "PRIOR_ROWS", 0)],
    }.items():
        with patched(patches):
            yield line(mechanism, "intervals", interval_error(problem, served), score)
    once = fit_rows(problem, LINEAR, "never")
    yield from compare(problem, base, once, errors, "refit every month", line)
    for mechanism, patches in MAPS.items():
        with patched(patches):
            renewed = fit_rows(problem, (*LINEAR, "boosting"))
        yield from compare(problem, base, renewed, errors, mechanism, line)


def compare(
    problem: Problem,
    base: Forecasts,
    renewed: Forecasts,
    errors: Mapping[str, float],
    mechanism: str,
    line: Callable[..., dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Of rows fitted without a mechanism: the ridge, the one-step map, and what is served."""
    for row in ("ridge", "arx"):
        yield line(mechanism, row, error_of(problem, renewed[row]), errors[row])
    served = combine(problem, {**base, **renewed}, RULE)
    yield line(mechanism, "served", error_of(problem, served), errors["served"])


def examine_inputs(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The same of mechanisms that only a panel with inputs has."""
    problem = read_problem(name, folder, with_inputs=True)
    reference = error_of(problem, fit_rows(problem, ("arx",))["arx"])
    for mechanism, patches in CARRIED.items():
        with patched(patches):
            value = error_of(problem, fit_rows(problem, ("arx",))["arx"])
        row = {"panel": name, "mechanism": mechanism, "row": "arx", "error": value}
        yield {**row, "change": 100 * (value / reference - 1)}


def examine_members(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """How much larger the served row's error is without rows that are no members of it."""
    problem = read_problem(name, folder, with_inputs=False)
    rows = fit_rows(problem, (*MEMBERS, *FORMER))
    served = error_of(problem, combine(problem, rows, RULE))
    for names in (*((each,) for each in FORMER), FORMER):
        rule = RULE.model_copy(update={"members": (*MEMBERS, *names)})
        value = error_of(problem, combine(problem, rows, rule))
        row = {"panel": name, "mechanism": f"former member {' and '.join(names)}"}
        yield {**row, "row": "served", "error": value, "change": 100 * (served / value - 1)}


def print_table(results: pd.DataFrame) -> None:
    """By mechanism and row: mean, share of changed panels that it helps, and each panel."""
    panels = list(dict.fromkeys(results["panel"]))
    wide = results.pivot_table(
        index=["mechanism", "row"], columns="panel", values="change", sort=False
    )[panels]
    print("| left out | error of | mean | helps | " + " | ".join(panels) + " |")
    print("|---" * (len(panels) + 4) + "|")
    for (mechanism, row), changes in wide.iterrows():
        known = changes.dropna()
        changed = known[known.abs() >= 0.005]
        cells = ["" if np.isnan(each) else f"{each:+.2f}" for each in changes]
        helps = f"{(changed > 0).sum()} of {len(changed)}"
        print(f"| {mechanism} | {row} | {known.mean():+.2f} | {helps} | {' | '.join(cells)} |")


def main() -> None:
    if len(sys.argv) == 2:
        print_table(pd.read_json(sys.argv[1], lines=True))
        return
    folder, results = Path(sys.argv[1]), Path(sys.argv[2])
    for argument in sys.argv[3:]:
        name, _, question = argument.partition("+")
        examinations = {"": examine, "inputs": examine_inputs, "members": examine_members}
        began = time.process_time()
        work = examinations[question](name, folder)
        for row in work:
            with results.open("a") as file:
                file.write(pd.Series(row).to_json() + "\n")
        print(f"{argument}: {time.process_time() - began:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
