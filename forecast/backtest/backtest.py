"""One candidate and seed: fit on train, forecast every origin of the scored blocks, keep everything under its key."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.backtest import refits
from forecast.backtest.candidates import Candidate
from forecast.backtest.distributions import with_distributions
from forecast.backtest.refits import SCORED, Stage
from forecast.config.paths import ProjectPaths
from forecast.config.task import load_task
from forecast.data.panel import from_frame
from forecast.data.splits import Borders
from forecast.forecaster import Budget, Problem, fit
from forecast.forecaster.distributions import FILE as DISTRIBUTIONS
from forecast.system import files
from forecast.system.errors import ModelFailure


@dataclass(frozen=True)
class Place:
    """Where one dataset's prepared data lie. `digest` is that of the frame, so a cached problem is never stale;
    `vintages` that of the provider's forecasts, which one model alone reads."""

    paths: ProjectPaths
    dataset: str
    frame: str
    digest: str
    vintages: str = ""


@lru_cache(maxsize=2)
def load_problem(place: Place, needed: tuple[str, ...] = ("train", *SCORED)) -> Problem:
    """The prepared frame as a problem, once per process."""
    paths, name = place.paths, place.dataset
    frame = pd.read_parquet(paths.prepared(name) / place.frame)
    panel = from_frame(frame, name, load_task(paths.task(name)))
    return Problem.of(panel, Borders.from_json(files.read_json(paths.borders(name))), needed)


def load_engine() -> None:
    """Import and set up TensorFlow, once per process: one thread, every operation deterministic."""
    from forecast.networks.layers.runtime import prepare_runtime

    prepare_runtime(threads=1, deterministic=True)
    import forecast.training.gradient  # noqa: F401


def fit_and_forecast(
    place: Place, candidate: Candidate, seed: int, budget: Budget, folder: Path, start: Path | None = None
) -> dict[str, Any]:
    """Fill `folder` with the forecaster (seed/), forecasts.parquet and fit.json; returns the cost.

    `start`: a weights.npz that gradient descent begins with.
    A head that says more than a point leaves distributions.parquet (`forecast.backtest.distributions`) as well.

    A model that cannot be fitted or gives forecasts that are not finite leaves fit.json with its reason alone.
    """
    problem = load_problem(place)
    if candidate.spec.needs_vintages:
        problem = replace(problem, vintages=pd.read_parquet(place.paths.vintages(place.dataset)))
    wall, cpu = time.perf_counter(), time.process_time()
    with files.atomic_directory(folder) as temporary:
        try:
            announce = partial(tell, f"{candidate.name} seed {seed}")
            again = partial(fit, spec=candidate.spec, skip=candidate.skip, seed=seed, budget=budget, announce=announce)
            fitted = again(problem, initial=files.read_arrays(start) if start is not None else None)
            fits = refits.stages(problem, candidate.spec, fitted, again)
            forecasts = forecast_blocks(fits, problem, seed)
            distributions = with_distributions(fits, problem, forecasts, seed=seed)
        except ModelFailure as error:
            files.write_json(temporary / "fit.json", {"seed": seed, "status": "failed", "reason": str(error)})
        else:
            fitted.forecaster.save(temporary / "seed")
            files.write_frame(temporary / "forecasts.parquet", forecasts)
            if distributions is not None:
                files.write_frame(temporary / DISTRIBUTIONS, distributions)
            files.write_json(
                temporary / "fit.json",
                {
                    "seed": seed,
                    "status": "ok",
                    "reason": fitted.note,
                    "best_step": fitted.best_step,
                    "validation_loss": files.json_number(fitted.validation_loss),
                    "curve": [
                        [step, files.json_number(train), files.json_number(val)] for step, train, val in fitted.curve
                    ],
                    "n_params": fitted.forecaster.n_params,
                    "refits": len(fits) - 1,
                    "rows_seen": sum(stop - start for start, stop in (b.train for b in problem.blocks.values())),
                },
            )
    return {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}


def tell(name: str, said: str) -> None:
    """To the terminal of the run; a machine's speed must not reach a record."""
    print(f"{name}: {said}", file=sys.stderr, flush=True)


def forecast_blocks(fits: list[Stage], problem: Problem, seed: int) -> pd.DataFrame:
    """Long frame `unique_id, cutoff, step, ds, block, seed, output, y, y_hat` over every scored origin."""
    parts = []
    for block in SCORED:
        for series in problem.panel.series:
            uid, rows = series.unique_id, problem.rows(series.unique_id, block)
            values = refits.predict(fits, problem.panel, uid, rows)
            if not np.isfinite(values).all():
                raise ModelFailure(
                    f"{int((~np.isfinite(values)).any(axis=(1, 2)).sum())} of {len(values)} forecasts of series "
                    f"{uid!r} in the {block} block are not finite: the model diverged."
                )
            parts.append(_long(problem, uid, block, rows, values, seed))
    return pd.concat(parts, ignore_index=True)


def _long(problem: Problem, uid: str, block: str, rows: np.ndarray, values: np.ndarray, seed: int) -> pd.DataFrame:
    series = problem.panel.by_id[uid]
    n, horizon, outputs = values.shape
    steps = np.arange(1, horizon + 1)
    ahead = rows[:, None] + steps[None, :]
    names = problem.panel.task.targets
    shape = (n, horizon, outputs)
    return pd.DataFrame(
        {
            "unique_id": uid,
            "cutoff": np.broadcast_to(series.ds[rows][:, None, None], shape).ravel(),
            "step": np.broadcast_to(steps[None, :, None], shape).ravel().astype(np.int32),
            "ds": np.broadcast_to(series.ds[ahead][:, :, None], shape).ravel(),
            "block": block,
            "seed": np.int32(seed),
            "output": np.broadcast_to(np.array(names, dtype=object)[None, None, :], shape).ravel(),
            "y": series.values[ahead, :outputs].ravel(),
            "y_hat": values.ravel(),
        }
    )
