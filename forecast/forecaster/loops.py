"""The closed loop of a one-step model in NumPy, which is fed with its own forecasts.

`Loop` runs a batch of them for a skip and, beside it, a network. A `Feedback` says what is fed back
at each step: the point forecast, or a value drawn from the head's distribution. Recursive families
forecast with it, and with a point head are validated with it while they train.

Past-only inputs are not known after the cutoff: the loop uses the forecasts of them by the skip's
`Carry` as if they were measured, or without one repeats the last value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from forecast.data.windows import Layout, Windows, clear_first_row, input_channels
from forecast.models.skip import Skip
from forecast.networks import inference
from forecast.networks.description import Network, States

Feedback = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A function of the network's output (B, O, K), the skip's forecast (B, O) and the newest value (B,
O) that gives the value (B, O) to feed back.
"""


def add_network(raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The point forecast (B, O): skip + network; the `Feedback` of a network with a point head."""
    return base + raw[..., 0]


class Loop:
    """A batch of closed loops that start after `windows` and run for at most `horizon` steps.

    Each step has two calls: `propose` gives the one-step forecasts of the skip and the network (or
    of the skip alone), and `advance` is given the values to feed back. Nothing measured after the
    cutoff is read.
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
        """Read `windows` up to their last rows; `weights` by name, of one network or of twins."""
        inputs = windows.z[:, :, channels.outputs :]
        # forecasts of the past-only inputs in scaled units; NaN where the last value is repeated
        carried = np.full((len(inputs), horizon, inputs.shape[2]), np.nan)
        if skip.carry is not None:
            carried = skip.carry.forecast_inputs(inputs, horizon)
            if any(channels.step):
                _hold_issued_values(carried, inputs[:, -1], channels.step[channels.outputs :])
        # targets count as observed even if they are NaN, so that NaN is not replaced in silence
        observed = np.zeros((len(inputs), horizon, channels.outputs))
        horizon_z = np.concatenate([observed, carried], axis=2)
        z = np.concatenate([windows.z, horizon_z], axis=1)
        self._network = network
        self._weights = weights
        self._skip = skip
        self._channels = channels
        # (B, horizon, channels): the rows after the newest one, without the values of the targets
        rows = input_channels(z, channels, windows.past.dtype)
        self._rows = rows[:, windows.z.shape[1] :]
        # room for the rows of the horizon; a skip reads only the targets of z
        padding = [(0, 0), (0, horizon), (0, 0)]
        self._z = np.pad(windows.z[:, :, : channels.outputs], padding)
        self._past = np.pad(windows.past, padding)
        n_rows = windows.past.shape[1]
        self._windows = replace(windows, z=self._z[:, :n_rows], past=self._past[:, :n_rows])
        self._raw, self._state = _fill_memory(network, weights, windows)
        self._row: np.ndarray | None = None
        self._step = 1

    def run(self, feedback: Feedback = add_network) -> np.ndarray:
        """The values (B, H, O) that are fed back at each step of the horizon, in scaled units."""
        forecasts = []
        for _ in range(self._rows.shape[1]):
            forecasts.append(feedback(*self.propose()))
            self.advance(forecasts[-1])
        return np.stack(forecasts, axis=1)

    def propose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The arguments of a `Feedback` for the next step: the network's output (B, O, K), the
        skip's forecast (B, O) and the newest value (B, O).
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
        """Feed `values` (B, O) back as if they had been observed, and move on by one row."""
        windows = self._windows
        channels = self._channels
        is_change = channels.difference_inputs[: channels.outputs]
        self._row = self._rows[:, self._step - 1]
        self._row[:, channels.target_channels] = values - np.where(is_change, windows.last, 0.0)
        newest = windows.past.shape[1] + self._step - 1
        self._past[:, newest] = self._row
        self._z[:, newest] = values
        past = self._past[:, self._step : newest + 1]
        clear_first_row(past, channels)
        z = self._z[:, self._step : newest + 1]
        self._windows = replace(windows, z=z, past=past, last=values)
        self._step += 1


def _hold_issued_values(path: np.ndarray, newest: np.ndarray, steps: tuple[int, ...]) -> None:
    """Write known-future inputs into `path` (B, H, inputs) in place, from the `newest` row (B,
    inputs). At row k of the horizon the input h steps ahead is the value that the newest row had
    for k + h steps ahead, where it had one.

    steps: h of each column; the columns of one input stand side by side, h rising by 1.
    """
    steps_ahead = np.array(steps, dtype=int)
    for step in range(1, path.shape[1] + 1):
        is_known = (steps_ahead > 0) & (steps_ahead + step <= steps_ahead.max(initial=0))
        known = np.flatnonzero(is_known)
        issued = newest[:, known + step]
        path[:, step - 1, known] = np.where(np.isfinite(issued), issued, path[:, step - 1, known])


def _fill_memory(
    network: Network | None, weights: Mapping[str, np.ndarray], windows: Windows
) -> tuple[np.ndarray, States | None]:
    """The network's output (B, O, K) at the last measured row, and its state after it; zeros and
    None without a network.
    """
    if network is None:
        return np.zeros((*windows.last.shape, 1)), None
    past = windows.past
    before = windows.past.shape[1] - 1
    if before:
        state = inference.final_states(
            network, weights, past[:, :before], windows.future[:, : before + 1]
        )
    else:
        state = inference.initial(network, weights, len(past))
    output, state = inference.step(
        network, weights, state, past[:, before], windows.future[:, before + 1 : before + 2]
    )
    return output[:, 0].astype(np.float64), state
