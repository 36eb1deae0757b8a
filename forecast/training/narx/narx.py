"""The NARX net in float64: both loops and exact one-step derivatives (Leontaritis & Billings 1985).

    v_t = W2 tanh(W1 z_t + b1) + W3 z_t + b2,     z_t = [y_{t-d} for d in y_delays, u_{t-d} for d in u_delays]
    y_t = min(max(v_t, low), high)                where the output is known to saturate, else y_t = v_t

Open loop (series-parallel): the y in z_t is measured. Closed loop (parallel, free run): it is the net's own bounded
output. No TensorFlow: training and simulation in NumPy, for nets small enough for Levenberg-Marquardt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecast.system.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Record:
    """One experiment: u (T, I), y (T, O) with NaN for missing; the first `start` rows only initialise the net.

    `weight` (T, O) multiplies the errors, so a square counts weight²; None counts every observed value alike.
    MATLAB's error weights multiply the squares: give their square roots.
    """

    u: Array
    y: Array
    start: int
    weight: Array | None = None

    def counted(self) -> Array:
        """(T - start, O): the weight of each error, 0 where y is missing."""
        observed = np.isfinite(self.y[self.start :]).astype(np.float64)
        return observed if self.weight is None else observed * self.weight[self.start :]


@dataclass(frozen=True)
class Narx:
    """`y_delays` from 1, `u_delays` from 0; `low`, `high`: bounds (O,) the output cannot pass, None without."""

    inputs: int
    outputs: int
    y_delays: tuple[int, ...]
    u_delays: tuple[int, ...]
    hidden: int
    linear: bool = True
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.y_delays or min(self.y_delays) < 1 or (self.u_delays and min(self.u_delays) < 0):
            raise InputError(
                f"NARX delays must be whole steps, from 1 for y and from 0 for u; got y {self.y_delays}, "
                f"u {self.u_delays}. For a net without feedback use the TDNN."
            )

    @property
    def past_outputs(self) -> int:
        """Columns of z that hold past y; they come first."""
        return len(self.y_delays) * self.outputs

    @property
    def regressors(self) -> int:
        return self.past_outputs + len(self.u_delays) * self.inputs

    @property
    def n_weights(self) -> int:
        return self.hidden * (self.regressors + 1 + self.outputs) + self.outputs * (1 + self.linear * self.regressors)

    def split(self, weights: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Views W1 (K, d), b1 (K,), W2 (O, K), b2 (O,), W3 (O, d) of the flat vector (n_weights,)."""
        k, d, o = self.hidden, self.regressors, self.outputs
        a, b = k * (d + 1), k * (d + 1 + o)  # where W2 and b2 begin
        w3 = weights[b + o :].reshape(o, d) if self.linear else np.zeros((o, d), dtype=weights.dtype)
        return weights[: k * d].reshape(k, d), weights[k * d : a], weights[a:b].reshape(o, k), weights[b : b + o], w3

    def bounded(self, v: Array) -> Array:
        return v if self.low is None or self.high is None else np.clip(v, self.low, self.high)

    def error(self, v: Array, y: Array) -> Array:
        """v - y; none where y sits on a bound and v lies beyond it, for the truth may lie there too."""
        error = np.asarray(v - np.nan_to_num(y))
        if self.low is None or self.high is None:
            return error
        beyond = ((y >= self.high) & (v >= self.high)) | ((y <= self.low) & (v <= self.low))
        return np.where(beyond, 0.0, error)

    def past_inputs(self, u: Array, start: int) -> Array:
        """(T - start, u_delays * I): the driven part of z_t from `start`; before row 0 u keeps its first value."""
        rows = np.arange(start, len(u))
        columns = [u[np.maximum(rows - delay, 0)] for delay in self.u_delays]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(rows), 0))

    def measured(self, record: Record) -> Array:
        """(T - start, d): z_t of the open loop; NaN where a needed y is missing."""
        rows = np.arange(record.start, len(record.u))
        past = [record.y[rows - delay] for delay in self.y_delays]
        return np.concatenate([*past, self.past_inputs(record.u, record.start)], axis=1)

    def one_step(self, weights: Array, z: Array) -> Array:
        """v (rows, O) from z (rows, d)."""
        w1, b1, w2, b2, w3 = self.split(weights)
        return np.asarray(np.tanh(z @ w1.T + b1) @ w2.T + z @ w3.T + b2)

    def free_run(self, weights: Array, u: Array, y_start: Array) -> Array:
        """v (T, O) under u (T, I): its first rows are `y_start`, from there on the net feeds itself."""
        w1, b1, w2, b2, w3 = self.split(weights)
        both, n = np.vstack([w1, w3]), self.past_outputs
        drive = self.past_inputs(u, len(y_start)) @ both[:, n:].T + np.concatenate([b1, b2])
        deepest, o = max(self.y_delays), self.outputs
        recent = np.zeros((deepest * o, len(both)), dtype=both.dtype)  # rows in the order of time
        for place, delay in enumerate(self.y_delays):
            at = (deepest - delay) * o
            recent[at : at + o] = both[:, place * o : (place + 1) * o].T
        with np.errstate(over="ignore", invalid="ignore"):
            return self._run(y_start, drive, recent, np.ascontiguousarray(w2.T))

    def _run(self, y_start: Array, drive: Array, recent: Array, w2: Array) -> Array:
        o, k, reach = self.outputs, self.hidden, len(recent)
        v = np.empty((len(y_start) + len(drive)) * o, dtype=drive.dtype)
        v[: y_start.size] = y_start.ravel()
        fed = v if self.low is None else v.copy()
        low, high = np.array(self.low), np.array(self.high)
        for at, forced in zip(range(y_start.size, len(v), o), drive, strict=True):
            a = fed[at - reach : at] @ recent + forced
            now = v[at : at + o] = np.tanh(a[:k]) @ w2 + a[k:]
            if fed is not v:
                fed[at : at + o] = np.minimum(np.maximum(now, low), high)
        return v.reshape(-1, o)

    def feedback(self, weights: Array, z: Array) -> Array:
        """dv/d(past y) (rows, O, past_outputs)."""
        w1, b1, w2, _, w3 = self.split(weights)
        n = self.past_outputs
        slope = 1.0 - np.tanh(z @ w1.T + b1) ** 2
        if self.outputs == 1:
            return np.asarray((slope * w2[0]) @ w1[:, :n] + w3[:, :n])[:, None]
        return np.asarray((slope[:, None] * w2) @ w1[:, :n] + w3[:, :n])

    def jacobian(self, weights: Array, z: Array) -> Array:
        """dv/dw at fixed z, transposed: (n_weights, rows, O)."""
        w1, b1, w2, _, _ = self.split(weights)
        h = np.tanh(z @ w1.T + b1).T
        k, d, o = self.hidden, self.regressors, self.outputs
        shape = (len(z), o)
        zt = np.ascontiguousarray(z.T)
        out = np.zeros((self.n_weights, *shape))
        slope = (1.0 - h**2)[:, :, None] * w2.T[:, None, :]
        np.multiply(slope[:, None], zt[None, :, :, None], out=out[: k * d].reshape(k, d, *shape))
        out[k * d : k * (d + 1)] = slope
        at = k * (d + 1)
        for target in range(o):
            out[at + target * k : at + (target + 1) * k, :, target] = h
            out[at + o * k + target, :, target] = 1.0
            if self.linear:
                first = at + o * (k + 1) + target * d
                out[first : first + d, :, target] = zt
        return out


def mean_square(net: Narx, weights: Array, records: Sequence[Record]) -> float:
    """Mean squared error of the bounded free run over the counted values of the records; infinity on divergence."""
    total, count = 0.0, 0.0
    for record in records:
        run = net.bounded(net.free_run(weights, record.u, record.y[: record.start]))[record.start :]
        weight = record.counted()
        total += finite_sum(weight * (run - np.nan_to_num(record.y[record.start :])))
        count += float(np.count_nonzero(weight))
    return total / max(count, 1.0)


def finite_sum(error: Array) -> float:
    """The sum of squares; infinity when any value is not finite or too large to square."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.vdot(error, error))
    return total if np.isfinite(total) else np.inf
