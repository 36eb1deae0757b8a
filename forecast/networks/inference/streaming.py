"""Forecasts one row at a time in NumPy, and both loops of a one-step network, with the state in the
caller's hands.

`initial` or `absorb` gives the states to begin with (`networks.description.States`), `step` takes
one row further. They belong to their caller: `step` returns new ones and leaves the old as they
were, so a run can be continued twice. A network whose forecast is fed back sees, in the row of time
t, y of the time before and what drives it:

    y^[t] = F(y[t-1], drive[t]; memory)     open loop (series-parallel): y[t-1] is measured
                                            closed loop (parallel, free run): y[t-1] is the
                                            network's own y^[t-1]

`drive` are its other past channels in their order, the values that are known when y[t] is forecast.
`run_loop` runs both. A `LoopState` stands between two rows and belongs to neither loop, so either
one goes on where the other stopped and nothing is lost: a closed loop that is handed every measured
y is the open loop. All values are in scaled units, and the arrays are taken as they are:
`forecast.identification`, which runs these loops, has checked what its user gave.

Refused with `InputError`: networks that need their whole window (bidirectional, segments) or have a
decoder, rows of another shape; a loop that explodes is a `ModelError` where it is asked (`ahead`,
`require_finite`).
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
    final_states,
    interleave_windows,
)
from forecast.networks.inference.steppers import split_twins, step_cell
from forecast.networks.visitor import BlockVisitor
from forecast.networks.weights import first_states, future_width
from forecast.system.errors import ModelError


def initial(network: Network, weights: Arrays, batch: int) -> States:
    """The states before the first row: what `forward` starts a window from."""
    check_weights(network, weights)
    return first_states(network, weights, batch)


def absorb(
    network: Network, weights: Arrays, past: np.ndarray, future: np.ndarray | None = None
) -> States:
    """The states after a whole window, past `(B, T, C)` and future `(B, T + H, F)`: where a closed
    loop takes over.
    """
    return final_states(network, weights, past, future)


def step(
    network: Network,
    weights: Arrays,
    states: States,
    past_t: np.ndarray,
    future_window: np.ndarray | None = None,
) -> tuple[np.ndarray, States]:
    """One row further: `past_t (B, C)`, and the H future rows after it `future_window (B, H, F)`.

    Returns the forecast at this row `(B, H, O, K)`, equal to `forward` there, and the new states.
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
    """The linear layer on rows: x `(B, I)`, result `(B, units)`."""
    if kernel.ndim == 2:
        return x @ kernel + bias
    by_twin = x.reshape(len(kernel), -1, x.shape[1]) @ kernel + bias[:, None]
    return by_twin.reshape(len(x), -1)


@dataclass
class Step(BlockVisitor[np.ndarray]):
    """One row `(B, columns)` on its way through the network: reads the states `before`, fills
    `after`.
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
        """The delayed rows side by side, from the line that the state holds."""
        now = x if block.channels is None else x[:, list(block.channels)]
        line = np.concatenate([self.before[path]["line"], now[:, None]], axis=1)
        self.after[path] = {"line": line[:, 1:]}
        return line.take(block.places, axis=1).reshape(len(x), -1)

    def join_branches(self, block: Parallel, path: str, outputs: list[np.ndarray]) -> np.ndarray:
        """The branches' outputs side by side."""
        return np.concatenate(outputs, axis=1)

    def visit_recurrent(self, block: Recurrent, path: str, x: np.ndarray) -> np.ndarray:
        """One step of the cell."""
        cell = block.cell_object
        twins = split_twins(cell, weights_at(self.weights, path))
        output, self.after[path] = step_cell(cell, twins, x, self.before[path])
        return output


@dataclass(frozen=True)
class LoopState:
    """Before row t: what the network remembers of the rows before, and y of row t - 1, `last (B,
    O)`.
    """

    memory: States
    last: np.ndarray


def begin_loop(network: Network, weights: Arrays, last: np.ndarray) -> LoopState:
    """The state of a one-step network that remembers nothing, `last (B, O)` being y of the row
    before the first.
    """
    return LoopState(initial(network, weights, len(last)), last)


def run_loop(
    network: Network, weights: Arrays, state: LoopState, drive: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, LoopState]:
    """The forecasts `(B, T, O)` of all rows, each from y of the row before it, and the state after.

    drive (B, T, D): the other past channels. y (B, T, O) is fed back where it is a number, the
    forecast where y is NaN; where all of y is NaN, the run is the closed loop. An unstable loop
    overflows: see `require_finite`.
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


def ahead(
    network: Network,
    weights: Arrays,
    state: LoopState,
    drive: np.ndarray,
    y: np.ndarray,
    *,
    steps: int,
) -> np.ndarray:
    """`(B, T - steps, steps, O)`: at every row t the forecasts of t + 1 ... t + steps, y measured
    up to t alone. The drive of those rows is taken as known (simulation).

    `ModelError` for a loop that explodes.
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
    """`ModelError` that names the first row (B, T, O) where a closed loop is no longer finite."""
    lost = ~np.isfinite(run).all(axis=(0, 2))
    if lost.any():
        raise ModelError(
            "The closed loop is unstable: its output is no longer finite after"
            f" {int(np.argmax(lost))} of {run.shape[1]} steps on its own. Train it in closed loop,"
            " give it fewer delays or units, or use its one-step forecasts alone."
        )


def _join_states(states: Sequence[LoopState]) -> LoopState:
    """Many states of the same network as one batch, in their order."""
    memory = concatenate_states([state.memory for state in states])
    return LoopState(memory, np.concatenate([state.last for state in states]))
