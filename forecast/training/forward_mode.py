"""Forward-mode derivatives of a network over a series: each block passes on its output and that
output's derivatives by the weights, together a `Signal`.

`ForwardMode` is the `BlockVisitor` that does so for dense, tap, parallel and recurrent blocks; it
refuses every other. `network_problem` feeds it the rows of a series, and has the method and its
sources.

Rows come as past (R, C) and frames (R, H * F) of what is known ahead; a `Signal` is a block's
output (R, W) and its derivatives (R, W, q) by the first q weights. Blocks of rows are passed in the
order of time, since `memory` goes on from one to the next. Derivatives by another kind of block are
a `visit_` method of `ForwardMode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.networks.cells.base import Array as AnyArray
from forecast.networks.cells.base import Cell, Namespace, activate
from forecast.networks.description import (
    Dense,
    Network,
    Parallel,
    Recurrent,
    Taps,
    weights_at,
)
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import future_width
from forecast.training.levenberg_marquardt import Array

STEP = 1e-30


class ComplexNamespace(Namespace):
    """NumPy's array functions for complex numbers, which carry the complex step through a cell; all
    but the smoothed ReLU take them as they are.
    """

    def softplus(self, x: AnyArray) -> AnyArray:
        """ln(1 + e^x) of complex numbers, without overflow."""
        positive = x.real > 0
        return np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))


XP = ComplexNamespace()


@dataclass(frozen=True)
class Signal:
    """The rows of one block's output and their derivatives: value (R, W); tangent (R, W, q) by the
    first q weights, 0 where none of them acts on it.

    Weights are numbered in the order of their blocks, so those of later blocks, q and on, need no
    zeros stored.
    """

    value: Array
    tangent: Array

    @classmethod
    def of_inputs(cls, value: Array) -> Signal:
        """Inputs, on which no weight acts."""
        return cls(value, np.zeros((*value.shape, 0)))


@dataclass
class ForwardMode(BlockVisitor[Signal]):
    """One run over one series, block of rows after block of rows.

    `first_column_of`: by name, where the columns of a weight begin among those of all weights.
    `memory`: by block path, what goes on
    into the next block of rows, with its tangent: the rows of a delay line, or the states of a
    cell.
    """

    network: Network
    weights: Mapping[str, Array]
    first_column_of: Mapping[str, int]
    memory: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    unfit_reason = (
        "for which Levenberg-Marquardt has no derivatives; it trains networks of dense, tap,"
        " parallel and recurrent blocks. Train this one with Adam"
    )

    def advance(self, past: Array, frames: Array | None) -> Signal:
        """The next rows of the series: past (R, C), frames (R, H * F) of what is known ahead; gives
        the network's output (R, H * O * K) and its derivatives by all weights.
        """
        signal = Signal.of_inputs(past)
        if frames is not None and future_width(self.network):
            projected = self._dense("future", Signal.of_inputs(frames), "tanh")
            signal = _join_signals([signal, projected])
        signal = self.visit_series(self.network.blocks, "", signal)
        # the last weights: its q is p
        return self._dense("readout", signal, "linear")

    def visit_dense(self, block: Dense, path: str, x: Signal) -> Signal:
        """The dense layer and its derivatives."""
        return self._dense(path, x, block.activation)

    def join_branches(self, block: Parallel, path: str, outputs: list[Signal]) -> Signal:
        """The branches' outputs with their derivatives side by side."""
        return _join_signals(outputs)

    def _dense(self, path: str, signal: Signal, activation: str) -> Signal:
        """`activation(x W + b)` with the weights at `path`: the tangent of x goes through W, each
        weight adds the column of x that it multiplies, and the activation's slope is taken by a
        complex step.
        """
        kernel = self.weights[f"{path}/kernel"]
        bias = self.weights[f"{path}/bias"]
        z = signal.value @ kernel + bias
        tangent = np.zeros((*z.shape, self._n_columns(path)))
        tangent[..., : signal.tangent.shape[2]] = kernel.T @ signal.tangent
        first = self.first_column_of[f"{path}/kernel"]
        after = self.first_column_of[f"{path}/bias"]
        for unit in range(z.shape[1]):
            tangent[:, unit, first + unit : first + kernel.size : z.shape[1]] += signal.value
            tangent[:, unit, after + unit] += 1.0
        tilted = activate(XP, activation, z + 1j * STEP)
        tangent *= (tilted.imag / STEP)[:, :, None]
        return Signal(tilted.real.copy(), tangent)

    def visit_taps(self, block: Taps, path: str, x: Signal) -> Signal:
        """The delayed rows and their derivatives."""
        columns = slice(None) if block.channels is None else list(block.channels)
        value = x.value[:, columns]
        tangent = x.tangent[:, columns]
        longest = max(block.delays)
        empty = np.zeros((longest, *value.shape[1:])), np.zeros((longest, *tangent.shape[1:]))
        before, before_tangent = self.memory.get(path, empty)
        line = np.concatenate([before, value])
        tangents = np.concatenate([before_tangent, tangent])
        self.memory[path] = line[len(line) - longest :], tangents[len(tangents) - longest :]
        starts = [longest - delay for delay in block.delays]
        taps = [line[start : start + len(value)] for start in starts]
        tap_tangents = [tangents[start : start + len(value)] for start in starts]
        return Signal(np.concatenate(taps, axis=1), np.concatenate(tap_tangents, axis=1))

    def visit_recurrent(self, block: Recurrent, path: str, x: Signal) -> Signal:
        """The outputs of the cell, and their derivatives carried forward in time."""
        cell = block.cell_object
        signal = x
        w = {
            name: np.asarray(value, dtype=np.float64)
            for name, value in weights_at(self.weights, path).items()
        }
        n_states = sum(cell.states().values())
        zeros = np.zeros(n_states), np.zeros((n_states, self._n_columns(path)))
        before, tangent = self.memory.get(path, zeros)
        states, outputs = _run_cell(cell, w, signal.value, before)
        step = _flat_step(cell)
        direct = self._differentiate_weights(
            step, w, path, signal.value, states[:-1], states.shape[1] + cell.units
        )

        def step_from_states(all_states: AnyArray) -> AnyArray:
            return step(w, signal.value.astype(complex), all_states)

        def step_from_inputs(inputs: AnyArray) -> AnyArray:
            return step(w, inputs, states[:-1].astype(complex))

        by_state = _differentiate_columns(step_from_states, states[:-1])
        if signal.tangent.size:
            by_input = _differentiate_columns(step_from_inputs, signal.value)
            direct[..., : signal.tangent.shape[2]] += by_input @ signal.tangent
        size = states.shape[1]
        out = np.empty((*outputs.shape, direct.shape[2]))
        for row, gain in enumerate(by_state):
            both = gain @ tangent + direct[row]
            tangent = both[:size]
            out[row] = both[size:]
        self.memory[path] = states[-1], tangent
        return Signal(outputs, out)

    def _differentiate_weights(
        self,
        step: FlatStep,
        w: Mapping[str, Array],
        path: str,
        x: Array,
        states: Array,
        results: int,
    ) -> Array:
        """(R, results, q): the derivatives of one step's new states and output by the cell's own
        weights, each tilted by a complex step in turn, at inputs x and states before the step.
        """
        x = x.astype(complex)
        states = states.astype(complex)
        out = np.zeros((len(x), results, self._n_columns(path)))
        for name, value in w.items():
            place = self.first_column_of[f"{path}/{name}"]
            for k in range(value.size):
                tilted = value.astype(complex)
                tilted.flat[k] += 1j * STEP
                out[:, :, place + k] = step({**w, name: tilted}, x, states).imag / STEP
        return out

    def _n_columns(self, path: str) -> int:
        """q after the block at `path`: one more than the number of its last weight."""
        block_weights = (name for name in self.first_column_of if name.startswith(f"{path}/"))
        return max(self.first_column_of[name] + self.weights[name].size for name in block_weights)


