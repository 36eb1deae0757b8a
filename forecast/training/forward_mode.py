"""Forward-mode derivatives of a network over a series: each block passes on a `Signal`, its output
and the derivatives of that output by the weights.

`ForwardMode` is a `BlockVisitor` for dense, tap, parallel and recurrent blocks; any other block is
an `InputError`. `network_problem` feeds it the rows of a series block by block in the order of
time, and describes the method. Derivatives of another kind of block are a `visit_` method of
`ForwardMode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

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
from forecast.networks.inference.batch import delay_rows
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import future_width
from forecast.training.levenberg_marquardt import Array

STEP = 1e-30
"""The complex step h of f'(x) = Im f(x + ih) / h."""


class ComplexNamespace(Namespace):
    """NumPy's array functions for complex numbers, for the complex step through a cell. Only
    softplus needs another formula.
    """

    def softplus(self, x: AnyArray) -> AnyArray:
        """ln(1 + e^x) of complex numbers, without overflow."""
        positive = x.real > 0
        return np.where(positive, x, 0) + np.log1p(np.exp(np.where(positive, -x, x)))


XP = ComplexNamespace()


@dataclass(frozen=True)
class Signal:
    """The output of a block for R rows, value (R, W), and its derivatives by the first q weights,
    tangent (R, W, q). Weights are numbered in the order of their blocks, so the zeros of later
    weights are not stored.
    """

    value: Array
    tangent: Array

    @classmethod
    def of_inputs(cls, value: Array) -> Signal:
        """The signal of inputs `value` (R, W), which depend on no weight."""
        return cls(value, np.zeros((*value.shape, 0)))


