"""What a head needs around the training of its network: its constants, its targets, its loss on validation.

Constants come from the train rows alone. The validation loss is the head's own, in scaled units, on the validation
origins that are looked at; that of a recursive family is the loss of one step. How steps hang together is estimated on
all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from forecast.data.scaling import DIFFERENCED
from forecast.forecaster.forecaster import Forecaster
from forecast.models.base import NetworkSpec
from forecast.models.problem import Problem, looks, mean_losses
from forecast.models.skip import Skip
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.networks.heads import FittedHead, Head
from forecast.networks.heads.distributions import correlation
from forecast.system.errors import InputError, quote_names

if TYPE_CHECKING:
    from forecast.training.chunks import TrainingSeries


def fit_head(
    problem: Problem, skip: Skip, spec: NetworkSpec, series: list[TrainingSeries]
) -> tuple[FittedHead | None, list[TrainingSeries]]:
    """The fitted head and the series with its targets; None and the series as they are for a point forecast."""
    head = spec.distribution_head
    if head is None:
        return None, series
    _refuse_changes(problem, head)
    residuals = [np.where(s.weight > 0, s.target, np.nan).astype(np.float64) for s in series]
    leads = _leads(problem, skip) if head.uses_lead else [np.zeros_like(r) for r in residuals]
    known = [np.isfinite(r).any(axis=(1, 2)) for r in residuals]
    fitted = FittedHead.fit(
        head,
        np.concatenate([r[k] for r, k in zip(residuals, known, strict=True)]),
        np.concatenate([lead[k] for lead, k in zip(leads, known, strict=True)]),
    )
    return fitted, [_aimed(fitted, *parts) for parts in zip(series, residuals, leads, strict=True)]


def _aimed(head: FittedHead, series: TrainingSeries, residual: np.ndarray, lead: np.ndarray) -> TrainingSeries:
    target = head.target(residual, lead)
    offset = head.offset(lead)
    return replace(
        series,
        target=np.nan_to_num(target).astype(np.float32),
        weight=np.isfinite(target).astype(np.float32),
        offset=None if offset is None else offset.astype(np.float32),
    )


def _leads(problem: Problem, skip: Skip) -> list[np.ndarray]:
    """Per series skip - last (T, H, O) at every train origin, 0 elsewhere."""
    result = []
    for series in problem.panel.series:
        uid = series.unique_id
        lead = np.zeros((problem.blocks[uid].train[1], skip.horizon, problem.panel.outputs))
        for windows in problem.windows(uid, problem.rows(uid, "train"), horizon=skip.horizon):
            lead[windows.rows] = skip.forecast(windows, problem.channels) - windows.last[:, None]
        result.append(lead)
    return result


def _refuse_changes(problem: Problem, head: Head) -> None:
    """A model of changes has no last value to rise above: its own zero is not the level's."""
    changes = [c.name for c in problem.panel.task.target if c.transform in DIFFERENCED]
    if head.compares_with_last and changes:
        raise InputError(
            f"Head {head.kind!r} forecasts whether the target rises above its last value, but {quote_names(changes)} "
            "has `transform: diff` or `logdiff`. Use `none` or `log` with `difference_inputs`, or another head."
        )


def head_error(
    problem: Problem, network: Network, skip: Skip, head: FittedHead
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Weights → the head's `mean_losses` over `looks`, from windows exactly as a forecast sees them."""
    windows_and_targets, counted = looks(problem, skip.horizon)
    cases = []
    for windows, wanted in windows_and_targets:
        base = skip.forecast(windows, problem.channels)
        future = windows.future if network.shapes.future_channels else None
        cases.append((windows.past, future, wanted - base, base - windows.last[:, None]))

    def error(weights: dict[str, np.ndarray]) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = [
                head.losses(inference.last(network, weights, past, future), residual, lead)
                for past, future, residual, lead in cases
            ]
            return mean_losses([losses for losses, _ in found], [known for _, known in found], counted)

    return error


def dependence_of(problem: Problem, forecaster: Forecaster) -> np.ndarray | None:
    """(H * O, H * O) over the validation origins of all series; None where it is not needed."""
    head, skip = forecaster.head, forecaster.skip
    if head is None or skip is None or forecaster.spec.recursive or not head.head.has_distribution:
        return None
    parts = []
    for windows, wanted in problem.examples("validation", skip.horizon)():
        base = skip.forecast(windows, problem.channels)
        distribution = head.distribution(forecaster.raw_parameters(windows), base)
        parts.append(distribution.cdf(wanted).reshape(len(windows), -1))
    return correlation(np.concatenate(parts))
