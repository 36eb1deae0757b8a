"""The NARX model in float64, a net with one hidden layer or a polynomial: both loops (Leontaritis &
Billings 1985).

    v_t = W2 tanh(W1 z_t + b1) + W3 z_t + b2        or, with `terms`, the sum of C_k prod z_{t,k}
    z_t = [y_{t-d} for d in y_delays, u_{t-d} for d in u_delays]
    y_t = min(max(v_t, low), high)       where the output is known to saturate, else y_t = v_t

Open loop (series-parallel): the y in z_t is measured. Closed loop (parallel, free run): it is the
net's own bounded output; a state that nobody measures always is. All values are scaled, `Model` has
the units of the data. NumPy alone, for models small enough for Levenberg-Marquardt, which
`problems` trains.

`Narx` is the model without weights, which are one flat vector; `Memory` stands between two rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecast.identification.experiment import Array, Experiment, delay_inputs
from forecast.identification.first_states import FITTED_ROWS, fit_first_states
from forecast.identification.polynomial import PolynomialLayer, Term
from forecast.training.one_layer import OneLayer


@dataclass(frozen=True)
class Memory:
    """The state before a row, oldest rows first: y (longest y delay, O) and u (longest u delay
    plus longest dead time, I).
    """

    y: Array
    u: Array


@dataclass(frozen=True)
class Narx:
    """`y_delays` from 1, `u_delays` from 0; `low`, `high`: bounds (O,) the output cannot pass, None
    without.

    `dead_times` (I,): steps by which every input is held back besides, each with delays of its own
    where there are several; none given: 0.
    `states`: how many of the `outputs`, the last ones, are the net's own state, never measured; the
    others are y. `terms`: of a polynomial, products of columns of z in the place of the net. The
    weights are one flat vector (n_weights,), in the order of `layer`.
    """

    inputs: int
    outputs: int
    y_delays: tuple[int, ...]
    u_delays: tuple[int, ...]
    hidden: int
    linear: bool = True
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    dead_times: tuple[tuple[int, ...], ...] = ()
    states: int = 0
    terms: tuple[Term, ...] = ()

    @property
    def measured_outputs(self) -> int:
        """Columns of y."""
        return self.outputs - self.states

    @property
    def is_linear(self) -> bool:
        """Whether v is linear in z."""
        return not self.hidden and not self.terms

    @property
    def past_outputs(self) -> int:
        """Columns of z that hold past y; they come first."""
        return len(self.y_delays) * self.outputs

    @property
    def regressors(self) -> int:
        """d, the columns of z."""
        return self.past_outputs + len(self.u_delays) * len(self.held_back)

    @cached_property
    def held_back(self) -> list[tuple[int, int]]:
        """(column of u, steps it is held back) of the columns of z that hold u at a delay."""
        dead_times = self.dead_times or ((0,),) * self.inputs
        return [(column, steps) for column, each in enumerate(dead_times) for steps in each]

    @cached_property
    def layer(self) -> OneLayer | PolynomialLayer:
        """The map from z to v."""
        if self.terms:
            return PolynomialLayer(self.terms, self.regressors, self.outputs)
        return OneLayer(self.regressors, self.hidden, self.outputs, self.linear)

    @property
    def input_memory(self) -> int:
        """Rows before the present one whose u acts."""
        longest = max((steps for _, steps in self.held_back), default=0)
        return max(self.u_delays, default=0) + longest

    def column_names(self) -> list[str]:
        """Of each column of z, as in y[t-1], u2[t-3]."""
        names = []
        for letter, delays, columns, held_back in (
            ("y", self.y_delays, self.outputs, [(output, 0) for output in range(self.outputs)]),
            ("u", self.u_delays, self.inputs, self.held_back),
        ):
            for delay in delays:
                for column, steps in held_back:
                    name = f"{letter}{column + 1}" if columns > 1 else letter
                    names.append(f"{name}[t-{delay + steps}]".replace("-0", ""))
        return names

    @property
    def n_weights(self) -> int:
        """The length of the flat vector of weights."""
        return self.layer.n_weights

    def flatten(self, weights: Mapping[str, Array]) -> Array:
        """The flat vector of the weights by name that a `networks` description of the same net
        has.
        """
        return self.layer.flatten(weights, self._layer_path)

    def unflatten(self, flat: Array) -> dict[str, Array]:
        """The inverse of `flatten`."""
        return self.layer.unflatten(flat, self._layer_path)

    @property
    def _layer_path(self) -> str:
        return "paths/0/layer_0" if self.linear else "layer_0"

    @cached_property
    def limits(self) -> Array:
        """(2, O): what the output cannot pass, infinite without bounds."""
        unbounded = np.full(self.outputs, np.inf)
        if self.low is None or self.high is None:
            return np.stack([-unbounded, unbounded])
        return np.array([self.low, self.high])

    def bounded(self, v: Array) -> Array:
        """y of v (..., O), or of its first columns."""
        return np.clip(v, *self.limits[:, : v.shape[-1]])

    def start_rows(self, start: int) -> int:
        """The measured rows that a run begins with: `start`, more where a delay of y is longer."""
        return max(start, *self.y_delays)

    def add_state_columns(self, y: Array) -> Array:
        """(T, O): y (T, measured outputs) with NaN for the states, which nobody measures."""
        if not self.states:
            return y
        return np.hstack([y, np.full((len(y), self.states), np.nan)])

    def add_first_row(self, experiment: Experiment, start: int) -> Experiment:
        """For a net with states the experiment behind one more row, as `begin` remembers it: y is
        zero there, u as in the first row; the states stay NaN, as in all rows. For another net as
        it is.
        """
        if not self.states:
            return experiment
        u, counted = experiment.u, experiment.error_weights[start:]
        outputs = experiment.y.shape[1]
        y = np.concatenate([np.zeros((1, outputs)), experiment.y])
        weight = np.concatenate([np.zeros((start + 1, outputs)), counted])
        return experiment.with_arrays(
            u=np.concatenate([u[:1], u]),
            y=self.add_state_columns(y),
            weight=np.nan_to_num(self.add_state_columns(weight)),
        )

    def residual(self, v: Array, y: Array) -> Array:
        """v - y; none where y sits on a bound and v lies beyond it, for the truth may lie there
        too.
        """
        low, high = self.limits[:, : v.shape[-1]]
        is_saturated = ((y >= high) & (v >= high)) | ((y <= low) & (v <= low))
        return np.where(is_saturated, 0.0, v - y)

    def past_inputs(self, u: Array, start: int) -> Array:
        """(T - start, len(u_delays) * len(held_back)): the columns of z_t that hold u, from row
        `start`, held back by delay and dead time (delay 0 is the present u); before row 0 u is its
        first.
        """
        if not self.u_delays or not self.inputs:
            return np.zeros((len(u[start:]), 0))
        columns, steps = np.array(self.held_back, np.int64).T
        delayed = [delay_inputs(u[:, columns], delay + steps)[start:] for delay in self.u_delays]
        return np.concatenate(delayed, axis=1)

    def open_loop_regressors(self, experiment: Experiment, start: int) -> Array:
        """(T - start, d): z_t of the open loop from row `start`, before which the y delays must
        fit; NaN where a needed y is missing.
        """
        rows = np.arange(start, len(experiment))
        past_y = [experiment.y[rows - delay] for delay in self.y_delays]
        return np.concatenate([*past_y, self.past_inputs(experiment.u, start)], axis=1)

    def begin(self, weights: Array, u: Array) -> Memory:
        """Before the first row of u (T, I): zeros for y whatever the weights, the first u for all
        before it.
        """
        rows = self.input_memory
        past_u = np.repeat(u[:1], rows, axis=0) if len(u) else np.zeros((rows, self.inputs))
        return Memory(np.zeros((max(self.y_delays), self.outputs)), past_u)

    def absorb(self, weights: Array, u: Array, y: Array) -> Memory:
        """After the measured rows u (T, I) and y (T, measured outputs): a state of its own begins
        as its first rows bear out (`first_states`).
        """
        memory = self.begin(weights, u)
        if self.states:
            first_rows = slice(min(len(y), FITTED_ROWS))
            unmeasured = np.zeros(self.measured_outputs)

            def with_states(states: Array) -> Memory:
                return replace(memory, y=np.concatenate([unmeasured, states])[None])

            def errors_of(states: Array) -> Array:
                run, _ = self.loop(weights, with_states(states), u[first_rows], y[first_rows])
                return np.nan_to_num(self.bounded(run) - y[first_rows])[1:].ravel()

            memory = with_states(fit_first_states(errors_of, self.states))
        return self.loop(weights, memory, u, y)[1]

    def free_run(self, weights: Array, u: Array, y_start: Array) -> Array:
        """v (T, O) under u (T, I): its first rows are `y_start` where that is known, all else is
        the net's, not cut at `low` and `high`; what it feeds itself is. Of several weights (runs,
        n_weights), side by side, v (T, runs, O).
        """
        y = np.full((len(u), self.outputs), np.nan)
        y[: len(y_start), : y_start.shape[1]] = y_start
        run, _ = self._loop(weights, self.begin(weights, u), u, y)
        measured = y if weights.ndim == 1 else y[:, None]
        return np.where(np.isnan(measured), run, measured)

    def loop(
        self, weights: Array, memory: Memory, u: Array, y: Array | None = None
    ) -> tuple[Array, Memory]:
        """v without the states under u (T, I), row after row, and the memory after the last row.

        y is fed back where it is a number, the net's own bounded output elsewhere; None:
        everywhere. Of several weights (runs, n_weights), with a memory of y (delays, runs, O), side
        by side: v (T, runs, measured outputs).
        """
        if y is not None:
            y = self.add_state_columns(y)
        v, memory = self._loop(weights, memory, u, y)
        return v[..., : self.measured_outputs], memory

    def _loop(
        self, weights: Array, memory: Memory, u: Array, y: Array | None
    ) -> tuple[Array, Memory]:
        """The same with the states in v and y (T, O); of several weights v (T, runs, O)."""
        inputs = np.concatenate([memory.u, u])
        drive = self.past_inputs(inputs, len(memory.u))
        if y is None:
            y = np.full((len(u), self.outputs), np.nan)
        is_measured = ~np.isnan(y)
        has_measured = np.any(is_measured, axis=1).tolist()
        o, runs = self.outputs, weights.shape[:-1]
        for_all_runs = (slice(None), *(None,) * len(runs))
        v = np.empty((len(u), *runs, o), np.result_type(drive, weights))
        n_past = self.past_outputs
        # a row more, for the outputs of the last
        z = np.ones((len(u) + 1, *runs, n_past + drive.shape[1] + 1), v.dtype)
        z[:-1, ..., n_past:-1] = drive[for_all_runs]
        only_last = self.y_delays == (1,)  # the next row of z then holds the outputs of a row
        deepest = len(memory.y)
        fed = z[..., :o] if only_last else np.empty((deepest + len(u), *runs, o), v.dtype)
        fed[:deepest] = memory.y[for_all_runs] if memory.y.ndim == 2 else memory.y
        size = fed[0].size
        past = z if only_last else sliding_window_view(fed.ravel(), deepest * size)[::size]
        places = np.concatenate([np.arange(o) - delay * size for delay in self.y_delays])
        places = np.arange(0, size, o).reshape(*runs, 1) + places
        low, high = self.limits
        evaluate = self.layer.of_row(weights)
        rows = zip(past, z[..., :n_past], z, v, fed[deepest:], strict=False)
        with np.errstate(over="ignore", invalid="ignore"):
            for row, (before, past_y, z_row, value, output) in enumerate(rows):
                if not only_last:
                    before.take(places, out=past_y, mode="wrap")  # "raise" copies `out`
                evaluate(z_row, value)
                np.maximum(value, low, out=output)
                np.minimum(output, high, out=output)
                if has_measured[row]:
                    np.copyto(output, y[row], where=is_measured[row])
        return v, Memory(fed[len(u) :].copy(), inputs[len(inputs) - len(memory.u) :])

    def ahead(self, weights: Array, memory: Memory, u: Array, y: Array, steps: int) -> Array:
        """y (T - steps, steps, O): after every row but the last `steps`, the closed loop over the
        next `steps`.
        """
        y = self.add_state_columns(y)
        run = self.bounded(self._loop(weights, memory, u, y)[0])
        measured = np.concatenate([memory.y, np.where(np.isnan(y), run, y)])
        drive = self.past_inputs(np.concatenate([memory.u, u]), len(memory.u))
        deepest = len(memory.y)
        cutoffs = len(drive) - steps
        forecasts = np.empty((cutoffs, steps, self.outputs))
        for step in range(1, steps + 1):
            columns = []
            for delay in self.y_delays:
                if delay < step:
                    columns.append(forecasts[:, step - 1 - delay])
                else:
                    first = deepest + step - delay
                    columns.append(measured[first : first + cutoffs])
            z = np.concatenate([*columns, drive[step : step + cutoffs]], axis=1)
            forecasts[:, step - 1] = self.bounded(self.layer.value(weights, z))
        return forecasts[..., : self.measured_outputs]


def initial_weights(net: Narx, rng: np.random.Generator) -> Array:
    """Random tanh units over inputs of about unit size and a small read-out of them; the linear
    path is zero, and so is all of a net without such units.
    """
    w1, b1 = random_hidden_weights(net, rng)
    w2 = 0.1 * rng.normal(size=net.outputs * net.hidden)
    return np.concatenate([w1, b1, w2, np.zeros(net.n_weights - len(w1) - len(b1) - len(w2))])


def random_hidden_weights(net: Narx, rng: np.random.Generator) -> tuple[Array, Array]:
    """W1 (K * d,) and b1 (K,) of tanh units over inputs of about unit size."""
    w1 = rng.normal(size=net.hidden * net.regressors) * 0.7 / np.sqrt(net.regressors)
    return w1, rng.uniform(-1.0, 1.0, size=net.hidden)
