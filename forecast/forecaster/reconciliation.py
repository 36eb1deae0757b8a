"""What corrects forecasts after the model, learnt on the validation block: means, and sums that add
up.

**Means** of a target that is modelled by a transform g. What is undone of a forecast in its units
is a median; its mean is the smearing estimate (Duan 1983, Journal of the American Statistical
Association 78), the mean of g⁻¹(g(ŷ) + e) over the errors e = g(y) - g(ŷ) of the same series and
step; of very many errors over `SMEARED_ERRORS` quantiles of them.

**Sums** of a hierarchy: minimum trace reconciliation with a shrunk covariance.

Base forecasts ŷ (n,) of all series and sums become S P ŷ, with P (m, n) that gives the m series:

    bottom-up        P = [0 | I]                          the sums of the series' own forecasts
    minimum trace    P = (S' W⁻¹ S)⁻¹ S' W⁻¹              Wickramasuriya, Athanasopoulos & Hyndman
                                                          2019, equation 9

W, the covariance of the base forecasts' errors, is estimated on the validation block and shrunk
towards its diagonal (Schäfer & Strimmer 2005, table 2, target D), so that it can be inverted
though there are more series than errors. Later blocks decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecast.config.task import Task, TaskColumn
from forecast.config.transforms import TRANSFORMS
from forecast.data.hierarchy import summing_matrix
from forecast.system.errors import ModelError

Array = NDArray[np.float64]
SMEARED_ERRORS = 100
FEW_ERRORS = 19
"""Errors of a step, fewer than which are no distribution; so few support no interval of 95 %."""


class Corrections(TypedDict):
    """What a `Forecaster` corrects its forecasts with; None: nothing."""

    corrected_series: tuple[str, ...]
    """Those that the two were learnt from, in alphabetical order; empty without either."""
    smearing: Array | None
    """(S, H, O, quantiles) errors in model units, series in alphabetical order."""
    reconciliation: Array | None
    """(m, n), see `minimum_trace`."""


def learn_corrections(forecasts: pd.DataFrame, task: Task) -> Corrections:
    """The corrections that `task` asks for, from the validation block of a model's `forecasts`."""
    corrections = Corrections(corrected_series=(), smearing=None, reconciliation=None)
    if task.asks_mean:
        corrections["smearing"] = learn_smearing(forecasts, task)
    if task.hierarchy:
        corrections["reconciliation"] = learn_reconciliation(forecasts)
    if task.asks_mean or task.hierarchy:
        corrections["corrected_series"] = tuple(sorted(forecasts["unique_id"].unique()))
    return corrections


def learn_smearing(forecasts: pd.DataFrame, task: Task) -> Array:
    """The `smearing` of `Corrections`; errors of 0 where none is known. Few errors of a step are no
    distribution: a step with fewer than `FEW_ERRORS` has those of all steps.
    """
    chances = (np.arange(SMEARED_ERRORS) + 0.5) / SMEARED_ERRORS
    n_series = forecasts["unique_id"].nunique()
    smearing = np.zeros((n_series, task.horizon, len(task.target), SMEARED_ERRORS))
    rows = forecasts[forecasts["block"] == "validation"]
    errors_by_place: dict[tuple[int, int, int], Array] = {}
    for place, column, group in _group_by_step(forecasts, rows, task):
        if column.point == "mean":
            to_model_units = TRANSFORMS[column.transform].to_model_units
            errors = to_model_units(group["y"].to_numpy()) - to_model_units(
                group["y_hat"].to_numpy()
            )
            errors_by_place[place] = errors[np.isfinite(errors)]
    for (series, step, output), errors in errors_by_place.items():
        if len(errors) < FEW_ERRORS:
            places = [(series, each, output) for each in range(task.horizon)]
            errors = np.concatenate([errors_by_place.get(place, errors[:0]) for place in places])
        if len(errors):
            smearing[series, step, output] = np.quantile(errors, chances)
    return smearing


def _group_by_step(
    forecasts: pd.DataFrame, rows: pd.DataFrame, task: Task
) -> Iterator[tuple[tuple[int, int, int], TaskColumn, pd.DataFrame]]:
    """The `rows` of each series, step and target, with their place (series, step, target) in the
    arrays of `smearing`, and the target. Series are numbered among those of all `forecasts`, for a
    block may lack some.
    """
    series = forecasts["unique_id"].rank(method="dense").astype(int) - 1
    for key, group in rows.groupby([series[rows.index], "step", "output"]):
        number, step, output = map(str, key)
        target = task.targets.index(output)
        yield (int(number), int(step) - 1, target), task.target[target], group


def smear(y_hat: Array, errors: Array, column: TaskColumn) -> Array:
    """The means of the forecasts y_hat (n,) in raw units, by the errors (quantiles,) of a step."""
    if column.point != "mean":
        return y_hat
    transform = TRANSFORMS[column.transform]
    with np.errstate(divide="ignore"):  # a forecast at the end of what the transform takes
        units = transform.to_model_units(y_hat)
    return np.asarray(
        np.clip(transform.to_raw(units[:, None] + errors).mean(axis=1), *column.limits)
    )


