"""Backtests one candidate and seed: fits it, forecasts every cutoff of the scored blocks, and saves
models and forecasts.

`fit_and_forecast` is the task that stage `train` gives to a worker; `forecast.backtest.training`
reads the files that it leaves. Scores and intervals are computed later, from the forecasts alone.

The fit on the train rows forecasts the validation block, on which penalties, lags, steps and trees
are selected. A network forecasts each fold of that block with the weights of the step that the
other folds select, so that no model is ranked on the data that stopped it. Then the model is fitted
on train and validation together: this fit forecasts the later blocks and serves. If it is refitted
after that (`forecast.backtest.timeline`), the newest fit before the test block serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.backtest.candidates import lock_digest, result_key
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.timeline import (
    SCORED,
    CandidateFitter,
    FitTimeline,
    SeedFits,
    fit_through_time,
)
from forecast.data.panel import Panel, from_frame
from forecast.data.quality import SHOWN_SERIES
from forecast.data.records import SeedFit
from forecast.data.scaling import Scaling
from forecast.data.splits import REQUIRED_BLOCKS
from forecast.forecaster import (
    Problem,
    log_density,
    predict_quantiles,
    rise_probability,
)
from forecast.forecaster.distributions import (
    DISTRIBUTIONS_FILE,
    LOG_DENSITY_COLUMN,
    RISE_COLUMN,
    STORED_QUANTILES,
    quantile_column,
)
from forecast.forecaster.intervals import visible_volatility
from forecast.forecaster.reconciliation import (
    Corrections,
    learn_corrections,
    reconcile_forecasts,
    smear_forecasts,
)
from forecast.models.base import ModelSpec
from forecast.system import files
from forecast.system.code_closure import code_digest
from forecast.system.errors import ModelError, list_first, quote
from forecast.system.processes import return_memory
from forecast.system.workers import WorkItem


def share_shapes(data: PreparedData) -> PreparedData:
    """`data` with the folder in which processes share the shapes of linear maps.

    The name of the folder has a digest of code, which takes 0.2 s to make: so it is made once and
    sent to the workers.
    """
    code = code_digest([Problem.__module__]) if data.digest else ""
    key = result_key(code=code, lock=lock_digest(data.paths))
    return replace(data, shapes=data.paths.shapes / key)


@lru_cache(maxsize=2)
def load_problem(data: PreparedData, needed: tuple[str, ...] = REQUIRED_BLOCKS) -> Problem:
    """The prepared frame as a problem; a process keeps the last two."""
    rows = data.load()
    panel = from_frame(rows.frame, data.dataset, rows.task)
    problem = replace(Problem.of(panel, rows.borders, needed), shapes=data.shapes)
    del rows
    return_memory()
    return problem


def load_tensorflow() -> None:
    """Import and set up TensorFlow: the `prepare` of a `WorkItem` that takes gradient steps. Other
    items, such as a network that Levenberg-Marquardt trains, do without it.
    """
    import forecast.training.gradient  # noqa: F401


def make_fitting_item(
    spec: ModelSpec,
    name: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    writes: Path | None = None,
) -> WorkItem:
    """The `WorkItem` of a `function` that fits models of `spec`: with TensorFlow and outside of
    this process only where they allow it.
    """
    return WorkItem(
        name,
        function,
        arguments,
        prepare=load_tensorflow if spec.is_trained_by_gradient else None,
        writes=writes,
        stays_here=spec.needs_this_process,
    )


def fit_and_forecast(
    data: PreparedData,
    fitter: CandidateFitter,
    folder: Path,
) -> dict[str, float]:
    """Fill `folder` with the fitted models, their forecasts (forecasts.parquet) and fit.json.
    Returns `cpu_seconds` and `wall_seconds`.

    A head that forecasts more than a point also leaves distributions.parquet
    (`forecast_distributions`), unless the series form a hierarchy, in which distributions would not
    add up. A model that cannot be fitted, or whose forecasts are not finite, leaves only fit.json,
    with the reason (`ModelError`); other errors are raised.
    """
    seed = fitter.seed
    problem = load_problem(data)
    if fitter.candidate.spec.needs_vintages:
        problem = replace(problem, vintages=pd.read_parquet(data.paths.vintages(data.dataset)))
    wall_start = time.perf_counter()
    cpu_start = time.process_time()
    with files.atomic_directory(folder) as temporary:
        try:
            fits = fit_through_time(problem, fitter)
            problem = problem.with_series(fitter.part)
            forecasts = forecast_blocks(fits.timeline, problem, seed)
            task = problem.panel.task
            corrections = learn_corrections(forecasts, task, problem.panel.by_id)
            if corrections["smearing"] is not None:
                names = corrections["corrected_series"]
                forecasts = smear_forecasts(forecasts, corrections["smearing"], task, names)
            distributions = None
            if corrections["reconciliation"] is not None:
                forecasts = reconcile_forecasts(
                    forecasts, corrections["reconciliation"], task.target[0].minimum
                )
            else:
                distributions = forecast_distributions(fits.timeline, problem, forecasts, seed=seed)
        except ModelError as error:
            SeedFit(seed=seed, status="failed", reason=str(error)).write(temporary / "fit.json")
        else:
            _save_models(temporary, fits, corrections)
            files.write_frame(temporary / "forecasts.parquet", forecasts)
            if distributions is not None:
                files.write_frame(temporary / DISTRIBUTIONS_FILE, distributions)
            _seed_fit(seed, fits, problem).write(temporary / "fit.json")
            del forecasts, distributions
    return_memory()
    return {
        "cpu_seconds": time.process_time() - cpu_start,
        "wall_seconds": time.perf_counter() - wall_start,
    }


def _save_models(folder: Path, fits: SeedFits, corrections: Corrections) -> None:
    """Save the final fit in seed/, and where they differ from it the first fit in chosen/ and the
    serving refit in newest/. Only fits that may serve have the `corrections`.
    """
    replace(fits.final.forecaster, **corrections).save(folder / "seed")
    if fits.final is not fits.first:
        fits.first.forecaster.save(folder / "chosen")
    if fits.newest is not None:
        replace(fits.newest, **corrections).save(folder / "newest")


def _seed_fit(seed: int, fits: SeedFits, problem: Problem) -> SeedFit:
    """The content of fit.json: how the first fit went, and the rows that the final fit saw."""
    first = fits.first
    is_refitted = fits.final is not first
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


def forecast_blocks(timeline: FitTimeline, problem: Problem, seed: int) -> pd.DataFrame:
    """The forecasts at every cutoff of the scored blocks, long: `unique_id, cutoff, step, ds,
    block, seed, output, y, y_hat, volatility`.

    `ModelError` if a forecast is not finite.
    """
    parts = []
    for block in SCORED:
        rows = {uid: problem.rows(uid, block) for uid in problem.panel.by_id}
        diverged = []
        for uid, y_hat in timeline.predict(problem.panel, rows).items():
            if not np.isfinite(y_hat).all():
                diverged.append(uid)
            parts.append(BlockForecasts(block, uid, rows[uid], y_hat))
        if diverged:
            raise ModelError(
                f"forecasts of {len(diverged)} of {len(rows)} series in the {block} block are not"
                f" finite: the model diverged on {list_first(diverged, SHOWN_SERIES, quote)}"
            )
    return forecast_table(problem.panel, problem.scaling, parts, seed)


class BlockForecasts(NamedTuple):
    """The forecasts of one series in one block."""

    block: str
    unique_id: str
    cutoff_rows: np.ndarray
    y_hat: np.ndarray
    """(n, H, O): at each of the n cutoffs."""


def forecast_table(
    panel: Panel, scaling: Scaling, parts: list[BlockForecasts], seed: int
) -> pd.DataFrame:
    """The table of `forecast_blocks`, ordered by block, series, cutoff, step and output.

    It is made in one piece: tables of single blocks to be joined would double the memory.
    """
    task = panel.task
    steps = np.arange(1, task.horizon + 1)
    n_outputs = len(task.targets)
    cutoffs = []
    times = []
    actuals = []
    volatilities = []
    for _, unique_id, cutoff_rows, _ in parts:
        series = panel.by_id[unique_id]
        target_rows = cutoff_rows[:, None] + steps
        cutoffs.append(series.ds[cutoff_rows])
        times.append(series.ds[target_rows])
        actuals.append(series.values[target_rows, :n_outputs])
        volatilities.append(visible_volatility(scaling, series, cutoff_rows, task))
    blocks, names, _, forecasts = zip(*parts, strict=True)
    sizes = [y_hat.size for y_hat in forecasts]
    y = np.concatenate(actuals)

    def column(values: np.ndarray) -> np.ndarray:
        """`values`, which are broadcast to (all cutoffs, H, O), as one column."""
        return np.broadcast_to(values, y.shape).ravel()

    return pd.DataFrame(
        {
            "unique_id": pd.array(names, dtype="str").repeat(sizes),
            "cutoff": column(np.concatenate(cutoffs)[:, None, None]),
            "step": column(steps.astype(np.int32)[:, None]),
            "ds": column(np.concatenate(times)[:, :, None]),
            "block": pd.array(blocks, dtype="str").repeat(sizes),
            "seed": np.int32(seed),
            "output": pd.array(task.targets, dtype="str").take(column(np.arange(n_outputs))),
            "y": y.ravel(),
            "y_hat": np.concatenate(forecasts).ravel(),
            "volatility": column(np.concatenate(volatilities)[:, None]),
        }
    )


def forecast_distributions(
    timeline: FitTimeline, problem: Problem, forecasts: pd.DataFrame, *, seed: int
) -> pd.DataFrame | None:
    """The rows of `forecasts` (of one seed) with the probability of a rise, and of a head with a
    distribution quantiles and log density, instead of `y_hat`; None for a point head.

    `ModelError` if a quantile is not finite: simulated paths may diverge where the point forecast
    does not.
    """
    head = timeline.fits[0].forecaster.head
    if head is None:
        return None

    predict_rises = partial(rise_probability, seed=seed)
    predict_grids = partial(predict_quantiles, probabilities=STORED_QUANTILES, seed=seed)
    tables = []
    for (uid, _), rows in forecasts.groupby(["unique_id", "block"], sort=False):
        series_id = str(uid)
        cutoffs = rows["cutoff"].drop_duplicates().to_numpy()
        cutoff_rows = {series_id: np.searchsorted(problem.panel.by_id[series_id].ds, cutoffs)}
        rises = timeline.predict(problem.panel, cutoff_rows, predict_rises)[series_id]
        columns = {RISE_COLUMN: rises.ravel()}
        if head.head.has_distribution:
            grid = timeline.predict(problem.panel, cutoff_rows, predict_grids)[series_id]
            if not np.isfinite(grid).all():
                raise ModelError(
                    f"Quantiles of series {uid!r} are not finite: the paths of the model diverge."
                )
            for number, probability in enumerate(STORED_QUANTILES):
                columns[quantile_column(probability)] = grid[..., number].ravel()
            columns[LOG_DENSITY_COLUMN] = timeline.predict(problem.panel, cutoff_rows, log_density)[
                series_id
            ].ravel()
        tables.append(rows.drop(columns=["y_hat", "volatility"]).assign(**columns))
    return pd.concat(tables, ignore_index=True)
