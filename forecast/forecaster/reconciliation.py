"""Two corrections of forecasts after the model, both learnt on the validation block: forecasts of
the mean, and forecasts of a hierarchy that add up.

**Mean** of a target with a transform g. Inverting g turns a forecast in model units into a median.
Its mean is the smearing estimate (Duan 1983, Journal of the American Statistical Association 78):
the mean of g⁻¹(g(ŷ) + e) over the errors e = g(y) - g(ŷ) of the same series and step, which are
represented by `SMEARED_ERRORS` quantiles.

**Hierarchy**: minimum trace reconciliation with a shrunk covariance.

The base forecasts ŷ (n,) of all series and sums become S P ŷ, where P (m, n) gives the m series and
S (n, m) sums them:

    bottom-up        P = [0 | I]                          the sums of the series' own forecasts
    minimum trace    P = (S' W⁻¹ S)⁻¹ S' W⁻¹              Wickramasuriya, Athanasopoulos & Hyndman
                                                          2019, equation 9

W, the covariance of the base forecasts' errors, is shrunk towards its diagonal (Schäfer & Strimmer
2005, table 2, target D), so that it can be inverted where there are more series than errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
"""A step with fewer errors uses those of all steps; fewer do not support a 95 % interval either."""


class Corrections(TypedDict):
    """The fields of a `Forecaster` that correct its forecasts; None: no such correction."""

    corrected_series: tuple[str, ...]
    """The series whose forecasts are corrected, in alphabetical order."""
    smearing: Array | None
    """(S, H, O, quantiles): errors in model units, series in alphabetical order."""
    reconciliation: Array | None
    """P (m, n), see `minimum_trace`."""


def learn_corrections(forecasts: pd.DataFrame, task: Task, series: Iterable[str]) -> Corrections:
    """The corrections that `task` asks for in a model of `series`, learnt on the validation block
    of `forecasts`.
    """
    corrections = Corrections(corrected_series=(), smearing=None, reconciliation=None)
    names = sorted(series)
    if task.asks_mean:
        corrections["smearing"] = learn_smearing(forecasts, task, names)
    if task.hierarchy:
        corrections["reconciliation"] = learn_reconciliation(forecasts)
    if task.asks_mean or task.hierarchy:
        corrections["corrected_series"] = tuple(names)
    return corrections


def learn_smearing(forecasts: pd.DataFrame, task: Task, names: Sequence[str]) -> Array:
    """The `smearing` of `Corrections` for the series `names`, in alphabetical order.

    A step with fewer than `FEW_ERRORS` errors uses those of all steps; a series without any, such
    as one that is not scored yet, those of all series. 0 where no error is known.
    """
    chances = (np.arange(SMEARED_ERRORS) + 0.5) / SMEARED_ERRORS
    smearing = np.zeros((len(names), task.horizon, len(task.target), SMEARED_ERRORS))
    validation = forecasts[forecasts["block"] == "validation"]
    for output, column in enumerate(task.target):
        if column.point != "mean":
            continue
        rows = validation[validation["output"] == column.name]
        to_model_units = TRANSFORMS[column.transform].to_model_units
        error = to_model_units(rows["y"].to_numpy()) - to_model_units(rows["y_hat"].to_numpy())
        known = rows.assign(error=error)[np.isfinite(error)]
        of_series = dict(iter(known.groupby("unique_id")["error"]))
        of_step = dict(iter(known.groupby(["unique_id", "step"])["error"]))
        for series, step in np.ndindex(len(names), task.horizon):
            errors = of_step.get((names[series], step + 1), [])
            if len(errors) < FEW_ERRORS:
                errors = of_series.get(names[series], known["error"])
            if len(errors):
                smearing[series, step, output] = np.quantile(errors, chances)
    return smearing


def smear(y_hat: Array, errors: Array, column: TaskColumn) -> Array:
    """The means (n,) of the median forecasts `y_hat` (n,) in raw units, by the errors (quantiles,)
    of their step. Forecasts of a target that asks for no mean stay.
    """
    if column.point != "mean":
        return y_hat
    transform = TRANSFORMS[column.transform]
    with np.errstate(divide="ignore"):  # the log of a forecast of zero
        in_model_units = transform.to_model_units(y_hat)
    return np.clip(transform.to_raw(in_model_units[:, None] + errors).mean(axis=1), *column.limits)


def smear_forecasts(
    forecasts: pd.DataFrame, smearing: Array, task: Task, names: Sequence[str]
) -> pd.DataFrame:
    """`forecasts` of the series `names` with means as `y_hat`. The validation block, on which
    `smearing` was learnt, keeps its medians.
    """
    number_of = {name: number for number, name in enumerate(names)}
    means = forecasts["y_hat"].copy()
    changed = forecasts[forecasts["block"] != "validation"]
    for key, group in changed.groupby(["unique_id", "step", "output"]):
        unique_id, step, output = map(str, key)
        target = task.targets.index(output)
        errors = smearing[number_of[unique_id], int(step) - 1, target]
        means[group.index] = smear(group["y_hat"].to_numpy(), errors, task.target[target])
    return forecasts.assign(y_hat=means)


def shrunk_covariance(errors: Array) -> Array:
    """(n, n): the covariance of `errors` (T, n) about zero, with correlations shrunk towards zero.

    The shrinkage intensity is the sum of the estimated variances of all correlations, divided by
    the sum of their squares.
    """
    n_rows = len(errors)
    covariance = errors.T @ errors / n_rows
    variances = np.diag(covariance)
    # any positive variance will do for errors that are all zero, also where those of all series are
    least_variance = 1e-12 * variances.max() or 1.0
    deviations = np.sqrt(np.maximum(variances, least_variance))
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
    return shrunk * np.outer(deviations, deviations)


def minimum_trace(summing: Array, covariance: Array) -> Array:
    """P (m, n) = (S' W⁻¹ S)⁻¹ S' W⁻¹ from the summing matrix S (n, m) and the covariance W (n, n)
    of the base forecasts' errors.
    """
    weighted = np.linalg.solve(covariance, summing)
    return np.linalg.solve(summing.T @ weighted, weighted.T)


def learn_reconciliation(forecasts: pd.DataFrame) -> Array:
    """P (m, n) of `minimum_trace` for m series and n series and sums, names in alphabetical order,
    from the base forecasts of the validation block. Errors of all steps are pooled, those of
    several seeds averaged.

    `ModelError` where fewer than two pairs of cutoff and step have values of all series.
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
            " series; at least 2 are needed to reconcile their forecasts. Give a longer validation"
            " block under `splits`, or leave out `hierarchy`."
        )
    summing, _ = summing_matrix([str(name) for name in errors.columns])
    return minimum_trace(summing, shrunk_covariance(complete))


def reconcile(base: Array, names: list[str], projection: Array, minimum: float | None) -> Array:
    """The coherent forecasts (n, ...) S max(P ŷ, minimum) from the base forecasts ŷ (n, ...) of
    `names`, where P (m, n) is `projection`.
    """
    summing, _ = summing_matrix(names)
    series = np.tensordot(projection, base, axes=1)
    if minimum is not None:
        series = np.maximum(series, minimum)
    return np.tensordot(summing, series, axes=1)


def reconcile_forecasts(
    forecasts: pd.DataFrame, projection: Array, minimum: float | None
) -> pd.DataFrame:
    """`forecasts` of one seed with coherent `y_hat`, and a column `base` with the base forecasts.
    The validation block, on which `projection` was learnt, keeps its base forecasts.
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
    """The forecasts (n, ...) of `names` as the sums of the series' own base forecasts."""
    summing, places = summing_matrix(names)
    return np.tensordot(summing, base[places], axes=1)
