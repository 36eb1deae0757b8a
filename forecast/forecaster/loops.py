"""The closed loop of a one-step map in NumPy: fed with its own forecasts up to any horizon.

`Loop` runs a batch of them, of a skip and, beside it, a network; a `Feedback` says what is fed back
at each step: the point forecast, or a value drawn from the head's distribution. Recursive families
forecast with it, and are validated with it while they train.

Past-only inputs are not known after the cutoff: the loop is fed the forecasts of them that its skip
carries (its `Carry`) as if they were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from forecast.data.windows import Layout, Windows, clear_first_row, fill_gaps
from forecast.models.skip import Skip
from forecast.networks import inference
from forecast.networks.description import Network, States

Feedback = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(the network's raw output (B, O, K), the skip's forecast (B, O), the newest value (B, O)) -> the
next value.
"""


def add_network(raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The point forecast: skip + network."""
    return base + raw[..., 0]


class Loop:
    """A batch of closed loops after `windows`, `horizon` steps at most, one at a time: look at
    what is proposed, then say what is fed back. The forecasts are those of `skip + network`, both
    one-step; without a network, of the skip. Nothing measured after the cutoff is ever read.
    """

    def __init__(
        self,
        network: Network | None,
        weights: Mapping[str, np.ndarray],
        skip: Skip,
        windows: Windows,
        channels: Layout,
        *,
        horizon: int,
    ) -> None:
        """Read `windows` up to their last rows; `weights` by name, also those of twins."""
        inputs = windows.z[:, :, channels.outputs :]
        # of the past-only inputs, in scaled units; NaN where their last values are repeated
        carried = np.full((len(inputs), horizon, inputs.shape[2]), np.nan)
        if skip.carry is not None:
            carried = skip.carry.forecast_inputs(inputs, horizon)
            if any(channels.step):
                _hold_issued_values(carried, inputs[:, -1], channels.step[channels.outputs :])
        self._network = network
        self._weights = weights
        self._skip = skip
        self._channels = channels
        self._carried = carried
        # NaN: never observed
        self._input = np.where(np.isfinite(inputs).any(axis=1), fill_gaps(inputs)[0][:, -1], np.nan)
        # room for the rows of the horizon; of z the targets, which is what a skip reads
        rows_ahead = [(0, 0), (0, horizon), (0, 0)]
        self._z = np.pad(windows.z[:, :, : channels.outputs], rows_ahead)
        self._past = np.pad(windows.past, rows_ahead)
        n_rows = windows.past.shape[1]
        # the last rows
        self._windows = replace(windows, z=self._z[:, :n_rows], past=self._past[:, :n_rows])
        self._raw, self._state = _fill_memory(network, weights, windows)
        self._row: np.ndarray | None = None
        self._step = 1

    def run(self, feedback: Feedback = add_network) -> np.ndarray:
        """(B, H, O) scaled forecasts; `feedback`: what is fed back at each step, e.g. a value drawn
        from a density.
        """
        forecasts = []
        for _ in range(self._carried.shape[1]):
            forecasts.append(feedback(*self.propose()))
            self.advance(forecasts[-1])
        return np.stack(forecasts, axis=1)

    def propose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The network's raw output (B, O, K), the skip's forecast (B, O) and the newest value (B,
        O).
        """
        windows = self._windows
        future = windows.future[:, : windows.past.shape[1] + self._step]
        if self._row is not None and self._network is not None:
            assert self._state is not None
            output, self._state = inference.step(
                self._network, self._weights, self._state, self._row, future[:, -1:]
            )
            self._raw = output[:, 0].astype(np.float64)
        self._row = None
        view = replace(windows, future=future, rows=windows.rows + self._step - 1)
        return self._raw, self._skip.forecast(view, self._channels)[:, 0], windows.last

    def advance(self, values: np.ndarray) -> None:
        """Feed `values` (B, O) back as if they had been observed: one row further."""
        windows = self._windows
        self._row = self._next_row(values)
        newest = windows.past.shape[1] + self._step - 1
        self._past[:, newest] = self._row
        self._z[:, newest] = values
        past = self._past[:, self._step : newest + 1]
        clear_first_row(past, self._channels)
        z = self._z[:, self._step : newest + 1]
        self._windows = replace(windows, z=z, past=past, last=values)
        self._step += 1

    def _next_row(self, targets: np.ndarray) -> np.ndarray:
        """The row (B, channels) of the time that was forecast: `targets` as forecast, past-only
        inputs as carried or, where nothing is carried, repeated as they were.
        """
        carried = self._carried[:, self._step - 1]
        is_known = np.isfinite(carried)
        # no change is known from nothing
        last_inputs = np.where(np.isnan(self._input), carried, self._input)
        values = np.concatenate([targets, carried], axis=1)
        last = np.concatenate([self._windows.last, last_inputs], axis=1)
        # a forecast that is no number must not be passed over
        is_observed = np.concatenate([np.ones(targets.shape, dtype=bool), is_known], axis=1)
        row = self._windows.past[:, -1].copy()
        for i in range(values.shape[1]):
            self._write(row, i, values[:, i], last[:, i], is_observed[:, i])
        self._input = np.where(is_known, carried, self._input)
        return row

    def _write(
        self, row: np.ndarray, i: int, value: np.ndarray, last: np.ndarray, observed: np.ndarray
    ) -> None:
        """Write column i of the task into the new row, in place: its value or, with
        `difference_inputs`, its change from `last`; where it was not observed it repeats the row
        before. A mask and the log of the rows since the last observation are kept up where the
        column has them.
        """
        channels = self._channels
        channel = channels.value[i]
        if channels.difference_inputs[i]:
            row[:, channel] = np.where(observed, value - last, 0.0)
        else:
            row[:, channel] = np.where(observed, value, row[:, channel])
        if channels.mask[i] >= 0:
            row[:, channels.mask[i]] = observed
            longer = np.log1p(np.expm1(self._windows.past[:, -1, channels.since[i]]) + 1.0)
            row[:, channels.since[i]] = np.where(observed, 0.0, longer)


def _hold_issued_values(path: np.ndarray, newest: np.ndarray, steps: tuple[int, ...]) -> None:
    """Fill future inputs in `path` (B, H, inputs), in place, from `newest` (B, inputs): at row k of
    the horizon the input h steps ahead is what the cutoff knew of step k + h, where it knew it.

    `steps` has h of each column; those of one input stand side by side, h rising by 1.
    """
    ahead = np.array(steps, dtype=int)
    for step in range(1, path.shape[1] + 1):
        known = np.flatnonzero((ahead > 0) & (ahead + step <= ahead.max(initial=0)))
        issued = newest[:, known + step]
        path[:, step - 1, known] = np.where(np.isfinite(issued), issued, path[:, step - 1, known])


def _fill_memory(
    network: Network | None, weights: Mapping[str, np.ndarray], windows: Windows
) -> tuple[np.ndarray, States | None]:
    """The network's raw output (B, O, K) at the last measured row, and its state after it."""
    if network is None:
        return np.zeros((*windows.last.shape, 1)), None
    past = windows.past
    before = windows.past.shape[1] - 1
    if before:
        state = inference.absorb(
            network, weights, past[:, :before], windows.future[:, : before + 1]
        )
    else:
        state = inference.initial(network, weights, len(past))
    output, state = inference.step(
        network, weights, state, past[:, before], windows.future[:, before + 1 : before + 2]
    )
    return output[:, 0].astype(np.float64), state
