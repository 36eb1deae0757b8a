"""Recurrent cells stepped through time in NumPy, with the batch as the last axis: x `(I, B)` to
outputs `(units, B)`.

In this layout the gates of a cell are contiguous blocks, so a step of the commonest cells is one
matrix product of [input; state; 1] and a few operations in place. Any other cell runs its own
`step`.

Twins, networks that differ in their weights alone, take a step together, because most of the time
of a step with one window is the overhead of NumPy calls. Each array of weights then has the twins
as its first axis, and the first of the B columns belong to the first twin: `batch.deal_windows`
sorts windows so, which alternate between the twins in a request.

`stepper` gives the fastest `Stepper` of a cell; `decode` runs the decoder of an encoder-decoder.
`batch` uses them. `streaming` uses `step_cell` and `split_twins` alone, with the batch first;
training uses `allocate_aligned` and `CACHE_LINE`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from forecast.networks.cells.base import Cell, numpy_namespace
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.cells.simple import Elman, SimpleRNN
from forecast.networks.description import Arrays, EncoderDecoder, Network, count_twins

PRODUCT_ROWS = 32
"""Rows of the weight matrix in one product: in OpenBLAS the whole matrix takes a quarter longer for
128 windows and 64 units.
"""
STEPS_PER_COPY = 8
"""Steps whose inputs and outputs are copied together; eight times as many for a single window."""
CACHE_LINE = 64
"""Bytes of a line of the processor's cache."""


def stepper(cell: Cell, w: Arrays, states: Arrays) -> Stepper:
    """The fastest stepper of the cell, starting from `states`, each `(size, B)`. Cells and options
    without a stepper of their own run their `step`.

    A stepper has the equation of its class: a subclass of Elman or SimpleRNN with another equation
    must not get here.
    """
    twins = split_twins(cell, w)
    if type(cell) is LSTM:
        return LSTMStepper(twins, states)
    if type(cell) is GRU and cell.reset_after:
        return GRUStepper(twins, states)
    if isinstance(cell, SimpleRNN | Elman) and cell.activation == "tanh":
        return SimpleStepper(twins, states)
    return AnyStepper(cell, w, states)


def first_cell_states(cell: Cell, w: Arrays, batch: int) -> dict[str, np.ndarray]:
    """The states before the first step, each `(size, B)`."""
    return {name: state.T for name, state in cell.initial_states(numpy_namespace, w, batch).items()}


