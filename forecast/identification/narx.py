"""The NARX model (Leontaritis & Billings 1985), a net with one hidden layer or a polynomial, with
its open and its closed loop in NumPy.

    v_t = W2 tanh(W1 z_t + b1) + W3 z_t + b2        or, with `terms`, a polynomial in z_t
    z_t = [y_{t-d} for d in y_delays, u_{t-d} for d in u_delays]
    y_t = min(max(v_t, low), high)                  where bounds are known, else y_t = v_t

Open loop (series-parallel): the y in z_t is measured. Closed loop (parallel, free run): it is the
net's own bounded output, as a state that nobody measures always is. All values are scaled; `Model`
has the units of the data, `problems` the training. `Narx` has no weights: they are a flat vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    delay_inputs,
)
from forecast.identification.first_states import FITTED_ROWS, fit_first_states
from forecast.identification.polynomial import PolynomialLayer, Term
from forecast.training.one_layer import OneLayer


@dataclass(frozen=True)
class Memory:
    """What a net remembers before a row, oldest rows first: y (longest y delay, O) and u (longest u
    delay plus most rows that an input is held back, I).
    """

    y: Array
    u: Array


@dataclass(frozen=True)
class Narx:
    """A NARX model without its weights.

    `y_delays`: from 1; `u_delays`: from 0; `low`, `high` (O,): bounds of the outputs, None without.
    `held_back_rows` (I,): the rows by which each input is held back before its delays are counted
    (its dead time less one, 0 for none), all delays for each of several; () for 0.
    `states`: how many of the `outputs`, the last ones, are states of the net, never measured; the
    others are y.
    `terms`: of a polynomial, products of columns of z; `origin` (O + inputs held back,): the scaled
    values of y and u that a polynomial subtracts first; () for 0.
    """

    inputs: int
    outputs: int
    y_delays: tuple[int, ...]
    u_delays: tuple[int, ...]
    hidden: int
    linear: bool = True
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    held_back_rows: tuple[tuple[int, ...], ...] = ()
    states: int = 0
    terms: tuple[Term, ...] = ()
    origin: tuple[float, ...] = ()

    @property
    def measured_outputs(self) -> int:
        """The number of columns of y, without the states."""
        return self.outputs - self.states

    @property
    def is_linear(self) -> bool:
        """Whether v is linear in z."""
        return not self.hidden and not self.terms

    @property
    def past_outputs(self) -> int:
        """The number of columns of z that hold past y and states; they come first."""
        return len(self.y_delays) * self.outputs

    @property
    def regressors(self) -> int:
        """d, the number of columns of z."""
        return self.past_outputs + len(self.u_delays) * len(self.held_back)

    @cached_property
    def held_back(self) -> list[tuple[int, int]]:
        """(column of u, rows it is held back) of each column that z has for u at one delay."""
        rows_by_input = self.held_back_rows or ((0,),) * self.inputs
        return [(column, rows) for column, each in enumerate(rows_by_input) for rows in each]

    @cached_property
    def layer(self) -> OneLayer | PolynomialLayer:
        """The map from z to v."""
        if self.terms:
            return PolynomialLayer(self.terms, *self.origins)
        return OneLayer(self.regressors, self.hidden, self.outputs, self.linear)

    @cached_property
    def origins(self) -> tuple[Array, Array]:
        """(d,) and (O,): what a polynomial subtracts from the columns of z and from y."""
        origin = np.array(self.origin or (0.0,) * (self.outputs + len(self.held_back)))
        y, u = np.split(origin, [self.outputs])
        return self.repeat_over_delays(y, u), y

    def repeat_over_delays(self, y: Array, u: Array) -> Array:
        """(d,): for each column of z what `y` (O,) and `u` (inputs held back,) have for it."""
        return np.concatenate([np.tile(y, len(self.y_delays)), np.tile(u, len(self.u_delays))])

    def find_origin(self, scaling: Standardization) -> tuple[float, ...]:
        """The `origin` at which the data are 0: (O + inputs held back,)."""
        columns = [column for column, _ in self.held_back]
        return (*scaling.scale_y(0.0).tolist(), *scaling.scale_u(0.0)[columns].tolist())

    @property
    def input_memory(self) -> int:
        """How many rows back the earliest u is that acts on y."""
        longest = max((steps for _, steps in self.held_back), default=0)
        return max(self.u_delays, default=0) + longest

    def column_names(self) -> list[str]:
        """The names of the columns of z, such as y[t-1] and u2[t-3]."""
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
        """The flat vector of weights by the names that they have in the network of the same net."""
        return self.layer.flatten(weights, self._layer_path)

    def unflatten(self, flat: Array) -> dict[str, Array]:
        """The inverse of `flatten`."""
        return self.layer.unflatten(flat, self._layer_path)

    @property
    def _layer_path(self) -> str:
        return "paths/0/layer_0" if self.linear else "layer_0"

    @cached_property
    def limits(self) -> Array:
        """(2, O): the bounds of the outputs, infinite without any."""
        unbounded = np.full(self.outputs, np.inf)
        if self.low is None or self.high is None:
            return np.stack([-unbounded, unbounded])
        return np.array([self.low, self.high])

    def bounded(self, v: Array) -> Array:
        """v (..., O), or its first columns, clipped to the bounds."""
        return np.clip(v, *self.limits[:, : v.shape[-1]])

    def start_rows(self, start: int) -> int:
        """The measured rows that a run begins with: `start`, more where a delay of y is longer."""
        return max(start, *self.y_delays)

    def add_state_columns(self, y: Array) -> Array:
        """(T, O): y (T, measured outputs) with NaN for the states."""
        if not self.states:
            return y
        return np.hstack([y, np.full((len(y), self.states), np.nan)])

    def add_first_row(self, experiment: Experiment, start: int) -> Experiment:
        """For a net with states: the experiment with a row before its first one, as `begin`
        remembers it (y 0, u as in the first row), and with NaN as the states in all rows. The new
        row and the first `start` of the experiment count as no error (weight 0). For another net as
        it is.
        """
        if not self.states:
            return experiment
        one_row_before = ((1, 0), (0, 0))
        counted = experiment.error_weights[start:]
        return experiment.with_arrays(
            u=np.pad(experiment.u, one_row_before, mode="edge"),
            y=self.add_state_columns(np.pad(experiment.y, one_row_before)),
            weight=np.pad(counted, ((start + 1, 0), (0, self.states))),
        )

    def residual(self, v: Array, y: Array) -> Array:
        """v - y; 0 where y sits on a bound and v lies beyond it, as the truth may."""
        low, high = self.limits[:, : v.shape[-1]]
        is_saturated = ((y >= high) & (v >= high)) | ((y <= low) & (v <= low))
        return np.where(is_saturated, 0.0, v - y)

    def past_inputs(self, u: Array, start: int) -> Array:
        """(T - start, len(u_delays) * len(held_back)): the columns of z that hold u, from row
        `start`; u before its first row is taken to be as there.
        """
        if not self.u_delays or not self.inputs:
            return np.zeros((len(u[start:]), 0))
        columns, steps = np.array(self.held_back, np.int64).T
        delayed = [delay_inputs(u[:, columns], delay + steps)[start:] for delay in self.u_delays]
        return np.concatenate(delayed, axis=1)

    def open_loop_regressors(self, experiment: Experiment, start: int) -> Array:
        """(T - start, d): z of the open loop from row `start`, which is at least the longest delay
        of y; NaN where y is missing.
        """
        rows = np.arange(start, len(experiment))
        past_y = [experiment.y[rows - delay] for delay in self.y_delays]
        return np.concatenate([*past_y, self.past_inputs(experiment.u, start)], axis=1)

    def begin(self, u: Array) -> Memory:
        """The memory before the first row of u (T, I): zeros for y, the first u for all rows before
        it.
        """
        rows = self.input_memory
        past_u = np.repeat(u[:1], rows, axis=0) if len(u) else np.zeros((rows, self.inputs))
        return Memory(np.zeros((max(self.y_delays), self.outputs)), past_u)

    def absorb(self, weights: Array, u: Array, y: Array) -> Memory:
        """The memory after the measured rows u (T, I) and y (T, measured outputs). States begin as
        they fit the first rows best (`first_states`).
        """
        memory = self.begin(u)
        if self.states:
            first_rows = slice(min(len(y), FITTED_ROWS))
            unmeasured = np.zeros(self.measured_outputs)

            def memory_of(states: Array) -> Memory:
                return replace(memory, y=np.concatenate([unmeasured, states])[None])

            def errors_of(states: Array) -> Array:
                run, _ = self.loop(weights, memory_of(states), u[first_rows], y[first_rows])
                return np.nan_to_num(self.bounded(run) - y[first_rows])[1:].ravel()

            memory = memory_of(fit_first_states(errors_of, self.states))
        return self.loop(weights, memory, u, y)[1]

    def free_run(self, weights: Array, u: Array, y_start: Array) -> Array:
        """v (T, O) of the free run under u (T, I); `y_start` stands in its first rows where that is
        known. Before its first row y is 0 and u what it is there. v is not clipped to the bounds,
        but what the net feeds back is. Of several weights (runs, n_weights) v (T, runs, O).
        """
        y = np.full((len(u), self.outputs), np.nan)
        y[: len(y_start), : y_start.shape[1]] = y_start
        run, _ = self._loop(weights, self.begin(u), u, y)
        measured = y if weights.ndim == 1 else y[:, None]
        return np.where(np.isnan(measured), run, measured)

    def loop(
        self, weights: Array, memory: Memory, u: Array, y: Array | None = None
    ) -> tuple[Array, Memory]:
        """v (T, measured outputs) under u (T, I), row after row, and the memory after the last row.

        y is fed back where it is a number; elsewhere, and without y, the net's own bounded output.
        Of several weights (runs, n_weights), and memory.y (delays, runs, O), v has the shape
        (T, runs, measured outputs).
        """
        if y is not None:
            y = self.add_state_columns(y)
        v, memory = self._loop(weights, memory, u, y)
        return v[..., : self.measured_outputs], memory

    def _loop(
        self, weights: Array, memory: Memory, u: Array, y: Array | None
    ) -> tuple[Array, Memory]:
        """As `loop`, with the states in v and y: (T, O), of several weights (T, runs, O)."""
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
        # one row more, for the outputs of the last
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
        """y (T - steps, steps, measured outputs): from every row but the last `steps`, the closed
        loop over the next `steps` rows.
        """
        y = self.add_state_columns(y)
        run = self.bounded(self._loop(weights, memory, u, y)[0])
        measured = np.concatenate([memory.y, np.where(np.isnan(y), run, y)])
        drive = self.past_inputs(np.concatenate([memory.u, u]), len(memory.u))
        deepest = len(memory.y)
        cutoffs = len(drive) - steps
        known = sliding_window_view(measured, deepest, axis=0)[1 : 1 + cutoffs].swapaxes(1, 2)
        # what each path knows, then what it forecasts
        paths = np.concatenate([known, np.empty((cutoffs, steps, self.outputs))], axis=1)
        for step in range(steps):
            past = paths[:, [deepest + step - delay for delay in self.y_delays]]
            inputs = drive[step + 1 : step + 1 + cutoffs]
            z = np.concatenate([past.reshape(cutoffs, -1), inputs], axis=1)
            paths[:, deepest + step] = self.bounded(self.layer.value(weights, z))
        return paths[:, deepest:, : self.measured_outputs]


def initial_weights(net: Narx, rng: np.random.Generator) -> Array:
    """Random weights (n_weights,) of tanh units over inputs of about unit size and of their small
    readout; 0 for the linear path.
    """
    w1, b1 = random_hidden_weights(net, rng)
    w2 = 0.1 * rng.normal(size=net.outputs * net.hidden)
    return np.concatenate([w1, b1, w2, np.zeros(net.n_weights - len(w1) - len(b1) - len(w2))])


def random_hidden_weights(net: Narx, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random W1 (K * d,) and b1 (K,) of K tanh units over inputs of about unit size."""
    w1 = rng.normal(size=net.hidden * net.regressors) * 0.7 / np.sqrt(net.regressors)
    return w1, rng.uniform(-1.0, 1.0, size=net.hidden)
