"""Is a dataset due for a challenger, and is its champion ageing: by age, new rows and drift.

Drift: have the data, or the champion's errors, moved away from what the champion was trained on? Distributions are
compared on changes over one season (in the transformed scale): the level of a July differs from the year's without any
drift, and a price's level always does. The population stability index says how large the shift is, the
Kolmogorov-Smirnov test whether so few independent values can tell; both must agree. The live error needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from forecast.config.datasets import Dataset
from forecast.config.operation import Retraining
from forecast.config.task import TaskColumn
from forecast.data.panel import Panel, Series, series_name
from forecast.forecaster.ensemble import Ensemble
from forecast.operations.champion import Meta

BINS = 10
LEAST = 20
"""Independent values below which a distribution is not compared."""


@dataclass(frozen=True)
class Shift:
    """One column of one series, or the champion's error: what was measured and whether it counts as drift."""

    what: str
    psi: float | None = None
    ks_p: float | None = None
    live_error: float | None = None
    drifted: bool = False


def psi(reference: ArrayLike, current: ArrayLike, *, bins: int = BINS) -> float:
    """Population stability index: sum of (q - p) ln(q / p) over the deciles of the reference (Siddiqi 2006).

    0 for equal shares; above 0.1 is called moderate, above 0.25 large. Empty bins count half an observation.
    """
    old, new = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    edges = np.unique(np.quantile(old, np.linspace(0, 1, bins + 1)[1:-1]))
    p = np.maximum(np.bincount(np.searchsorted(edges, old), minlength=len(edges) + 1), 0.5) / len(old)
    q = np.maximum(np.bincount(np.searchsorted(edges, new), minlength=len(edges) + 1), 0.5) / len(new)
    return float(np.sum((q - p) * np.log(q / p)))


def ks_p(reference: ArrayLike, current: ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test; the values must be independent."""
    from scipy import stats

    return float(stats.ks_2samp(reference, current).pvalue)


def shifts(panel: Panel, meta: Meta, rules: Retraining, *, recent_steps: int) -> list[Shift]:
    """Every column of every series: what came after the champion's training against the training rows.

    `recent_steps`: how many of the newest steps are looked at; none of them may be a training row.
    """
    found = []
    cutoff = np.datetime64(pd.Timestamp(meta.training_cutoff))
    for series in panel.series:
        for channel, column in ((i, c) for i, c in enumerate(panel.task.columns) if c.lead <= 1):
            old, new = _changes(series, channel, column, panel.task.season_length, cutoff, recent_steps)
            if min(len(old), len(new)) >= LEAST:
                size, p = psi(old, new), ks_p(old, new)
                drifted = size >= rules.psi and p < rules.ks_p
                found.append(Shift(f"{series.unique_id}: {column.name}", psi=size, ks_p=p, drifted=drifted))
    return found


def live_error(champion: Ensemble, meta: Meta, panel: Panel, rules: Retraining, *, recent_steps: int) -> Shift | None:
    """The champion's error on the newest origins after everything it has seen, over what its test block promised.

    The mean over series and steps of MAE / expected MAE; None where it has seen all, or too few origins are left.
    """
    horizon, step_size = panel.task.horizon, panel.task.step_size
    rows = {}
    for series in panel.series:
        seen = int(np.searchsorted(series.ds, np.datetime64(pd.Timestamp(meta.last_target_used)), side="right"))
        first = max(seen - 1, len(series) - horizon - recent_steps, panel.task.lookback - 1)
        rows[series.unique_id] = np.arange(first, len(series) - horizon, step_size)
    if min(map(len, rows.values())) < 8 or not meta.expected:
        return None
    ratios = _ratios(champion, meta.expected, panel, rows)
    if not ratios:
        return None
    ratio = float(np.mean(ratios))
    return Shift("live error of the champion", live_error=ratio, drifted=not ratio < rules.live_error)


def _ratios(
    champion: Ensemble, expected: Mapping[str, list[float | None]], panel: Panel, rows: Mapping[str, NDArray[np.int64]]
) -> list[float]:
    names = panel.task.targets
    found = []
    for uid, values in champion.predict(panel, rows).items():
        ahead = rows[uid][:, None] + np.arange(1, panel.task.horizon + 1)
        for output, name in enumerate(names):
            actual = panel.by_id[uid].values[ahead, output]
            promised = expected.get(series_name(uid, name, names))
            if promised is None or len(promised) != panel.task.horizon or not np.isfinite(actual).any():
                continue
            wanted = np.array([np.nan if value is None else value for value in promised])
            with np.errstate(invalid="ignore", divide="ignore"):
                error = np.nanmean(np.abs(actual - values[:, :, output]), axis=0) / wanted
            found.append(float(np.nanmean(error)))
    return found


def _changes(
    series: Series, channel: int, column: TaskColumn, season_length: int, cutoff: np.datetime64, recent: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Changes over one season in training and in the newest rows, a season apart: neighbours share their hours."""
    values = _transformed(series.values[:, channel], column)
    change = np.full(len(values), np.nan)
    change[season_length:] = values[season_length:] - values[:-season_length]
    train = series.ds <= cutoff
    newest = np.arange(len(values)) >= len(values) - recent
    parts = [change[train], change[newest & ~train]]
    step = max(1, season_length // 4)  # a quarter of a season apart: near enough to independence, and enough values
    old, new = (part[np.isfinite(part)][::step] for part in parts)
    return old, new


def _transformed(values: NDArray[np.float64], column: TaskColumn) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        if column.transform in ("log", "logdiff"):
            return np.log(values)
        return np.log1p(values) if column.transform == "log1p" else values


@dataclass(frozen=True)
class Due:
    """`reasons`: why a challenger is made, empty when it is not; `ageing`: why an equivalent one may take over."""

    reasons: tuple[str, ...]
    ageing: str
    numbers: dict[str, Any]


def due(
    meta: Meta | None, shifts: list[Shift], dataset: Dataset, rules: Retraining, *, as_of: pd.Timestamp, new_steps: int
) -> Due:
    """Age, drift and new rows. `as_of`: how far the data reach; `new_steps`: steps since the last gate."""
    if meta is None:
        return Due(("there is no champion",), "", {"new_steps": new_steps})
    # Not below 0: `meta` counts to the end of its last day, the data to the begin of their last step.
    age = max(0.0, (as_of - pd.Timestamp(meta.as_of)) / pd.Timedelta(1, "D"))
    ageing = []
    if age >= rules.max_age_days:
        ageing.append(f"stale ({age:.0f} days old, {rules.max_age_days:g} allowed)")
    drifted = [shift.what for shift in shifts if shift.drifted]
    if drifted:
        ageing.append(f"drifting ({', '.join(drifted[:3])}{', ...' if len(drifted) > 3 else ''})")
    reasons = list(ageing) if new_steps > 0 else []
    wanted = rules.due_after(dataset)
    if new_steps >= wanted:
        reasons.append(f"{new_steps} new steps ({wanted} wanted)")
    return Due(tuple(reasons), " and ".join(ageing), {"age_days": round(age, 3), "new_steps": new_steps})
