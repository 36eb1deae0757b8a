"""Forecasts one row at a time in NumPy, and the open and closed loop of a one-step network for
`forecast.identification`.

`initial` (or `batch.final_states`) gives the states before the first row, `step` goes one row
further. `step` returns new states and leaves the old ones unchanged. In the row of time t, a
network whose forecast is fed back reads the last y and the other inputs, the drive:

    y^[t] = F(y[t-1], drive[t]; memory)     open loop (series-parallel): y[t-1] is measured
                                            closed loop (parallel, free run): y[t-1] is the
                                            network's own y^[t-1]

`run_loop` runs both, and either loop can go on from the `LoopState` of the other. All values are in
scaled units and are not checked. Networks that need their whole window (bidirectional, segments)
or have a decoder are an `InputError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecast.networks.cells.base import activate, numpy_namespace
from forecast.networks.description import (
    Arrays,
    Dense,
    Network,
    Parallel,
    Recurrent,
    States,
    Taps,
    count_twins,
    weights_at,
)
from forecast.networks.inference.batch import (
    cast_windows,
    check_weights,
    concatenate_states,
    deal_windows,
    interleave_windows,
)
from forecast.networks.inference.steppers import split_twins, step_cell
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import first_network_states, future_width
from forecast.system.errors import ModelError


def initial(network: Network, weights: Arrays, batch: int) -> States:
    """The states before the first row, from which `forward` starts a window too."""
    check_weights(network, weights)
    return first_network_states(network, weights, batch)


def step(
    network: Network,
    weights: Arrays,
    states: States,
    past_t: np.ndarray,
    future_window: np.ndarray | None = None,
) -> tuple[np.ndarray, States]:
    """The forecast `(B, H, O, K)` at the next row, equal to that of `forward`, and the new states.
    past_t `(B, C)`: the row; future_window `(B, H, F)`: the H future rows after it.
    """
    shapes = network.shapes
    twins = count_twins(weights)
    x, frame = cast_windows(network, past_t, future_window, weights["readout/kernel"].dtype)
    x = deal_windows(x, twins)
    if frame is not None:
        frame = deal_windows(frame, twins)
        if future_width(network):
            frames = frame.reshape(len(x), -1)
            z = _multiply_rows(frames, weights["future/kernel"], weights["future/bias"])
            x = np.concatenate([x, np.tanh(z)], axis=1)
    after: States = {}
    x = Step(weights, states, after).visit_series(network.blocks, "", x)
    x = _multiply_rows(x, weights["readout/kernel"], weights["readout/bias"])
    x = interleave_windows(x, twins)
    return x.reshape(len(x), shapes.horizon, shapes.outputs, shapes.parameters), after


def _multiply_rows(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """`x kernel + bias` for rows x `(B, I)`: `(B, units)`; with twins, each on its own rows."""
    if kernel.ndim == 2:
        return x @ kernel + bias
    by_twin = x.reshape(len(kernel), -1, x.shape[1]) @ kernel + bias[:, None]
    return by_twin.reshape(len(x), -1)


@dataclass
class Step(BlockVisitor[np.ndarray]):
    """The pass of one row `(B, columns)` through the network: reads the states `before` the row,
    and fills those `after` it.
    """

    weights: Arrays
    before: States
    after: States

    unfit_reason = "which cannot take one row at a time"

    def visit_dense(self, block: Dense, path: str, x: np.ndarray) -> np.ndarray:
        """The dense layer on one row."""
        w = weights_at(self.weights, path)
        z = _multiply_rows(x, w["kernel"], w["bias"])
        return activate(numpy_namespace, block.activation, z)

    def visit_taps(self, block: Taps, path: str, x: np.ndarray) -> np.ndarray:
        """The delayed rows side by side, from the delay line in the state."""
        now = x if block.channels is None else x[:, list(block.channels)]
        line = np.concatenate([self.before[path]["line"], now[:, None]], axis=1)
        self.after[path] = {"line": line[:, 1:]}
        return line.take(block.places, axis=1).reshape(len(x), -1)

    def join_branches(self, block: Parallel, path: str, outputs: list[np.ndarray]) -> np.ndarray:
        """The outputs of the branches side by side."""
        return np.concatenate(outputs, axis=1)

    def visit_recurrent(self, block: Recurrent, path: str, x: np.ndarray) -> np.ndarray:
        """One step of the cell."""
        cell = block.cell_object
        twins = split_twins(cell, weights_at(self.weights, path))
        output, self.after[path] = step_cell(cell, twins, x, self.before[path])
        return output


@dataclass(frozen=True)
class LoopState:
    """The state of a loop before row t: the states of the network in `memory`, and y of row t - 1
    in `last (B, O)`.
    """

    memory: States
    last: np.ndarray


def begin_loop(network: Network, weights: Arrays, last: np.ndarray) -> LoopState:
    """The state before the first row, with y of the row before it in `last (B, O)`."""
    return LoopState(initial(network, weights, len(last)), last)


def run_loop(
    network: Network, weights: Arrays, state: LoopState, drive: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, LoopState]:
    """The forecasts `(B, T, O)` of all rows, each from y of the row before it, and the state after
    the last row.

    drive (B, T, D): the other past channels. y (B, T, O) is fed back where it is known, and the
    forecast where it is NaN; with NaN everywhere this is the closed loop. An unstable loop
    overflows, see `require_finite`.
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
        out, memory = step(network, weights, memory, row)
        run[:, t] = out[:, 0, :, 0]
        last = np.where(np.isnan(y[:, t]), run[:, t], y[:, t])
    return run, LoopState(memory, last)


def predict_ahead(
    network: Network,
    weights: Arrays,
    state: LoopState,
    drive: np.ndarray,
    y: np.ndarray,
    *,
    steps: int,
) -> np.ndarray:
    """The closed-loop forecasts `(B, T - steps, steps, O)` of t + 1 ... t + steps from every row t,
    with y measured up to t and the drive known for all rows. `ModelError` where a loop is not
    finite.
    """
    batch, rows = drive.shape[:2]
    states = []
    for t in range(rows - steps):
        _, state = run_loop(network, weights, state, drive[:, t : t + 1], y[:, t : t + 1])
        states.append(state)
    driven = np.concatenate([drive[:, t + 1 : t + 1 + steps] for t in range(rows - steps)])
    unknown = np.full((len(driven), steps, y.shape[2]), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        run, _ = run_loop(network, weights, _join_states(states), driven, unknown)
    require_finite(run)
    return run.reshape(rows - steps, batch, steps, -1).swapaxes(0, 1)


def require_finite(run: np.ndarray) -> None:
    """`ModelError` that names the first row where the closed loop `run` (B, T, O) is not finite."""
    lost = ~np.isfinite(run).all(axis=(0, 2))
    if lost.any():
        raise ModelError(
            "The closed loop is unstable: its output is no longer finite after"
            f" {int(np.argmax(lost))} of {run.shape[1]} steps on its own. Train it in closed loop,"
            " give it fewer delays or units, or use its one-step forecasts alone."
        )


def _join_states(states: Sequence[LoopState]) -> LoopState:
    """Several loop states of the same network, joined along the batch."""
    memory = concatenate_states([state.memory for state in states])
    return LoopState(memory, np.concatenate([state.last for state in states]))
