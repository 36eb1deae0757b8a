"""How sure the error of each horizon step is: a band around its change against a reference, no verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from forecast.comparison.longrun import RUNS, Dependence, dependence, mean_error
from forecast.system.errors import InputError

Array = NDArray[np.float64]


def change_by_step(
    losses: Sequence[tuple[Array, Array]], *, horizon: int, season: int, stride: int, level: float = 0.95
) -> tuple[Array, Array, Array]:
    """(change, low, high), each (H,), of a model's loss against a reference's, as a share of the reference's.

    `losses`: per series the model's and the reference's (n, H) on the same origins; the change is averaged over
    series. The band is that of the linearised ratio with the variance of `longrun` (as in `equivalence`); NaN where
    too few origins are known. H bands are H looks at one data set: the verdict is on the mean over the horizon.
    """
    if not losses or len({pair[0].shape for pair in losses} | {pair[1].shape for pair in losses}) != 1:
        raise InputError("Bands need the losses of at least one series, all on the same origins and steps.")
    steps = losses[0][0].shape[1]
    found = np.full((3, steps), np.nan)
    for step in range(steps):
        columns = np.stack([np.stack([own[:, step], other[:, step]]) for own, other in losses])  # (series, 2, n)
        columns = columns[:, :, np.isfinite(columns).all(axis=(0, 1))]
        allowed = dependence(columns.shape[2], horizon=horizon, season=season, stride=stride)
        if columns.shape[2] >= RUNS and (columns[:, 1].mean(axis=1) > 0).all():
            found[:, step] = _ratio(columns, allowed, level)
    return found[0], found[1], found[2]


def _ratio(columns: Array, allowed: Dependence, level: float) -> Array:
    own, other = columns[:, 0], columns[:, 1]
    reference = other.mean(axis=1, keepdims=True)
    change = own.mean(axis=1, keepdims=True) / reference - 1
    error = mean_error(((own - (1 + change) * other) / reference).mean(axis=0), allowed)
    room = float(special.stdtrit(error.dof, (1 + level) / 2)) * error.value
    middle = float(change.mean())
    return np.array([middle, middle - room, middle + room])
