"""The set of models that cannot be told from the best."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from forecast.errors import InputError


def model_confidence_set(
    losses: pd.DataFrame,
    *,
    horizon: int,
    season: int,
    stride: int = 1,
    size: float = 0.05,
    reps: int = 1000,
    seed: int = 0,
) -> list[str]:
    """Names of the columns of `losses` that belong to the 1 - `size` model confidence set, in column order.

    `losses`: one row per origin in time order, one column per model. Hansen, Lunde & Nason (2011) with the maximum
    of the pairwise t statistics, by `arch.bootstrap.MCS` with the stationary bootstrap (Politis & Romano 1994). The
    mean block is that of Politis & White (2004) and at least the horizon and one season, in origins; seeded, so the
    set is reproducible.
    Columns that are equal origin by origin stand or fall together; too few origins exclude nobody.
    """
    if losses.columns.has_duplicates or not np.isfinite(losses.to_numpy(dtype=float)).all():
        raise InputError(
            "The losses of a confidence set need one column per model and no missing value. Drop such models first."
        )
    n = len(losses)
    distinct = losses.T.drop_duplicates().T
    if distinct.shape[1] < 2 or n < 2 * math.ceil(horizon / stride) or n < 8:
        return [str(name) for name in losses.columns]
    block = max(math.ceil(horizon / stride), math.ceil(season / stride), _block_length(distinct))
    kept = {tuple(distinct[name]) for name in _survivors(distinct, size, reps, min(block, n // 2), seed)}
    return [str(name) for name in losses.columns if tuple(losses[name]) in kept]


def _block_length(losses: pd.DataFrame) -> int:
    from arch.bootstrap import optimal_block_length

    apart = losses.sub(losses.mean(axis=1), axis=0)  # what the test compares; the shared difficulty cancels
    moving = [apart[name].to_numpy(dtype=float) for name in apart if np.ptp(apart[name]) > 1e-12]
    lengths = [float(optimal_block_length(values)["stationary"].iloc[0]) for values in moving]
    return math.ceil(max([1.0, *(length for length in lengths if math.isfinite(length))]))


def _survivors(losses: pd.DataFrame, size: float, reps: int, block: int, seed: int) -> list[str]:
    from arch.bootstrap import MCS

    numbered = pd.DataFrame(losses.to_numpy(dtype=float))  # arch sorts by name; numbers keep the columns apart
    test = MCS(numbered, size=size, reps=reps, block_size=block, method="R", bootstrap="stationary", seed=seed)
    test.compute()
    return [losses.columns[i] for i in sorted(test.included)]