@dataclass
class ForwardMode(BlockVisitor[Signal]):
    """One pass over one series, which is given in runs of rows in the order of time.

    `first_column_of`: by name, the number of the first entry of a weight among all weights.
    `memory`: by block path, what the next rows need of these, and its tangent: the
    rows of a delay line, or the states of a cell.
    """

    network: Network
    weights: Mapping[str, Array]
    first_column_of: Mapping[str, int]
    memory: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    unfit_reason = (
        "for which Levenberg-Marquardt has no derivatives; it trains networks of dense, tap,"
        " parallel and recurrent blocks. Train this one with Adam"
    )

    def advance(self, past: Array, frames: Array) -> Signal:
        """The output (R, H * O * K) of the network for the next rows of the series, and its
        derivatives by all weights. past (R, C); frames (R, H * F): the known-future inputs.
        """
        signal = Signal.of_inputs(past)
        if future_width(self.network):
            projected = self._dense("future", Signal.of_inputs(frames), "tanh")
            signal = _join_signals([signal, projected])
        signal = self.visit_series(self.network.blocks, "", signal)
        return self._dense("readout", signal, "linear")

    def visit_dense(self, block: Dense, path: str, x: Signal) -> Signal:
        """The dense layer and its derivatives."""
        return self._dense(path, x, block.activation)

    def join_branches(self, block: Parallel, path: str, outputs: list[Signal]) -> Signal:
        """The outputs of the branches side by side, with their derivatives."""
        return _join_signals(outputs)

    def _dense(self, path: str, signal: Signal, activation: str) -> Signal:
        """`activation(x W + b)` with the weights at `path`. Its tangent is that of x times W, plus
        x itself for the weights of W and 1 for those of b, times the slope of the activation, which
        is taken by a complex step.
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
        output = activate(XP, activation, z + 1j * STEP)
        tangent *= (output.imag / STEP)[:, :, None]
        return Signal(output.real.copy(), tangent)

    def visit_taps(self, block: Taps, path: str, x: Signal) -> Signal:
        """The delayed rows and their derivatives."""
        columns = slice(None) if block.channels is None else list(block.channels)
        longest = max(block.delays)
        rows = [x.value[:, columns], x.tangent[:, columns]]
        no_rows = [np.zeros((longest, *part.shape[1:])) for part in rows]
        before = self.memory.get(path, no_rows)
        lines = [np.concatenate(pair) for pair in zip(before, rows, strict=True)]
        value, tangent = (line[len(line) - longest :] for line in lines)
        self.memory[path] = value, tangent
        return Signal(*(delay_rows(line, block.delays, len(x.value)) for line in lines))

    def visit_recurrent(self, block: Recurrent, path: str, x: Signal) -> Signal:
        """The outputs of the cell, and their derivatives, which are carried forward in time."""
        cell = block.cell_object
        w = {
            name: np.asarray(value, dtype=np.float64)
            for name, value in weights_at(self.weights, path).items()
        }
        n_weights = self._n_columns(path)
        size = sum(cell.states().values())
        zeros = np.zeros(size), np.zeros((size, n_weights))
        before, tangent = self.memory.get(path, zeros)
        states, outputs = _run_cell(cell, w, x.value, before)
        states_before = states[:-1]

        def step_from_weight(flat: AnyArray, name: str) -> AnyArray:
            moved = {**w, name: flat.reshape(w[name].shape)}
            return _step(cell, moved, states_before.astype(complex), x.value.astype(complex))

        def step_from_row(row: AnyArray) -> AnyArray:
            return _step(cell, w, row[:, :size], row[:, size:])

        # of new states and output by all weights, at the given states before the step
        direct = np.zeros((len(states_before), size + cell.units, n_weights))
        for name, value in w.items():
            first = self.first_column_of[f"{path}/{name}"]
            direct[..., first : first + value.size] = _differentiate_columns(
                partial(step_from_weight, name=name), value.reshape(1, -1)
            )
        by_column = _differentiate_columns(step_from_row, np.hstack([states_before, x.value]))
        direct[..., : x.tangent.shape[2]] += by_column[..., size:] @ x.tangent
        output_tangent = np.empty((*outputs.shape, n_weights))
        for row, state_jacobian in enumerate(by_column[..., :size]):
            both = state_jacobian @ tangent + direct[row]
            tangent = both[:size]
            output_tangent[row] = both[size:]
        self.memory[path] = states[-1], tangent
        return Signal(outputs, output_tangent)

    def _n_columns(self, path: str) -> int:
        """The number q of weights up to and with those of the block at `path`."""
        block_weights = (name for name in self.first_column_of if name.startswith(f"{path}/"))
        return max(self.first_column_of[name] + self.weights[name].size for name in block_weights)


def _step(cell: Cell, w: Mapping[str, AnyArray], states: AnyArray, x: AnyArray) -> AnyArray:
    """The new states and the output side by side (R, S + units) after a step of the cell from all
    states side by side (R, S) under the inputs (R, I).
    """
    output, new = cell.step(XP, w, x, cell.split_states(states))
    return np.concatenate([cell.join_states(new), output], axis=1)


def _run_cell(cell: Cell, w: Mapping[str, Array], x: Array, before: Array) -> tuple[Array, Array]:
    """The states (R + 1, S) and outputs (R, units) of the cell over the rows x (R, I); the first
    states are `before` (S,).
    """
    size = len(before)
    states = np.empty((len(x) + 1, size))
    outputs = np.empty((len(x), cell.units))
    states[0] = before
    for row in range(len(x)):
        both = _step(cell, w, states[row : row + 1], x[row : row + 1])[0]
        states[row + 1] = both[:size]
        outputs[row] = both[size:]
    return states, outputs


def _differentiate_columns(function: Callable[[AnyArray], AnyArray], at: Array) -> Array:
    """(R, results, columns): the derivatives of the results (R, results) of `function` by the
    columns of `at`, by complex steps: row by row for (R, columns), and by numbers that all rows
    share for (1, columns).
    """
    derivatives = []
    for column in range(at.shape[1]):
        moved = at.astype(complex)
        moved[:, column] += 1j * STEP
        derivatives.append(function(moved).imag / STEP)
    return np.stack(derivatives, axis=2)


def _join_signals(parts: Sequence[Signal]) -> Signal:
    """The signals side by side; tangents are 0 for the weights that a part does not have."""
    value = np.concatenate([part.value for part in parts], axis=1)
    tangent = np.zeros((*value.shape, max(part.tangent.shape[2] for part in parts)))
    first = 0
    for part in parts:
        _, width, n_weights = part.tangent.shape
        tangent[:, first : first + width, :n_weights] = part.tangent
        first += width
    return Signal(value, tangent)
