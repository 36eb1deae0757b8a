"""Measured experiments: their type, their scaling, and what they show before any net is trained.

`saturation` finds bounds the output sits on, `dead_times` and `memory` the range of delays at which
the inputs act. Arrays have time down the rows: u (T, I), y (T, O).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forecast.system.errors import InputError

Array = npt.NDArray[np.float64]

AT_BOUND = 1e-4  # of the range: a value nearer than this to an extreme counts as on it
BOUND_SHARE = 0.01  # of the rows on an extreme, in stretches of three or more, make it a bound
MARGIN = 1.0  # ranges beyond the data at which an output without a bound is held
LEAST_DEAD_TIME = 3  # steps
CLEAR_GAIN = 1.5  # times the gain of the nearest delays: less is no dead time
PAST_OUTPUTS = 3  # delays of y in the ARX model that looks for dead times
MEMORY_OUTPUTS = 5  # delays of y in the ARX model that looks for the longest input delay
# large enough for any value over it to vanish, small enough for it to be no denormal number
UNSEEN = 1e200
MAX_ROWS = 10_000  # of an ARX model: enough to choose its delays


@dataclass(frozen=True)
class Experiment:
    """One measured sequence: u (T, I), None without inputs; y (T, O), NaN where missing; a single
    column also as (T,).

    `weight` (T, O) or (T,) multiplies the squared errors (MATLAB's EW). Several experiments are
    several sequences: the first rows of each fill its delays, and no delay reaches from one into
    another.
    """

    u: Array
    y: Array
    weight: Array | None = None

    def __init__(
        self, u: npt.ArrayLike | None, y: npt.ArrayLike, weight: npt.ArrayLike | None = None
    ) -> None:
        outputs = columns("y", y)
        inputs = np.zeros((len(outputs), 0)) if u is None else columns("u", u)
        if len(inputs) != len(outputs):
            raise InputError(
                f"Rows of u: {len(inputs)}, of y: {len(outputs)}; wanted one of each for every"
                " time."
            )
        refuse_gaps(inputs)
        if not np.isfinite(outputs).any(axis=0).all():
            raise InputError("A column of y has no observed value at all. Leave it out.")
        counted = None if weight is None else _weights(weight, outputs)
        self.__dict__.update(u=inputs, y=outputs, weight=counted)  # frozen: no other way in

    def __len__(self) -> int:
        return len(self.y)

    @property
    def counted(self) -> Array:
        """(T, O): the weight of each squared error, 0 where y is missing."""
        observed = np.isfinite(self.y).astype(np.float64)
        return observed if self.weight is None else observed * self.weight

    def changed(self, **arrays: Array | None) -> Experiment:
        """With other u, y or weight of the same kind, which are not checked again."""
        made = object.__new__(Experiment)
        made.__dict__.update(vars(self) | arrays)
        return made

    def part(self, rows: Any) -> Experiment:
        """The chosen rows (a slice, numbers or a mask); a column of y may have no observed value
        among them.
        """
        weight = None if self.weight is None else self.weight[rows]
        return self.changed(u=self.u[rows], y=self.y[rows], weight=weight)


def columns(name: str, values: npt.ArrayLike) -> Array:
    """(T,) or (T, columns) as (T, columns) float64; `InputError` for other ranks, for text and for
    infinite values.
    """
    try:
        # NumPy would make nanoseconds of dates, and drop imaginary parts
        if np.asarray(values).dtype.kind in "mMc":
            raise TypeError("dates, times or complex numbers")
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`{name}` is no table of numbers ({error}). Give one row of numbers per time."
        ) from error
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2:
        raise InputError(
            f"`{name}` has shape {found.shape}; wanted (rows, columns) or (rows,), each sequence"
            " alone."
        )
    if np.isinf(found).any():
        raise InputError(
            f"`{name}` has infinite values; wanted numbers, or NaN for a missing y. Clean it first."
        )
    return found


def refuse_gaps(u: Array) -> None:
    """`InputError` that names the first missing input."""
    if np.isnan(u).any():
        row, column = np.argwhere(np.isnan(u))[0]
        raise InputError(
            f"u is missing in row {row}, column {column}; only y may have gaps. Fill it, or cut"
            " there."
        )


def _weights(weight: npt.ArrayLike, y: Array) -> Array:
    found = columns("weight", weight)
    if found.shape == (len(y), 1):
        found = np.repeat(found, y.shape[1], axis=1)
    if found.shape != y.shape or np.isnan(found).any() or (found < 0).any():
        raise InputError(
            f"`weight` has shape {found.shape}; wanted {y.shape} or ({len(y)},), numbers from 0 up."
        )
    return found


def sizes_of(experiments: Sequence[Experiment]) -> tuple[int, int]:
    """(inputs, outputs), the same for all; `InputError` where they differ or there is none."""
    if other := [type(e).__name__ for e in experiments if not isinstance(e, Experiment)]:
        raise InputError(f"Got {other[0]} where an experiment was wanted. Give `Experiment(u, y)`.")
    sizes = {(e.u.shape[1], e.y.shape[1]) for e in experiments}
    if not sizes:
        raise InputError(
            "There is nothing to train on; wanted at least one experiment. Give `Experiment(u, y)`."
        )
    if len(sizes) > 1:
        raise InputError(
            f"The experiments have (inputs, outputs) {sorted(sizes)}; wanted the same for all."
        )
    return sizes.pop()


def balanced(experiments: Sequence[Experiment]) -> list[Experiment]:
    """With weights that are 1 on average where they count: only their ratios are to act, not their
    size.
    """
    sizes_of(experiments)
    counted = np.concatenate([e.counted.ravel() for e in experiments])
    mean = float(counted.sum()) / (np.count_nonzero(counted) or 1) or 1.0
    return [e if mean == 1.0 else e.changed(weight=e.counted / mean) for e in experiments]


def cautions(experiments: Sequence[Experiment], n_weights: int) -> tuple[str, ...]:
    """What the user of a model of so many weights should know of the rows that it is trained on, a
    sentence each.
    """
    u = np.concatenate([e.u for e in experiments])
    rows = sum(int(np.count_nonzero(e.counted)) for e in experiments)
    found = [
        f"Input {column} is constant in the rows that train: nothing is learnt of it."
        for column in np.flatnonzero(np.ptp(u, axis=0) == 0 if len(u) else [])
    ]
    if rows < n_weights:
        found.append(
            f"{rows} values of y train {n_weights} weights: take fewer units or delays, or a longer"
            " record."
        )
    return tuple(found)


@dataclass(frozen=True)
class Standardization:
    """Mean and deviation of every input (I,) and output (O,); a constant input has `UNSEEN`, and so
    never acts.
    """

    u_mean: Array
    u_scale: Array
    y_mean: Array
    y_scale: Array

    @classmethod
    def fit(cls, experiments: Sequence[Experiment]) -> Standardization:
        """Over the rows of all experiments, missing y left out; `InputError` for an output that
        says nothing.
        """
        u = np.concatenate([e.u for e in experiments])
        y = np.concatenate([e.y for e in experiments])
        if not np.isfinite(y).any(axis=0).all():
            raise InputError(
                "A column of y has no observed value among the rows that train. Divide them"
                " otherwise."
            )
        for column in np.flatnonzero(np.nanmax(y, axis=0) == np.nanmin(y, axis=0)):
            raise InputError(
                f"Output {column} is constant: there is nothing to identify. Leave it out."
            )
        # rounding gives a constant a deviation too
        size = np.where(np.ptp(u, axis=0) > 0, u.std(axis=0), UNSEEN)
        return cls(u.mean(axis=0), size, np.nanmean(y, axis=0), np.nanstd(y, axis=0))

    def scale_u(self, u: Array) -> Array:
        return np.asarray((u - self.u_mean) / self.u_scale)

    def scale_y(self, y: Array) -> Array:
        return np.asarray((y - self.y_mean) / self.y_scale)

    def unscale_y(self, y: Array) -> Array:
        return np.asarray(y * self.y_scale + self.y_mean)

    def scale(self, experiment: Experiment) -> Experiment:
        """The experiment in standard deviations from the mean, its weights as they were."""
        return experiment.changed(u=self.scale_u(experiment.u), y=self.scale_y(experiment.y))


def saturation(experiments: Sequence[Experiment]) -> tuple[Array, Array]:
    """Bounds low (O,), high (O,): the extreme where the output sits on it, else `MARGIN` ranges
    beyond the data.

    The second kind never acts on a net that follows the data; it keeps a diverging free run finite.
    """
    y = np.concatenate([e.y for e in experiments])
    least, most = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    span = most - least
    inside = AT_BOUND * span
    low = np.where(_is_bound(y <= least + inside), least + inside, least - MARGIN * span)
    return low, np.where(_is_bound(y >= most - inside), most - inside, most + MARGIN * span)


def _is_bound(on: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(O,): whether enough rows are on the extreme, counting only stretches of at least three."""
    long = on[:-2] & on[1:-1] & on[2:]
    return (long.mean(axis=0) >= BOUND_SHARE) & ~on.all(axis=0)


def dead_times(experiments: Sequence[Experiment], deepest: int = 40) -> tuple[int, ...]:
    """(I,) steps to hold each input back: its dead time less one, 0 where two tests do not both
    find one.

    1. Delays within the dead time can be left out of an ARX model with all delays (Schwarz's
    criterion).
    2. Neighbouring delays of a smooth input replace each other in the first test, so the two delays
    that alone lower
       the error most beside past y must lie beyond the dead time, and clearly (`CLEAR_GAIN`).
    """
    last = min(deepest, min(map(len, experiments)) // 20)
    inputs, outputs = experiments[0].u.shape[1], experiments[0].y.shape[1]
    if last < LEAST_DEAD_TIME:
        return (0,) * inputs
    x, y = arx_regressors(experiments, last)
    chosen = []
    for column in range(inputs):
        # columns of x, nearest delay first
        delays = PAST_OUTPUTS * outputs + column + inputs * np.arange(last + 1)
        dead = min(_superfluous(x, y, delays), _best_pair(x, y, delays))
        chosen.append(dead - 1 if dead >= LEAST_DEAD_TIME else 0)
    return tuple(chosen)


def memory(experiments: Sequence[Experiment], deepest: int = 20) -> int:
    """The number of input delays, from 0 on, of the linear ARX model with the least Schwarz
    criterion.

    A nonlinear dependence shows in a linear model too as long as the nearest delays matter at all;
    0 where the experiments are too short to tell.
    """
    last = min(deepest, min(map(len, experiments)) // 20) - 1
    if last < 0:
        return 0
    x, y = arx_regressors(experiments, last, MEMORY_OUTPUTS)
    inputs, past = experiments[0].u.shape[1], MEMORY_OUTPUTS * y.shape[1]
    widths = np.arange(1, last + 2)
    errors = np.array([deviance(x[:, [*range(past + inputs * width), -1]], y) for width in widths])
    return int(widths[np.argmin(errors + np.log(len(y)) * y.shape[1] * inputs * widths)])


def _superfluous(x: Array, y: Array, delays: npt.NDArray[np.int64]) -> int:
    """How many of the nearest delays a model with all others does without."""
    errors = np.array(
        [deviance(np.delete(x, delays[:dead], axis=1), y) for dead in range(len(delays))]
    )
    worse = errors - errors[0] > np.log(len(y)) * y.shape[1] * np.arange(len(delays))
    return int(np.argmax(worse)) - 1 if worse.any() else 0


def _best_pair(x: Array, y: Array, delays: npt.NDArray[np.int64]) -> int:
    """The first of the two neighbouring delays that lower the error most beside past y; 0 where the
    nearest do.
    """
    past = x[:, [*range(PAST_OUTPUTS * y.shape[1]), -1]]
    pairs = (list(pair) for pair in itertools.pairwise(delays))
    gains = deviance(past, y) - np.array(
        [deviance(np.hstack([past, x[:, pair]]), y) for pair in pairs]
    )
    best = int(np.argmax(gains))
    return best if gains[best] > CLEAR_GAIN * gains[:2].max() else 0


def arx_regressors(
    experiments: Sequence[Experiment], last: int, past_outputs: int = PAST_OUTPUTS
) -> tuple[Array, Array]:
    """Regressors (rows, past_outputs * O + (last + 1) * I + 1) and y (rows, O) of the first
    `MAX_ROWS` observed rows.

    Columns: y at delays 1 ... past_outputs, all inputs at delays 0 ... last, a one.
    """
    past, target = [], []
    for e in experiments:
        rows = np.arange(max(last, past_outputs), len(e))
        lagged = [e.y[rows - k] for k in range(1, past_outputs + 1)]
        lagged += [e.u[rows - k] for k in range(last + 1)]
        past.append(np.hstack([*lagged, np.ones((len(rows), 1))]))
        target.append(e.y[rows])
    x, y = np.concatenate(past), np.concatenate(target)
    seen = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    return x[seen][:MAX_ROWS], y[seen][:MAX_ROWS]


def deviance(x: Array, y: Array) -> float:
    """-2 log likelihood of the least-squares fit, up to a constant, summed over the outputs."""
    solution, *_ = np.linalg.lstsq(x, y, rcond=None)
    return float(len(y) * np.sum(np.log(np.mean((y - x @ solution) ** 2, axis=0) + 1e-300)))


def delayed(u: Array, lags: Sequence[int] | npt.NDArray[np.int64]) -> Array:
    """u (T, I) with column i held back by lags[i] rows; the first value stands in before the first
    row.
    """
    rows, held = np.arange(len(u))[:, None], np.asarray(lags, np.int64)
    return np.asarray(u[np.maximum(rows - held, 0), np.arange(len(held))])


def unseen_inputs(experiments: Sequence[Experiment], rows: int = 1000) -> Iterator[Array]:
    """Bounded inputs (rows, I) to test a free run on: a measured one backwards, a tenth larger, and
    random steps between its extremes.
    """
    u = experiments[0].u[: 2 * rows]
    yield u[::-1]
    middle = u.mean(axis=0)
    yield middle + 1.1 * (u - middle)
    rng = np.random.default_rng(0)  # fixed: the same inputs for every net
    low, high = u.min(axis=0), u.max(axis=0)
    levels = rng.uniform(low, high, size=(rows // 25 + 1, u.shape[1]))
    yield np.repeat(levels, 25, axis=0)[:rows]


def fold_of(
    experiments: list[Experiment], number: int, folds: int, start: int
) -> tuple[list[Experiment], list[Experiment]]:
    """(train, held out): all rows of both, y missing in the first in block `number` of every
    experiment, in the other elsewhere, both behind the `start` rows of a free run. Of as many
    experiments as folds, whole ones are held out.
    """
    train, judged = list[Experiment](), list[Experiment]()
    for k, e in enumerate(experiments):
        behind = np.arange(len(e)) >= start
        # a block in a long gap would judge nothing
        seen = np.cumsum(behind & np.isfinite(e.y).any(axis=1))
        block = (
            (seen - 1) * folds // seen[-1]
            if len(experiments) < folds
            else np.full(len(e), k % folds)
        )
        for part, hidden in ((train, block == number), (judged, block != number)):
            part.append(e.changed(y=np.where((hidden & behind)[:, None], np.nan, e.y)))
    return train, judged


def places(experiment: Experiment, start: int) -> npt.NDArray[np.intp]:
    """The rows from which on y is measured for `start` rows: a free run can begin there."""
    before = np.concatenate([[0], np.cumsum(np.isnan(experiment.y).any(axis=1))])
    return np.flatnonzero(before[start:] == before[: len(before) - start])


def startable(experiment: Experiment, start: int) -> list[Experiment]:
    """From the first place where a free run can start; none when too few rows are left."""
    starts = places(experiment, start)
    part = experiment.part(slice(int(starts[0]) if len(starts) else len(experiment), None))
    return [part] if np.isfinite(part.y).any(axis=1).sum() > 3 * start else []
