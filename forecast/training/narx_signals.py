"""What the records tell before any net is trained: scales, bounds the output sits on, dead times, inputs to try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecast.training.narx import Record

Array = npt.NDArray[np.float64]

AT_BOUND = 1e-4  # of the range: nearer than this to the extreme is on it
BOUND_SHARE = 0.01  # of the rows on an extreme, in stretches of three or more, make it a bound
MARGIN = 1.0  # ranges beyond the records at which an unbounded output is held
WORTH = 0.9  # a dead time must lower the one-step error at least to this share to be believed


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of every input (I,) and output (O,)."""

    u_mean: Array
    u_scale: Array
    y_mean: Array
    y_scale: Array

    @classmethod
    def fit(cls, records: Sequence[Record]) -> Scaling:
        u = np.concatenate([record.u for record in records])
        y = np.concatenate([record.y for record in records])
        return cls(u.mean(0), _safe(u.std(0)), np.nanmean(y, axis=0), _safe(np.nanstd(y, axis=0)))

    def scale_u(self, u: Array) -> Array:
        return np.asarray((u - self.u_mean) / self.u_scale)

    def scale_y(self, y: Array) -> Array:
        return np.asarray((y - self.y_mean) / self.y_scale)

    def unscale_y(self, y: Array) -> Array:
        return np.asarray(y * self.y_scale + self.y_mean)


def _safe(scale: Array) -> Array:
    return np.where(scale > 0, scale, 1.0)


def saturation(records: Sequence[Record]) -> tuple[Array, Array]:
    """Bounds (O,), (O,): the extreme where the output sits on it, else a wide one that keeps a free run finite."""
    y = np.concatenate([record.y for record in records])
    least, most = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    span = most - least
    low, high = least - MARGIN * span, most + MARGIN * span
    for output in range(y.shape[1]):
        near = AT_BOUND * span[output]
        if _sits(y[:, output] >= most[output] - near):
            high[output] = most[output] - near
        if _sits(y[:, output] <= least[output] + near):
            low[output] = least[output] + near
    return low, high


def _sits(on: npt.NDArray[np.bool_]) -> bool:
    """Whether enough rows are on the extreme, counting only stretches of at least three."""
    long = on[:-2] & on[1:-1] & on[2:]
    return bool(long.mean() >= BOUND_SHARE) and not on.all()


def dead_times(records: Sequence[Record], deepest: int = 40) -> tuple[int, ...]:
    """Steps to delay each input by: the delay whose linear one-step model is best, 0 unless clearly better.

    The model is y_t on two past y and two neighbouring values of that input, over all records.
    """
    length = min(len(record.u) for record in records)
    candidates = range(0, max(1, min(deepest, length // 10)))
    inputs = records[0].u.shape[1]
    chosen = []
    for column in range(inputs):
        errors = [_one_step_error(records, column, delay, max(candidates) + 2) for delay in candidates]
        best = int(np.argmin(errors))
        chosen.append(best if best > 1 and errors[best] < WORTH * min(errors[:2]) else 0)
    return tuple(chosen)


def _one_step_error(records: Sequence[Record], column: int, delay: int, first: int) -> float:
    past, target = [], []
    for record in records:
        rows = np.arange(first, len(record.u))
        lagged = [record.y[rows - 1], record.y[rows - 2]]
        lagged += [record.u[rows - delay - k, column : column + 1] for k in (0, 1)]
        past.append(np.hstack([*lagged, np.ones((len(rows), 1))]))
        target.append(record.y[rows])
    x, y = np.concatenate(past), np.concatenate(target)
    seen = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    solution, *_ = np.linalg.lstsq(x[seen], y[seen], rcond=None)
    return float(np.mean((y[seen] - x[seen] @ solution) ** 2))


def delayed(u: Array, lags: Sequence[int]) -> Array:
    """u (T, I) with column i held back by lags[i] rows; the first value stands in before the record."""
    rows = np.arange(len(u))
    return np.stack([u[np.maximum(rows - lag, 0), i] for i, lag in enumerate(lags)], axis=1)


def unseen_inputs(records: Sequence[Record], rows: int = 1000) -> Iterator[Array]:
    """Bounded inputs to try a free run on: a record backwards, a tenth larger, and steps between its extremes."""
    u = records[0].u[: 2 * rows]
    yield u[::-1]
    middle = u.mean(axis=0)
    yield middle + 1.1 * (u - middle)
    rng = np.random.default_rng(0)  # fixed: the same question to every net
    low, high = u.min(axis=0), u.max(axis=0)
    levels = rng.uniform(low, high, size=(rows // 25 + 1, u.shape[1]))
    yield np.repeat(levels, 25, axis=0)[:rows]