class StackedStepper:
    """Holds `[x; h; 1]` of several steps in one array, so that one product gives all sums `z` of a
    step; `advance(h_before, h)` computes the next h from them.

    The products and views of each step are bound beforehand in `slots`, because with one window a
    step has only ten operations of a quarter of a microsecond. Subclasses have their own order of
    weights and their own `advance`.
    """

    advance: Callable[[np.ndarray, np.ndarray], object]

    def weight_rows(self, w: Arrays) -> np.ndarray:
        """The weights with a row for each of `[x; h; 1]`, and columns in the order of `z`."""
        return np.concatenate([w["kernel"], w["recurrent_kernel"], w["bias"][None]])

    def __init__(self, twins: Sequence[Arrays], h: np.ndarray, extra_rows: int = 0) -> None:
        """twins: the weights of each twin by name; h: the first state, `(units, B)`; extra_rows:
        how many rows `z` has below the sums.
        """
        weights = np.stack([self.weight_rows(w) for w in twins])
        n_twins, n_inputs, n_sums = weights.shape
        units, batch = h.shape[0], h.shape[1] // n_twins
        block = PRODUCT_ROWS if n_sums % PRODUCT_ROWS == 0 and batch > 1 else n_sums
        matrix = allocate_aligned((n_twins, n_sums // block, n_inputs, block), weights.dtype)
        matrix[:] = weights.reshape(n_twins, n_inputs, -1, block).swapaxes(1, 2)
        self.z = allocate_aligned((n_sums + extra_rows, n_twins, batch), matrix.dtype)
        self.steps = 8 * STEPS_PER_COPY if batch == 1 else STEPS_PER_COPY
        # twins first, since a product rounds differently on columns that are not contiguous
        stacked = allocate_aligned((self.steps + 1, n_twins, n_inputs, batch), matrix.dtype)
        stacked[:, :, -1] = 1
        self.x = stacked[:, :, : -units - 1].swapaxes(1, 2)
        self.h = stacked[:, :, -units - 1 : -1].swapaxes(1, 2)
        self.h[0] = h.reshape(units, n_twins, batch)
        sums = self.z[:n_sums].reshape(-1, block, n_twins, batch).transpose(2, 0, 1, 3)
        factor = matrix.swapaxes(2, 3)
        products = [
            functools.partial(np.matmul, factor, step, sums) for step in stacked[:, :, None]
        ]
        # the last entry of `stacked` is no step: it only has the h after the last one
        self.slots = list(zip(products, self.h, self.h[1:], strict=False))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """One time step: x `(I, B)`, output `(units, B)`."""
        multiply, h, _ = self.slots[0]
        self.x[0] = x.reshape(self.x.shape[1:])
        multiply()
        self.advance(h, h)
        return h.reshape(len(h), -1)

    def run_steps(self, rows: np.ndarray, out: np.ndarray) -> None:
        """A step for each of `rows (T, I, B)`. `out` (N, units, B) gets the outputs of the last N
        rows; where N > T its first N - T entries stay as they are.
        """
        advance = self.advance
        for start in range(0, len(rows), self.steps):
            part = rows[start : start + self.steps]
            self.x[: len(part)] = part.reshape(len(part), *self.x.shape[1:])
            for multiply, before, h in self.slots[: len(part)]:
                multiply()
                advance(before, h)
            end = len(out) - len(rows) + start + len(part)
            n_outputs = min(max(end, 0), len(part))
            newest = self.h[1 + len(part) - n_outputs : 1 + len(part)]
            out[end - n_outputs : end] = newest.reshape(n_outputs, *out.shape[1:])
            self.h[0] = self.h[len(part)]

    def states(self) -> Arrays:
        """The states after the newest step, each `(size, B)`."""
        return {"h": self.h[0].reshape(len(self.h[0]), -1)}


class LSTMStepper(StackedStepper):
    """The LSTM. The weights of its gates are halved, because sigmoid(z) = tanh(z / 2) / 2 + 1 / 2,
    so that one tanh serves all. `z` has c below the sums.
    """

    def weight_rows(self, w: Arrays) -> np.ndarray:
        """The weights with a row for each of `[x; h; 1]`, and columns in the order of `z`."""
        rows = super().weight_rows(w)
        i_f, g, o = np.split(rows, [rows.shape[1] // 2, 3 * rows.shape[1] // 4], axis=1)
        return np.concatenate([0.5 * i_f, 0.5 * o, g], axis=1)

    def __init__(self, twins: Sequence[Arrays], states: Arrays) -> None:
        """twins: the weights of each twin by name; states: those before the first step."""
        u = len(states["h"])
        super().__init__(twins, states["h"], u)
        # an array, because NumPy would convert a Python number at every step
        z = self.z
        half = np.array(0.5, z.dtype)
        i_f = z[: 2 * u]
        gates = z[: 3 * u]
        all_four = z[: 4 * u]
        g_c = z[3 * u :]
        _, _, o, g, c = z.reshape(5, u, *z.shape[1:])
        c[:] = states["c"].reshape(c.shape)

        def advance(_: np.ndarray, h: np.ndarray) -> None:
            """Write the new c in place, and the new `h`."""
            np.tanh(all_four, all_four)
            np.multiply(gates, half, gates)
            np.add(gates, half, gates)
            np.multiply(i_f, g_c, g_c)
            np.add(c, g, c)
            np.tanh(c, g)
            np.multiply(o, g, h)

        self.advance = advance
        self.c = c

    def states(self) -> Arrays:
        """The states after the newest step, each `(size, B)`."""
        return {**super().states(), "c": self.c.reshape(len(self.c), -1)}


class GRUStepper(StackedStepper):
    """The GRU with reset_after. `z` has four blocks, because the products of x and of h of the
    candidate g are kept apart.
    """

    def weight_rows(self, w: Arrays) -> np.ndarray:
        """The weights with a row for each of `[x; h; 1]`, and columns in the order of `z`."""
        kernel = w["kernel"]
        recurrent = w["recurrent_kernel"]
        b, d = w["bias"]
        u = len(recurrent)
        gates, g = slice(2 * u), slice(2 * u, None)
        rows = np.block(
            [
                [kernel, np.zeros_like(kernel[:, g])],
                [recurrent[:, gates], np.zeros_like(recurrent[:, g]), recurrent[:, g]],
                [b[gates] + d[gates], b[g], d[g]],
            ]
        )
        rows[:, gates] *= 0.5
        return rows

    def __init__(self, twins: Sequence[Arrays], states: Arrays) -> None:
        """twins: the weights of each twin by name; states: those before the first step."""
        super().__init__(twins, states["h"])
        u = len(states["h"])
        z = self.z
        half = np.array(0.5, z.dtype)
        gates = z[: 2 * u]
        keep, r, g, g_h = z.reshape(4, u, *z.shape[1:])

        def advance(before: np.ndarray, after: np.ndarray) -> None:
            """Write h `after` the step, from h `before` it."""
            np.tanh(gates, gates)
            np.multiply(gates, half, gates)
            np.add(gates, half, gates)
            np.multiply(r, g_h, g_h)
            np.add(g, g_h, g)
            np.tanh(g, g)
            np.subtract(before, g, r)  # into r, because `after` is not contiguous with twins
            np.multiply(keep, r, r)
            np.add(r, g, after)

        self.advance = advance


class SimpleStepper(StackedStepper):
    """The simple cell and Elman's with tanh, whose forward passes are the same."""

    def __init__(self, twins: Sequence[Arrays], states: Arrays) -> None:
        """twins: the weights of each twin by name; states: those before the first step."""
        super().__init__(twins, states["h"])
        z = self.z

        def advance(_: np.ndarray, h: np.ndarray) -> None:
            np.tanh(z, h)

        self.advance = advance


class AnyStepper:
    """Any cell by its own `step`."""

    def __init__(self, cell: Cell, w: Arrays, states: Arrays) -> None:
        """w: the weights of the cell by name; states: those before the first step."""
        self.cell = cell
        self.twins = split_twins(cell, w)
        self.running: Arrays = {name: state.T for name, state in states.items()}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """One time step: x `(I, B)`, output `(units, B)`."""
        output, self.running = step_cell(self.cell, self.twins, x.T, self.running)
        return output.T

    def run_steps(self, rows: np.ndarray, out: np.ndarray) -> None:
        """As `StackedStepper.run_steps`, step by step. Where the state is a decaying sum of inputs,
        steps without a wanted output compute that sum alone.
        """
        n_without_output = max(len(rows) - len(out), 0)
        n_done = 0
        if decaying_sum := self.cell.decaying_sum():
            targets, alpha = decaying_sum
            n_done = n_without_output
            (mu,) = self.running.values()
            for y in rows[:n_done, list(targets)].swapaxes(1, 2):
                mu = alpha * mu + y
            self.running = dict.fromkeys(self.running, mu)
        for number in range(n_done, len(rows)):
            output = self(rows[number])
            if number >= n_without_output:
                out[number - len(rows)] = output

    def states(self) -> Arrays:
        """The states after the newest step, each `(size, B)`."""
        return {name: state.T for name, state in self.running.items()}


Stepper = StackedStepper | AnyStepper
"""A cell with its weights and current states. The arrays that it returns are overwritten by the
next step.
"""


def split_twins(cell: Cell, w: Arrays) -> list[Arrays]:
    """The weights of each twin of a cell; of a single network, its weights alone."""
    name, weight = next(iter(cell.weight_specs(1).items()))
    if w[name].ndim == len(weight.shape):
        return [w]
    return [{name: array[number] for name, array in w.items()} for number in range(len(w[name]))]


def step_cell(
    cell: Cell, twins: Sequence[Arrays], x: np.ndarray, states: Arrays
) -> tuple[np.ndarray, Arrays]:
    """One time step by the cell's own equation, with the batch first, unlike a stepper: the output
    `(B, units)` and new states, from x `(B, I)` and states `(B, size)`. With n twins the first
    B / n rows are those of the first twin.
    """
    if len(twins) == 1:
        return cell.step(numpy_namespace, twins[0], x, states)
    tables = [t.reshape(len(twins), -1, t.shape[1]) for t in (x, *states.values())]
    steps = [
        cell.step(numpy_namespace, w, part, dict(zip(states, before, strict=True)))
        for w, part, *before in zip(twins, *tables, strict=True)
    ]
    after = {name: np.concatenate([new[name] for _, new in steps]) for name in states}
    return np.concatenate([output for output, _ in steps]), after


def multiply_columns(kernel: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`kernel.T x + bias` for columns x `(..., I, B)`: `(..., units, B)`; with twins, each on its
    own columns.
    """
    if kernel.ndim == 2:
        return kernel.T @ x + bias[:, None]
    by_twin = x.reshape(*x.shape[:-1], len(kernel), -1).swapaxes(-3, -2)
    # a product rounds differently on columns that are not contiguous
    out = kernel.swapaxes(1, 2) @ np.ascontiguousarray(by_twin) + bias[:, :, None]
    return out.swapaxes(-3, -2).reshape(*x.shape[:-2], kernel.shape[2], -1)


def allocate_aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array that is aligned to a cache line, without which the product of 64 units
    takes a fifth longer.
    """
    size = math.prod(shape)
    memory = np.empty(size + CACHE_LINE // dtype.itemsize, dtype)
    first = -memory.ctypes.data % CACHE_LINE // dtype.itemsize
    return memory[first : first + size].reshape(shape)


DECODED_ROWS = 2048
"""Rows that are decoded at once, so that the arrays of a step stay in the cache."""


def decode(
    network: Network,
    block: EncoderDecoder,
    readout_weights: Arrays,
    decoder_weights: Arrays,
    encoded: np.ndarray,
    states: Arrays,
    frames: np.ndarray | None,
) -> np.ndarray:
    """The forecasts `(H*O*K, R)` of R rows, each one window at one step, from the encoder's outputs
    `encoded` `(units, R)` and `states`, each `(size, R)`, and the known-future inputs `frames` `(H,
    F, R)` or None.
    """
    shapes = network.shapes
    rows = encoded.shape[1]
    fed_back = shapes.outputs if block.feedback else 0
    columns = fed_back + block.units
    forecasts = np.empty((shapes.horizon, shapes.outputs * shapes.parameters, rows), encoded.dtype)
    # twins have all rows in one batch; they are few, those of a request
    batch_size = DECODED_ROWS if count_twins(readout_weights) == 1 else rows
    for start in range(0, rows, batch_size):
        part = slice(start, start + batch_size)
        out = forecasts[:, :, part]
        x = np.zeros((columns + shapes.future_channels, out.shape[2]), encoded.dtype)
        x[fed_back:columns] = encoded[:, part]
        first = {name: state[:, part] for name, state in states.items()}
        decoder = stepper(block.cell_object, decoder_weights, first)
        for k in range(shapes.horizon):
            if frames is not None:
                x[columns:] = frames[k, :, part]
            out[k] = multiply_columns(
                readout_weights["readout/kernel"], readout_weights["readout/bias"], decoder(x)
            )
            if block.feedback:
                parameters = out[k].reshape(shapes.outputs, shapes.parameters, -1)
                x[:fed_back] = parameters[:, block.parameter]
    return forecasts.reshape(-1, rows)
