"""The closed (parallel) loop: a one-step map fed with its own forecasts up to the horizon, in NumPy.

Past-only inputs are not known after the cutoff: the loop repeats their last value, as for any missing step, with
mask and time since where the dataset has them. Nothing measured after the cutoff is ever read.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast import inference
from forecast.network import Network
from forecast.skip import Skip
from forecast.windows import Layout, Windows, forget_before


def parallel(
    network: Network | None,
    weights: Mapping[str, np.ndarray],
    skip: Skip,
    windows: Windows,
    channels: Layout,
    *,
    horizon: int,
) -> np.ndarray:
    """(B, H, O) scaled forecasts of `skip + network`, both one-step; without a network, of the skip alone."""
    rolling = _Rolling(windows, channels)
    lookback = windows.past.shape[1]
    contribution, state = _warmed_up(network, weights, windows)
    forecasts = []
    for step in range(1, horizon + 1):
        view = rolling.view(windows.future[:, : lookback + step], step)
        one_step = skip.forecast(view, channels)[:, 0] + contribution
        forecasts.append(one_step)
        row = rolling.append(one_step, step)
        if network is not None and step < horizon:
            ahead = windows.future[:, lookback + step : lookback + step + 1]
            output, state = inference.step(network, weights, state, row, ahead)
            contribution = output[:, 0, :, 0].astype(np.float64)
    return np.stack(forecasts, axis=1)


def _warmed_up(network: Network | None, weights: Mapping[str, np.ndarray], windows: Windows) -> tuple:  # type: ignore[type-arg]
    """The network's contribution to the first forecast, and its state after the last measured row."""
    if network is None:
        return np.zeros(windows.last.shape), None
    past, before = windows.past, windows.past.shape[1] - 1
    if before:
        state = inference.absorb(network, weights, past[:, :before], windows.future[:, : before + 1])
    else:
        state = inference.initial(network, weights, len(past))
    output, state = inference.step(
        network, weights, state, past[:, before], windows.future[:, before + 1 : before + 2]
    )
    return output[:, 0, :, 0].astype(np.float64), state


class _Rolling:
    """The last `lookback` rows, forecasts appended as if they had been observed."""

    def __init__(self, windows: Windows, channels: Layout) -> None:
        self._z = windows.z[:, :, : channels.outputs]
        self._past = windows.past.copy()
        self._last = windows.last.copy()
        self._rows = windows.rows
        self._channels = channels

    def view(self, future: np.ndarray, step: int) -> Windows:
        """The current rows as windows with one step ahead; of `z` the targets, which is what a skip reads."""
        return Windows(self._z, self._past, future, self._last, self._rows + step - 1)

    def append(self, forecast: np.ndarray, step: int) -> np.ndarray:
        """Shift by one row; returns the new row (B, channels)."""
        row = self._next_row(forecast, step)
        self._z = np.concatenate([self._z[:, 1:], forecast[:, None, :]], axis=1)
        self._past = np.concatenate([self._past[:, 1:], row[:, None, :]], axis=1)
        forget_before(self._past, self._channels)
        self._last = forecast
        return row

    def _next_row(self, forecast: np.ndarray, step: int) -> np.ndarray:
        channels = self._channels
        row = self._past[:, -1].copy()
        for i, value in enumerate(channels.value):
            is_target = i < channels.outputs
            if is_target:
                row[:, value] = forecast[:, i] - self._last[:, i] if channels.drifting[i] else forecast[:, i]
            elif channels.drifting[i]:
                row[:, value] = 0.0
            if channels.mask[i] >= 0:
                row[:, channels.mask[i]] = 1.0 if is_target else 0.0
                steps = np.expm1(self._past[:, -1, channels.since[i]]) + 1.0
                row[:, channels.since[i]] = 0.0 if is_target else np.log1p(steps)
        return row
