"""The data and the result of a training: series, chunks of them, and the trained network.

A `TrainingSeries` holds the inputs and targets of one series. The forecaster writes all series end
to end as `JoinedSeries`; `join_series` finds the `Chunks` in them, of which a gradient step takes a
random batch. Levenberg-Marquardt takes the series one by one. Both return a `TrainedNetwork`.

Every chunk begins with a reset state, and has a loss at each of its steps but those of the burn-in,
which fills the memory (truncated back-propagation through time, Williams & Peng 1990); for a
network that needs its whole window (`Network.every_step`) at the last step alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.networks.inference.steppers import allocate_aligned
from forecast.system.errors import InputError

Weights = dict[str, np.ndarray]
Curve = list[tuple[int, float, float]]
ValidationLosses = Callable[[Weights], np.ndarray]
"""From weights by name to the losses (1 + folds,) on the validation block, in trials (1,): the
first chooses the step, each further one, on the other folds, the step of a fold.
"""


@dataclass(frozen=True)
class TrainingSeries:
    """One series up to its train end, in scaled units. T rows, H horizon, O outputs.

    past (T, C) float32 and future (T + H, F) float32: the inputs. target (T, H, O) float32: the
    residuals of the skip for the forecasts made at row t, or the targets that the head makes of
    them. sample_weight (T, H, O) bool: false where a target is missing or lies outside the train
    block; for Levenberg-Marquardt it may be any factor of the residual. offset (T, H, O) float32:
    only for a head that has one.
    """

    past: np.ndarray
    future: np.ndarray
    target: np.ndarray
    sample_weight: np.ndarray
    offset: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class JoinedSeries(TrainingSeries):
    """All series end to end, with H rows of zeros after each, so that `future` has the same row
    numbers as the other arrays. `spans`: (first row, number of rows) of each series.
    """

    spans: tuple[tuple[int, int], ...]

    @classmethod
    def allocate(cls, lengths: Sequence[int], like: TrainingSeries) -> JoinedSeries:
        """Zeros for series of `lengths` rows, with the columns and dtypes of `like`.

        Each array is aligned to a cache line, so that TensorFlow uses its memory without a copy,
        which for thousands of series would be most of the process's memory.
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
        """Copies of the series. Targets with a sample weight of 0 are set to 0, because the loss of
        NaN or 1e30 would not vanish when it is multiplied by 0.
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
            stop = first + rows
            series = TrainingSeries(
                past=self.past[first:stop],
                future=self.future[first : stop + horizon],
                target=self.target[first:stop],
                sample_weight=self.sample_weight[first:stop],
                offset=None if self.offset is None else self.offset[first:stop],
            )
            result.append(series)
        return result


@dataclass(frozen=True, kw_only=True)
class Chunks(JoinedSeries):
    """The joined series, and the rows at which chunks of `length` rows may start.

    `starts`: every row from which a chunk lies inside one series and has a target with a weight
    after its burn-in. The first `burn_in` rows of a chunk have no loss.
    """

    starts: np.ndarray
    length: int
    burn_in: int

    def random_starts(self, steps: int, batch_size: int, seed: int) -> np.ndarray:
        """(steps, batch_size) int32: the starts of the batch of every step. They go through all of
        `starts` in random order, then again in another order, so that each is drawn equally often.
        """
        generator = np.random.default_rng(seed)
        needed = steps * batch_size
        rounds = -(-needed // len(self.starts))
        order = np.concatenate([generator.permutation(self.starts) for _ in range(rounds)])
        return order[:needed].reshape(steps, batch_size).astype(np.int32)


@dataclass(frozen=True)
class TrainedNetwork:
    """The weights with the lowest validation loss, and their step. `curve`: (step, train loss,
    validation loss); `note`: a sentence on anything unusual. `best_by_fold`: for each fold of
    validation, the step with the lowest loss on the other folds, and the weights after it.
    """

    weights: Weights
    best_step: int
    validation_loss: float
    curve: Curve = field(repr=False)
    note: str = ""
    best_by_fold: tuple[tuple[int, Weights], ...] = field(default=(), repr=False)


def join_series(
    series: JoinedSeries | Sequence[TrainingSeries], *, n_supervised: int, burn_in: int
) -> Chunks:
    """The `Chunks` of `series`, which are copied unless they are joined already. A chunk has
    `burn_in` + `n_supervised` rows, or fewer where the shortest series has fewer. `InputError` for
    a series with fewer than 2 rows.
    """
    joined = series if isinstance(series, JoinedSeries) else JoinedSeries.of(series)
    shortest = min(rows for _, rows in joined.spans)
    if shortest < 2:
        raise InputError(
            f"A series has {shortest} train rows; training needs at least 2. Move `train_end`"
            " later."
        )
    burn_in = min(burn_in, shortest - 1)
    length = min(burn_in + n_supervised, shortest)
    starts = _starts_with_loss(joined, length, burn_in)
    return Chunks(**vars(joined), starts=starts, length=length, burn_in=burn_in)


def _starts_with_loss(joined: JoinedSeries, length: int, burn_in: int) -> np.ndarray:
    """(n,) int32: `Chunks.starts`; `InputError` where there are none."""
    starts = np.concatenate(
        [first + np.arange(rows - length + 1, dtype=np.int32) for first, rows in joined.spans]
    )
    # n_before[t]: how many of the rows before t have a target with a weight
    n_before = np.zeros(len(joined.sample_weight) + 1, np.int32)
    np.cumsum(joined.sample_weight.any(axis=(1, 2)), out=n_before[1:])
    supervised_starts = starts[n_before[starts + length] > n_before[starts + burn_in]]
    if len(supervised_starts) == 0:
        raise InputError(
            "No chunk of the train block has an observed target; check the data and `train_end`."
        )
    return supervised_starts
