"""Many series: do the models' ranks differ, and which ranks can be told apart?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from forecast.system.errors import InputError

SERIES = 10


@dataclass(frozen=True)
class Ranks:
    """Friedman's test, mean ranks by model (best first), Nemenyi's critical difference and the groups it leaves."""

    statistic: float
    p: float
    mean_ranks: dict[str, float]
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    n_series: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: a statistic without bound (the same order on every series) is null."""
        return {**asdict(self), "statistic": self.statistic if math.isfinite(self.statistic) else None}


def friedman_nemenyi(losses: pd.DataFrame, *, alpha: float = 0.05) -> Ranks:
    """`losses`: one row per series, one column per model, lower is better; at least 10 series and 2 models.

    Friedman (1937) in the F form of Iman & Davenport (1980); critical difference of Nemenyi (1963) as in Demsar
    (2006): models whose mean ranks differ by less stand in one group. Ties share the mean of their ranks.
    """
    n, k = losses.shape
    if n < SERIES or k < 2:
        raise InputError(
            f"{n} series and {k} models; a Friedman test needs at least {SERIES} series and 2 models. "
            "With fewer series use the tests over origins."
        )
    if not np.isfinite(losses.to_numpy(dtype=float)).all():
        raise InputError(
            "A Friedman test needs every model's loss on every series. Leave out the model that lacks one."
        )
    ranks = losses.rank(axis=1)
    means = ranks.mean().sort_values(kind="stable")
    statistic, p = _iman_davenport(ranks.to_numpy(), n, k)
    difference = nemenyi_difference(k, n, alpha)
    named = {str(name): float(value) for name, value in means.items()}
    return Ranks(statistic, p, named, difference, _groups(named, difference), n)


def ranked(losses: pd.DataFrame, *, alpha: float = 0.05) -> Ranks | None:
    """The ranks of every candidate with a loss on every series; None below 10 series, where ranks say little.

    `losses` long: model, ranking, seed, unique_id, cutoff, loss. Seeds and origins are averaged within a series.
    """
    table = losses.groupby(["unique_id", "model", "ranking"], observed=True)["loss"].mean().unstack([1, 2])
    table = table.dropna(how="all").dropna(axis=1)
    if len(table) < SERIES or table.shape[1] < 2:
        return None
    names = [str(key[0]) if key[1] == "baseline" else f"{key[0]} ({key[1]})" for key in table.columns.to_list()]
    return friedman_nemenyi(table.set_axis(names, axis=1), alpha=alpha)


def nemenyi_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """q(alpha, k) sqrt(k (k + 1) / (6 n)), q the studentised range at infinite degrees of freedom over sqrt 2."""
    quantile = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(k * (k + 1) / (6 * n))


def _iman_davenport(ranks: np.ndarray, n: int, k: int) -> tuple[float, float]:
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
    """Maximal runs, in order of rank, in which no two mean ranks differ by the critical difference."""
    names = list(means)
    runs = [tuple(b for b in names[i:] if means[b] - means[a] < difference) for i, a in enumerate(names)]
    return tuple(run for i, run in enumerate(runs) if not any(set(run) <= set(other) for other in runs[:i]))
