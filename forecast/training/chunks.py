"""What a training is given and what it returns: chunks of the series, every step supervised, and
weights.

A `TrainingSeries` is what a network learns of one series. The forecaster writes them end to end as
`JoinedSeries`, `join_series` finds `Chunks` in them, of which a gradient step takes a batch, and a
training returns a `TrainedNetwork`. Levenberg-Marquardt takes the series one by one.
No TensorFlow is needed here.

The batches of a training are drawn at random (`random_starts`): every chunk begins with an empty
memory. One pass over it gives a loss at each of its steps (the summed loss of back-propagation
through time; a chunk is the truncation of Williams & Peng 1990). The burn-in before it fills the
memory and is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.networks.inference.steppers import allocate_aligned
from forecast.system.errors import InputError

Weights = dict[str, np.ndarray]
Curve = list[tuple[int, float, float]]


@dataclass(frozen=True)
class TrainingSeries:
    """One series up to its train end. T rows, H horizon, O outputs, all in scaled units.

    past (T, C) float32; future (T + H, F) float32; target (T, H, O) float32: what the network has
    to add to the skip for the forecasts made at row t, or what its head makes of that;
    sample_weight (T, H, O) bool, false where a target is missing or lies outside the train block,
    or for Levenberg-Marquardt any factor of the residual; offset (T, H, O) float32, where the head
    has one.
    """

    past: np.ndarray
    future: np.ndarray
    target: np.ndarray
    sample_weight: np.ndarray
    offset: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class JoinedSeries:
    """All series end to end, H spare rows of zeros after each, so that `future` has the same row
    numbers as the rest. `spans`: (first row, rows) of each series; the other fields as in
    `TrainingSeries`.
    """

    past: np.ndarray
    future: np.ndarray
    target: np.ndarray
    sample_weight: np.ndarray
    spans: tuple[tuple[int, int], ...]
    offset: np.ndarray | None = None

    @classmethod
    def allocate(cls, lengths: Sequence[int], like: TrainingSeries) -> JoinedSeries:
        """Zeros for series of `lengths` rows, in the columns and dtypes of `like`.

        Each array begins on a line of the cache, so that TensorFlow uses its memory without a copy:
        for thousands of series that copy would be most of a process's memory.
        """
        edges = np.cumsum([0, *(rows + like.target.shape[1] for rows in lengths)]).tolist()
        arrays = {}
        for name, array in vars(like).items():
            if array is not None:
                arrays[name] = allocate_aligned((edges[-1], *array.shape[1:]), array.dtype)
                arrays[name].fill(0)
        return cls(**arrays, spans=tuple(zip(edges, lengths, strict=False)))

    @classmethod
    def of(cls, series: Sequence[TrainingSeries]) -> JoinedSeries:
        """Copies of the series; a target that does not count is 0: NaN or 1e30 would give a loss
        that a weight of zero does not remove.
        """
        joined = cls.allocate([len(each.past) for each in series], series[0])
        for copy, each in zip(joined.split(), series, strict=True):
            for name, array in vars(copy).items():
                if array is not None:
                    array[:] = getattr(each, name)
        joined.target[joined.sample_weight == 0] = 0
        return joined

    def split(self) -> list[TrainingSeries]:
        """The series one by one, as views of the joined rows."""
        horizon = self.target.shape[1]
        result = []
        for first, rows in self.spans:
            last = first + rows
            arrays = [self.target[first:last], self.sample_weight[first:last]]
            if self.offset is not None:
                arrays.append(self.offset[first:last])
            past = self.past[first:last]
            result.append(TrainingSeries(past, self.future[first : last + horizon], *arrays))
        return result


@dataclass(frozen=True, kw_only=True)
class Chunks(JoinedSeries):
    """The joined series, and where chunks of `length` rows may begin in them.

    `starts`: every row from which a chunk lies inside one series and has a target that counts. The
    first `burn_in` rows of a chunk carry no loss.
    """

    starts: np.ndarray
    length: int
    burn_in: int

    def random_starts(self, steps: int, batch_size: int, seed: int) -> np.ndarray:
        """(steps, batch_size) int32: the starts of every step's batch. All of
        `starts` in random order, then all in another, so that every row counts alike.
        """
        generator = np.random.default_rng(seed)
        needed = steps * batch_size
        rounds = -(-needed // len(self.starts))
        order = np.concatenate([generator.permutation(self.starts) for _ in range(rounds)])
        return order[:needed].reshape(steps, batch_size).astype(np.int32)


@dataclass(frozen=True)
class TrainedNetwork:
    """The weights with the lowest validation loss, and the step they are of. `curve`: (step, train
    loss, validation loss); `note`: a sentence on what was unusual.

    `best_by_fold`: for each fold of validation the step with its lowest loss, and the weights then.
    """

    weights: Weights
    best_step: int
    validation_loss: float
    curve: Curve = field(repr=False)
    note: str = ""
    best_by_fold: tuple[tuple[int, Weights], ...] = field(default=(), repr=False)


def join_series(
    series: JoinedSeries | Sequence[TrainingSeries], *, supervised: int, burn_in: int
) -> Chunks:
    """The series end to end, and where chunks begin; without a copy of those that are joined.

    Chunks shorter than asked are made when the shortest series demands it; `InputError` where it
    has fewer than 2 rows.
    """
    joined = series if isinstance(series, JoinedSeries) else JoinedSeries.of(series)
    shortest = min(rows for _, rows in joined.spans)
    if shortest < 2:
        raise InputError(
            f"A series has {shortest} train rows; training needs at least 2. Move `train_end`"
            " later."
        )
    burn_in = min(burn_in, shortest - 1)
    length = min(burn_in + supervised, shortest)
    starts = _starts_with_loss(joined, length, burn_in)
    return Chunks(**vars(joined), starts=starts, length=length, burn_in=burn_in)


def _starts_with_loss(joined: JoinedSeries, length: int, burn_in: int) -> np.ndarray:
    """Every row from which a chunk lies inside one series and has, after its burn-in, at least one
    target that counts; `InputError` where there is none.
    """
    starts = np.concatenate(
        [first + np.arange(rows - length + 1, dtype=np.int32) for first, rows in joined.spans]
    )
    # before[t]: how many of the rows 0 ... t - 1 have a target that counts
    before = np.zeros(len(joined.sample_weight) + 1, np.int32)
    np.cumsum(joined.sample_weight.any(axis=(1, 2)), out=before[1:])
    supervised_starts = starts[before[starts + length] > before[starts + burn_in]]
    if len(supervised_starts) == 0:
        raise InputError(
            "No chunk of the train block has an observed target; check the data and `train_end`."
        )
    return supervised_starts
