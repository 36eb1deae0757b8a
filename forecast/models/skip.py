"""The closed-form part of every forecast: `forecast = skip(past) + network(past)`.

- `none`: zero, the textbook architecture;
- `last`: the last observed value (random walk);
- `seasonal`: the value one season before;
- `linear`: ridge regression on the differences to the last value, the exogenous lags and the known-future
  inputs, that is on every input the networks get, fitted in float64 by the normal equations (Hoerl & Kennard 1970;
  NLinear of Zeng et al. 2023 is the same map without exogenous inputs). Penalty and lags are chosen on validation, and
  where the last value itself is nearer there than every ridge, all coefficients are zero.

All work in scaled units on `Windows` and return (B, H, O) float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from forecast.data.windows import Layout, Windows
from forecast.models.carry import Carry
from forecast.system.errors import ModelFailure

Kind = Literal["none", "last", "seasonal", "linear"]
Reads = Literal["values", "channels"]
"""Of the past: the values alone, or, in models saved before 0.2, also how long each has been missing. A line through
gaps of an hour gives nonsense after a gap of two days."""
PENALTIES = tuple(10.0**k for k in range(-2, 6))

Batches = Callable[[], Iterable[tuple[Windows, np.ndarray]]]
"""Gives pairs of windows and their scaled targets (B, H, O); called once per pass over the data."""


@dataclass(frozen=True)
class Skip:
    """A fitted skip. `coefficients` (features + 1, H * O), `lags` and `reads` belong to `linear` alone.

    carry: what a closed loop of it takes for the past-only inputs after the cutoff; None: it repeats the last ones.
    """

    kind: Kind
    horizon: int
    outputs: int
    season_length: int = 1
    lags: int = 0
    penalty: float = 0.0
    coefficients: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    reads: Reads = "values"
    carry: Carry | None = None

    def forecast(self, windows: Windows, channels: Layout) -> np.ndarray:
        """(B, H, O) in scaled units."""
        last = np.repeat(windows.last[:, None, :], self.horizon, axis=1)
        if self.kind == "none":
            return np.zeros_like(last)
        if self.kind == "seasonal":
            return _season_before(windows, channels, self.horizon, self.season_length)
        if self.kind == "linear":
            x = features(windows, channels, lags=self.lags, horizon=self.horizon, reads=self.reads)
            change = x @ self.coefficients[:-1] + self.coefficients[-1]
            return last + change.reshape(last.shape)
        return last

    def to_arrays(self) -> dict[str, np.ndarray]:
        carried = {} if self.carry is None else {"carry": self.carry.coefficients}
        return {"coefficients": self.coefficients, **carried}

    def to_json(self) -> dict[str, Any]:
        names = ("kind", "horizon", "outputs", "season_length", "lags", "penalty", "reads")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_saved(cls, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Skip:
        renamed = {{"season": "season_length"}.get(name, name): value for name, value in content.items()}
        carry = Carry(arrays["carry"], renamed["season_length"]) if "carry" in arrays else None
        older = {"reads": "channels"}
        return cls(**{**older, **renamed}, coefficients=arrays["coefficients"], carry=carry)

    @property
    def n_params(self) -> int:
        return int(self.coefficients.size)


def features(windows: Windows, channels: Layout, *, lags: int, horizon: int, reads: Reads = "values") -> np.ndarray:
    """(B, features) float64: for a fixed-level target the differences to its last value and that value itself,
    for a drifting one its changes; every other channel over `lags` rows; the known-future inputs of the horizon."""
    past = windows.past[:, -lags:, :].astype(np.float64)
    parts = []
    for i, channel in enumerate(channels.target_channels):
        if channels.difference_inputs[i]:
            parts.append(past[:, 1:, channel])
        else:
            parts += [past[:, :-1, channel] - past[:, -1:, channel], past[:, -1:, channel]]
    read = channels.value if reads == "values" else range(past.shape[2])
    others = [c for c in read if c not in channels.target_channels]
    parts.append(past[:, :, others].reshape(len(past), -1))
    parts.append(windows.future[:, -horizon:, :].reshape(len(past), -1).astype(np.float64))
    return np.concatenate(parts, axis=1)


def fit_linear(
    train: Batches, validation: Batches, channels: Layout, *, horizon: int, lags: Iterable[int], season_length: int = 1
) -> Skip:
    """The ridge with the lowest validation MAE over `lags` × `PENALTIES`; `ModelFailure` when none is finite.

    Without any change where that is nearer: least squares goes for the mean, which on a series that mostly stays where
    it is (steps, stocks of spare parts) is further off than the last value.
    """
    best: tuple[float, Skip] | None = None
    for n in lags:
        solve = _normal_equations(train, channels, lags=n, horizon=horizon)
        for penalty in PENALTIES:
            candidate = Skip("linear", horizon, channels.outputs, season_length, n, penalty, solve(penalty))
            error = mean_absolute_error(candidate, validation, channels)
            if np.isfinite(error) and (best is None or error < best[0]):
                best = (error, candidate)
    if best is None:
        raise ModelFailure(
            "The linear skip has no finite error on validation: that block has no observed target, or an input "
            "overflows. Check the data, or move the dates under `splits`."
        )
    error, ridge = best
    unchanged = replace(ridge, coefficients=np.zeros_like(ridge.coefficients))
    return unchanged if mean_absolute_error(unchanged, validation, channels) < error else ridge


def mean_absolute_error(skip: Skip, batches: Batches, channels: Layout) -> float:
    """Over every observed target of the batches, in scaled units."""
    total, count = 0.0, 0
    for windows, target in batches():
        error = np.abs(target - skip.forecast(windows, channels))
        total += float(np.nansum(error))
        count += int(np.isfinite(error).sum())
    return total / count if count else float("nan")


def _normal_equations(train: Batches, channels: Layout, *, lags: int, horizon: int) -> Callable[[float], np.ndarray]:
    """Accumulates XᵀX and Xᵀy over the train windows; returns penalty → coefficients (features + 1, H * O)."""
    gram: Any = 0.0
    cross: Any = 0.0
    sum_x: Any = 0.0
    sum_y: Any = 0.0
    count = 0
    for windows, target in train():
        x = features(windows, channels, lags=lags, horizon=horizon)
        y = (between(windows.last, target) - windows.last[:, None, :]).reshape(len(x), -1)
        keep = np.isfinite(y).all(axis=1)
        x, y = x[keep], y[keep]
        gram, cross = gram + x.T @ x, cross + x.T @ y
        sum_x, sum_y, count = sum_x + x.sum(axis=0), sum_y + y.sum(axis=0), count + len(x)
    if count < 2:
        raise ModelFailure(f"The linear skip found {count} complete train windows; at least 2 are needed.")
    mean_x, mean_y = sum_x / count, sum_y / count
    gram = gram - count * np.outer(mean_x, mean_x)
    cross = cross - count * np.outer(mean_x, mean_y)
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ cross

    def solve(penalty: float) -> np.ndarray:
        slopes = vectors @ (rotated / (np.maximum(values, 0.0) + penalty)[:, None])
        return np.vstack([slopes, mean_y - mean_x @ slopes])

    return solve


def between(last: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`target` (B, H, O), a missing step on the line between its observed neighbours, `last` (B, O) before the first.

    Steps behind the last observed one stay NaN. Otherwise 5 % of missing hours leave 29 % of the days to learn from.
    """
    values = np.concatenate([last[:, None], target], axis=1)
    known, length = np.isfinite(values), values.shape[1]
    if known.all():
        return target
    steps = np.arange(length)[None, :, None]
    before = np.maximum.accumulate(np.where(known, steps, 0), axis=1)
    after = np.minimum.accumulate(np.where(known, steps, length)[:, ::-1], axis=1)[:, ::-1]
    right = np.take_along_axis(values, np.minimum(after, length - 1), axis=1)
    left = np.take_along_axis(values, before, axis=1)
    share = (steps - before) / np.maximum(after - before, 1)
    return np.where(after < length, left + share * (right - left), np.nan)[:, 1:]


def _season_before(windows: Windows, channels: Layout, horizon: int, season_length: int) -> np.ndarray:
    """y[t + h - season * ceil(h / season)]; without a full season in the window, the last value."""
    from forecast.data.windows import filled

    values = filled(windows.z[:, :, : channels.outputs])[0]
    steps = np.arange(1, horizon + 1)
    back = season_length * -(-steps // season_length) - steps
    return values[:, np.maximum(values.shape[1] - 1 - back, 0), :]
