"""Forecasts one row at a time in NumPy, and both loops of a one-step network, with the state in the
caller's hands.

A state belongs to its caller: `step` returns a new one and leaves the old as it was, so a run can
be continued twice. A network whose forecast is fed back sees, in the row of time t, y of the time
before and what drives it:

    y^[t] = F(y[t-1], drive[t]; memory)     open loop (series-parallel): y[t-1] is measured
                                            closed loop (parallel, free run): y[t-1] is the
                                            network's own y^[t-1]

`drive` are its other past channels in their order, the values that are known when y[t] is forecast.
A `LoopState` stands between two rows and belongs to neither loop, so either one goes on where the
other stopped and nothing is lost: a closed loop that is handed every measured y is the open loop.
All values are in scaled units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.networks.cells.base import activate, numpy_namespace
from forecast.networks.description import (
    Arrays,
    Bidirectional,
    Block,
    CellBlock,
    Dense,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    States,
    Taps,
    weights_at,
)
from forecast.networks.inference.batch import (
    WeightArrays,
    check_future,
    check_weights,
    concatenate_states,
    final_states,
    merge_columns,
)
from forecast.networks.inference.steppers import decode
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import first_states, future_width
from forecast.system.errors import InputError, ModelError


@dataclass(frozen=True)
class State:
    """`blocks`: what every block remembers, by block path (see
    `forecast.networks.description.States`).
    """

    blocks: Mapping[str, Arrays]
    batch: int
    dtype: np.dtype

    def select(self, index: np.ndarray) -> State:
        """The rows number `index` (B',) of the batch, each as often as it occurs there."""
        blocks: States = {}
        for path, arrays in self.blocks.items():
            blocks[path] = {name: array[index] for name, array in arrays.items()}
        return State(blocks, len(index), self.dtype)


def initial(network: Network, weights: WeightArrays, batch: int) -> State:
    """The state before the first row: what `forward` starts a window from."""
    refuse_windowed(network.blocks)
    dtype = check_weights(network, weights)
    return State(first_states(network, weights, batch), batch, dtype)


def absorb(
    network: Network, weights: WeightArrays, past: np.ndarray, future: np.ndarray | None = None
) -> State:
    """The state after a whole window, past `(B, T, C)` and future `(B, T + H, F)`: where a closed
    loop takes over.
    """
    refuse_windowed(network.blocks)
    return State(
        final_states(network, weights, past, future), len(past), check_weights(network, weights)
    )


def step(
    network: Network,
    weights: WeightArrays,
    state: State,
    past_t: np.ndarray,
    future_window: np.ndarray | None = None,
) -> tuple[np.ndarray, State]:
    """One row further: `past_t (B, C)`, and the H future rows after it `future_window (B, H, F)`.

    Returns the forecast at this row `(B, H, O, K)`, equal to `forward` there, and the new state.
    """
    shapes = network.shapes
    x = np.asarray(past_t, state.dtype)
    if x.shape != (state.batch, shapes.channels):
        raise InputError(
            f"`past_t` has shape {x.shape}; this state wants ({state.batch}, {shapes.channels})."
        )
    frame = check_future(network, future_window, (state.batch, shapes.horizon), state.dtype)
    if frame is not None and future_width(network):
        z = frame.reshape(state.batch, -1) @ weights["future/kernel"] + weights["future/bias"]
        x = np.concatenate([x, np.tanh(z)], axis=1)
    blocks: States = {}
    x = Step(network, weights, state.blocks, blocks, frame).visit_series(network.blocks, "", x)
    if not network.decoder:
        z = x @ weights["readout/kernel"] + weights["readout/bias"]
        x = activate(numpy_namespace, network.readout_activation, z)
    out = x.reshape(state.batch, shapes.horizon, shapes.outputs, shapes.parameters)
    return out, State(blocks, state.batch, state.dtype)


def refuse_windowed(blocks: Sequence[Block]) -> None:
    """InputError when a block needs its whole window at once and so cannot be streamed."""
    for block in blocks:
        if isinstance(block, Bidirectional):
            raise InputError(
                f"Block {block.name!r} is bidirectional: it reads its window from both ends and"
                " cannot take one row at a time. Forecast with `last` on whole windows, or use a"
                " Recurrent block."
            )


@dataclass
class Step(BlockVisitor[np.ndarray]):
    """One row `(B, columns)` on its way through the network: reads the states `before`, fills
    `after`; `frame (B, H, F)` is the known future after the row.
    """

    network: Network
    weights: WeightArrays
    before: Mapping[str, Arrays]
    after: States
    frame: np.ndarray | None

    refusal = "which cannot take one row at a time"

    def visit_dense(self, block: Dense, path: str, x: np.ndarray) -> np.ndarray:
        """The dense layer on one row."""
        w = weights_at(self.weights, path)
        return activate(numpy_namespace, block.activation, x @ w["kernel"] + w["bias"])

    def visit_taps(self, block: Taps, path: str, x: np.ndarray) -> np.ndarray:
        """The delayed rows side by side, from the line that the state holds."""
        now = x if block.channels is None else x[:, list(block.channels)]
        line = np.concatenate([self.before[path]["line"], now[:, None]], axis=1)
        self.after[path] = {"line": line[:, 1:]}
        return np.concatenate([line[:, -1 - delay] for delay in block.delays], axis=1)

    def join_branches(self, block: Parallel, path: str, outputs: list[np.ndarray]) -> np.ndarray:
        """The branches' outputs, concatenated or added."""
        return merge_columns(block, outputs)

    def visit_recurrent(self, block: Recurrent, path: str, x: np.ndarray) -> np.ndarray:
        """One step of the cell."""
        return self._step_cell(block, path, weights_at(self.weights, path), x)

    def _step_cell(self, block: CellBlock, path: str, w: Arrays, x: np.ndarray) -> np.ndarray:
        output, self.after[path] = block.cell_object.step(numpy_namespace, w, x, self.before[path])
        return output

    def visit_encoder_decoder(self, block: EncoderDecoder, path: str, x: np.ndarray) -> np.ndarray:
        """One step of the encoder, and the H steps of the decoder from there."""
        encoder_weights = weights_at(self.weights, f"{path}/encoder")
        encoded = self._step_cell(block, path, encoder_weights, x)
        states = {name: state.T for name, state in self.after[path].items()}
        frames = None if self.frame is None else self.frame.transpose(1, 2, 0)
        w = weights_at(self.weights, f"{path}/decoder")
        return decode(self.network, block, self.weights, w, encoded.T, states, frames).T


@dataclass(frozen=True)
class LoopState:
    """Before row t: what the network remembers of the rows before, and y of row t - 1, `last (B,
    O)`.
    """

    memory: State
    last: np.ndarray


def begin_loop(network: Network, weights: WeightArrays, last: np.ndarray) -> LoopState:
    """The state of a network that remembers nothing, `last (B, O)` being y of the row before the
    first.
    """
    _check_one_step(network)
    last = np.asarray(last, np.float64)
    if last.ndim != 2 or last.shape[1] != network.shapes.outputs:
        raise InputError(
            f"`last` has shape {last.shape}; wanted (batch, {network.shapes.outputs})."
        )
    return LoopState(initial(network, weights, len(last)), last)


def series_parallel(
    network: Network,
    weights: WeightArrays,
    state: LoopState,
    drive: np.ndarray,
    y: np.ndarray,
    future: np.ndarray | None = None,
) -> tuple[np.ndarray, LoopState]:
    """Open loop: the forecast of every row of y `(B, T, O)` from the measured row before it, and
    the state after.

    drive (B, T, D); future (B, T, F), known-future values of the same rows. Where y is missing
    (NaN), the network's own forecast stands in for it as the value to feed back.
    """
    _check_rows(network, state, drive, future)
    y = np.asarray(y, np.float64)
    expected = (*np.shape(drive)[:2], network.shapes.outputs)
    if y.shape != expected:
        raise InputError(
            f"`y` has shape {y.shape}; wanted {expected}: a row for every row of `drive`."
        )
    if np.isinf(y).any():
        raise InputError(
            "`y` has infinite values; wanted numbers, or NaN for a missing one. Clean the series"
            " first."
        )
    return _run(network, weights, state, drive, y, future)


def parallel(
    network: Network,
    weights: WeightArrays,
    state: LoopState,
    drive: np.ndarray,
    future: np.ndarray | None = None,
) -> tuple[np.ndarray, LoopState]:
    """Closed loop: `(B, T, O)`, every forecast fed back as y, and the state after, from which
    either loop goes on.

    `ModelError` names the row at which an unstable loop leaves what numbers can hold.
    """
    refuse_open(network)
    _check_rows(network, state, drive, future)
    unknown = np.full((*np.shape(drive)[:2], network.shapes.outputs), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        run, after = _run(network, weights, state, drive, unknown, future)
    require_finite(run)
    return run, after


def ahead(
    network: Network,
    weights: WeightArrays,
    state: LoopState,
    drive: np.ndarray,
    y: np.ndarray,
    *,
    steps: int,
) -> np.ndarray:
    """`(B, T - steps, steps, O)`: at every row t the forecasts of t + 1 ... t + steps, y measured
    up to t alone.

    The drive of those rows is taken as known (simulation). For networks without known-future
    channels.
    """
    refuse_open(network)
    _check_rows(network, state, drive, None)
    batch, rows = np.shape(drive)[:2]
    if not 1 <= steps < rows:
        raise InputError(
            f"`steps` is {steps}, the rows are {rows}; wanted at least 1 and fewer than the rows."
        )
    states = []
    for t in range(rows - steps):
        _, state = series_parallel(network, weights, state, drive[:, t : t + 1], y[:, t : t + 1])
        states.append(state)
    driven = np.concatenate([drive[:, t + 1 : t + 1 + steps] for t in range(rows - steps)])
    run, _ = parallel(network, weights, _join_states(states), driven)
    return run.reshape(rows - steps, batch, steps, -1).swapaxes(0, 1)


def refuse_open(network: Network) -> None:
    """`InputError` for a network whose loop cannot be closed."""
    _check_one_step(network)
    if not network.feedback:
        raise InputError(
            "This network feeds no forecast back: there is no loop to close. Run it in open loop,"
            " or use a family with feedback (narx, nar, jordan)."
        )


def require_finite(run: np.ndarray) -> None:
    """`ModelError` that names the first row (B, T, O) where a closed loop is no longer finite."""
    lost = ~np.isfinite(run).all(axis=(0, 2))
    if lost.any():
        raise ModelError(
            "The closed loop is unstable: its output is no longer finite after"
            f" {int(np.argmax(lost))} of {run.shape[1]} steps on its own. Train it in closed loop,"
            " give it fewer delays or units, or use its one-step forecasts alone."
        )


def _check_one_step(network: Network) -> None:
    """InputError unless the network takes row after row and forecasts one step and one value."""
    shapes = network.shapes
    if not network.every_step:
        raise InputError(
            "This network reads its whole window at once (bidirectional, or decoding at the end),"
            " so it takes no row after another and its loop cannot be closed. Forecast it on"
            " windows, or use a recurrent family."
        )
    if shapes.horizon != 1 or shapes.parameters != 1:
        raise InputError(
            f"This network forecasts {shapes.horizon} steps of {shapes.parameters} values at once"
            " (a direct head); a loop needs one step and one value. Use its forecasts as they are,"
            " or a recursive family (narx, jordan)."
        )


def _check_rows(
    network: Network, state: LoopState, drive: np.ndarray, future: np.ndarray | None
) -> None:
    """InputError unless `drive` and `future` have the shapes that `series_parallel` wants and every
    value of `drive` is a finite number.
    """
    shapes = network.shapes
    batch = len(state.last)
    others = shapes.channels - len(shapes.target_channels)
    shape = np.shape(drive)
    if len(shape) != 3 or shape[0] != batch or shape[2] != others:
        raise InputError(
            f"`drive` has shape {shape}; wanted ({batch}, rows, {others}): batch, rows, driving"
            " channels."
        )
    finite = np.isfinite(drive).all(axis=2)
    if not finite.all():
        sequence, row = np.argwhere(~finite)[0]
        raise InputError(
            f"`drive` is missing or infinite in row {row} of sequence {sequence}; a loop cannot go"
            " on without it. Fill it, or cut the sequence there."
        )
    expected = (batch, shape[1], shapes.future_channels)
    known = (0, 0, 0) if future is None else np.shape(future)
    if shapes.future_channels and known != expected:
        raise InputError(
            f"`future` has shape {known}; wanted {expected}: a row for every row of `drive`."
        )


def _run(
    network: Network,
    weights: WeightArrays,
    state: LoopState,
    drive: np.ndarray,
    y: np.ndarray,
    future: np.ndarray | None,
) -> tuple[np.ndarray, LoopState]:
    """The forecasts of all rows and the state after them; y (B, T, O) is fed back where it is a
    number, the forecast elsewhere.
    """
    channels = list(network.shapes.target_channels)
    others = [c for c in range(network.shapes.channels) if c not in channels]
    row = np.empty((len(y), network.shapes.channels))
    memory = state.memory
    last = state.last
    run = np.empty(y.shape)
    for t in range(y.shape[1]):
        row[:, channels] = last
        row[:, others] = drive[:, t]
        known = None if future is None else future[:, t : t + 1]
        out, memory = step(network, weights, memory, row, known)
        run[:, t] = out[:, 0, :, 0]
        last = np.where(np.isnan(y[:, t]), run[:, t], y[:, t])
    return run, LoopState(memory, last)


def _join_states(states: Sequence[LoopState]) -> LoopState:
    """Many states of the same network as one batch, in their order."""
    memories = [state.memory for state in states]
    blocks = concatenate_states([memory.blocks for memory in memories])
    memory = State(blocks, sum(memory.batch for memory in memories), memories[0].dtype)
    return LoopState(memory, np.concatenate([state.last for state in states]))