def smear_forecasts(forecasts: pd.DataFrame, smearing: Array, task: Task) -> pd.DataFrame:
    """`forecasts` with means as `y_hat`; the validation block, whose errors they were learnt from,
    keeps its medians.
    """
    means = forecasts["y_hat"].copy()
    changed = forecasts[forecasts["block"] != "validation"]
    for place, column, group in _group_by_step(forecasts, changed, task):
        means[group.index] = smear(group["y_hat"].to_numpy(), smearing[place], column)
    return forecasts.assign(y_hat=means)


def shrunk_covariance(errors: Array) -> Array:
    """(n, n): the covariance of `errors` (T, n) about zero, with correlations shrunk to zero.

    The intensity is the sum of the variances of all correlations over the sum of their squares.
    """
    n_rows = len(errors)
    covariance = errors.T @ errors / n_rows
    variances = np.diag(covariance)
    # of errors that are all zero any covariance will do
    deviations = np.sqrt(np.maximum(variances, 1e-12 * variances.max() or 1.0))
    scaled = errors / deviations
    correlations = scaled.T @ scaled / n_rows
    squares = (scaled**2).T @ scaled**2
    uncertainty = (squares - n_rows * correlations**2) / (n_rows * (n_rows - 1))
    off_diagonal = ~np.eye(len(variances), dtype=bool)
    size = (correlations[off_diagonal] ** 2).sum()
    intensity = 1.0
    if size > 0:
        intensity = min(1.0, max(0.0, uncertainty[off_diagonal].sum() / size))
    shrunk = (1 - intensity) * correlations
    np.fill_diagonal(shrunk, 1.0)
    return np.asarray(shrunk * np.outer(deviations, deviations))


def minimum_trace(summing: Array, covariance: Array) -> Array:
    """P (m, n) of the summing matrix S (n, m) and the covariance W (n, n) of the base errors."""
    weighted = np.linalg.solve(covariance, summing)
    return np.asarray(np.linalg.solve(summing.T @ weighted, weighted.T))


def learn_reconciliation(forecasts: pd.DataFrame) -> Array:
    """P (m, n), of m series and n series and sums, from the base forecasts of the validation block,
    names in alphabetical order; errors of all steps are pooled, and of several seeds averaged.

    `ModelError` where the values of all series are known at fewer than two pairs of cutoff and
    step.
    """
    rows = forecasts[forecasts["block"] == "validation"]
    keys = ["cutoff", "step"]
    errors = (
        rows.assign(error=rows["y"] - rows["y_hat"])
        .groupby([*keys, "unique_id"])["error"]
        .mean()
        .unstack("unique_id")
    )
    complete = errors.dropna().to_numpy()
    if len(complete) < 2:
        raise ModelError(
            f"{len(complete)} pairs of cutoff and step of the validation block have values of every"
            " series; at least 2 are needed to reconcile their forecasts."
        )
    summing, _ = summing_matrix([str(name) for name in errors.columns])
    return minimum_trace(summing, shrunk_covariance(complete))


def reconcile(base: Array, names: list[str], projection: Array, minimum: float | None) -> Array:
    """Coherent forecasts (n, ...) from the forecasts `base` (n, ...) of `names`: S max(P ŷ,
    minimum), where P (m, n) is `projection`.
    """
    summing, _ = summing_matrix(names)
    series = np.tensordot(projection, base, axes=1)
    if minimum is not None:
        series = np.maximum(series, minimum)
    return np.asarray(np.tensordot(summing, series, axes=1))


def reconcile_forecasts(
    forecasts: pd.DataFrame, projection: Array, minimum: float | None
) -> pd.DataFrame:
    """`forecasts` of one seed with coherent `y_hat`, and the base forecasts in a column `base`.

    The validation block, which the `projection` was learnt on, keeps its base forecasts.
    """
    keys = ["cutoff", "step"]
    changed = forecasts[forecasts["block"] != "validation"]
    wide = changed.pivot(index=keys, columns="unique_id", values="y_hat")
    names = [str(name) for name in wide.columns]
    coherent = reconcile(wide.to_numpy().T, names, projection, minimum)
    stacked = pd.DataFrame(coherent.T, wide.index, wide.columns).stack()
    places = pd.MultiIndex.from_frame(changed[[*keys, "unique_id"]])
    table = forecasts.assign(base=forecasts["y_hat"])
    table.loc[changed.index, "y_hat"] = stacked.reindex(places).to_numpy()
    return table


def bottom_up(base: Array, names: list[str]) -> Array:
    """The forecasts (n, ...) of the series alone, added up."""
    summing, places = summing_matrix(names)
    return np.asarray(np.tensordot(summing, base[places], axes=1))
