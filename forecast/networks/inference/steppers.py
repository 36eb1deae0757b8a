"""Recurrent cells stepped through time in NumPy, feature-first: x `(I, B)` in, output `(units, B)` out.

With the batch as last axis the gates of a cell are contiguous blocks, so each step is one matrix product and a few
in-place operations. The product takes input, state and a row of ones at once: one product a step is fast enough, and
taking the inputs' share of all steps out of the loop was not timed. Any other cell runs its own `step`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from forecast.networks.cells.base import Cell, activate, numpy_namespace
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.cells.simple import Elman, SimpleRNN
from forecast.networks.description import EncoderDecoder, Network

Arrays = Mapping[str, np.ndarray]


class Stepper(Protocol):
    """A cell with its weights and its running states. The arrays it returns are overwritten by the next step."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """One time step: x `(I, B)`, output `(units, B)`."""

    def over(self, rows: np.ndarray, out: np.ndarray) -> None:
        """One step for each of `rows (T, I, B)`; the last outputs go into `out (keep, units, B)`."""

    def states(self) -> Arrays:
        """The states after the newest step, each `(size, B)`."""


def stepper(cell: Cell, w: Arrays, states: Arrays) -> Stepper:
    """The fastest stepper for the cell, starting from `states`, each `(size, B)`."""
    if type(cell) is LSTM:
        return LSTMStepper(w, states)
    if type(cell) is GRU and cell.reset_after:
        return GRUStepper(w, states)
    if isinstance(cell, SimpleRNN | Elman):
        return SimpleStepper(w, states, cell.activation)
    return AnyStepper(cell, w, states)


def first_states(cell: Cell, w: Arrays, batch: int) -> dict[str, np.ndarray]:
    """The states before the first step, each `(size, B)`."""
    return {name: state.T for name, state in cell.initial(numpy_namespace, w, batch).items()}


class _Stacked:
    """Holds `[x; h; 1]` in one array, so that one product, `z`, gives all that a step needs; `advance` makes of it the
    next `h`. A step of one window is ten operations of a quarter of a microsecond: their arrays are bound beforehand.
    """

    advance: Callable[[], object]

    def __init__(self, matrix: np.ndarray, h: np.ndarray) -> None:
        units, batch = h.shape
        self.matrix = np.asfortranarray(matrix)  # a small product is quicker so: 9 us for 12
        stacked = np.ones((matrix.shape[1], batch), matrix.dtype)
        self.x, self.h = stacked[: -units - 1], stacked[-units - 1 : -1]
        self.h[:] = h
        self.stacked = stacked
        self.z = np.empty((len(matrix), batch), matrix.dtype)
        self.half = np.array(0.5, matrix.dtype)  # as an array: NumPy converts a number anew at every step

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.over(x[None], self.h[None][:0])
        return self.h

    def over(self, rows: np.ndarray, out: np.ndarray) -> None:
        matrix, stacked, z, x, h, advance = self.matrix, self.stacked, self.z, self.x, self.h, self.advance
        for place, row in enumerate(rows, len(out) - len(rows)):
            x[:] = row
            np.matmul(matrix, stacked, z)
            advance()
            if place >= 0:
                out[place] = h

    def states(self) -> Arrays:
        return {"h": self.h}


class LSTMStepper(_Stacked):
    """The LSTM; its gates' rows are halved, as sigmoid(z) = tanh(z/2)/2 + 1/2: one tanh serves all."""

    def __init__(self, w: Arrays, states: Arrays) -> None:
        rows = np.concatenate([w["kernel"], w["recurrent_kernel"], w["bias"][None]]).T
        i, f, g, o = np.split(rows, 4)
        super().__init__(np.concatenate([_half(i), _half(f), _half(o), g]), states["h"])
        u, z, h, half = len(self.h), self.z, self.h, self.half
        gates, i, f, o, g = (z[a:b] for a, b in ((0, 3 * u), (0, u), (u, 2 * u), (2 * u, 3 * u), (3 * u, 4 * u)))
        c = self.c = np.array(states["c"], order="C")

        def advance() -> None:
            np.tanh(z, z)
            np.multiply(gates, half, gates)
            np.add(gates, half, gates)
            np.multiply(f, c, c)
            np.multiply(i, g, g)
            np.add(c, g, c)
            np.tanh(c, g)
            np.multiply(o, g, h)

        self.advance = advance

    def states(self) -> Arrays:
        return {"h": self.h, "c": self.c}


