"""Many models at once: Holm's correction, the model confidence set, and Friedman's test of ranks
over many series.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from scipy import special, stats

from forecast.comparison import longrun
from forecast.comparison.longrun import (
    NO_CYCLES,
    RUNS,
    Array,
    Dependence,
    Spacing,
    dependence,
    mean_error,
)
from forecast.data.comparison_records import Ranks
from forecast.system.errors import InputError

# between Bonferroni's and Holm's procedure on the first hypotheses: what is left for the others
TRUNCATED = 0.5
SERIES = 10
"""Fewest series whose ranks say something."""


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment: the family-wise error, whatever the dependence; a NaN
    does not count.
    """
    return [min(1.0, value) if value == value else value for value in _stepped_down(pvalues)]


def _stepped_down(pvalues: Sequence[float]) -> list[float]:
    """Holm's adjusted values before they are cut at 1."""
    p = np.asarray(pvalues, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.maximum.accumulate(factors * p[order]) if len(order) else []
    return [float(value) for value in adjusted]


def gatekeep(first: Sequence[float], rest: Sequence[float]) -> tuple[list[float], list[float]]:
    """Adjusted p of the hypotheses that matter, and of the others behind them, whose number never
    touches the first.

    Two stages of Dmitrienko, Tamhane & Wiens (2008): the truncated Holm procedure, halfway to
    Bonferroni, on `first`; what it does not spend is the level at which Holm's procedure tests
    `rest`: all of it when every hypothesis of `first` is rejected, half of the rejected share
    otherwise. The family-wise error over both stays below alpha whatever the dependence. A NaN
    stays NaN and does not count; without a first stage `rest` is Holm's.
    """
    p = np.asarray(first, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    k, order = len(known), known[np.argsort(p[known], kind="stable")]
    if k == 0:
        return [math.nan] * len(p), holm(rest)
    divisors = 1 / (TRUNCATED / (k - np.arange(k)) + (1 - TRUNCATED) / k)
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(divisors * p[order]))
    # with m rejected in the first stage, `rest` is tested at this share of alpha; each takes its
    # best m
    share = np.where(np.arange(1, k + 1) == k, 1.0, (1 - TRUNCATED) * np.arange(1, k + 1) / k)
    second_family = np.array(_stepped_down(rest))[:, None] / share
    passed = (
        np.minimum(1.0, np.maximum(adjusted[order], second_family).min(axis=1))
        if len(rest)
        else np.empty(0)
    )
    return adjusted.tolist(), passed.tolist()


def model_confidence_set(
    losses: pd.DataFrame,
    *,
    size: float = 0.05,
    reps: int = 1000,
    seed: int = 0,
    **spacing: Unpack[Spacing],
) -> list[str]:
    """Names of the columns of `losses` that belong to the 1 - `size` model confidence set, in
    column order.

    `losses`: one row per origin in time order, one column per model. Hansen, Lunde & Nason (2011)
    with the maximum of the pairwise t statistics, by `arch.bootstrap.MCS` with the stationary
    bootstrap (Politis & Romano 1994). The mean block is that of Politis & White (2004) and at least
    the horizon and one season, in origins; seeded, so the set is reproducible. Columns that are
    equal origin by origin, but for rounding, stand or fall together; too few origins exclude
    nobody. Harmonics of `cycles` that the tests take out are taken out first; the bootstrap is told
    the uncertainty of the tests, see `stretch`.
    """
    if losses.columns.has_duplicates or not np.isfinite(losses.to_numpy(dtype=float)).all():
        raise InputError(
            "The losses of a confidence set need one column per model and no missing value. Drop"
            " such models first."
        )
    n, alike = len(losses), _alike(losses.to_numpy(dtype=float))
    horizon, step_size, cycles = (
        spacing["horizon"],
        spacing.get("step_size", 1),
        spacing.get("cycles", NO_CYCLES),
    )
    if len(alike) < 2 or n < max(RUNS, 2 * math.ceil(horizon / step_size)):
        return [str(name) for name in losses.columns]
    values = losses.to_numpy(dtype=float)[:, [group[0] for group in alike]]
    known = longrun.removable_cycles(n, cycles, horizon=horizon, step_size=step_size)
    values = values.mean(axis=0) + longrun.remove_cycles(
        values, tuple(cycles[name] / step_size for name in known)
    )
    block = max(
        math.ceil(max(horizon, spacing["season_length"]) / step_size), _block_length(values)
    )
    block = min(block, n // 2)
    values = widen_deviations(values, block, dependence(n, **spacing))
    included_columns = {
        column for i in _included(values, size, reps, block, seed) for column in alike[i]
    }
    return [str(name) for column, name in enumerate(losses.columns) if column in included_columns]


def _alike(values: Array) -> list[list[int]]:
    """The columns in groups that differ by rounding only.

    Two such columns tie in `arch`, which then fails.
    """
    groups: list[list[int]] = []
    tolerance = 1e-9 * np.abs(values).max(initial=0.0)
    for column in range(values.shape[1]):
        matching_groups = (
            g for g in groups if np.abs(values[:, column] - values[:, g[0]]).max() <= tolerance
        )
        group = next(matching_groups, None)
        if group is None:
            groups.append([column])
        else:
            group.append(column)
    return groups


def widen_deviations(values: Array, block: int, allowed: Dependence) -> Array:
    """`values` (n, models) with the same means and wider deviations, so that the bootstrap errs as
    the tests do.

    A block bootstrap underestimates the variance of a dependent mean and knows no degrees of
    freedom: of six equal models with AR(0.5) losses over 300 origins one or more left the 95 % set
    in 21 % of the simulations. All deviations are multiplied by one factor, never below 1: the
    upper quartile, over pairs of models, of the tests' 97.5 % reach over the bootstrap's own. It
    brings that to the nominal 5 % (docs/protocol.md has the table).
    """
    ratios = [
        _reach(difference, allowed) / bootstrap_error(difference, block)
        for difference in (
            values[:, i] - values[:, j]
            for i, j in itertools.combinations(range(values.shape[1]), 2)
        )
        if np.ptp(difference) > 1e-12 * np.abs(values).max()
    ]
    factor = max(1.0, float(np.quantile(ratios, 0.75))) if ratios else 1.0
    centre = values.mean(axis=0)
    return np.asarray(centre + factor * (values - centre))


def bootstrap_error(values: Array, block: int) -> float:
    """Standard error of a mean under the stationary bootstrap with mean block `block` (Politis &
    Romano 1994).
    """
    n, centred = len(values), values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * n)
    autocovariance = np.fft.irfft(np.abs(spectrum) ** 2)[:n] / n
    lag, stay = np.arange(n), 1 - 1 / block
    weights = (1 - lag / n) * stay**lag + lag / n * stay ** (n - lag)
    variance = autocovariance[0] + 2 * float(weights[1:] @ autocovariance[1:])
    return math.sqrt(max(variance, 1e-12 * autocovariance[0]) / n)


def _reach(values: Array, allowed: Dependence) -> float:
    error = mean_error(values, allowed)
    return error.value * float(special.stdtrit(error.dof, 0.975) / special.ndtri(0.975))


def _block_length(values: Array) -> int:
    from arch.bootstrap import optimal_block_length

    # what the test compares; the shared difficulty cancels
    deviations = values - values.mean(axis=1, keepdims=True)
    moving = [column for column in deviations.T if np.ptp(column) > 1e-12 * np.abs(values).max()]
    # a few values that stand still at one end have no length
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = [float(optimal_block_length(column)["stationary"].iloc[0]) for column in moving]
    return math.ceil(max([1.0, *(length for length in lengths if math.isfinite(length))]))


def _included(values: Array, size: float, reps: int, block: int, seed: int) -> list[int]:
    from arch.bootstrap import MCS

    # arch sorts by column name; numbers keep the columns apart from their names
    test = MCS(
        pd.DataFrame(values),
        size=size,
        reps=reps,
        block_size=block,
        method="R",
        bootstrap="stationary",
        seed=seed,
    )
    test.compute()
    return sorted(test.included)


def friedman_nemenyi(losses: pd.DataFrame, *, alpha: float = 0.05) -> Ranks:
    """`losses`: one row per series, one column per model, lower is better; at least 10 series and 2
    models.

    Friedman (1937) in the F form of Iman & Davenport (1980); critical difference of Nemenyi (1963)
    as in Demsar (2006): models whose mean ranks differ by less stand in one group. Ties share the
    mean of their ranks.
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
    runs = [
        tuple(b for b in names[i:] if means[b] - means[a] < difference) for i, a in enumerate(names)
    ]
    return tuple(
        run for i, run in enumerate(runs) if not any(set(run) <= set(other) for other in runs[:i])
    )
