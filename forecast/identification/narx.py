"""The NARX net with one hidden layer in float64: both loops and exact derivatives (Leontaritis &
Billings 1985).

    v_t = W2 tanh(W1 z_t + b1) + W3 z_t + b2,     z_t = [y_{t-d} for d in y_delays, u_{t-d} for d in
    u_delays] y_t = min(max(v_t, low), high)                where the output is known to saturate,
    else y_t = v_t

Open loop (series-parallel): the y in z_t is measured. Closed loop (parallel, free run): it is the
net's own bounded output. All values are scaled. NumPy alone, for nets small enough for
Levenberg-Marquardt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.identification.experiment import Array, Experiment, delayed
from forecast.system.errors import InputError
from forecast.training.one_layer import OneLayer


@dataclass(frozen=True)
class Memory:
    """The state before a row, oldest rows first: y (longest y delay, O) and u (longest u delay,
    I).
    """

    y: Array
    u: Array


@dataclass(frozen=True)
class Narx:
    """`y_delays` from 1, `u_delays` from 0; `low`, `high`: bounds (O,) the output cannot pass, None
    without.

    `dead_times` (I,): steps by which every input is held back besides; none given: 0.
    `states`: how many of the `outputs`, the last ones, are the net's own state, never measured; the
    others are y. Its weights are one flat vector (n_weights,), in the order of `OneLayer`.
    """

    inputs: int
    outputs: int
    y_delays: tuple[int, ...]
    u_delays: tuple[int, ...]
    hidden: int
    linear: bool = True
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    dead_times: tuple[int, ...] = ()
    states: int = 0

    def __post_init__(self) -> None:
        if (
            not self.y_delays
            or min(self.y_delays) < 1
            or (self.u_delays and min(self.u_delays) < 0)
        ):
            wanted = "NARX delays must be whole steps, from 1 for y and from 0 for u"
            found = f"got y {self.y_delays}, u {self.u_delays}"
            raise InputError(f"{wanted}; {found}. For a net without feedback use the TDNN.")

    @property
    def measured_outputs(self) -> int:
        """Columns of y."""
        return self.outputs - self.states

    @property
    def past_outputs(self) -> int:
        """Columns of z that hold past y; they come first."""
        return len(self.y_delays) * self.outputs

    @property
    def regressors(self) -> int:
        """d, the columns of z."""
        return self.past_outputs + len(self.u_delays) * self.inputs

    @property
    def layer(self) -> OneLayer:
        """The map from z to v."""
        return OneLayer(self.regressors, self.hidden, self.outputs, self.linear)

    @property
    def n_weights(self) -> int:
        return self.layer.n_weights

    def flat(self, named: Mapping[str, Array]) -> Array:
        """The flat vector of the weights by name that a `networks` description of the same net
        has.
        """
        return self.layer.flat(named, self._layer)

    def named(self, flat: Array) -> dict[str, Array]:
        """The inverse of `flat`."""
        return self.layer.named(flat, self._layer)

    @property
    def _layer(self) -> str:
        return "paths/0/layer_0" if self.linear else "layer_0"

    def bounded(self, v: Array) -> Array:
        """y of v."""
        shown = v.shape[-1]
        return (
            v
            if self.low is None or self.high is None
            else np.clip(v, self.low[:shown], self.high[:shown])
        )

    def beside_states(self, y: Array) -> Array:
        """(T, O): y with NaN for the states, which nobody measures."""
        return np.hstack([y, np.full((len(y), self.states), np.nan)]) if self.states else y

    def begun(self, e: Experiment, start: int) -> Experiment:
        """The experiment of a net with states behind the row that `begin` stands for; of another as
        it is.
        """
        if not self.states:
            return e
        u, y = np.concatenate([e.u[:1], e.u]), np.concatenate([np.zeros((1, e.y.shape[1])), e.y])
        weight = np.concatenate([np.zeros((start + 1, e.y.shape[1])), e.counted[start:]])
        return e.changed(
            u=u, y=self.beside_states(y), weight=np.nan_to_num(self.beside_states(weight))
        )

    def error(self, v: Array, y: Array) -> Array:
        """v - y; none where y sits on a bound and v lies beyond it, for the truth may lie there
        too.
        """
        error = np.asarray(v - y)
        if self.low is None or self.high is None:
            return error
        beyond = ((y >= self.high) & (v >= self.high)) | ((y <= self.low) & (v <= self.low))
        return np.where(beyond, 0.0, error)

    def past_inputs(self, u: Array, start: int) -> Array:
        """(T - start, u_delays * I): the columns of z_t that hold u, from row `start`; before row 0
        u is its first.
        """
        held = np.array(self.dead_times or (0,) * self.inputs, np.int64)
        columns = [delayed(u, delay + held)[start:] for delay in self.u_delays]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(u[start:]), 0))

    def measured(self, experiment: Experiment, start: int) -> Array:
        """(T - start, d): z_t of the open loop from row `start`; NaN where a needed y is
        missing.
        """
        if start < max(self.y_delays):
            found = f"The rows before row {start} cannot fill y delays up to {max(self.y_delays)}"
            raise InputError(f"{found}. Start later, or take shorter delays.")
        rows = np.arange(start, len(experiment))
        past = [experiment.y[rows - delay] for delay in self.y_delays]
        return np.concatenate([*past, self.past_inputs(experiment.u, start)], axis=1)

    def begin(self, weights: Array, u: Array) -> Memory:
        """Before the first row of u (T, I): zeros for y whatever the weights, the first u for all
        before it.
        """
        rows = max(self.u_delays, default=0) + max(self.dead_times, default=0)
        past = np.repeat(u[:1], rows, axis=0) if len(u) else np.zeros((rows, self.inputs))
        return Memory(np.zeros((max(self.y_delays), self.outputs)), past)

    def free_run(self, weights: Array, u: Array, y_start: Array) -> Array:
        """v (T, O) under u (T, I): its first rows are `y_start`, from there on the net feeds
        itself.
        """
        y = np.full((len(u), self.outputs), np.nan)
        y[: len(y_start), : y_start.shape[1]] = y_start
        run = self._loop(weights, self.begin(weights, u), u, y)[0]
        return np.where(np.isnan(y), run, y)

    def loop(
        self, weights: Array, before: Memory, u: Array, y: Array | None = None
    ) -> tuple[Array, Memory]:
        """v without the states under u (T, I), row after row, and the memory after the last row.

        y is fed back where it is a number, the net's own bounded output elsewhere; None:
        everywhere.
        """
        v, memory = self._loop(weights, before, u, None if y is None else self.beside_states(y))
        return v[:, : self.measured_outputs], memory

    def _loop(
        self, weights: Array, before: Memory, u: Array, y: Array | None = None
    ) -> tuple[Array, Memory]:
        """The same with the states in v and y (T, O)."""
        w1, b1, w2, b2, w3 = self.layer.split(weights)
        both, n = np.vstack([w1, w3]), self.past_outputs
        deepest, o = max(self.y_delays), self.outputs
        recent = np.zeros((deepest * o, len(both)), dtype=both.dtype)  # rows in the order of time
        for place, delay in enumerate(self.y_delays):
            at = (deepest - delay) * o
            recent[at : at + o] = both[:, place * o : (place + 1) * o].T
        inputs = np.concatenate([before.u, u])
        with np.errstate(over="ignore", invalid="ignore"):
            drive = _product(
                self.past_inputs(inputs, len(before.u)), both[:, n:].T
            ) + np.concatenate([b1, b2])
            v, fed = self._steps(before.y, drive, recent, np.ascontiguousarray(w2.T), y)
        return v, Memory(fed[-deepest:], inputs[len(inputs) - len(before.u) :])

    def ahead(self, weights: Array, before: Memory, u: Array, y: Array, steps: int) -> Array:
        """y (T - steps, steps, O): after every row but the last `steps`, the closed loop over the
        next `steps`.
        """
        y = self.beside_states(y)
        run = self.bounded(self._loop(weights, before, u, y)[0])
        measured = np.concatenate([before.y, np.where(np.isnan(y), run, y)])
        drive = self.past_inputs(np.concatenate([before.u, u]), len(before.u))
        deepest, cutoffs = len(before.y), len(drive) - steps
        found = np.empty((cutoffs, steps, self.outputs))
        for step in range(1, steps + 1):
            past = (
                (
                    found[:, step - 1 - d]
                    if d < step
                    else measured[deepest + step - d : deepest + step - d + cutoffs]
                )
                for d in self.y_delays
            )
            z = np.concatenate([*past, drive[step : step + cutoffs]], axis=1)
            found[:, step - 1] = self.bounded(self.layer.value(weights, z))
        return found[..., : self.measured_outputs]

    def _steps(
        self, past: Array, drive: Array, recent: Array, w2: Array, y: Array | None
    ) -> tuple[Array, Array]:
        """v (T, O), and what is fed back, (len(past) + T, O)."""
        o, k, reach = self.outputs, self.hidden, len(recent)
        v = np.empty((len(past) + len(drive)) * o, dtype=drive.dtype)
        v[: past.size] = past.ravel()
        fed = v if self.low is None and y is None else v.copy()
        low, high = np.array(self.low), np.array(self.high)
        for row, forced in enumerate(drive):
            at = past.size + row * o
            a = fed[at - reach : at] @ recent + forced
            now = v[at : at + o] = np.tanh(a[:k]) @ w2 + a[k:]
            if self.low is not None:
                now = np.minimum(np.maximum(now, low), high)
            if fed is not v:
                fed[at : at + o] = now if y is None else np.where(np.isnan(y[row]), now, y[row])
        return v[past.size :].reshape(-1, o), fed.reshape(-1, o)


def initial(net: Narx, rng: np.random.Generator) -> Array:
    """Random hidden units over inputs of about unit size, a small read-out, no linear path yet."""
    w1 = rng.normal(size=net.hidden * net.regressors) * 0.7 / np.sqrt(net.regressors)
    b1, w2 = (
        rng.uniform(-1.0, 1.0, size=net.hidden),
        0.1 * rng.normal(size=net.outputs * net.hidden),
    )
    return np.concatenate([w1, b1, w2, np.zeros(net.n_weights - len(w1) - len(b1) - len(w2))])


def _product(rows: Array, matrix: Array) -> Array:
    """rows @ matrix. A single row goes in twice: BLAS sums a vector's product in another order than
    a matrix's, and a loop that is handed on row by row would differ from one in one piece in its
    last bit.
    """
    return np.asarray(
        (np.repeat(rows, 2, axis=0) @ matrix)[:1] if len(rows) == 1 else rows @ matrix
    )
