"""The sums behind a linear map of a long lookback, from the rows of a series instead of windows.

A window of a day of minutes has 1,440 rows, and the next window repeats all but one of them. So the
sums over the windows that end at `first` .. `last` obey a recursion (those of a Hankel matrix):

    G[i + 1, j + 1] = G[i, j] + a[first - 1 - i] b[first - 1 - j] - a[last - i] b[last - j]
    G[i, j] = sum over t = first .. last of a[t - i] b[t - j]

Two things are still summed over rows: the first row and column of G, as correlations by FFT, and
the products with the inputs that are no lag of a sequence (the calendar). The result differs from a
sum over windows by rounding, so it is used only where it saves much time (`MIN_OPERATIONS`): by
`models.problem`, for the fit of a linear skip and for the sums that `models.choice` compares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import scipy

from forecast.data.windows import Layout, fill_gaps, gather_windows
from forecast.models.skip import FeatureName, Skip, feature_names

MIN_OPERATIONS = 2e10
"""Cutoffs times squared lags from which `LongWindows` is used (docs/research/seconds.md)."""
ROWS_PER_BATCH = 1024
"""Rows for which the columns are computed at once."""


class Column(NamedTuple):
    """An input or output at a cutoff t that is the value of a sequence at row t - lag.

    number: the channel of a past input, or the number of the target.
    """

    source: Literal["past", "target"]
    number: int
    lag: int


class LagRange(NamedTuple):
    """The columns values[t - first_lag], values[t - first_lag - 1], ... at a cutoff t."""

    values: np.ndarray
    first_lag: int
    n_lags: int

    def at(self, rows: np.ndarray) -> np.ndarray:
        """The columns (n, n_lags) at the cutoffs `rows` (n,)."""
        return self.values[rows[:, None] - self.first_lag - np.arange(self.n_lags)]


def suits_long_windows(shape: Skip, channels: Layout, n_cutoffs: int) -> bool:
    """Whether `LongWindows` computes the sums of `shape` over `n_cutoffs` cutoffs of a series:
    where it saves time, no channel holds changes, and no input is known ahead. (Differences from
    the newest value, which the columns of a target are, can be summed.)
    """
    is_plain = not channels.change_channels and not any(channels.step)
    return is_plain and n_cutoffs * shape.lags**2 >= MIN_OPERATIONS


class LongWindows:
    """Sums the `products_matrix` of a linear map over the windows of one series without making the
    windows.
    """

    def __init__(
        self,
        shape: Skip,
        channels: Layout,
        first_cutoff: int,
        z: np.ndarray,
        future: np.ndarray,
    ) -> None:
        """first_cutoff: the first row with a whole window; z (T, C): scaled rows; future (T + H,
        F): calendar and static inputs.
        """
        self._channels = channels
        self._future = future
        # what is no lag of a sequence reads at most these newest rows
        self._newest = replace(shape, lags=max(shape.product_lags, 2))
        self._filled = fill_gaps(z[None])[0][0].astype(np.float32).astype(float)
        self.is_regular = _regular_cutoffs(z, channels.outputs, first_cutoff, shape.horizon)
        """(T,) bool: the cutoffs that the recursion counts right: the first row of their window is
        observed, so that gaps are filled as in the whole series, and so are the targets at the
        cutoff and at the last step, so that gaps between them are interpolated alike.
        """
        columns, subtracted = _columns_of(shape, channels)
        ranges: dict[tuple[Literal["past", "target"], int], list[int]] = {}
        for column in [*columns, *subtracted]:
            if isinstance(column, Column):
                ranges.setdefault(column[:2], []).append(column.lag)
        position: dict[Column | FeatureName | None, int] = {}
        self._lags = []
        for (source, number), lags in ranges.items():
            first_lag = min(lags)
            count = max(lags) - first_lag + 1
            self._lags.append(LagRange(self._rows_of(source, number, z), first_lag, count))
            for lag in range(first_lag, first_lag + count):
                position[Column(source, number, lag)] = len(position)
        self._n_lagged = len(position)
        self._others = []
        names_of_columns = set(columns)
        for number, name in enumerate(feature_names(self._newest, channels)):
            if name in names_of_columns and name not in position:
                self._others.append(number)
                position[name] = len(position)
        self._columns = [*(position[column] for column in columns), len(position)]
        # None is a column of zeros after the ones, subtracted where nothing else is
        position[None] = len(position) + 1
        self._subtracted = [*(position[column] for column in subtracted), position[None]]

    def _rows_of(self, source: str, number: int, z: np.ndarray) -> np.ndarray:
        """(T,): the sequence of a column; the gaps of a target are interpolated linearly."""
        if source == "past":
            return self._filled[:, self._channels.value.index(number)]
        target = z[:, number]
        known = np.flatnonzero(np.isfinite(target))
        return np.interp(np.arange(len(target)), known, target[known])

    def sum_products(self, cutoffs: np.ndarray) -> np.ndarray:
        """The `products_matrix` summed over the regular cutoffs (`is_regular`) of `cutoffs`, which
        are in rising order.
        """
        size = self._n_lagged + len(self._others) + 1
        total = np.zeros((size + 1, size + 1))
        for stretch in np.split(cutoffs, np.flatnonzero(np.diff(cutoffs) > 1) + 1):
            if len(stretch):
                total[:-1, :-1] += self._sum_stretch(int(stretch[0]), int(stretch[-1]) + 1)
        left_out = cutoffs[~self.is_regular[cutoffs]]
        for start in range(0, len(left_out), ROWS_PER_BATCH):
            rows = left_out[start : start + ROWS_PER_BATCH]
            x = np.hstack([*(lags.at(rows) for lags in self._lags), self._inputs_at_cutoffs(rows)])
            total[:-1, :-1] -= x.T @ x
        half = total.take(self._columns, axis=0)
        half -= total.take(self._subtracted, axis=0)
        return half.take(self._columns, axis=1) - half.take(self._subtracted, axis=1)

    def _inputs_at_cutoffs(self, rows: np.ndarray) -> np.ndarray:
        """(n, others + 1): the columns that are no lag of a sequence, and a column of ones, at the
        cutoffs `rows` (n,).
        """
        windows = gather_windows(
            self._filled,
            self._future,
            rows,
            self._channels,
            self._newest.lags,
            self._newest.horizon,
        )
        others = self._newest.inputs(windows, self._channels)[:, self._others]
        return np.hstack([others, np.ones((len(rows), 1))])

    def _sum_stretch(self, first: int, stop: int) -> np.ndarray:
        """The sums of the products of all columns over the cutoffs `first` .. `stop` - 1."""
        n_others = len(self._others) + 1
        n_fixed = n_others + len(self._lags)
        longest = max(lags.n_lags for lags in self._lags)
        n_values = scipy.fft.next_fast_len(max(ROWS_PER_BATCH, 2 * longest), real=True)
        rows_per_batch = n_values - longest + 1
        fixed = np.zeros((n_fixed, n_fixed))
        spectra = [np.zeros((n_fixed, n_values // 2 + 1), complex) for _ in self._lags]
        for start in range(first, stop, rows_per_batch):
            rows = np.arange(start, min(start + rows_per_batch, stop))
            # the recursion needs only the first column of each sequence
            firsts = [lags.values[rows - lags.first_lag][:, None] for lags in self._lags]
            at_cutoffs = np.hstack([self._inputs_at_cutoffs(rows), *firsts])
            fixed += at_cutoffs.T @ at_cutoffs
            conjugate = scipy.fft.rfft(at_cutoffs.T, n_values, axis=1).conj()
            for lags, spectrum in zip(self._lags, spectra, strict=True):
                oldest = start - lags.first_lag - lags.n_lags + 1
                values = lags.values[oldest : int(rows[-1]) - lags.first_lag + 1]
                spectrum += conjugate * scipy.fft.rfft(values, n_values)
        edges = []
        for lags, spectrum in zip(self._lags, spectra, strict=True):
            edges.append(scipy.fft.irfft(spectrum, n_values, axis=1)[:, lags.n_lags - 1 :: -1])
        blocks: list[list[np.ndarray]] = []
        for i, left in enumerate(self._lags):
            row = []
            for j, right in enumerate(self._lags):
                if j < i:
                    row.append(blocks[j][i].T)
                else:
                    corner = (edges[j][n_others + i], edges[i][n_others + j])
                    row.append(_sum_lagged(left, right, *corner, first, stop))
            blocks.append([*row, edges[i][:n_others].T])
        blocks.append([*(edge[:n_others] for edge in edges), fixed[:n_others, :n_others]])
        return np.block(blocks)


def _sum_lagged(
    left: LagRange,
    right: LagRange,
    first_row: np.ndarray,
    first_column: np.ndarray,
    first: int,
    stop: int,
) -> np.ndarray:
    """(left columns, right columns): the sums of their products over the cutoffs `first` .. `stop`
    - 1, by the recursion from the given first row and column.
    """
    sums = np.empty((left.n_lags, right.n_lags))
    sums[0] = first_row
    sums[:, 0] = first_column
    entering = [lags.at(np.array([first - 1]))[0, :-1] for lags in (left, right)]
    leaving = [lags.at(np.array([stop - 1]))[0, :-1] for lags in (left, right)]
    for k in range(left.n_lags - 1):
        sums[k + 1, 1:] = sums[k, :-1] + entering[0][k] * entering[1] - leaving[0][k] * leaving[1]
    return sums


def _columns_of(
    shape: Skip, channels: Layout
) -> tuple[list[Column | FeatureName], list[Column | None]]:
    """The inputs and outputs of `shape` in the order of `design_of`, and the column that is
    subtracted from each, or None. An input that is no lag of a sequence is given by its name.
    """
    columns: list[Column | FeatureName] = []
    subtracted: list[Column | None] = []
    for name in feature_names(shape, channels):
        is_change = name.quantity == "change" and not name.waves
        columns.append(name if name.waves else Column("past", name.channel, name.lag))
        subtracted.append(Column("past", name.channel, 0) if is_change else None)
    for step in range(1, shape.horizon + 1):
        for output in range(channels.outputs):
            columns.append(Column("target", output, -step))
            subtracted.append(Column("target", output, 0))
    return columns, subtracted


def _regular_cutoffs(z: np.ndarray, outputs: int, first_cutoff: int, horizon: int) -> np.ndarray:
    """(T,) bool: the cutoffs of rows z (T, C) from `first_cutoff`, the end of the first whole
    window, whose window begins with an observed row, and whose targets are observed at the cutoff
    and at the last step.
    """
    is_observed = np.isfinite(z).all(axis=1)
    is_known = np.isfinite(z[:, :outputs]).all(axis=1)
    is_regular = np.zeros(len(z), dtype=bool)
    stop = len(z) - horizon
    is_regular[first_cutoff:stop] = (
        is_observed[: stop - first_cutoff]
        & is_known[first_cutoff:stop]
        & is_known[first_cutoff + horizon :]
    )
    return is_regular
