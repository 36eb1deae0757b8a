"""The two trainers of a network, for `forecaster.fitting`: gradient steps on chunks, or
Levenberg-Marquardt on whole series.

`train_by_gradient` and `train_by_levenberg_marquardt` return a `TrainedNetwork`. Before them
`fit_head` learns the constants of a distribution head from the train rows; after them
`estimate_dependence` estimates on validation how the steps of the horizon are correlated. Another
trainer is a function here that returns a `TrainedNetwork`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.config.transforms import TRANSFORMS
from forecast.forecaster.forecaster import Forecaster
from forecast.models.base import NetworkSpec
from forecast.models.problem import Problem
from forecast.models.skip import Skip
from forecast.networks.description import Dense, Network, burn_in_rows, walk_blocks
from forecast.networks.heads import FittedHead
from forecast.networks.heads.distributions import correlation
from forecast.networks.weights import initialise
from forecast.system.errors import InputError, ModelError, quote_names
from forecast.system.processes import return_memory
from forecast.training import levenberg_marquardt as lm
from forecast.training import network_problem
from forecast.training.chunks import (
    JoinedSeries,
    TrainedNetwork,
    TrainingSeries,
    ValidationLosses,
    Weights,
)


def set_principal_axes(
    network: Network, weights: Mapping[str, np.ndarray], pasts: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """`weights` in which those of every `Dense` block with `principal_of` are the principal axes of
    its channels in `pasts`, the train rows (T, C) of each series.

    The block computes z = (x - mean) A. The columns of A (C', units) are unit vectors in the
    directions of greatest variance, greatest first, whose largest entry is positive; columns beyond
    the rank of the rows are zero.
    """
    result = dict(weights)
    for path, block in walk_blocks(network.blocks):
        if not isinstance(block, Dense) or block.principal_of is None:
            continue
        rows = np.concatenate([past[:, list(block.principal_of)] for past in pasts]).astype(
            np.float64
        )
        mean, axes = _principal_axes(rows, block.units)
        result[f"{path}/kernel"] = axes.astype(weights[f"{path}/kernel"].dtype)
        result[f"{path}/bias"] = (-mean @ axes).astype(weights[f"{path}/bias"].dtype)
    return result


def _principal_axes(rows: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean (C',) of `rows` (N, C') and their first `units` principal axes (C', units). An axis
    with almost no variance is zero, since rounding alone would choose its direction.
    """
    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(
        np.cov(rows - mean, rowvar=False, ddof=0).reshape(rows.shape[1], -1)
    )
    known = variances[::-1] > 1e-9 * max(float(variances[-1]), 1e-300)
    axes = directions[:, ::-1] * known
    signs = np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0))
    axes = axes * np.where(signs == 0, 1.0, signs)
    spare = np.zeros((rows.shape[1], max(0, units - axes.shape[1])))
    return mean, np.concatenate([axes, spare], axis=1)[:, :units]


@dataclass(frozen=True)
class Budget:
    """The gradient steps that every network is given, and how often it is validated."""

    steps: int
    evaluate_every: int
    chooses_by_fold: bool = True
    """Whether a best step is also chosen for each fold of validation; trials do without."""


@dataclass(frozen=True)
class GradientOptions:
    """The options of gradient descent beside those of the spec."""

    seed: int
    budget: Budget
    change_channels: tuple[int, ...]
    """Channels that hold changes; they are set to zero at the first row of a chunk."""
    head: FittedHead | None = None


def train_by_gradient(
    network: Network,
    series: JoinedSeries,
    validate: ValidationLosses | None,
    spec: NetworkSpec,
    options: GradientOptions,
    *,
    n_steps: int = 0,
) -> TrainedNetwork:
    """Train by `options.budget.steps` gradient steps on chunks of `series`. Without `validate`,
    take the first `n_steps` of these steps on the same learning-rate schedule.
    """
    from forecast.training import chunks, gradient
    from forecast.training.descent import Settings

    pasts = [each.past for each in series.split()]
    start = set_principal_axes(network, initialise(network, options.seed), pasts)
    settings = Settings(
        steps=options.budget.steps,
        evaluate_every=options.budget.evaluate_every,
        change_channels=options.change_channels,
        loss=spec.forecast_loss(options.head),
        **spec.model_dump(include={"learning_rate", "batch_size", "weight_decay", "clip"}),
        **spec.training.model_dump(),
    )
    n_supervised = spec.chunk if network.every_step else 1
    burn_in = burn_in_rows(network, spec.burn_in)
    joined = chunks.join_series(series, n_supervised=n_supervised, burn_in=burn_in)
    trained = gradient.fit(
        network, joined, validate, settings, seed=options.seed, initial=start, n_steps=n_steps
    )
    return_memory()
    return trained


