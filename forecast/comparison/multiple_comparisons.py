"""Many models at once: Holm's correction (`holm`) and the models tied with the lowest
(`tied_with_lowest`). Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd

from forecast.comparison.longrun import Spacing
from forecast.comparison.paired_tests import diebold_mariano
from forecast.system.errors import InputError


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
