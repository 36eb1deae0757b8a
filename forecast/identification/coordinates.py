"""Other coordinates for the past outputs of a NARX net, and other rows: the same nets, other steps
and weight decay.

A system that integrates, or is sampled much faster than it moves, has nearly equal y_{t-1},
y_{t-2}, ...: what tells them apart is their differences, small beside the level. In `differences` a
net sees instead, each of unit size,

    y_{t-1},  y_{t-1} - y_{t-2},  y_{t-1} - 2 y_{t-2} + y_{t-3},  ...

and its linear path begins at y_t = y_{t-1}, so that what is learnt is the difference of the output.
In `increments` it does not see y_{t-1}: the differenced output, of a system that moves alike
wherever it is. All are linear in z, so the trained net is a plain `Narx`; Levenberg-Marquardt's
damping and the weight decay act in the new coordinates.

A record sampled much faster still is treated, and nets simulate it as it is: `decimation` shows
them every k-th row of y and the means of u over the k rows up to it, which at the rate of the
record is k interleaved loops and interpolates nothing; `prefilter` lets them begin from a one-step
fit to means of k rows of u and y, whose errors weigh where the system moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag
from scipy.special import binom

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.system.errors import InputError
from forecast.training.levenberg_marquardt import LeastSquares

SHARE = 0.99  # of the power of y above its noise lies in its band
OVERSAMPLED = 40.0  # bands of y up to half a cycle a row: more rows than any net needs
WANTED = 10.0  # of them after decimation
LEAST_ROWS = 50  # that decimation leaves


@dataclass(frozen=True)
class Coordinates:
    """The plain weights are `matrix` (n_weights, m) @ those in the coordinates + `offset`."""

    matrix: Array
    offset: Array

    def inward(self, weights: Array) -> Array:
        """The plain weights in these coordinates, without what they do not see."""
        return np.asarray(np.linalg.lstsq(self.matrix, weights - self.offset, rcond=None)[0])

    def outward(self, weights: Array) -> Array:
        """Weights in these coordinates as the plain ones of the net."""
        return np.asarray(self.matrix @ weights + self.offset)


class InCoordinates:
    """A least-squares problem of a NARX net with a linear path, its weights in other
    coordinates.
    """

    def __init__(self, problem: LeastSquares, coordinates: Coordinates) -> None:
        self.problem, self.coordinates = problem, coordinates
        self.n_weights, self.n_residuals = coordinates.matrix.shape[1], problem.n_residuals

    def loss(self, weights: Array) -> float:
        return self.problem.loss(self.coordinates.outward(weights))

    def validation(self, weights: Array) -> float | None:
        return self.problem.validation(self.coordinates.outward(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        for error, plain in self.problem.blocks(self.coordinates.outward(weights)):
            yield error, self.coordinates.matrix.T @ plain


def differences(net: Narx, experiments: Sequence[Experiment], left_out: int = 0) -> Coordinates:
    """The level and the differences of the past outputs, each in its own standard deviations,
    without the first `left_out` of them: 1 leaves the level out, for a system that integrates has
    none.
    """
    seen = _differences(net, experiments)[left_out * net.measured_outputs :]
    o, k = net.outputs, net.hidden
    others = np.eye(k + o * k + o)  # the weights that no column of z goes through
    matrix = block_diag(np.kron(np.eye(k), seen.T), others, np.kron(np.eye(o), seen.T))
    offset = np.zeros(net.n_weights)
    offset[-o * net.regressors :].reshape(o, -1)[: net.measured_outputs, :o] = np.eye(
        net.measured_outputs, o
    )
    return Coordinates(matrix, offset)


def _differences(net: Narx, experiments: Sequence[Experiment]) -> Array:
    """(d, d): z with the differences of y in its place, those of order 0, the level, first."""
    o, n = net.outputs, len(net.y_delays)
    matrix = np.eye(net.regressors)
    for order in range(n):
        taps = [(-1) ** j * binom(order, j) for j in range(order + 1)]
        for output in range(net.measured_outputs):
            values = [np.convolve(e.y[:, output], taps, "valid") for e in experiments]
            size = float(np.nanstd(np.concatenate(values))) or 1.0
            matrix[order * o + output] = 0.0
            matrix[order * o + output, output : (order + 1) * o : o] = np.array(taps) / size
    return matrix


@dataclass(frozen=True)
class Treatment:
    """Every `stride`-th row for the nets, means of `smooth` rows for the one-step fit that they
    begin from.
    """

    name: str = ""
    stride: int = 1
    smooth: int = 1

    def rows(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """What the nets follow: all interleaved records."""
        driven = [e.changed(u=means(e.u, self.stride)) for e in experiments]
        return [
            e.part(slice(phase, None, self.stride)) for e in driven for phase in range(self.stride)
        ]

    def opened(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """The same rows for the one-step fit."""
        return [
            e.changed(u=means(e.u, self.smooth), y=means(e.y, self.smooth)) for e in experiments
        ]

    def at_rate(self, net: Narx, weights: Array) -> tuple[Narx, Array]:
        """The net at the rate of the record: each mean of u becomes the rows it is of."""
        k, past = self.stride, net.past_outputs
        w1, b1, w2, b2, w3 = net.layer.split(weights)
        spread = np.kron(
            np.kron(np.eye(len(net.u_delays)), np.full((1, k), 1 / k)), np.eye(net.inputs)
        )
        w1, w3 = (np.hstack([w[:, :past], w[:, past:] @ spread]) for w in (w1, w3))
        rows = tuple(k * delay + row for delay in net.u_delays for row in range(k))
        plain = replace(net, y_delays=tuple(k * delay for delay in net.y_delays), u_delays=rows)
        return plain, np.concatenate([w1.ravel(), b1, w2.ravel(), b2, w3.ravel()])


UNTREATED = Treatment()
# and what they leave out
COORDINATES = {"differences": 0, "increments": 1, "integrating states": 1}


@dataclass(frozen=True)
class Member:
    """One net of the ensemble and its free-run RMSE on its held-out block, in the units of y (mean
    over outputs); `behind`: times that of the best net of its fold.
    """

    net: Narx
    weights: Array
    held_out_rmse: float
    coordinates: str = "level"
    train_rmse: float = np.inf
    treatment: Treatment = UNTREATED
    behind: float = 1.0

    @property
    def family(self) -> str:
        """What is compared over the folds: one block is too short to tell single nets apart."""
        return f"{self.coordinates if self.net.states else 'delays'} {self.treatment.name}".strip()

    def expected(self, rows: int) -> float:
        """The error over other rows (Akaike 1969): the more weights, the more of `train_rmse` is
        chance.
        """
        return self.train_rmse * (1 + self.net.n_weights / rows)

    def at_rate(self, held: tuple[int, ...]) -> Member:
        """On the record itself, where it has seen u held back by so many steps."""
        net, weights = self.treatment.at_rate(self.net, self.weights)
        return replace(self, net=replace(net, dead_times=held), weights=weights)

    def stays_within(
        self, experiments: Sequence[Experiment], inputs: Sequence[Array], start: int
    ) -> bool:
        """Whether the free run never reaches the outer bounds under bounded inputs that the net has
        not seen.
        """
        net, low, high = self.net, np.array(self.net.low), np.array(self.net.high)
        y, seen = np.concatenate([e.y for e in experiments]), net.measured_outputs
        never_reached = (np.nanmin(y, axis=0) > low[:seen]) & (np.nanmax(y, axis=0) < high[:seen])
        for u in inputs:
            v = net.free_run(self.weights, u, experiments[0].y[: start * self.treatment.stride])
            left = ((v < low) | (v > high))[:, :seen]
            if not np.isfinite(v).all() or left[:, never_reached].any():
                return False
        return True


def offered(names: Sequence[str] | None, experiments: Sequence[Experiment]) -> list[Treatment]:
    """No treatment, and those of the names; None: all where the record is oversampled."""
    times = min(map(oversampling, experiments))
    k = max(2, min(round(times / WANTED), min(map(len, experiments)) // LEAST_ROWS))
    known = {
        "decimation": Treatment(f"decimated by {k}", stride=k),
        "prefilter": Treatment(f"prefiltered over {k}", smooth=k),
    }
    names = (list(known) if times >= OVERSAMPLED else []) if names is None else names
    if unknown := set(names) - set(known):
        raise InputError(
            f"There is no treatment {sorted(unknown)} of a record; wanted some of {sorted(known)}."
        )
    return [UNTREATED, *map(known.__getitem__, names)]


def oversampling(experiment: Experiment) -> float:
    """How many times the widest band of an output fits into the frequencies up to half a cycle a
    row.
    """
    widest, rows = 0.0, np.arange(len(experiment))
    for y in experiment.y.T:
        seen = np.isfinite(y)
        filled = np.interp(rows, rows[seen], y[seen])
        power = np.abs(np.fft.rfft((filled - filled.mean()) * np.hanning(len(rows)))) ** 2
        power = np.maximum(power - 3 * np.median(power[len(power) // 2 :]), 0.0)  # of noise
        widest = max(
            widest, (np.searchsorted(np.cumsum(power), SHARE * power.sum()) + 1) / len(power)
        )
    return 1 / widest


def means(table: Array, rows: int) -> Array:
    """Of each row and those before it, so many in all; before the first row stands that row."""
    padded = np.concatenate([np.repeat(table[:1], rows - 1, axis=0), table])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, rows, axis=0).mean(axis=-1))
