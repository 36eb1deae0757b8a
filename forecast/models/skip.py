"""The closed-form part of every forecast: `forecast = skip(past) + network(past)`.

- `none`: zero, the textbook architecture;
- `last`: the last observed value (random walk);
- `seasonal`: the value one season before;
- `linear`: ridge regression on the differences to the last value, the exogenous lags and the known-future
  inputs, that is on every input the networks get, fitted in float64 by the normal equations (Hoerl & Kennard 1970;
  NLinear of Zeng et al. 2023 is the same map without exogenous inputs). With `harmonics` also on products of the
  calendar with itself and with the newest rows, so that the coefficients differ by hour and season. Penalty, lags and
  whether there are products are chosen on validation, and where the last value itself is nearer there than every
  ridge, all coefficients are zero.

All work in scaled units on `Windows` and return (B, H, O) float64.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from scipy import linalg

from forecast.config.task import CalendarFeature
from forecast.data.windows import Layout, Windows, filled
from forecast.models.carry import Carry
from forecast.system.errors import ModelFailure

Kind = Literal["none", "last", "seasonal", "linear"]
Reads = Literal["values", "channels"]
"""Of the past: the values alone, or, in models saved before 0.2, also how long each has been missing. A line through
gaps of an hour gives nonsense after a gap of two days."""
PENALTIES = tuple(10.0**k for k in range(-2, 6))
HARMONICS: dict[CalendarFeature, int] = {"hour_of_day": 2, "day_of_week": 2, "day_of_year": 1, "month_of_year": 1}
"""Sine pairs of a calendar feature in products. A second one of the year is fitted to one or two years' weather."""
PRODUCT_LAGS = 25
"""Rows of the target that the calendar multiplies: a day of hours and the same hour before it."""

Batches = Callable[[], Iterable[tuple[Windows, np.ndarray]]]
"""Gives pairs of windows and their scaled targets (B, H, O); called once per pass over the data."""


