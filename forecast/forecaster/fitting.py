"""Fits a model of any family to a problem; the backtest uses it.

`fit` fits a `ModelSpec` on the train rows and chooses what has to be chosen (steps, penalties) on
validation. `fit_again` keeps these choices and fits once more on train and validation together.
There are three procedures (`FIT_PROCEDURES`): a family that fits its own parameters, ridge
regression, and a network beside a skip. A fit never reads rows after the validation block of its
problem; that of a refit ends at the refit's cutoff. A model that cannot be fitted is a
`ModelError`, which the backtest records as failed.

The validation loss of a network is that of its windows (`window_error`), or of its closed loop over
the horizon of the task where a recursive network has a point head (`closed_loop_error`); it chooses
the step and ranks the trials of a study. Other families rank trials by `_validation_error`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from forecast.data.windows import Windows, input_channels
from forecast.forecaster.forecaster import Forecaster
from forecast.forecaster.loops import Loop
from forecast.forecaster.trainers import (
    Budget,
    GradientOptions,
    estimate_dependence,
    fit_head,
    train_by_gradient,
    train_by_levenberg_marquardt,
)
from forecast.models.base import ModelSpec
from forecast.models.problem import (
    Problem,
    describe_validation_sample,
    mean_losses_by_fold,
    sample_validation_windows,
)
from forecast.models.skip import Skip, SkipKind
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.networks.losses import ForecastLoss, PointLoss
from forecast.system.errors import quote_names
from forecast.training.chunks import JoinedSeries, TrainingSeries, ValidationLosses, Weights

MAX_CACHED_BYTES = 2**22
"""Training series with targets of at most this many bytes are kept for the next seed or trial."""
CLOSED_LOOP_ORIGINS = 256
"""The most validation cutoffs of a series, evenly spaced, on which a closed loop is scored while it
trains.
"""


@dataclass(frozen=True)
class FitResult:
    """A fitted model, and the record of its training.

    `best_step`: the step whose weights were kept. `curve`: (step, train loss, validation loss) in
    scaled units. `note`: a sentence on anything unusual. `forecasters_by_fold`: for each fold of
    validation, the forecaster of the step that has the lowest loss on the other folds;
    `steps_by_fold`: these steps. Both are empty where no step is chosen.
    """

    forecaster: Forecaster
    best_step: int = 0
    validation_loss: float = float("nan")
    curve: list[tuple[int, float, float]] = field(default_factory=list, repr=False)
    note: str = ""
    forecasters_by_fold: tuple[Forecaster, ...] = ()
    steps_by_fold: tuple[int, ...] = ()


def fit(
    problem: Problem,
    spec: ModelSpec,
    *,
    skip: SkipKind | None,
    seed: int,
    budget: Budget,
) -> FitResult:
    """Fit `spec` on the train rows; its steps and penalties are chosen on validation.

    skip: the closed-form part beside a network; other models ignore it. `ModelError` where the
    model cannot be fitted.
    """
    panel = problem.panel
    bare = Forecaster(dataset_name=panel.name, task=panel.task, spec=spec, scaling=problem.scaling)
    return FIT_PROCEDURES[spec.fitted_as](problem, bare, FitOptions(skip or "none", seed, budget))


def fit_again(
    problem: Problem,
    spec: ModelSpec,
    first: FitResult,
    *,
    skip: SkipKind | None,
    seed: int,
    budget: Budget,
) -> FitResult:
    """Fit the model of `first`, a result of `fit`, once more on train and validation together.

    The choices of `first` on validation (lags, penalties, steps, trees) stay, and so do its curve
    and validation loss. Where the entry keeps network weights at a refit, only the skip is fitted
    to the newer rows. `first` itself where the family has no second fit
    (`ModelSpec.is_fitted_on_validation`).
    """
    first_skip = first.forecaster.skip
    if spec.keeps_weights_at_refit and problem.chosen_by is not None and first_skip is not None:
        newer = replace(first.forecaster, skip=problem.skip(first_skip.kind, first_skip.horizon))
        return replace(first, forecaster=newer)
    if not spec.is_fitted_on_validation:
        return first
    bare = replace(
        first.forecaster, skip=None, weights={}, statistical={}, head=None, correction=None
    )
    start = FitOptions(skip or "none", seed, budget, first)
    return replace(
        first, forecaster=FIT_PROCEDURES[spec.fitted_as](problem.joined, bare, start).forecaster
    )


@dataclass(frozen=True)
class FitOptions:
    """The arguments of `fit`; and for a second fit the result of the `first`, whose choices it
    keeps.
    """

    skip: SkipKind
    seed: int
    budget: Budget
    first: FitResult | None = None


def _fit_parameters(problem: Problem, bare: Forecaster, options: FitOptions) -> FitResult:
    """Fit a family whose spec fits its own parameters (`ModelSpec.fit`). The first fit of a family
    that can be tuned has a validation error, by which trials are ranked.
    """
    spec = bare.spec
    skip_kind = spec.base_skip
    if options.first is not None:
        parameters = spec.refit_chosen(problem, options.first.forecaster, seed=options.seed)
    else:
        parameters = spec.fit(problem, seed=options.seed)
    skip = None
    if skip_kind:
        skip = problem.skip(skip_kind, problem.panel.task.horizon)
    forecaster = replace(bare, weights=parameters.arrays, statistical=parameters.series, skip=skip)
    if options.first is not None or not spec.space():
        return FitResult(forecaster)
    return FitResult(forecaster, validation_loss=_validation_error(problem, forecaster))


def _validation_error(problem: Problem, forecaster: Forecaster) -> float:
    """The mean absolute error over all observed targets of validation, in scaled units; NaN without
    any. A penalty is chosen by `models.choice.fold_errors`, a network's step by its own loss
    (`networks.losses`).
    """
    total = 0.0
    count = 0
    for windows, target in problem.examples("validation", problem.panel.task.horizon)():
        errors = np.abs(target - forecaster.spec.scaled_forecast(forecaster, windows))
        total += float(np.nansum(errors))
        count += int(np.isfinite(errors).sum())
    return total / count if count else float("nan")


def _fit_ridge(problem: Problem, bare: Forecaster, options: FitOptions) -> FitResult:
    """Fit the linear skip as the whole model: for one step where the family runs it in closed loop,
    else for the horizon; with the correction of `rectify` where the family has one.
    """
    spec = bare.spec
    horizon = 1 if spec.is_recursive or spec.is_corrected else problem.panel.task.horizon
    skip = problem.skip("linear", horizon)
    linear = replace(bare, skip=skip)
    if spec.is_corrected:
        shape = None if options.first is None else options.first.forecaster.correction
        linear = fit_correction(problem, linear, shape)
    return FitResult(linear, note="; ".join(_notes_on_skip(problem, skip)))


def _notes_on_skip(problem: Problem, skip: Skip) -> Iterator[str]:
    """Notes for the record: the inputs that the skip does not read, and how much it shrinks the
    forecast change.
    """
    columns = zip(problem.channels.value, problem.panel.task.columns, strict=True)
    unread = [column.frame_name for channel, column in columns if channel in skip.unread]
    if unread:
        names = quote_names(unread)
        yield f"does not read {names}: the error by which it was chosen is lower without"
    weights = np.array(list(skip.change_weights.values()))
    if (weights < 1).any():
        least, most = f"{100 * weights.min():.0f}", f"{100 * weights.max():.0f}"
        spread = least if least == most else f"{least} to {most}"
        note = f"takes {spread} % of the change that its regression forecasts"
        n_unchanged = int((weights == 0).all(axis=1).sum())
        if n_unchanged:
            note += f"; repeats the last value of {n_unchanged} of {len(weights)} series"
        yield note


def _fit_network(problem: Problem, bare: Forecaster, options: FitOptions) -> FitResult:
    """Fit a skip in closed form and train the network and its head beside it. The first fit keeps
    the weights with the lowest validation loss; a second fit trains for as many steps.
    """
    spec: Any = bare.spec
    network: Network = spec.network(problem.panel.task)
    skip = problem.skip(options.skip, network.shapes.horizon)
    key = (options.skip, skip.horizon)
    series = problem.training.get(key) or build_training_series(problem, skip)
    if series.target.nbytes <= MAX_CACHED_BYTES:
        problem.training[key] = series
    head, series = fit_head(problem, skip, spec, series)
    descent = GradientOptions(options.seed, options.budget, problem.channels.change_channels, head)
    if options.first is not None:
        n_steps = options.first.best_step
        trained = train_by_gradient(network, series, None, spec, descent, n_steps=n_steps)
        dependence = options.first.forecaster.dependence
        refitted = replace(bare, skip=skip, weights=trained.weights, head=head, steps=n_steps)
        return FitResult(replace(refitted, dependence=dependence))
    if head is None and spec.is_recursive:
        validate = closed_loop_error(problem, network, skip, spec.point_loss)
    else:
        validate = window_error(problem, network, skip, spec.forecast_loss(head))
    if spec.is_trained_by_gradient:
        n_losses = None if options.budget.chooses_by_fold else 1
        trained = train_by_gradient(
            network, series, lambda weights: validate(weights)[:n_losses], spec, descent
        )
        bare = replace(bare, steps=trained.best_step)
    else:
        trained = train_by_levenberg_marquardt(
            network, series.split(), validate, spec, seed=options.seed
        )
    forecaster = replace(bare, skip=skip, weights=trained.weights, head=head)
    forecaster = replace(forecaster, dependence=estimate_dependence(problem, forecaster))
    note = "; ".join(filter(None, (trained.note, describe_validation_sample(problem))))
    return FitResult(
        forecaster,
        trained.best_step,
        trained.validation_loss,
        trained.curve,
        note,
        tuple(replace(forecaster, weights=w, steps=step) for step, w in trained.best_by_fold),
        tuple(step for step, _ in trained.best_by_fold),
    )


FIT_PROCEDURES: dict[str, Callable[[Problem, Forecaster, FitOptions], FitResult]] = {
    "parameters": _fit_parameters,
    "ridge": _fit_ridge,
    "network": _fit_network,
}
"""By `ModelSpec.fitted_as`."""


def build_training_series(problem: Problem, skip: Skip) -> JoinedSeries:
    """The training data of a network: the scaled inputs of every series up to the train end and, at
    every train cutoff, the residuals of the skip as targets. The sample weight is 0 where a target
    is missing or lies after the train block.
    """
    horizon = skip.horizon
    all_series = problem.panel.series
    stops = [problem.blocks[series.unique_id].train[1] for series in all_series]
    target = np.empty((0, horizon, problem.panel.outputs), np.float32)
    columns = TrainingSeries(
        past=np.empty((0, problem.channels.n_channels), np.float32),
        future=all_series[0].future[:0].astype(np.float32),
        target=target,
        sample_weight=target.astype(bool),
    )
    joined = JoinedSeries.allocate(stops, columns)
    for series, stop, rows in zip(all_series, stops, joined.split(), strict=True):
        uid = series.unique_id
        rows.past[:] = input_channels(problem.scaled(uid)[None, :stop], problem.channels)[0]
        rows.future[:] = series.future[: stop + horizon]
        for windows in problem.windows(uid, problem.rows(uid, "train"), horizon=horizon):
            target_values = problem.targets(uid, windows.rows, horizon=horizon)
            residual = target_values - skip.forecast(windows, problem.channels)
            known = np.isfinite(residual)
            rows.sample_weight[windows.rows] = known
            rows.target[windows.rows] = np.where(known, residual, 0.0)
    return joined


def window_error(
    problem: Problem, network: Network, skip: Skip, loss: ForecastLoss
) -> ValidationLosses:
    """The validation error of a direct network, or one step ahead of a recursive one, as a function
    of its weights by name: the mean of `loss` (1 + folds,) on the windows of
    `sample_validation_windows`, over all of them and then for each fold. Everything that does not
    depend on the weights is computed once.
    """
    windows_and_targets, is_counted = sample_validation_windows(problem, skip.horizon)
    cases = []
    for windows, target in windows_and_targets:
        base = skip.forecast(windows, problem.channels)
        future = windows.future if network.shapes.future_channels else None
        cases.append((windows.past, future, target - base, base - windows.last[:, None]))

    def batch_losses(weights: Weights) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for past, future, residual, lead in cases:
            raw = inference.forecast_last(network, weights, past, future)
            yield loss.validation_losses(raw, residual, lead)

    return _mean_error(batch_losses, is_counted)


def closed_loop_error(
    problem: Problem, network: Network, skip: Skip, loss: PointLoss
) -> ValidationLosses:
    """The validation error (as `window_error`) of a recursive network with a point head: its closed
    loop runs over the whole horizon of the task from at most `CLOSED_LOOP_ORIGINS` cutoffs of each
    series.
    """
    horizon = problem.panel.task.horizon
    windows_and_targets, is_counted = sample_validation_windows(
        problem, horizon, per_series=CLOSED_LOOP_ORIGINS
    )
    cases = [(windows, target, np.isfinite(target)) for windows, target in windows_and_targets]

    def batch_losses(weights: Weights) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for windows, target, is_known in cases:
            loop = Loop(network, weights, skip, windows, problem.channels, horizon=horizon)
            yield loss.of_validation(loop.run() - target), is_known

    return _mean_error(batch_losses, is_counted)


def _mean_error(
    batch_losses: Callable[[Weights], Iterator[tuple[np.ndarray, np.ndarray]]],
    is_counted: np.ndarray,
) -> ValidationLosses:
    """The mean of the losses, as a function of the weights. `batch_losses` yields the losses (B, H,
    O) of each batch of windows, and which of them are known.
    """

    def error(weights: Weights) -> np.ndarray:
        """(1 + folds,): over all of validation, then over the windows that count for each fold."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            losses, are_known = zip(*batch_losses(weights), strict=True)
            return mean_losses_by_fold(losses, are_known, is_counted)

    return error


def fit_correction(
    problem: Problem, recursive: Forecaster, shape: Skip | None = None
) -> Forecaster:
    """The recursive forecaster with a direct correction of every step of the horizon.

    RECTIFY (Ben Taieb & Hyndman 2012, Recursive and direct multi-step forecasting: the best of both
    worlds):

        forecast[t + h] = recursive[t + h] + correction_h(window at t)            h = 1 .. H

    The correction removes the bias of the closed loop, which grows with the step where the one-step
    model is misspecified. It is one ridge regression per step on the errors of the closed loop in
    the train rows; its penalty is chosen on validation, or given by `shape`, an earlier correction.
    The family `rectify` is this on arx; any other recursive forecaster (narx, jordan) can have it.
    """

    def residual_target(windows: Windows, target: np.ndarray) -> np.ndarray:
        """The error of the closed loop, shifted by the last value that a skip starts from."""
        return target - recursive.run_closed_loop(windows) + windows.last[:, None]

    correction = problem.fit_linear_skip(recursive.task.horizon, shape, residual_target)
    return replace(recursive, correction=correction)
