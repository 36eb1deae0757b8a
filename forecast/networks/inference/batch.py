"""Forecasts of many windows at once in NumPy: `forward` at every step, `forecast_last` at the end
of each window; `final_states` gives the states from which `streaming` can go on row by row.

`Pass` is the `BlockVisitor` that takes one slice of windows through the network; its arrays are
`(steps, columns, windows)`. Each block computes only the last steps that later blocks read
(`wanted_steps`): for the last forecast of a network of taps that is its memory and not the whole
window. With twins (`steppers`), window n goes through the weights of twin n modulo their number;
inside a pass the windows of one twin follow those of the other (`deal_windows`). Another kind of
block is a `visit_` method of `Pass`, and one of `streaming`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.networks.cells.base import activate, numpy_namespace
from forecast.networks.description import (
    ALL_ROWS,
    Arrays,
    Bidirectional,
    Block,
    CellBlock,
    Dense,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Segments,
    States,
    Taps,
    count_twins,
    total_reach,
    weights_at,
)
from forecast.networks.inference.steppers import (
    Stepper,
    decode,
    first_cell_states,
    multiply_columns,
    stepper,
)
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import future_width, weight_specs, widest_columns
from forecast.system.errors import InputError, quote_names

WINDOWS_PER_SLICE = 256
"""Windows in one slice: between 100 and 500 were fastest for 32 to 64 units."""
VALUES_PER_SLICE = 2**23
"""The most values in the widest array of a slice, such as a long delay line at every step."""


def forward(
    network: Network, weights: Arrays, past: np.ndarray, future: np.ndarray | None = None
) -> np.ndarray:
    """Forecasts at every step `(B, T, H, O, K)`, from past `(B, T, C)` and future `(B, T + H, F)`.

    The forecast at t depends on `past[:, : t + 1]` and `future[:, : t + H + 1]` alone, bit for bit.
    A network with `every_step=False` gives `(B, 1, H, O, K)`. The result has the dtype of the
    weights.
    """
    return _run_pass(network, weights, past, future, ALL_ROWS if network.every_step else 1)


def forecast_last(
    network: Network, weights: Arrays, past: np.ndarray, future: np.ndarray | None = None
) -> np.ndarray:
    """Forecasts at the last step alone `(B, H, O, K)`: `forward(...)[:, -1]`, faster."""
    return _run_pass(network, weights, past, future, 1)[:, 0]


def final_states(
    network: Network, weights: Arrays, past: np.ndarray, future: np.ndarray | None = None
) -> States:
    """The states of all blocks after windows, past `(B, T, C)` and future `(B, T + H, F)`."""
    dtype = check_weights(network, weights)
    past, future = cast_windows(network, past, future, dtype)
    passes = _run_slices(network, weights, past, future, 1)
    return concatenate_states([run.final for _, run, _ in passes])


def concatenate_states(parts: Sequence[States]) -> States:
    """The states of several batches of the same network, joined along the batch."""
    states: States = {}
    for path, arrays in parts[0].items():
        states[path] = {
            name: np.concatenate([part[path][name] for part in parts]) for name in arrays
        }
    return states


def _run_pass(
    network: Network, weights: Arrays, past: np.ndarray, future: np.ndarray | None, steps: int
) -> np.ndarray:
    """The forecasts `(B, steps, H, O, K)` at the last `steps` steps."""
    dtype = check_weights(network, weights)
    past, future = cast_windows(network, past, future, dtype)
    shapes = network.shapes
    steps = min(steps, past.shape[1])
    # the rows of a decoder at several steps are not in the order that `interleave_windows` expects
    assert steps == 1 or count_twins(weights) == 1
    out = np.empty((len(past), steps, shapes.horizon, shapes.outputs, shapes.parameters), dtype)
    if not len(past):
        return out
    for part, _, values in _run_slices(network, weights, past, future, steps):
        out[part] = values.transpose(2, 0, 1).reshape(out[part].shape)
    return interleave_windows(out, count_twins(weights))


def _run_slices(
    network: Network, weights: Arrays, past: np.ndarray, future: np.ndarray | None, steps: int
) -> Iterator[tuple[slice, Pass, np.ndarray]]:
    """Slices of the windows (at least one, even without windows), each with its pass and its
    forecasts `(steps, H * O * K, B)` at the last `steps` steps. Rows on which these do not depend
    are left out. The windows of twins are one slice, in the order of `deal_windows`.
    """
    twins = count_twins(weights)
    past = past[:, -(steps + total_reach(network.blocks)) :]
    values_per_window = past.shape[1] * widest_columns(network)
    size = min(WINDOWS_PER_SLICE, max(VALUES_PER_SLICE // values_per_window, 1))
    if twins > 1:
        size = len(past)
        past = deal_windows(past, twins)
        future = None if future is None else deal_windows(future, twins)
    for start in range(0, max(len(past), 1), size):
        part = slice(start, start + size)
        run = Pass(network, weights, len(past[part]))
        yield part, run, run.forecasts(past[part], None if future is None else future[part], steps)


def deal_windows(values: np.ndarray, twins: int) -> np.ndarray:
    """`values (B, ...)` sorted by twin: first those of windows 0, `twins`, 2 `twins`, ..."""
    return values.reshape(-1, twins, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)


def interleave_windows(values: np.ndarray, twins: int) -> np.ndarray:
    """The inverse of `deal_windows`."""
    return deal_windows(values, len(values) // twins)


def future_frames(future: np.ndarray, horizon: int, steps: int) -> np.ndarray:
    """The known-future inputs at the last `steps` steps as a view `(steps, H, F, B)` of future `(B,
    T + H, F)`: at the step of row t the future rows t + 1 ... t + H. Not to be written to, as its
    steps share memory.
    """
    windows = np.lib.stride_tricks.sliding_window_view(future, horizon, axis=1)
    return windows[:, 1:][:, -steps:].transpose(1, 3, 2, 0)


def count_steps_by_path(blocks: Sequence[Block], prefix: str, steps: int) -> dict[str, int]:
    """How many last steps of each block's output are needed, by block path, for `steps` steps of
    the last block: these, and the rows that later blocks look back.
    """
    counts: dict[str, int] = {}
    for block in reversed(blocks):
        path = prefix + block.name
        counts[path] = steps
        if isinstance(block, Parallel):
            for inner_prefix, branch in block.prefixed_branches(path):
                counts |= count_steps_by_path(branch, inner_prefix, steps)
        steps = min(steps + block.reach, ALL_ROWS)
    return counts


@dataclass
class Pass(BlockVisitor[np.ndarray]):
    """The pass of one slice of windows through the network, as arrays `(steps, columns, B)`.

    final: the states of all blocks after the last step, batch first. frames: the known-future
    inputs at every step. wanted_steps: see `count_steps_by_path`.
    """

    network: Network
    weights: Arrays
    batch: int
    final: States = field(default_factory=dict)
    frames: np.ndarray | None = None
    wanted_steps: dict[str, int] = field(default_factory=dict)

    def forecasts(self, past: np.ndarray, future: np.ndarray | None, steps: int) -> np.ndarray:
        """The forecasts `(steps, H * O * K, B)` at the last `steps` steps, from past `(B, T, C)`
        and future `(B, ... + H, F)`, which may begin earlier, or None. Fills `final` with the
        states after the last step.
        """
        network = self.network
        self.wanted_steps = count_steps_by_path(network.blocks, "", steps)
        if future is not None:
            self.frames = future_frames(future, network.shapes.horizon, past.shape[1])
        x = self.visit_series(network.blocks, "", self._first_input(past))[-steps:]
        if network.decoder:
            return x
        z = multiply_columns(self.weights["readout/kernel"], self.weights["readout/bias"], x)
        return z.reshape(len(x), -1, self.batch)

    def _first_input(self, past: np.ndarray) -> np.ndarray:
        """The input of the first block `(steps, columns, B)`: the past channels, and beside them
        the projected known-future inputs.
        """
        x = np.ascontiguousarray(past.transpose(1, 2, 0))
        if self.frames is None or not future_width(self.network):
            return x
        frames = self.frames.reshape(len(self.frames), -1, self.batch)
        kernel = self.weights["future/kernel"]
        projected = multiply_columns(kernel, self.weights["future/bias"], frames)
        return np.concatenate([x, np.tanh(projected, out=projected)], axis=1)

    def visit_dense(self, block: Dense, path: str, x: np.ndarray) -> np.ndarray:
        """The dense layer at the wanted steps."""
        w = weights_at(self.weights, path)
        z = multiply_columns(w["kernel"], w["bias"], x[-self.wanted_steps[path] :])
        return activate(numpy_namespace, block.activation, z)

    def visit_segments(self, block: Segments, path: str, x: np.ndarray) -> np.ndarray:
        """The newest rows of the window cut into segments `(count, columns, B)`, oldest first; they
        are the steps of all later blocks.
        """
        before = np.zeros((block.reach + 1, *x.shape[1:]), x.dtype)
        rows = np.concatenate([before, x])[-1 - block.reach :].transpose(2, 0, 1)
        cut = segments(rows, block.length, self.network.shapes.channels, block.relative)
        return np.ascontiguousarray(cut.transpose(1, 2, 0))

    def visit_taps(self, block: Taps, path: str, x: np.ndarray) -> np.ndarray:
        """The delayed rows side by side at the wanted steps; rows before the window are zero."""
        columns = x if block.channels is None else x[:, list(block.channels)]
        before = np.zeros((max(block.delays), *columns.shape[1:]), x.dtype)
        rows = np.concatenate([before, columns])
        self.final[path] = {"line": np.ascontiguousarray(rows[len(x) :].transpose(2, 0, 1))}
        return delay_rows(rows, block.delays, min(self.wanted_steps[path], len(x)))

    def join_branches(self, block: Parallel, path: str, outputs: list[np.ndarray]) -> np.ndarray:
        """The wanted steps of the branches side by side."""
        # an empty branch passes on all steps of its input
        parts = [output[-self.wanted_steps[path] :] for output in outputs]
        return np.concatenate(parts, axis=1)

    def visit_recurrent(self, block: Recurrent, path: str, x: np.ndarray) -> np.ndarray:
        """The outputs at the wanted steps, or the parts of a block that has parts; fills `final`
        with the last states.
        """
        run = self._start_cell(block, path)
        out = np.empty((min(self.wanted_steps[path], len(x)), block.units, self.batch), x.dtype)
        run.run_steps(x, out)
        states = run.states()
        self.final[path] = {name: np.array(state.T, order="C") for name, state in states.items()}
        if not block.parts:
            return out
        w = weights_at(self.weights, path)
        parts, _ = block.cell_object.step(
            numpy_namespace, w, w["embedding"], {"h": out[-1].T[:, None]}
        )
        return parts.transpose(1, 2, 0)[None]  # one more axis, because parts are not steps

    def visit_bidirectional(self, block: Bidirectional, path: str, x: np.ndarray) -> np.ndarray:
        """The last outputs of both directions side by side `(1, 2 units, B)`; both are computed in
        one run, their weights joined along the axis of twins.
        """
        out = np.empty((1, block.units, 2 * self.batch), x.dtype)
        both_weights = [
            weights_at(self.weights, f"{path}/{way}") for way in ("forward", "backward")
        ]
        join = np.concatenate if count_twins(self.weights) > 1 else np.stack
        w = {name: join([way[name] for way in both_weights]) for name in both_weights[0]}
        start = first_cell_states(block.cell_object, w, 2 * self.batch)
        both = np.concatenate([x, x[::-1]], axis=2)
        stepper(block.cell_object, w, start).run_steps(both, out)
        return np.concatenate(np.split(out, 2, axis=2), axis=1)

    def visit_encoder_decoder(self, block: EncoderDecoder, path: str, x: np.ndarray) -> np.ndarray:
        """The forecasts from every wanted step. The encoder runs over the steps before without
        keeping its outputs; then the decoder starts from its output and states after each step.
        """
        run = self._start_cell(block, f"{path}/encoder")
        steps = min(self.wanted_steps[path], len(x))
        encoded = np.empty((block.units, steps, self.batch), x.dtype)
        run.run_steps(x[: len(x) - steps], encoded.swapaxes(0, 1)[:0])
        states = {
            name: np.empty((len(state), steps, self.batch), x.dtype)
            for name, state in run.states().items()
        }
        for number, row in enumerate(x[-steps:]):
            encoded[:, number] = run(row)
            for name, state in run.states().items():
                states[name][:, number] = state
        return self._decode(block, path, encoded, states)

    def _decode(
        self, block: EncoderDecoder, path: str, encoded: np.ndarray, states: Arrays
    ) -> np.ndarray:
        """The forecasts of the decoder `(steps, H * O * K, B)` from the encoder's outputs `encoded`
        and `states` after every wanted step; all steps of all windows are one batch.
        """
        steps = encoded.shape[1]
        frames = None
        if self.frames is not None:
            _, horizon, channels, _ = self.frames.shape
            frames = self.frames[-steps:].transpose(1, 2, 0, 3).reshape(horizon, channels, -1)
        out = decode(
            self.network,
            block,
            self.weights,
            weights_at(self.weights, f"{path}/decoder"),
            encoded.reshape(block.units, -1),
            {name: state.reshape(len(state), -1) for name, state in states.items()},
            frames,
        )
        return out.reshape(len(out), steps, self.batch).transpose(1, 0, 2)

    def _start_cell(self, block: CellBlock, path: str) -> Stepper:
        """A stepper of the cell with the weights at `path`, before the first row."""
        cell = block.cell_object
        w = weights_at(self.weights, path)
        return stepper(cell, w, first_cell_states(cell, w, self.batch))


def delay_rows(line: np.ndarray, delays: Sequence[int], steps: int) -> np.ndarray:
    """The delayed rows side by side, `(steps, n columns, ...)` for n delays, at the last `steps`
    rows of a delay line `(rows, columns, ...)`, which has the longest delay more of them.
    """
    ends = [len(line) - delay for delay in delays]
    return np.concatenate([line[end - steps : end] for end in ends], axis=1)


def segments(rows: np.ndarray, length: int, channels: int, relative: Sequence[int]) -> np.ndarray:
    """The output (B, count, length * channels + projected) of the block
    `networks.description.Segments` for `rows (B, count * length, columns)`. This function is copied
    into exported files.
    """
    rows = rows.copy()
    rows[..., list(relative)] -= rows[:, -1:, list(relative)]
    cut = rows.reshape(len(rows), -1, length, rows.shape[2])
    past = cut[..., :channels].reshape(*cut.shape[:2], -1)
    return np.concatenate([past, cut[:, :, -1, channels:]], axis=-1)


def check_weights(network: Network, weights: Mapping[str, np.ndarray]) -> np.dtype:
    """The dtype of the weights. `InputError` unless they have the names and shapes of the network's
    weights and one dtype.
    """
    expected = {(name, weight.shape) for name, weight in weight_specs(network).items()}
    first_axis = 1 if count_twins(weights) > 1 else 0  # without the axis of the twins
    given = {(name, array.shape[first_axis:]) for name, array in weights.items()}
    if given != expected:
        raise InputError(
            f"Weights {quote_names(given - expected) or 'none'} were given in place of"
            f" {quote_names(expected - given) or 'none'}. Load the weights that were saved with"
            " this network."
        )
    dtypes = {array.dtype for array in weights.values()}
    if len(dtypes) > 1:
        raise InputError(f"Weights have dtypes {quote_names(dtypes)}; wanted one.")
    return dtypes.pop()


def cast_windows(
    network: Network, past: np.ndarray, future: np.ndarray | None, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray | None]:
    """Past and future in the dtype of the weights; future is None where the network reads none."""
    future = np.asarray(future, dtype) if network.shapes.future_channels else None
    return np.asarray(past, dtype), future
