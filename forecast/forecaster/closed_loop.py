"""The closed (parallel) loop: a one-step map fed with its own forecasts up to the horizon, in NumPy.

- `parallel` forecasts. Past-only inputs are not known after the cutoff: the loop is fed the forecasts of them that its
  skip carries (`forecast.models.carry`) as if they were measured. Nothing measured after the cutoff is ever read.
- Given the past-only inputs that were `measured` after the cutoff, it simulates, which is no forecast: it asks what
  the model makes of inputs that are known, as in system identification.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np

from forecast.data.windows import Layout, Windows, filled, forget_before
from forecast.models.skip import Skip
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.system.errors import InputError

Choice = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(the network's raw output (B, O, K), the skip's forecast (B, O), the newest value (B, O)) -> the next value."""


def added(raw: np.ndarray, base: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The point forecast: skip + network."""
    return base + raw[..., 0]


def parallel(
    network: Network | None,
    weights: Mapping[str, np.ndarray],
    skip: Skip,
    windows: Windows,
    channels: Layout,
    *,
    horizon: int,
    choice: Choice = added,
    measured: np.ndarray | None = None,
) -> np.ndarray:
    """(B, H, O) scaled forecasts of `skip + network`, both one-step; without a network, of the skip alone.

    choice: what is fed back at each step, e.g. a value drawn from a density. measured (B, H, C - O): the past-only
    columns behind the cutoff, row k by k + 1 steps, scaled, NaN where not observed; with it this is a simulation.
    """
    return Loop(network, weights, skip, windows, channels, horizon=horizon, measured=measured).run(horizon, choice)


class Loop:
    """A batch of closed loops behind `windows`, `horizon` steps at most, one at a time: look at what is proposed, then
    say what is fed back."""

    def __init__(
        self,
        network: Network | None,
        weights: Mapping[str, np.ndarray],
        skip: Skip,
        windows: Windows,
        channels: Layout,
        *,
        horizon: int,
        measured: np.ndarray | None = None,
    ) -> None:
        wanted = (len(windows), horizon, len(channels.value) - channels.outputs)
        if measured is not None and np.shape(measured) != wanted:
            raise InputError(
                f"`measured` has shape {np.shape(measured)}; wanted {wanted}: windows, horizon, past columns."
            )
        if measured is None and skip.carry is not None:
            measured = skip.carry.path(windows.z[:, :, channels.outputs :], horizon)
            _keep_what_was_said(measured, windows.z[:, -1, channels.outputs :], channels.lead[channels.outputs :])
        self._network, self._weights, self._skip = network, weights, skip
        self._rolling = _Rolling(windows, channels, measured)
        self._future, self._lookback = windows.future, windows.past.shape[1]
        self._raw, self._state = _warmed_up(network, weights, windows)
        self._row: np.ndarray | None = None
        self._step = 1

    def run(self, horizon: int, choice: Choice) -> np.ndarray:
        """(B, H, O): `horizon` steps, each fed back as `choice` says."""
        forecasts = []
        for _ in range(horizon):
            forecasts.append(choice(*self.proposal()))
            self.advance(forecasts[-1])
        return np.stack(forecasts, axis=1)

    def proposal(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The network's raw output (B, O, K), the skip's forecast (B, O) and the newest value (B, O)."""
        ahead = self._lookback + self._step
        if self._row is not None and self._network is not None and self._state is not None:
            output, self._state = inference.step(
                self._network, self._weights, self._state, self._row, self._future[:, ahead - 1 : ahead]
            )
            self._raw = output[:, 0].astype(np.float64)
        self._row = None
        view = self._rolling.view(self._future[:, :ahead], self._step)
        return self._raw, self._skip.forecast(view, self._rolling.channels)[:, 0], view.last

    def advance(self, values: np.ndarray) -> None:
        """Feed `values` (B, O) back as if they had been observed."""
        self._row = self._rolling.append(values, self._step)
        self._step += 1

    def picked(self, index: np.ndarray) -> Loop:
        """The loops number `index` (B',), each as often as it is named; this one stays as it was."""
        other = copy.copy(self)
        other._rolling = self._rolling.picked(index)
        other._future, other._raw = self._future[index], self._raw[index]
        other._row = None if self._row is None else self._row[index]
        other._state = None if self._state is None else self._state.picked(index)
        return other


def _keep_what_was_said(path: np.ndarray, newest: np.ndarray, leads: tuple[int, ...]) -> None:
    """In `path` (B, H, inputs), in place: k rows on, what speaks of h rows later is what spoke of k + h at the cutoff,
    `newest` (B, inputs), as far as that was said."""
    lead = np.array(leads, dtype=int)
    for step in range(1, path.shape[1] + 1):
        known = np.flatnonzero((lead > 0) & (lead + step <= lead.max(initial=0)))
        said = newest[:, known + step]
        path[:, step - 1, known] = np.where(np.isfinite(said), said, path[:, step - 1, known])


def _warmed_up(
    network: Network | None, weights: Mapping[str, np.ndarray], windows: Windows
) -> tuple[np.ndarray, inference.State | None]:
    """The network's raw output (B, O, K) at the last measured row, and its state after it."""
    if network is None:
        return np.zeros((*windows.last.shape, 1)), None
    past, before = windows.past, windows.past.shape[1] - 1
    if before:
        state = inference.absorb(network, weights, past[:, :before], windows.future[:, : before + 1])
    else:
        state = inference.initial(network, weights, len(past))
    output, state = inference.step(
        network, weights, state, past[:, before], windows.future[:, before + 1 : before + 2]
    )
    return output[:, 0].astype(np.float64), state


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

    def picked(self, index: np.ndarray) -> _Rolling:
        other = copy.copy(self)
        other._z, other._past = self._z[index], self._past[index]
        other._last, other._rows = self._last[index], self._rows[index]
        if self._measured is not None:
            other._measured, other._input = self._measured[index], self._input[index]
        return other

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
        if channels.difference_inputs[i]:
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
            if channels.difference_inputs[i]:
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