class GRUStepper(_Stacked):
    """The GRU with reset_after; the candidate's products of x and of h stay apart: four row blocks."""

    def __init__(self, w: Arrays, states: Arrays) -> None:
        kernel, recurrent, (b, d) = w["kernel"].T, w["recurrent_kernel"].T, w["bias"]
        u, columns = len(recurrent) // 3, kernel.shape[1]
        matrix = np.zeros((4 * u, columns + u + 1), kernel.dtype)
        matrix[: 3 * u, :columns] = kernel
        matrix[: 2 * u, columns:-1], matrix[3 * u :, columns:-1] = recurrent[: 2 * u], recurrent[2 * u :]
        matrix[:, -1] = np.concatenate([b[: 2 * u] + d[: 2 * u], b[2 * u :], d[2 * u :]])
        super().__init__(np.concatenate([_half(matrix[: 2 * u]), matrix[2 * u :]]), states["h"])
        z, h, half = self.z, self.h, self.half
        gates, keep, r, g, g_h = (z[a:b] for a, b in ((0, 2 * u), (0, u), (u, 2 * u), (2 * u, 3 * u), (3 * u, 4 * u)))

        def advance() -> None:
            np.tanh(gates, gates)
            np.multiply(gates, half, gates)
            np.add(gates, half, gates)
            np.multiply(r, g_h, g_h)
            np.add(g, g_h, g)
            np.tanh(g, g)
            np.subtract(h, g, h)
            np.multiply(keep, h, h)
            np.add(h, g, h)

        self.advance = advance


class SimpleStepper(_Stacked):
    """The simple net and Elman's, whose forward passes are the same."""

    def __init__(self, w: Arrays, states: Arrays, activation: str) -> None:
        super().__init__(np.concatenate([w["kernel"], w["recurrent_kernel"], w["bias"][None]]).T, states["h"])
        self.advance = lambda: np.copyto(self.h, activate(numpy_namespace, activation, self.z))


class AnyStepper:
    """Any cell by its own `step`, batch first."""

    def __init__(self, cell: Cell, w: Arrays, states: Arrays) -> None:
        self.cell, self.w = cell, w
        self.running: Arrays = {name: state.T for name, state in states.items()}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        output, self.running = self.cell.step(numpy_namespace, self.w, x.T, self.running)
        return output.T

    def over(self, rows: np.ndarray, out: np.ndarray) -> None:
        for place, row in enumerate(rows, len(out) - len(rows)):
            output = self(row)
            if place >= 0:
                out[place] = output

    def states(self) -> Arrays:
        return {name: state.T for name, state in self.running.items()}


def _half(x: np.ndarray) -> np.ndarray:
    return x * x.dtype.type(0.5)  # a power of two: nothing is rounded


ROWS = 2048  # rows decoded at once: the arrays of a step stay in the cache


def decode(
    network: Network,
    block: EncoderDecoder,
    weights: Mapping[str, np.ndarray],
    w: Arrays,
    encoded: np.ndarray,
    states: Arrays,
    frames: np.ndarray | None,
) -> np.ndarray:
    """Forecasts `(H*O*K, R)` of R rows: `encoded (units, R)`, `states` each `(size, R)`, `frames (H, F, R)` or None.

    `w` holds the decoder's weights, `weights` the read-out's. A row is one window at one step t.
    """
    shapes, rows = network.shapes, encoded.shape[1]
    fed_back = shapes.outputs if block.feedback else 0
    columns = fed_back + block.units
    kernel, bias = weights["readout/kernel"].T, weights["readout/bias"][:, None]
    forecasts = np.empty((shapes.horizon, shapes.outputs * shapes.parameters, rows), encoded.dtype)
    for start in range(0, rows, ROWS):
        part = slice(start, start + ROWS)
        out = forecasts[:, :, part]
        x = np.zeros((columns + (0 if frames is None else frames.shape[1]), out.shape[2]), encoded.dtype)
        x[fed_back:columns] = encoded[:, part]
        decoder = stepper(block.made, w, {name: state[:, part] for name, state in states.items()})
        for k in range(shapes.horizon):
            if frames is not None:
                x[columns:] = frames[k, :, part]
            out[k] = activate(numpy_namespace, network.readout_activation, kernel @ decoder(x) + bias)
            if block.feedback:
                x[:fed_back] = out[k].reshape(shapes.outputs, shapes.parameters, -1)[:, block.parameter]
    return forecasts.reshape(-1, rows)
