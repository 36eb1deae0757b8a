"""Fitting one model on a problem: the same door for baselines, ridge, statistical models and networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from forecast.data.windows import filled, inputs
from forecast.forecaster import head_fitting
from forecast.forecaster.closed_loop import parallel
from forecast.forecaster.forecaster import Forecaster, network_of
from forecast.forecaster.mixed import corrected
from forecast.forecaster.problem import Problem
from forecast.forecaster.trainers import Budget, by_gradient, by_levenberg_marquardt
from forecast.models.base import LinearSpec, ModelSpec, NetworkSpec, ServiceSpec, StatisticalSpec
from forecast.models.skip import Kind, Skip
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.system.errors import ModelFailure

if TYPE_CHECKING:
    from forecast.training.chunks import TrainingSeries

CLOSED_LOOP_ORIGINS = 256
"""Validation origins per series on which a closed loop is scored while it trains; spread evenly."""


@dataclass(frozen=True)
class Fitted:
    """A forecaster and how it came about. `curve`: (step, train loss, validation loss) in scaled units."""

    forecaster: Forecaster
    best_step: int = 0
    validation_loss: float = float("nan")
    curve: list[tuple[int, float, float]] = field(default_factory=list, repr=False)
    note: str = ""


def fit(
    problem: Problem,
    spec: ModelSpec,
    *,
    skip: Kind | None,
    seed: int,
    budget: Budget,
    announce: Callable[[str], None] | None = None,
    initial: Mapping[str, np.ndarray] | None = None,
) -> Fitted:
    """Fit `spec` on the train rows; early stopping and penalties look at validation alone.

    skip: the closed-form part beside a network; ignored by models that have none. `announce` is told what
    Levenberg-Marquardt will need before it starts. `initial`: weights of the same network that gradient descent begins
    with; Levenberg-Marquardt has restarts of its own and every other model is fitted in closed form.
    """
    common: dict[str, Any] = {
        "dataset_name": problem.panel.name,
        "dataset": problem.panel.dataset,
        "spec": spec,
        "scaling": problem.scaling,
    }
    if isinstance(spec, NetworkSpec):
        return _fit_network(
            problem, spec, common, skip=skip or "none", seed=seed, budget=budget, announce=announce, initial=initial
        )
    if isinstance(spec, LinearSpec):
        horizon = 1 if spec.recursive or spec.corrected else problem.panel.dataset.horizon
        linear = Forecaster(**common, skip=problem.skip("linear", horizon))
        return Fitted(corrected(problem, linear) if spec.corrected else linear)
    if isinstance(spec, ServiceSpec):
        return Fitted(Forecaster(**common, weights=_said(problem)))
    if isinstance(spec, StatisticalSpec):
        return Fitted(Forecaster(**common, statistical=_fit_statistical(problem, spec)))
    return Fitted(Forecaster(**common))


def _said(problem: Problem) -> dict[str, np.ndarray]:
    """Per series the cutoffs `<id>/cutoff` (n,) in ns and what the service said then, `<id>/said` (n, H, O)."""
    if problem.said is None or problem.said.empty:
        raise ModelFailure(
            f"No forecasts of the service are kept for dataset {problem.panel.name!r}. Set `forecast_url` or "
            "`previous_runs_url` of its source and fetch."
        )
    targets = [column.column for column in problem.panel.dataset.target]
    shape = (-1, problem.panel.dataset.horizon, len(targets))
    found = {}
    for series, rows in problem.said.groupby("unique_id", sort=True):
        found[f"{series}/cutoff"] = rows.loc[rows["step"] == 1, "cutoff"].to_numpy("datetime64[ns]").astype(np.int64)
        found[f"{series}/said"] = rows[targets].to_numpy(dtype=np.float64).reshape(shape)
    return found


def _fit_statistical(problem: Problem, spec: StatisticalSpec) -> dict[str, list[dict[str, Any]]]:
    """One fit per series and output on the train rows, gaps filled forward."""
    from forecast.models import statistical

    season = problem.panel.dataset.season
    options = spec.options(season)
    result = {}
    for uid, blocks in problem.blocks.items():
        start, stop = blocks.train
        train = filled(problem.scaled(uid)[None, start:stop, : problem.panel.outputs])[0][0]
        fits = [statistical.fit(spec.method, values, season=season, options=options) for values in train.T]
        result[uid] = [statistical.describe(fitted) for fitted in fits]
    return result


def _fit_network(
    problem: Problem,
    spec: NetworkSpec,
    common: dict[str, Any],
    *,
    skip: Kind,
    seed: int,
    budget: Budget,
    announce: Callable[[str], None] | None,
    initial: Mapping[str, np.ndarray] | None,
) -> Fitted:
    network = network_of(spec, problem.panel.dataset)
    fitted_skip = problem.skip(skip, network.shapes.horizon)
    series = training_series(problem, fitted_skip)
    head, series = head_fitting.fit_head(problem, fitted_skip, spec, series)
    if head is None:
        validate = (closed_loop_error if spec.recursive else window_error)(problem, network, fitted_skip)
    else:
        validate = head_fitting.head_error(problem, network, fitted_skip, head)
    lookback = problem.panel.dataset.lookback
    if spec.trainer == "lm":
        trained = by_levenberg_marquardt(
            network, series, validate, spec, seed=seed, lookback=lookback, announce=announce
        )
    else:
        blind = problem.channels.change_channels
        about: dict[str, Any] = {"lookback": lookback, "budget": budget, "change_channels": blind, "head": head}
        trained = by_gradient(network, series, validate, spec, seed=seed, initial=initial, **about)
    forecaster = Forecaster(**common, skip=fitted_skip, weights=trained.weights, head=head)
    forecaster = replace(forecaster, dependence=head_fitting.dependence_of(problem, forecaster))
    return Fitted(forecaster, trained.best_step, trained.validation_loss, trained.curve, trained.note)


def training_series(problem: Problem, skip: Skip) -> list[TrainingSeries]:
    """Per series the inputs up to the train end and, at every train origin, what the network adds to the skip."""
    from forecast.training.chunks import TrainingSeries

    horizon, outputs = skip.horizon, problem.panel.outputs
    result = []
    for series in problem.panel.series:
        uid = series.unique_id
        stop = problem.blocks[uid].train[1]
        z = problem.scaled(uid)[:stop]
        residual = np.full((stop, horizon, outputs), np.nan)
        for windows in problem.windows(uid, problem.rows(uid, "train"), horizon=horizon):
            wanted = problem.targets(uid, windows.rows, horizon=horizon)
            residual[windows.rows] = wanted - skip.forecast(windows, problem.channels)
        observed = np.isfinite(residual)
        result.append(
            TrainingSeries(
                past=inputs(z[None], problem.channels)[0],
                future=series.future[: stop + horizon].astype(np.float32),
                target=np.where(observed, residual, 0.0).astype(np.float32),
                weight=observed.astype(np.float32),
            )
        )
    return result


def window_error(problem: Problem, network: Network, skip: Skip) -> Callable[[dict[str, np.ndarray]], float]:
    """Weights → mean absolute error over every validation origin, from windows exactly as a forecast sees them."""
    cases = []
    for windows, wanted in problem.examples("validation", skip.horizon)():
        residual = wanted - skip.forecast(windows, problem.channels)
        cases.append((windows.past, windows.future if network.shapes.future_channels else None, residual))
    observed = [np.isfinite(residual) for _, _, residual in cases]
    count = sum(int(o.sum()) for o in observed)

    def error(weights: dict[str, np.ndarray]) -> float:
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for (past, future, residual), known in zip(cases, observed, strict=True):
                output = inference.last(network, weights, past, future)[..., 0]
                total += float(np.abs(output - residual)[known].sum())
        return total / count if count else float("nan")

    return error


def closed_loop_error(problem: Problem, network: Network, skip: Skip) -> Callable[[dict[str, np.ndarray]], float]:
    """Weights → mean absolute error of the closed loop over the whole horizon on validation origins."""
    horizon = problem.panel.dataset.horizon
    cases = []
    for series in problem.panel.series:
        rows = problem.rows(series.unique_id, "validation")
        rows = rows[:: -(-len(rows) // CLOSED_LOOP_ORIGINS)]
        cases += [
            (windows, problem.targets(series.unique_id, windows.rows, horizon=horizon))
            for windows in problem.windows(series.unique_id, rows)
        ]

    def error(weights: dict[str, np.ndarray]) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            errors = [
                np.abs(parallel(network, weights, skip, windows, problem.channels, horizon=horizon) - wanted)
                for windows, wanted in cases
            ]
        counted = np.concatenate([e[np.isfinite(w)] for e, (_, w) in zip(errors, cases, strict=True)])
        return float(counted.mean()) if len(counted) else float("nan")

    return error
