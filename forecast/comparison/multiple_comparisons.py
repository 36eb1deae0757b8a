"""Many models at once: Holm's correction (`holm`), the models tied with the lowest
(`tied_with_lowest`), and Friedman's test of ranks over many series with Nemenyi's difference
(`friedman_nemenyi`, `rank_candidates`: None below `SERIES` series). Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from scipy import special, stats

from forecast.comparison.longrun import Spacing
from forecast.comparison.paired_tests import diebold_mariano
from forecast.data.comparison_records import Ranks
from forecast.system.errors import InputError

SERIES = 10
"""Fewest series whose ranks say something."""


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment: the family-wise error, whatever the dependence; a NaN
    does not count.
    """
    p = np.asarray(pvalues, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted.tolist()


def tied_with_lowest(
    losses: pd.DataFrame, *, alpha: float = 0.05, **spacing: Unpack[Spacing]
) -> list[str]:
    """The columns of `losses` that no test tells from the one with the lowest mean, in their order.

    `losses` (origins, models): one row per origin in time order, nothing missing. Each column is
    compared with the lowest by `diebold_mariano`, corrected by Holm; too few origins exclude
    nobody. `InputError` for a missing loss, or a model with two columns.
    """
    if losses.columns.has_duplicates or not np.isfinite(losses.to_numpy(dtype=float)).all():
        raise InputError(
            "Losses that are compared need one column per model and no missing value. Drop such"
            " models first."
        )
    lowest = losses.mean().idxmin()
    pvalues = [
        math.nan if name == lowest else diebold_mariano(column, losses[lowest], **spacing).p
        for name, column in losses.items()
    ]
    is_told_apart = np.array(holm(pvalues)) < alpha
    return [str(name) for name in losses.columns[~is_told_apart]]


def friedman_nemenyi(losses: pd.DataFrame, *, alpha: float = 0.05) -> Ranks:
    """`losses`: one row per series, one column per model, lower is better; at least 10 series and 2
    models.

    Friedman (1937) in the F form of Iman & Davenport (1980); critical difference of Nemenyi (1963)
    as in Demsar (2006): models whose mean ranks differ by less stand in one group. Ties share the
    mean of their ranks. `InputError` for fewer, and for a missing loss.
    """
    n, k = losses.shape
    if n < SERIES or k < 2:
        raise InputError(
            f"{n} series and {k} models; a Friedman test needs at least {SERIES} series and 2"
            " models. With fewer series use the tests over origins."
        )
    if not np.isfinite(losses.to_numpy(dtype=float)).all():
        raise InputError(
            "A Friedman test needs every model's loss on every series. Leave out models that lack"
            " one."
        )
    ranks = losses.rank(axis=1)
    means = ranks.mean().sort_values(kind="stable")
    statistic, p = _iman_davenport(ranks.to_numpy(), n, k)
    difference = nemenyi_difference(k, n, alpha)
    rank_by_model = {str(name): float(value) for name, value in means.items()}
    return Ranks(
        statistic=statistic,
        p=p,
        mean_ranks=rank_by_model,
        critical_difference=difference,
        groups=_groups(rank_by_model, difference),
        n_series=n,
    )


def rank_candidates(losses: pd.DataFrame, *, alpha: float = 0.05) -> Ranks | None:
    """The ranks of every candidate with a loss on every series; None below 10 series, where ranks
    say little.

    `losses` long: model, ranking, unique_id, cutoff, loss. Origins are averaged within a series.
    """
    table = (
        losses.groupby(["unique_id", "model", "ranking"], observed=True)["loss"]
        .mean()
        .unstack([1, 2])
    )
    table = table.dropna(how="all").dropna(axis=1)
    if len(table) < SERIES or table.shape[1] < 2:
        return None
    names = [
        str(key[0]) if key[1] == "baseline" else f"{key[0]} ({key[1]})"
        for key in table.columns.to_list()
    ]
    return friedman_nemenyi(table.set_axis(names, axis=1), alpha=alpha)


def nemenyi_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """q(alpha, k) sqrt(k (k + 1) / (6 n)), q the studentised range at infinite degrees of freedom
    over sqrt 2.
    """
    quantile = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(k * (k + 1) / (6 * n))


def _iman_davenport(ranks: np.ndarray, n: int, k: int) -> tuple[float, float]:
    """The F statistic and its p of the ranks (n series, k models)."""
    deviations = ranks - (k + 1) / 2
    between = n * float(np.sum(deviations.mean(axis=0) ** 2))
    spread = float(np.sum(deviations**2))
    if spread == 0:
        return 0.0, 1.0  # every model tied on every series
    if between >= spread * (1 - 1e-12):
        return math.inf, 0.0  # the same order on every series
    statistic = (n - 1) * between / (spread - between)
    return statistic, float(special.fdtrc(k - 1, (k - 1) * (n - 1), statistic))


def _groups(means: dict[str, float], difference: float) -> tuple[tuple[str, ...], ...]:
    """Maximal runs, in order of rank, in which no two mean ranks differ by the critical
    difference.
    """
    names = list(means)
    runs: list[tuple[str, ...]] = []
    for place, first in enumerate(names):
        run = tuple(name for name in names[place:] if means[name] - means[first] < difference)
        is_new = all(not set(run) <= set(other) for other in runs)
        if is_new:
            runs.append(run)
    return tuple(runs)
