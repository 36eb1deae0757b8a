"""Treatments of a record that is sampled much faster than its system moves.

A net follows the treated record and simulates the record as it is: `decimation` shows it every k-th
row of y and the means of u over the k rows up to it, which at the rate of the record is k
interleaved loops and interpolates nothing; `prefilter` lets it begin from a one-step fit to means
of k rows of u and y, whose errors weigh where the system moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.system.errors import InputError

POWER_SHARE = 0.99  # of the power of y above its noise lies in its band
OVERSAMPLED = 40.0  # bands of y up to half a cycle a row: more rows than any net needs
DECIMATED_OVERSAMPLING = 10.0  # of these bands are left by decimation
MIN_DECIMATED_ROWS = 50


@dataclass(frozen=True)
class Treatment:
    """Nets see every `stride`-th row; their first one-step fit sees means of `smooth` rows."""

    name: str = ""
    stride: int = 1
    smooth: int = 1

    def decimate(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """The records that the nets follow: all interleaved ones of `stride` rows."""
        return [
            experiment.with_arrays(u=trailing_means(experiment.u, self.stride)).part(
                slice(phase, None, self.stride)
            )
            for experiment in experiments
            for phase in range(self.stride)
        ]

    def prefilter(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """The same rows for the one-step fit: means over `smooth` rows."""
        return [
            e.with_arrays(u=trailing_means(e.u, self.smooth), y=trailing_means(e.y, self.smooth))
            for e in experiments
        ]

    def at_record_rate(self, net: Narx, weights: Array) -> tuple[Narx, Array]:
        """The net at the rate of the record: each mean of u becomes the rows it is of."""
        k = self.stride
        past = net.past_outputs
        w1, b1, w2, b2, w3 = net.layer.split(weights)
        each_mean = np.kron(np.eye(len(net.u_delays)), np.full((1, k), 1 / k))
        spread = np.kron(each_mean, np.eye(net.inputs))
        w1 = np.hstack([w1[:, :past], w1[:, past:] @ spread])
        w3 = np.hstack([w3[:, :past], w3[:, past:] @ spread])
        u_delays = tuple(k * delay + row for delay in net.u_delays for row in range(k))
        net = replace(net, y_delays=tuple(k * delay for delay in net.y_delays), u_delays=u_delays)
        return net, np.concatenate([w1.ravel(), b1, w2.ravel(), b2, w3.ravel()])


UNTREATED = Treatment()


def select_treatments(
    names: Sequence[str] | None, experiments: Sequence[Experiment]
) -> list[Treatment]:
    """`UNTREATED`, and those of the names; None: all where the record is oversampled.

    Raises `InputError` for an unknown name.
    """
    ratio = min(map(oversampling, experiments))
    most = min(map(len, experiments)) // MIN_DECIMATED_ROWS
    k = max(2, min(round(ratio / DECIMATED_OVERSAMPLING), most))
    known = {
        "decimation": Treatment(f"decimated by {k}", stride=k),
        "prefilter": Treatment(f"prefiltered over {k}", smooth=k),
    }
    if names is None:
        names = list(known) if ratio >= OVERSAMPLED else []
    if unknown := set(names) - set(known):
        raise InputError(
            f"There is no treatment {sorted(unknown)} of a record; wanted some of {sorted(known)}."
        )
    return [UNTREATED, *(known[name] for name in names)]


def oversampling(experiment: Experiment) -> float:
    """How many times the widest band of an output fits into the frequencies up to half a cycle a
    row.
    """
    rows = np.arange(len(experiment))
    widest_band = 0.0
    for y in experiment.y.T:
        observed = np.isfinite(y)
        filled = np.interp(rows, rows[observed], y[observed])
        power = np.abs(np.fft.rfft((filled - filled.mean()) * np.hanning(len(rows)))) ** 2
        noise = 3 * np.median(power[len(power) // 2 :])
        power = np.maximum(power - noise, 0.0)
        band = np.searchsorted(np.cumsum(power), POWER_SHARE * power.sum()) + 1
        widest_band = max(widest_band, band / len(power))
    return 1 / widest_band


def trailing_means(table: Array, rows: int) -> Array:
    """(T, columns): the mean of each row and the `rows` - 1 before it; before the first row stands
    that row.
    """
    padded = np.concatenate([np.repeat(table[:1], rows - 1, axis=0), table])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, rows, axis=0).mean(axis=-1))
