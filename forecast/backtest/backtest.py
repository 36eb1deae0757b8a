"""One candidate and seed: fit it, forecast every cutoff of the scored blocks, save all of it.

The fit on the train rows forecasts the validation block, on which penalties, lags, steps and trees
are selected; a network forecasts each fold of it with the weights of the step that the other folds
select, so that it is ranked on data that did not stop it. With what the whole block selected the
model is fitted once more, on train and validation together: that model forecasts the later blocks,
and serves. When it is fitted again after that is said in `forecast.backtest.timeline`; what is
saved, and serves, is then the newest fit that the first cutoff of the test block knows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.timeline import SCORED, FitTimeline, SeedFits, fit_through_time
from forecast.data.panel import from_frame
from forecast.data.records import SeedFit
from forecast.forecaster import (
    Budget,
    FitResult,
    Problem,
    fit,
    fit_again,
    log_density,
    predict_quantiles,
    rise_probability,
)
from forecast.forecaster.distributions import DISTRIBUTIONS_FILE as DISTRIBUTIONS
from forecast.forecaster.distributions import (
    LOG_DENSITY_COLUMN,
    RISE_COLUMN,
    STORED_LEVELS,
    quantile_column,
)
from forecast.forecaster.intervals import volatility
from forecast.system import files
from forecast.system.errors import ModelError


@lru_cache(maxsize=2)
def load_problem(data: PreparedData, needed: tuple[str, ...] = ("train", *SCORED)) -> Problem:
    """The prepared frame as a problem, once per process."""
    rows = data.load()
    panel = from_frame(rows.frame, data.dataset, rows.task)
    return Problem.of(panel, rows.borders, needed)


def load_engine() -> None:
    """Import and set up TensorFlow, once per process: one thread, every operation deterministic."""
    from forecast.networks.layers import prepare_runtime

    prepare_runtime(threads=1)
    import forecast.training.gradient  # noqa: F401


def fit_and_forecast(
    data: PreparedData,
    candidate: Candidate,
    seed: int,
    budget: Budget,
    folder: Path,
    start: Path | None,
    part: slice | None,
) -> dict[str, float]:
    """Fill `folder` with the fitted models, their forecasts and fit.json; returns `cpu_seconds` and
    `wall_seconds`.

    `start`: a weights.npz that gradient descent begins with. `part`: of the series, by number;
    nothing else is fitted. A head with more than a point forecast leaves distributions.parquet
    (`forecast_distributions`) as well.

    A model that cannot be fitted or gives forecasts that are not finite leaves fit.json with its
    reason alone.
    """
    problem = load_problem(data)
    if candidate.spec.needs_vintages:
        problem = replace(problem, vintages=pd.read_parquet(data.paths.vintages(data.dataset)))
    wall_start, cpu_start = time.perf_counter(), time.process_time()

    def fit_part_twice(
        problem: Problem,
        *,
        initial: dict[str, np.ndarray] | None = None,
        first: FitResult | None = None,
    ) -> tuple[FitResult, FitResult]:
        known_part = problem.with_series(part)
        return fit_twice(
            known_part, candidate, seed=seed, budget=budget, initial=initial, first=first
        )

    with files.atomic_directory(folder) as temporary:
        try:
            initial = files.read_arrays(start) if start is not None else None
            fits = fit_through_time(problem, candidate.spec, fit_part_twice, initial=initial)
            problem = problem.with_series(part)
            forecasts = forecast_blocks(fits.timeline, problem, seed)
            distributions = forecast_distributions(fits.timeline, problem, forecasts, seed=seed)
        except ModelError as error:
            failed = SeedFit(seed=seed, status="failed", reason=str(error))
            failed.write(temporary / "fit.json")
        else:
            _save_models(temporary, fits)
            files.write_frame(temporary / "forecasts.parquet", forecasts)
            if distributions is not None:
                files.write_frame(temporary / DISTRIBUTIONS, distributions)
            _seed_fit(seed, fits, problem).write(temporary / "fit.json")
    return {
        "cpu_seconds": time.process_time() - cpu_start,
        "wall_seconds": time.perf_counter() - wall_start,
    }


def _save_models(folder: Path, fits: SeedFits) -> None:
    """Save the fit on train and validation in seed/, the first fit in chosen/ and the newest that
    serves in newest/, as far as they are others.
    """
    fits.final.forecaster.save(folder / "seed")
    if fits.final is not fits.first:
        fits.first.forecaster.save(folder / "chosen")
    if fits.newest is not None:
        fits.newest.save(folder / "newest")


def _seed_fit(seed: int, fits: SeedFits, problem: Problem) -> SeedFit:
    first, is_refitted = fits.first, fits.final is not fits.first
    blocks = (problem.joined if is_refitted else problem).blocks.values()
    return SeedFit(
        seed=seed,
        reason=first.note,
        best_step=first.best_step,
        repeated_steps=first.best_step if is_refitted else 0,
        steps_by_fold=first.steps_by_fold,
        validation_loss=first.validation_loss,
        curve=tuple(first.curve),
        n_params=fits.final.forecaster.n_params,
        refits=fits.refits,
        rows_seen=sum(block.train[1] - block.train[0] for block in blocks),
    )


def fit_twice(
    problem: Problem,
    candidate: Candidate,
    *,
    seed: int,
    budget: Budget,
    initial: dict[str, np.ndarray] | None = None,
    first: FitResult | None = None,
) -> tuple[FitResult, FitResult]:
    """The fit on the train rows, with what validation selects (or `first`, which was fitted so),
    and the fit of the same choices on train and validation rows.

    Both are the same object where the model is not fitted again.
    """
    options: dict[str, Any] = {
        "skip": candidate.skip,
        "seed": seed,
        "budget": budget,
        "initial": initial,
    }
    if first is None:
        announce = partial(log_progress, f"{candidate.name} seed {seed}")
        first = fit(problem, candidate.spec, announce=announce, **options)
    return first, fit_again(problem, candidate.spec, first, **options)


def log_progress(name: str, message: str) -> None:
    """Print to the terminal of the run: a machine's speed must not reach a record."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)