def train_by_levenberg_marquardt(
    network: Network,
    series: list[TrainingSeries],
    validate: ValidationLosses,
    spec: NetworkSpec,
    *,
    seed: int,
) -> TrainedNetwork:
    """Train by Levenberg-Marquardt in float64 with restarts; the weights are rounded to float32.

    Step 0 of the curve are initial weights, with which the network is its skip alone; they are kept
    when no iteration beats them. Step k + 1 is iteration k of the best restart. `ModelError` for a
    network with too many weights.
    """

    def overall_error(weights: Weights) -> float:
        return float(validate(weights)[0])

    problem = network_problem.make_problem(
        network, series, overall_error, burn_in=burn_in_rows(network, spec.burn_in)
    )
    if problem.n_weights > lm.MAX_WEIGHTS:
        # a ModelError fails this trial or entry alone: another may be small enough
        raise ModelError(lm.describe_too_large(problem))
    initial_weights = initialise(network, seed)
    skip_error = overall_error(initial_weights)
    best_weights, run = network_problem.fit(
        problem,
        seeds=network_problem.restart_seeds(seed, spec.lm.restarts),
        options=lm.Options(
            max_iterations=spec.lm.iterations, patience=spec.lm.patience, bayesian=spec.lm.bayesian
        ),
    )
    curve = [(0, float("nan"), skip_error)]
    curve += [(iteration + 1, train, error) for iteration, train, error, _ in run.curve]
    errors = np.array([error for _, _, error in curve])
    step = int(np.argmin(np.where(np.isfinite(errors), errors, np.inf)))
    weights = initial_weights
    if step:
        weights = {name: value.astype(np.float32) for name, value in best_weights.items()}
    return TrainedNetwork(weights, step, curve[step][2], curve)


def fit_head(
    problem: Problem, skip: Skip, spec: NetworkSpec, series: JoinedSeries
) -> tuple[FittedHead | None, JoinedSeries]:
    """The head with the constants that it learns from the train rows, and `series` with the head's
    targets in place of the skip's residuals. For a point head: None, and `series` as they are.
    `InputError` for a head that compares with the last value where a target has `transform: diff`.
    """
    head = spec.distribution_head
    if head is None:
        return None, series
    changes = [c.name for c in problem.panel.task.target if TRANSFORMS[c.transform].takes_changes]
    # the zero of a model of changes is not the last level
    if head.compares_with_last and changes:
        raise InputError(
            f"Head {head.kind!r} forecasts whether the target rises above its last value, but"
            f" {quote_names(changes)} has `transform: diff` or `logdiff`. Use `none` or `log` with"
            " `difference_inputs`, or another head."
        )
    residual = np.where(series.sample_weight, series.target, np.nan).astype(np.float64)
    lead = np.zeros_like(residual)
    if head.uses_lead:
        _fill_leads(lead, problem, skip, series)
    known = np.isfinite(residual).any(axis=(1, 2))
    fitted = FittedHead(head, head.fit(residual[known], lead[known]))
    target = fitted.target(residual, lead)
    offset = fitted.offset(lead)
    with_targets = replace(
        series,
        target=np.nan_to_num(target).astype(np.float32),
        sample_weight=np.isfinite(target),
        offset=None if offset is None else offset.astype(np.float32),
    )
    return fitted, with_targets


def _fill_leads(lead: np.ndarray, problem: Problem, skip: Skip, joined: JoinedSeries) -> None:
    """Write the leads of every train cutoff into `lead` (N, H, O), whose rows are those of
    `joined`: the skip's forecast minus the last value.
    """
    for series, (first, _) in zip(problem.panel.series, joined.spans, strict=True):
        uid = series.unique_id
        for windows in problem.windows(uid, problem.rows(uid, "train"), horizon=skip.horizon):
            forecast = skip.forecast(windows, problem.channels)
            lead[first + windows.rows] = forecast - windows.last[:, None]


def estimate_dependence(problem: Problem, forecaster: Forecaster) -> np.ndarray | None:
    """The correlation (H * O, H * O) between the steps and targets of a direct model: that of the
    normal scores of its validation targets, over all series. None for a recursive model and for a
    head without a distribution.
    """
    head = forecaster.head
    skip = forecaster.skip
    if head is None or skip is None or forecaster.spec.is_recursive:
        return None
    if not head.head.has_distribution:
        return None
    parts = []
    for windows, target in problem.examples("validation", skip.horizon)():
        base = skip.forecast(windows, problem.channels)
        distribution = head.distribution(forecaster.network_output(windows), base)
        parts.append(distribution.cdf(target).reshape(len(windows), -1))
    return correlation(np.concatenate(parts))