FlatStep = Callable[[Mapping[str, AnyArray], AnyArray, AnyArray], AnyArray]


def _flat_step(cell: Cell) -> FlatStep:
    """The cell's step as a function (weights, x (R, I), states (R, S)) on all states side by side;
    it gives new states and output side by side, (R, S + units).
    """

    def step(w: Mapping[str, AnyArray], x: AnyArray, states: AnyArray) -> AnyArray:
        output, new = cell.step(XP, w, x, cell.split_states(states))
        return np.concatenate([cell.join_states(new), output], axis=1)

    return step


def _run_cell(cell: Cell, w: Mapping[str, Array], x: Array, before: Array) -> tuple[Array, Array]:
    """The cell over the rows x (R, I) one after another: states (R + 1, S), beginning with
    `before`, and outputs (R, units).
    """
    step = _flat_step(cell)
    size = len(before)
    states = np.empty((len(x) + 1, size))
    outputs = np.empty((len(x), cell.units))
    states[0] = before
    for row in range(len(x)):
        both = step(w, x[row : row + 1], states[row : row + 1])[0]
        states[row + 1] = both[:size]
        outputs[row] = both[size:]
    return states, outputs


def _differentiate_columns(function: Callable[[AnyArray], AnyArray], at: Array) -> Array:
    """The derivative of every result of `function` by every column of `at` (R, columns), row by
    row, by complex steps: (R, results, columns).
    """
    derivatives = []
    for column in range(at.shape[1]):
        tilted = at.astype(complex)
        tilted[:, column] += 1j * STEP
        derivatives.append(function(tilted).imag / STEP)
    return np.stack(derivatives, axis=2)


def _join_signals(parts: Sequence[Signal]) -> Signal:
    """Signals side by side; tangents by as many weights as the widest has, 0 where a part has
    fewer.
    """
    value = np.concatenate([part.value for part in parts], axis=1)
    tangent = np.zeros((*value.shape, max(part.tangent.shape[2] for part in parts)))
    first = 0
    for part in parts:
        _, width, n_weights = part.tangent.shape
        tangent[:, first : first + width, :n_weights] = part.tangent
        first += width
    return Signal(value, tangent)