def forecast_blocks(timeline: FitTimeline, problem: Problem, seed: int) -> pd.DataFrame:
    """Long frame `unique_id, cutoff, step, ds, block, seed, output, y, y_hat, volatility` over
    every cutoff of the scored blocks.

    `ModelError` where a forecast is not finite.
    """
    tables = []
    for block in SCORED:
        rows = {uid: problem.rows(uid, block) for uid in problem.panel.by_id}
        forecasts = timeline.predict(problem.panel, rows)
        for uid, y_hat in forecasts.items():
            lost = int((~np.isfinite(y_hat)).any(axis=(1, 2)).sum())
            if lost:
                raise ModelError(
                    f"{lost} of {len(y_hat)} forecasts of series {uid!r} in the {block} block are"
                    " not finite: the model diverged."
                )
        tables.append(_forecast_table(problem, block, rows, forecasts, seed))
    return pd.concat(tables, ignore_index=True)


def _forecast_table(
    problem: Problem,
    block: str,
    rows: Mapping[str, np.ndarray],
    forecasts: Mapping[str, np.ndarray],
    seed: int,
) -> pd.DataFrame:
    """The rows of `forecast_blocks` in one block: by series, cutoff, step and output."""
    task = problem.panel.task
    steps, outputs = np.arange(1, task.horizon + 1), len(task.targets)
    cutoffs, times, actuals, volatilities = [], [], [], []
    for uid, cutoff_rows in rows.items():
        series, target_rows = problem.panel.by_id[uid], cutoff_rows[:, None] + steps
        cutoffs.append(series.ds[cutoff_rows])
        times.append(series.ds[target_rows].ravel())
        actuals.append(series.values[target_rows, :outputs].ravel())
        before = volatility(series.values, cutoff_rows, task)
        volatilities.append(np.repeat(before, len(steps), axis=0).ravel())
    sizes = [y_hat.size for y_hat in forecasts.values()]
    n_cutoffs = sum(map(len, cutoffs))
    output_numbers = np.tile(np.arange(outputs), n_cutoffs * len(steps))
    return pd.DataFrame(
        {
            "unique_id": pd.array(list(rows), dtype="str").repeat(sizes),
            "cutoff": np.repeat(np.concatenate(cutoffs), len(steps) * outputs),
            "step": np.tile(np.repeat(steps, outputs), n_cutoffs).astype(np.int32),
            "ds": np.repeat(np.concatenate(times), outputs),
            "block": block,
            "seed": np.int32(seed),
            "output": pd.array(task.targets, dtype="str").take(output_numbers),
            "y": np.concatenate(actuals),
            "y_hat": np.concatenate([y_hat.ravel() for y_hat in forecasts.values()]),
            "volatility": np.concatenate(volatilities),
        }
    )


def forecast_distributions(
    timeline: FitTimeline, problem: Problem, forecasts: pd.DataFrame, *, seed: int
) -> pd.DataFrame | None:
    """The rows of `forecasts` (of one seed) with the columns of the model's head instead of
    `y_hat`; None for a point head.

    `ModelError` where paths diverge, though the point forecast does not.
    """
    head = timeline.fits[0].forecaster.head
    if head is None:
        return None
    tables = []
    for (uid, _), rows in forecasts.groupby(["unique_id", "block"], sort=False):
        series_id = str(uid)
        cutoffs = rows["cutoff"].drop_duplicates().to_numpy()
        cutoff_rows = {series_id: np.searchsorted(problem.panel.by_id[series_id].ds, cutoffs)}
        predict = partial(timeline.predict, problem.panel, cutoff_rows)
        columns = {RISE_COLUMN: predict(partial(rise_probability, seed=seed))[series_id].ravel()}
        if head.head.has_distribution:
            grid = predict(partial(predict_quantiles, levels=STORED_LEVELS, seed=seed))[series_id]
            if not np.isfinite(grid).all():
                raise ModelError(
                    f"Quantiles of series {uid!r} are not finite: the paths of the model diverge."
                )
            for place, level in enumerate(STORED_LEVELS):
                columns[quantile_column(level)] = grid[..., place].ravel()
            columns[LOG_DENSITY_COLUMN] = predict(log_density)[series_id].ravel()
        tables.append(rows.drop(columns=["y_hat", "volatility"]).assign(**columns))
    return pd.concat(tables, ignore_index=True)
