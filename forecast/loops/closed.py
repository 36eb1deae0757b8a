"""The closed (parallel) loop: a one-step map fed with its own forecasts up to the horizon, in NumPy.

- `parallel` forecasts. Past-only inputs are not known after the cutoff: the loop repeats their last value, as for any
  missing step, with mask and time since where the dataset has them. Nothing measured after the cutoff is ever read.
- `simulate` is given the past-only inputs that were measured after the cutoff, and is no forecast: it asks what the
  model makes of inputs that are known, as in system identification.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast import inference
from forecast.errors import InputError
from forecast.network import Network
from forecast.skip import Skip
from forecast.windows import Layout, Windows, filled, forget_before


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
    return _run(network, weights, skip, windows, _Rolling(windows, channels), horizon)


def simulate(
    network: Network | None,
    weights: Mapping[str, np.ndarray],
    skip: Skip,
    windows: Windows,
    channels: Layout,
    *,
    measured: np.ndarray,
    horizon: int,
) -> np.ndarray:
    """(B, H, O), free run of the targets over measured inputs `(B, H, C - O)`, scaled, NaN where not observed.

    The columns of `measured` are the dataset's past-only columns; its row k follows the cutoff by k + 1 steps.
    """
    wanted = (len(windows), horizon, len(channels.value) - channels.outputs)
    if np.shape(measured) != wanted:
        raise InputError(
            f"`measured` has shape {np.shape(measured)}; wanted {wanted}: windows, horizon, past columns."
        )
    return _run(network, weights, skip, windows, _Rolling(windows, channels, np.asarray(measured)), horizon)


def _run(
    network: Network | None,
    weights: Mapping[str, np.ndarray],
    skip: Skip,
    windows: Windows,
    rolling: _Rolling,
    horizon: int,
) -> np.ndarray:
    channels, lookback = rolling.channels, windows.past.shape[1]
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

    def __init__(self, windows: Windows, channels: Layout, measured: np.ndarray | None = None) -> None:
        self._z = windows.z[:, :, : channels.outputs]
        self._past = windows.past.copy()
        self._last = windows.last.copy()
        self._rows = windows.rows
        self._measured = measured
        self.channels = channels
        if measured is not None:
            self._input = _newest(windows.z[:, :, channels.outputs :])

    def view(self, future: np.ndarray, step: int) -> Windows:
        """The current rows as windows with one step ahead; of `z` the targets, which is what a skip reads."""
        return Windows(self._z, self._past, future, self._last, self._rows + step - 1)

    def append(self, forecast: np.ndarray, step: int) -> np.ndarray:
        """Shift by one row; returns the new row (B, channels)."""
        row = self._next_row(forecast, step)
        self._z = np.concatenate([self._z[:, 1:], forecast[:, None, :]], axis=1)
        self._past = np.concatenate([self._past[:, 1:], row[:, None, :]], axis=1)
        forget_before(self._past, self.channels)
        self._last = forecast
        return row

    def _next_row(self, forecast: np.ndarray, step: int) -> np.ndarray:
        """The row of the forecast time: targets as forecast, inputs as measured or repeated."""
        row = self._past[:, -1].copy()
        channels = self.channels
        observed = np.ones(forecast.shape, dtype=bool)  # a forecast that is no number must not be passed over
        for i in range(channels.outputs):
            self._write(row, i, forecast[:, i], self._last[:, i], observed[:, i])
        if self._measured is None:
            self._repeat(row)
        else:
            measured = self._measured[:, step - 1]
            seen = np.isfinite(measured)
            last = np.where(np.isnan(self._input), measured, self._input)  # no change is known from nothing
            for i in range(measured.shape[1]):
                self._write(row, channels.outputs + i, measured[:, i], last[:, i], seen[:, i])
            self._input = np.where(seen, measured, self._input)
        return row

    def _write(self, row: np.ndarray, i: int, value: np.ndarray, last: np.ndarray, observed: np.ndarray) -> None:
        """Column i of the new row from `value (B,)` and the last one observed; where not observed it repeats that."""
        channels = self.channels
        channel = channels.value[i]
        if channels.drifting[i]:
            row[:, channel] = np.where(observed, value - last, 0.0)
        else:
            row[:, channel] = np.where(observed, value, row[:, channel])
        if channels.mask[i] >= 0:
            row[:, channels.mask[i]] = observed
            row[:, channels.since[i]] = np.where(observed, 0.0, self._longer(i))

    def _repeat(self, row: np.ndarray) -> None:
        """The past-only inputs of the new row, none of them observed."""
        channels = self.channels
        for i in range(channels.outputs, len(channels.value)):
            if channels.drifting[i]:
                row[:, channels.value[i]] = 0.0
            if channels.mask[i] >= 0:
                row[:, channels.mask[i]] = 0.0
                row[:, channels.since[i]] = self._longer(i)

    def _longer(self, i: int) -> np.ndarray:
        """The time since column i was observed, one step on."""
        return np.log1p(np.expm1(self._past[:, -1, self.channels.since[i]]) + 1.0)


def _newest(z: np.ndarray) -> np.ndarray:
    """(B, C) the last observed value of every column of (B, L, C); NaN where there is none."""
    return np.where(np.isfinite(z).any(axis=1), filled(z)[0][:, -1], np.nan)
