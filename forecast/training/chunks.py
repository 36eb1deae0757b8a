"""What a training is given and what it returns: chunks of the series, every step supervised, and
weights.

The forecaster makes a `TrainingSeries` of each series, `join_series` puts them end to end as
`Chunks`, of which a gradient step takes a batch, and a training returns a `TrainedNetwork`.
Levenberg-Marquardt takes the series as they are. No TensorFlow is needed here.

`training.state` of an entry says how the batches of one training follow each other:

    reset    at random (`random_starts`): every chunk begins with an empty memory
    carry    each column of the batch reads its series from chunk to chunk (`consecutive_starts`),
             so that a chunk begins with the memory that the one before it left

One pass over a chunk gives a loss at each of its steps (the summed loss of back-propagation through
time; a chunk is the truncation of Williams & Peng 1990). The warm-up before it fills the memory and
is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from forecast.system.errors import InputError

Weights = dict[str, np.ndarray]
Curve = list[tuple[int, float, float]]


@dataclass(frozen=True)
class TrainingSeries:
    """One series up to its train end. T rows, H horizon, O outputs, all in scaled units.

    past (T, C) float32; future (T + H, F) float32; target (T, H, O) float32: what the network has
    to add to the skip for the forecasts made at row t, or what its head makes of that; weight (T,
    H, O) bool, false where a target is missing or lies outside the train block; offset (T, H, O)
    float32, where the head has one.
    """

    past: np.ndarray
    future: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    offset: np.ndarray | None = None


@dataclass(frozen=True)
class Chunks:
    """All series end to end, and where chunks of `length` rows may begin in them.

    `starts`: every row from which a chunk lies inside one series and has a target that counts. The
    first `warm_up` rows of a chunk carry no loss. `future` keeps the same row numbers as
    `past`, so H spare rows stand between the series. `spans`: (first row, rows) of each series.
    `target`, `weight`, `offset`: as in `TrainingSeries`.
    """

    past: np.ndarray
    future: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    starts: np.ndarray
    length: int
    warm_up: int
    spans: tuple[tuple[int, int], ...]
    offset: np.ndarray | None = None

    def random_starts(self, steps: int, batch_size: int, seed: int) -> np.ndarray:
        """(steps, batch_size) int32: the starts of every step's batch, for `state: reset`. All of
        `starts` in random order, then all in another, so that every row counts alike.
        """
        generator = np.random.default_rng(seed)
        needed = steps * batch_size
        rounds = -(-needed // len(self.starts))
        order = np.concatenate([generator.permutation(self.starts) for _ in range(rounds)])
        return order[:needed].reshape(steps, batch_size).astype(np.int32)

    def consecutive_starts(
        self, steps: int, batch_size: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Two (steps, batch_size): int32 starts for `state: carry`, those of a column one chunk
        after another; bool, whether a chunk is the first of its series and begins with an empty
        memory.

        Every series is cut into whole chunks, with rows left over at its ends. The columns begin
        evenly spread over all chunks and pass through them cyclically: truncated back-propagation
        with the state carried (Williams & Peng 1990).
        """
        generator = np.random.default_rng(seed)
        starts = []
        begins_series = []
        for first, rows in self.spans:
            count, odd = divmod(rows, self.length)
            starts.append(first + generator.integers(odd + 1) + self.length * np.arange(count))
            begins_series.append(np.arange(count) == 0)
        total = sum(map(len, starts))
        columns = generator.integers(total) + np.arange(batch_size) * total // batch_size
        positions = (columns[None, :] + np.arange(steps)[:, None]) % total
        begins = np.concatenate(begins_series)[positions]
        begins[0] = True
        return np.concatenate(starts)[positions].astype(np.int32), begins


@dataclass(frozen=True)
class TrainedNetwork:
    """The weights with the lowest validation loss, and the step they are of. `curve`: (step, train
    loss, validation loss); `note`: a sentence on what was unusual.

    `best_by_fold`: step and weights with the lowest of each further loss that validation gave,
    those of its folds.
    """

    weights: Weights
    best_step: int
    validation_loss: float
    curve: Curve = field(repr=False)
    note: str = ""
    best_by_fold: tuple[tuple[int, Weights], ...] = field(default=(), repr=False)


def join_series(series: list[TrainingSeries], *, supervised: int, warm_up: int) -> Chunks:
    """Put the series end to end.

    Chunks shorter than asked are made when the shortest series demands it; `InputError` where it
    has fewer than 2 rows.
    """
    horizon = series[0].target.shape[1]
    shortest = min(len(s.past) for s in series)
    if shortest < 2:
        raise InputError(
            f"A series has {shortest} train rows; training needs at least 2. Move `train_end`"
            " later."
        )
    warm_up = min(warm_up, shortest - 1)
    length = min(warm_up + supervised, shortest)
    offsets = [s.offset for s in series if s.offset is not None]
    starts = []
    spans = []
    first = 0
    for s in series:
        starts.append(first + np.arange(len(s.past) - length + 1, dtype=np.int32))
        spans.append((first, len(s.past)))
        first += len(s.past) + horizon
    # before anything is joined, which of thousands of series is most of the memory
    starts_with_loss = _starts_with_loss(np.concatenate(starts), series, length, warm_up, horizon)
    target = _stack_series([s.target for s in series], horizon)
    weight = _stack_series([s.weight for s in series], horizon)
    target[~(weight > 0)] = 0  # zero times the loss of NaN or 1e30 would not be zero
    return Chunks(
        past=_stack_series([s.past for s in series], horizon),
        future=np.concatenate([s.future for s in series]),
        target=target,
        weight=weight,
        starts=starts_with_loss,
        length=length,
        warm_up=warm_up,
        spans=tuple(spans),
        offset=_stack_series(offsets, horizon) if offsets else None,
    )


def _stack_series(parts: list[np.ndarray], spare: int) -> np.ndarray:
    """The parts (T, ...) end to end, `spare` rows of zeros behind each."""
    gap = np.zeros((spare, *parts[0].shape[1:]), parts[0].dtype)
    pieces: list[np.ndarray] = []
    for part in parts:
        pieces += [part, gap]
    return np.concatenate(pieces)


def _starts_with_loss(
    starts: np.ndarray, series: list[TrainingSeries], length: int, warm_up: int, horizon: int
) -> np.ndarray:
    """Those of `starts` whose chunk, behind its warm-up, has at least one target that counts;
    `InputError` where none has.
    """
    counts = _stack_series(
        [s.weight.reshape(len(s.weight), -1).sum(axis=1) for s in series], horizon
    )
    total = np.concatenate([[0], np.cumsum(counts)])
    supervised_starts = starts[total[starts + length] > total[starts + warm_up]]
    if len(supervised_starts) == 0:
        raise InputError(
            "No chunk of the train block has an observed target; check the data and `train_end`."
        )
    return supervised_starts
