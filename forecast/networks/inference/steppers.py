"""Recurrent cells stepped through time in NumPy, feature-first: x `(I, B)` in, output `(units, B)`
out.

With the batch as last axis the gates of a cell are contiguous blocks, so each step is one matrix
product and a few in-place operations. The product takes input, state and a row of ones at once: the
inputs' share of all steps in one large product, before the loop, takes as long. Any other cell runs
its own `step`.

Twins, networks that differ in their weights alone, take a step together: each array of weights then
has them as its first axis, and of the B columns the first belong to the first twin. Of a step of
one window most goes to calling NumPy.

`stepper` picks the fastest `Stepper` of a cell; `decode` runs the decoder of an encoder-decoder.
`batch` and `streaming` use them; training uses the aligned arrays of `allocate_aligned`.
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

# rows of the matrix in one product: whole, 128 windows and 64 units take a quarter longer
# (OpenBLAS)
PRODUCT_ROWS = 32
# steps held at once, of one window eight times as many: their inputs and outputs are copied
# together
STEPS_PER_COPY = 8
CACHE_LINE = 64  # bytes


def stepper(cell: Cell, w: Arrays, states: Arrays) -> Stepper:
    """The fastest stepper for the cell, starting from `states`, each `(size, B)`: cells and options
    that none is made for run their own `step`.

    A stepper knows the equation of its class: no subclass of these may have another one.
    """
    twins = split_twins(cell, w)
    if type(cell) is LSTM:
        return LSTMStepper(twins, states)
    if type(cell) is GRU and cell.reset_after:
        return GRUStepper(twins, states)
    if isinstance(cell, SimpleRNN | Elman) and cell.activation == "tanh":
        return SimpleStepper(twins, states)
    return AnyStepper(cell, w, states)


def first_states(cell: Cell, w: Arrays, batch: int) -> dict[str, np.ndarray]:
    """The states before the first step, each `(size, B)`."""
    return {name: state.T for name, state in cell.initial_states(numpy_namespace, w, batch).items()}


class StackedStepper:
    """Holds `[x; h; 1]` of some steps in one array, so that one product, `z`, gives all that a step
    needs; `advance` makes of it and of the h before the next h.

    What a step takes is bound beforehand, in `slots`: with one window it is ten operations of a
    quarter of a microsecond. The subclasses differ in the order of their rows of weights and in
    `advance`.
    """

    advance: Callable[[np.ndarray, np.ndarray], object]

    def weight_rows(self, w: Arrays) -> np.ndarray:
        """A row of weights for each of `[x; h; 1]`, in the order of the stepper's blocks."""
        return np.concatenate([w["kernel"], w["recurrent_kernel"], w["bias"][None]])

    def __init__(self, twins: Sequence[Arrays], h: np.ndarray, below: int = 0) -> None:
        """The weights of each twin by name, the first h, and how many rows of `z` stand below those
        of the product.
        """
        weights = np.stack([self.weight_rows(w) for w in twins])
        n_twins, columns, rows = weights.shape
        units, batch = h.shape[0], h.shape[1] // n_twins
        block = PRODUCT_ROWS if rows % PRODUCT_ROWS == 0 and batch > 1 else rows
        matrix = allocate_aligned((n_twins, rows // block, columns, block), weights.dtype)
        matrix[:] = weights.reshape(n_twins, columns, -1, block).swapaxes(1, 2)
        self.z = allocate_aligned((rows + below, n_twins, batch), matrix.dtype)
        self.steps = 8 * STEPS_PER_COPY if batch == 1 else STEPS_PER_COPY
        # twins first: of columns that do not lie side by side a product has other last digits
        stacked = allocate_aligned((self.steps + 1, n_twins, columns, batch), matrix.dtype)
        stacked[:, :, -1] = 1
        self.x = stacked[:, :, : -units - 1].swapaxes(1, 2)
        self.h = stacked[:, :, -units - 1 : -1].swapaxes(1, 2)
        self.h[0] = h.reshape(units, n_twins, batch)
        sums = self.z[:rows].reshape(-1, block, n_twins, batch).transpose(2, 0, 1, 3)
        factor = matrix.swapaxes(2, 3)
        products = [functools.partial(np.matmul, factor, row, sums) for row in stacked[:, :, None]]
        self.slots = list(zip(products, self.h, self.h[1:], strict=False))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """One time step: x `(I, B)`, output `(units, B)`."""
        multiply, h, _ = self.slots[0]
        self.x[0] = x.reshape(self.x.shape[1:])
        multiply()
        self.advance(h, h)
        return h.reshape(len(h), -1)

    def run_steps(self, rows: np.ndarray, out: np.ndarray) -> None:
        """One step for each of `rows (T, I, B)`, from the states as they are and so many at a time
        as are stacked; the last outputs end `out (keep, units, B)`, whose first `keep - T` entries,
        if any, stay as they were.
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
        """The state h `(size, B)` after the newest step."""
        return {"h": self.h[0].reshape(len(self.h[0]), -1)}


class LSTMStepper(StackedStepper):
    """The LSTM; its gates' rows are halved, as sigmoid(z) = tanh(z/2)/2 + 1/2: one tanh serves all.

    Below them: c.
    """

    def weight_rows(self, w: Arrays) -> np.ndarray:
        """A row of weights for each of `[x; h; 1]`, in the order of the stepper's blocks."""
        rows = super().weight_rows(w)
        i_f, g, o = np.split(rows, [rows.shape[1] // 2, 3 * rows.shape[1] // 4], axis=1)
        return np.concatenate([0.5 * i_f, 0.5 * o, g], axis=1)

    def __init__(self, twins: Sequence[Arrays], states: Arrays) -> None:
        """The weights of each twin by name, and the states before the first step."""
        u = len(states["h"])
        super().__init__(twins, states["h"], u)
        # as an array: NumPy converts a number anew at every step
        z = self.z
        half = np.array(0.5, z.dtype)
        i_f = z[: 2 * u]
        gates = z[: 3 * u]
        all_four = z[: 4 * u]
        o = z[2 * u : 3 * u]
        g = z[3 * u : 4 * u]
        g_c = z[3 * u :]
        c = z[4 * u :]
        c[:] = states["c"].reshape(c.shape)

        def advance(_: np.ndarray, h: np.ndarray) -> None:
            """From the sums in z to the new c, in place, and `h`."""
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
        """h and c, each `(size, B)`."""
        return {**super().states(), "c": self.c.reshape(len(self.c), -1)}


class GRUStepper(StackedStepper):
    """The GRU with reset_after; the candidate's products of x and of h stay apart: four row
    blocks.
    """

    def weight_rows(self, w: Arrays) -> np.ndarray:
        """A row of weights for each of `[x; h; 1]`, in the order of the stepper's blocks."""
        kernel = w["kernel"]
        recurrent = w["recurrent_kernel"]
        b, d = w["bias"]
        u = len(recurrent)
        columns = len(kernel)
        rows = np.zeros((columns + u + 1, 4 * u), kernel.dtype)
        rows[:columns, : 3 * u] = kernel
        rows[columns:-1, : 2 * u] = recurrent[:, : 2 * u]
        rows[columns:-1, 3 * u :] = recurrent[:, 2 * u :]
        rows[-1] = np.concatenate([b[: 2 * u] + d[: 2 * u], b[2 * u :], d[2 * u :]])
        rows[:, : 2 * u] *= 0.5
        return rows

    def __init__(self, twins: Sequence[Arrays], states: Arrays) -> None:
        """The weights of each twin by name, and the states before the first step."""
        super().__init__(twins, states["h"])
        u = len(states["h"])
        z = self.z
        half = np.array(0.5, z.dtype)
        gates = z[: 2 * u]
        keep = z[:u]
        r = z[u : 2 * u]
        g = z[2 * u : 3 * u]
        g_h = z[3 * u :]

        def advance(before: np.ndarray, after: np.ndarray) -> None:
            """From the sums in z and h `before` the step to h `after` it."""
            np.tanh(gates, gates)
            np.multiply(gates, half, gates)
            np.add(gates, half, gates)
            np.multiply(r, g_h, g_h)
            np.add(g, g_h, g)
            np.tanh(g, g)
            np.subtract(before, g, r)  # of twins `after` is slower: they lie apart in it
            np.multiply(keep, r, r)
            np.add(r, g, after)

        self.advance = advance


class SimpleStepper(StackedStepper):
    """The simple net and Elman's with tanh, whose forward passes are the same."""

    def __init__(self, twins: Sequence[Arrays], states: Arrays) -> None:
        """The weights of each twin by name, and the states before the first step."""
        super().__init__(twins, states["h"])
        z = self.z

        def advance(_: np.ndarray, h: np.ndarray) -> None:
            np.tanh(z, h)

        self.advance = advance


class AnyStepper:
    """Any cell by its own `step`, batch first."""

    def __init__(self, cell: Cell, w: Arrays, states: Arrays) -> None:
        """The cell's weights by name, and the states before the first step."""
        self.cell = cell
        self.twins = split_twins(cell, w)
        self.running: Arrays = {name: state.T for name, state in states.items()}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """One time step: x `(I, B)`, output `(units, B)`."""
        output, self.running = step_cell(self.cell, self.twins, x.T, self.running)
        return output.T

    def run_steps(self, rows: np.ndarray, out: np.ndarray) -> None:
        """What `StackedStepper.run_steps` does, no step faster than by itself. Where the state is a
        decaying sum of inputs, steps without an output take only that sum: of Jordan's network a
        fifteenth.
        """
        first = 0
        if decaying_sum := self.cell.decaying_sum():
            targets, alpha = decaying_sum
            first = max(len(rows) - len(out), 0)
            (mu,) = self.running.values()
            for y in rows[:first, list(targets)].swapaxes(1, 2):
                mu = alpha * mu + y
            self.running = dict.fromkeys(self.running, mu)
        for number, row in enumerate(rows[first:], len(out) - len(rows) + first):
            output = self(row)
            if number >= 0:
                out[number] = output

    def states(self) -> Arrays:
        """The states after the newest step, each `(size, B)`."""
        return {name: state.T for name, state in self.running.items()}


Stepper = StackedStepper | AnyStepper
"""A cell with its weights and its running states. The arrays it returns are overwritten by the next
step.
"""


def split_twins(cell: Cell, w: Arrays) -> list[Arrays]:
    """The weights of a cell, of twins those of each."""
    name, weight = next(iter(cell.own_weights(1).items()))
    if w[name].ndim == len(weight.shape):
        return [w]
    return [{name: array[number] for name, array in w.items()} for number in range(len(w[name]))]


def step_cell(
    cell: Cell, twins: Sequence[Arrays], x: np.ndarray, states: Arrays
) -> tuple[np.ndarray, Arrays]:
    """One time step by the cell's own equation: x `(B, I)`, states `(B, size)`."""
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
    """The linear layer on columns: x `(..., I, B)`, result `(..., units, B)`."""
    if kernel.ndim == 2:
        return kernel.T @ x + bias[:, None]
    by_twin = x.reshape(*x.shape[:-1], len(kernel), -1).swapaxes(-3, -2)
    # a product of columns that do not lie side by side has other last digits
    out = kernel.swapaxes(1, 2) @ np.ascontiguousarray(by_twin) + bias[:, :, None]
    return out.swapaxes(-3, -2).reshape(*x.shape[:-2], kernel.shape[2], -1)


def allocate_aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that begins on a line of the cache: the product of 64 units takes a fifth
    longer off it.
    """
    size = math.prod(shape)
    room = np.empty(size + CACHE_LINE // dtype.itemsize, dtype)
    first = -room.ctypes.data % CACHE_LINE // dtype.itemsize
    return room[first : first + size].reshape(shape)


DECODED_ROWS = 2048  # rows decoded at once: the arrays of a step stay in the cache


def decode(
    network: Network,
    block: EncoderDecoder,
    readout_weights: Arrays,
    decoder_weights: Arrays,
    encoded: np.ndarray,
    states: Arrays,
    frames: np.ndarray | None,
) -> np.ndarray:
    """Forecasts `(H*O*K, R)` of R rows: `encoded (units, R)`, `states` each `(size, R)`, `frames
    (H, F, R)` or None.

    A row is one window at one step t.
    """
    shapes = network.shapes
    rows = encoded.shape[1]
    fed_back = shapes.outputs if block.feedback else 0
    columns = fed_back + block.units
    forecasts = np.empty((shapes.horizon, shapes.outputs * shapes.parameters, rows), encoded.dtype)
    # rows of twins are few: those of a request
    at_once = DECODED_ROWS if count_twins(readout_weights) == 1 else rows
    for start in range(0, rows, at_once):
        part = slice(start, start + at_once)
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