@dataclass(frozen=True)
class Skip:
    """A fitted skip. `coefficients` (features + 1, H * O) and what shapes the features belong to `linear` alone.

    harmonics: sine pairs per calendar feature in products; empty: no products, as in every skip of earlier versions.
    leads: how many columns that speak of later rows it reads (their newest row); 0 where validation is better without.
    carry: what a closed loop of it takes for the past-only inputs after the cutoff; None: it repeats the last ones.
    """

    kind: Kind
    horizon: int
    outputs: int
    season_length: int = 1
    lags: int = 0
    penalty: float = 0.0
    harmonics: tuple[int, ...] = ()
    product_lags: int = 0
    leads: int = 0
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
            x = self.inputs(windows, channels)
            change = x @ self.coefficients[:-1] + self.coefficients[-1]
            return last + change.reshape(last.shape)
        return last

    def inputs(self, windows: Windows, channels: Layout) -> np.ndarray:
        """(B, features) of the linear map: the plain ones, what is said of later rows, the products."""
        parts = [features(windows, channels, lags=self.lags, horizon=self.horizon, reads=self.reads)]
        if self.leads:
            parts.append(windows.past[:, -1, channels.leads].astype(np.float64))
        if self.harmonics:
            parts.append(products(windows, channels, self.horizon, self.harmonics, self.product_lags))
        return np.hstack(parts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        carried = {} if self.carry is None else {"carry": self.carry.coefficients}
        return {"coefficients": self.coefficients, **carried}

    def to_json(self) -> dict[str, Any]:
        names = ("kind", "horizon", "outputs", "season_length", "lags", "penalty", "reads")
        shape = {"harmonics": list(self.harmonics), "product_lags": self.product_lags} if self.harmonics else {}
        return {name: getattr(self, name) for name in names} | shape | ({"leads": self.leads} if self.leads else {})

    @classmethod
    def from_saved(cls, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Skip:
        renamed = {{"season": "season_length"}.get(name, name): value for name, value in content.items()}
        renamed["harmonics"] = tuple(renamed.get("harmonics", ()))
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
    read = channels.value if reads == "values" else range(past.shape[2])
    left_out = {*channels.target_channels, *channels.leads}
    others = past[:, :, [c for c in read if c not in left_out]].reshape(len(past), -1)
    future = windows.future[:, -horizon:, :].reshape(len(past), -1).astype(np.float64)
    return np.concatenate([*_target_features(past, channels), others, future], axis=1)


def _target_features(past: np.ndarray, channels: Layout) -> list[np.ndarray]:
    parts = []
    for i, channel in enumerate(channels.target_channels):
        if channels.difference_inputs[i]:
            parts.append(past[:, 1:, channel])
        else:
            parts += [past[:, :-1, channel] - past[:, -1:, channel], past[:, -1:, channel]]
    return parts


def harmonics_of(calendar_features: Sequence[CalendarFeature]) -> tuple[int, ...]:
    """How many sine pairs each has in products; none where there is no calendar."""
    return tuple(HARMONICS[name] for name in calendar_features)


def products(
    windows: Windows, channels: Layout, horizon: int, harmonics: tuple[int, ...], product_lags: int
) -> np.ndarray:
    """(B, features) float64: the calendar of the first forecast step, and that calendar times the newest rows.

    The harmonics of every calendar feature and their products by pairs; then all harmonics, and the products of the
    first ones, times the last `product_lags` rows of each target (as in `features`) and the newest row of the others.
    """
    moment = windows.future[:, -horizon].astype(np.float64)
    terms = calendar_terms(moment, harmonics)
    waves = terms[: len(harmonics)]
    past = windows.past[:, -product_lags:, :].astype(np.float64)
    others = [channel for channel in channels.value[channels.outputs :] if channel not in channels.leads]
    state = np.hstack([*_target_features(past, channels), past[:, -1, others]])
    turning = np.hstack([*waves, *(_times(a[:, :2], b[:, :2]) for a, b in itertools.combinations(waves, 2))])
    return np.hstack([*terms, _times(turning, state)])


def calendar_terms(moment: np.ndarray, harmonics: tuple[int, ...]) -> list[np.ndarray]:
    """(B, ...) each: the harmonics of every calendar feature of `moment` (B, F), then their products by pairs."""
    waves = [_harmonics(moment[:, 2 * i : 2 * i + 2], count) for i, count in enumerate(harmonics)]
    return [*waves, *(_times(a, b) for a, b in itertools.combinations(waves, 2))]


def _harmonics(pair: np.ndarray, count: int) -> np.ndarray:
    """(B, 2 * count): sine and cosine of 1 .. count times the angle whose sine and cosine are `pair` (B, 2)."""
    turn = pair[:, 1] + 1j * pair[:, 0]
    powers = [turn**k for k in range(1, count + 1)]
    return np.stack([part for power in powers for part in (power.imag, power.real)], axis=1)


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B, A * C): every column of `a` (B, A) times every column of `b` (B, C)."""
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)


def fit_linear(
    train: Batches,
    validation: Batches,
    channels: Layout,
    *,
    horizon: int,
    lags: Iterable[int],
    season_length: int = 1,
    harmonics: tuple[int, ...] = (),
) -> Skip:
    """The ridge with the lowest validation MAE over `lags` × `PENALTIES`, without products and, where there are
    `harmonics`, with them, without leads and with them; `ModelFailure` when none is finite.

    Without any change where that is nearer: least squares goes for the mean, which on a series that mostly stays where
    it is (steps, stocks of spare parts) is further off than the last value.
    """
    best: tuple[float, Skip] | None = None
    for n in lags:
        plain = Skip("linear", horizon, channels.outputs, season_length, n)
        shapes = [plain]
        if harmonics:
            shapes.append(replace(plain, harmonics=harmonics, product_lags=min(n, PRODUCT_LAGS)))
        if channels.leads:
            shapes += [replace(shape, leads=len(channels.leads)) for shape in shapes]
        solve, parts = _normal_equations(train, channels, shapes[-1])
        candidates = [solve(shape, penalty) for shape in shapes for penalty in PENALTIES]
        errors = _errors(candidates, shapes[-1], parts, validation, channels)
        for error, candidate in zip(errors, candidates, strict=True):
            if np.isfinite(error) and (best is None or error < best[0]):
                best = (error, candidate)
    if best is None:
        raise ModelFailure(
            "The linear skip has no finite error on validation: that block has no observed target, or an input "
            "overflows. Check the data, or move the dates under `splits`."
        )
    error, ridge = best
    unchanged = replace(ridge, coefficients=np.zeros_like(ridge.coefficients))
    nothing = mean_absolute_error(lambda windows: unchanged.forecast(windows, channels), validation)
    return unchanged if nothing < error else ridge


def fit_shape(train: Batches, channels: Layout, shape: Skip) -> Skip:
    """The ridge with the lags, products and penalty of `shape`; no change where that has none."""
    if not shape.coefficients.any():
        return shape
    return _normal_equations(train, channels, shape)[0](shape, shape.penalty)


Parts = Callable[[Skip], np.ndarray]
"""Which inputs of the largest shape a smaller one has, as columns."""


def _errors(candidates: Sequence[Skip], largest: Skip, parts: Parts, batches: Batches, channels: Layout) -> np.ndarray:
    """The `mean_absolute_error` of each; their inputs are among those of `largest`."""
    total, count = np.zeros(len(candidates)), 0
    columns = [parts(one) for one in candidates]
    for windows, target in batches():
        x = largest.inputs(windows, channels)
        change = (target - windows.last[:, None, :]).reshape(len(x), -1)
        for i, one in enumerate(candidates):
            seen = x if len(columns[i]) == x.shape[1] else x[:, columns[i]]
            total[i] += float(np.nansum(np.abs(change - seen @ one.coefficients[:-1] - one.coefficients[-1])))
        count += int(np.isfinite(change).sum())
    return total / count if count else np.full(len(candidates), np.nan)


def mean_absolute_error(forecast: Callable[[Windows], np.ndarray], batches: Batches) -> float:
    """Of (B, H, O) forecasts over every observed target of the batches, in scaled units."""
    total, count = 0.0, 0
    for windows, target in batches():
        error = np.abs(target - forecast(windows))
        total += float(np.nansum(error))
        count += int(np.isfinite(error).sum())
    return total / count if count else float("nan")


def _normal_equations(train: Batches, channels: Layout, largest: Skip) -> tuple[Callable[[Skip, float], Skip], Parts]:
    """Accumulates XᵀX and Xᵀy over the train windows; returns (shape, penalty) → the ridge on its inputs, and which
    of those of `largest` they are. NaN where the equations have no solution. Where `largest` reads leads, origins
    without one of them are left out."""
    gram: Any = 0.0
    cross: Any = 0.0
    sum_x: Any = 0.0
    sum_y: Any = 0.0
    count = plain = 0
    for windows, target in train():
        x = largest.inputs(windows, channels)
        plain = features(windows, channels, lags=largest.lags, horizon=largest.horizon).shape[1]
        y = (between(windows.last, target) - windows.last[:, None, :]).reshape(len(x), -1)
        keep = np.isfinite(y).all(axis=1)
        if largest.leads:
            keep &= np.isfinite(windows.z[:, -1, np.array(channels.lead) > 0]).all(axis=1)
        x, y = x[keep], y[keep]
        gram, cross = gram + x.T @ x, cross + x.T @ y
        sum_x, sum_y, count = sum_x + x.sum(axis=0), sum_y + y.sum(axis=0), count + len(x)
    if count < 2:
        raise ModelFailure(f"The linear skip found {count} complete train windows; at least 2 are needed.")
    mean_x, mean_y = sum_x / count, sum_y / count
    gram = gram - count * np.outer(mean_x, mean_x)
    cross = cross - count * np.outer(mean_x, mean_y)

    def parts(shape: Skip) -> np.ndarray:
        every = np.arange(len(gram))
        kept = (every < plain) | (every >= plain + largest.leads) & bool(shape.harmonics)
        return every[kept | (every >= plain) & (every < plain + shape.leads)]

    def solve(shape: Skip, penalty: float) -> Skip:
        return replace(shape, penalty=penalty, coefficients=ridge(gram, cross, mean_x, mean_y, parts(shape), penalty))

    return solve, parts


def ridge(
    gram: np.ndarray, cross: np.ndarray, mean_x: np.ndarray, mean_y: np.ndarray, columns: np.ndarray, penalty: float
) -> np.ndarray:
    """(columns + 1, outputs): slopes of those `columns` of the centred equations, then the intercept; NaN where they
    have no solution."""
    slopes = np.full((len(columns), len(mean_y)), np.nan)
    with contextlib.suppress(np.linalg.LinAlgError):
        penalised = gram[np.ix_(columns, columns)] + penalty * np.eye(len(columns))
        slopes = linalg.solve(penalised, cross[columns], assume_a="pos", check_finite=False)
    return np.vstack([slopes, mean_y - mean_x[columns] @ slopes])


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
    values = filled(windows.z[:, :, : channels.outputs])[0]
    steps = np.arange(1, horizon + 1)
    back = season_length * -(-steps // season_length) - steps
    return values[:, np.maximum(values.shape[1] - 1 - back, 0), :]
