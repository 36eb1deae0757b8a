"""What the records tell before any net is trained: scales, bounds of the output, dead times, memory, inputs to try."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecast.training.narx.narx import Record

Array = npt.NDArray[np.float64]

AT_BOUND = 1e-4  # of the range: nearer than this to the extreme is on it
BOUND_SHARE = 0.01  # of the rows on an extreme, in stretches of three or more, make it a bound
MARGIN = 1.0  # ranges beyond the records at which an unbounded output is held
LEAST_DEAD_TIME = 3  # steps
WORTH = 1.5  # times the gain of the nearest taps
PAST_OUTPUTS = 3  # of y in the model that looks for dead times
FEW = 10_000  # rows are enough for it
MEMORY_OUTPUTS = 5  # of y in the model that looks how far back inputs matter


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
    """Steps (I,) each input is held back by; one step less than its dead time, 0 where two tests do not both find one.

    Left out of an ARX model with all taps, an input's values within its dead time are not missed (Schwarz's
    criterion). Neighbours of a smooth input stand in for each other there: two taps alone must gain most beyond it.
    """
    length = min(len(record.u) for record in records)
    last = min(deepest, length // 20)
    inputs, outputs = records[0].u.shape[1], records[0].y.shape[1]
    if last < LEAST_DEAD_TIME:
        return (0,) * inputs
    x, y = _taps(records, last)
    chosen = []
    for column in range(inputs):
        taps = PAST_OUTPUTS * outputs + column + inputs * np.arange(last + 1)  # of this input, nearest first
        dead = min(_not_missed(x, y, taps), _gaining_most(x, y, taps))
        chosen.append(dead - 1 if dead >= LEAST_DEAD_TIME else 0)
    return tuple(chosen)


def memory(records: Sequence[Record], deepest: int = 20) -> int:
    """How many taps of the inputs, the one of now first, a linear ARX model asks for by Schwarz's criterion.

    A nonlinear part shows in it too as long as the early taps matter at all; 0 where the records are too short to ask.
    """
    length = min(len(record.u) for record in records)
    last = min(deepest, length // 20) - 1
    if last < 0:
        return 0
    x, y = _taps(records, last, MEMORY_OUTPUTS)
    inputs, past = records[0].u.shape[1], MEMORY_OUTPUTS * y.shape[1]
    widths = np.arange(1, last + 2)
    columns = [[*range(past + inputs * width), -1] for width in widths]
    errors = np.array([_log_error(x[:, own], y) for own in columns])
    return int(widths[np.argmin(errors + np.log(len(y)) * y.shape[1] * inputs * widths)])


def _not_missed(x: Array, y: Array, taps: npt.NDArray[np.int64]) -> int:
    """How many of the nearest taps a model with all others does without."""
    errors = np.array([_log_error(np.delete(x, taps[:dead], axis=1), y) for dead in range(len(taps))])
    worse = errors - errors[0] > np.log(len(y)) * y.shape[1] * np.arange(len(taps))
    return int(np.argmax(worse)) - 1 if worse.any() else 0


def _gaining_most(x: Array, y: Array, taps: npt.NDArray[np.int64]) -> int:
    """The delay whose two taps lower the error most beside past y alone, 0 unless clearly more than the nearest do."""
    past = x[:, [*range(PAST_OUTPUTS * y.shape[1]), -1]]
    pairs = (list(pair) for pair in itertools.pairwise(taps))
    gains = _log_error(past, y) - np.array([_log_error(np.hstack([past, x[:, pair]]), y) for pair in pairs])
    best = int(np.argmax(gains))
    return best if gains[best] > WORTH * gains[:2].max() else 0


def _taps(records: Sequence[Record], last: int, past_outputs: int = PAST_OUTPUTS) -> tuple[Array, Array]:
    """Past y, all inputs at delays 0 ... last and a one, and y: the observed rows, `FEW` thousand at most."""
    past, target = [], []
    for record in records:
        rows = np.arange(max(last, past_outputs), len(record.u))
        lagged = [record.y[rows - k] for k in range(1, past_outputs + 1)]
        lagged += [record.u[rows - k] for k in range(last + 1)]
        past.append(np.hstack([*lagged, np.ones((len(rows), 1))]))
        target.append(record.y[rows])
    x, y = np.concatenate(past), np.concatenate(target)
    seen = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    return x[seen][:FEW], y[seen][:FEW]


def _log_error(x: Array, y: Array) -> float:
    """-2 log likelihood of the least-squares fit, up to a constant, summed over the outputs."""
    solution, *_ = np.linalg.lstsq(x, y, rcond=None)
    return float(len(y) * np.sum(np.log(np.mean((y - x @ solution) ** 2, axis=0) + 1e-300)))


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
