"""Forecasts one row at a time in NumPy: the state is carried from step to step, or taken over from a window.

A state belongs to its caller: `step` returns a new one and leaves the old as it was, so a run can be continued twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.networks.cells.base import activate, numpy_namespace
from forecast.networks.cells.weights import first_states, future_width
from forecast.networks.description import (
    Arrays,
    Bidirectional,
    Block,
    Dense,
    Dropout,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    States,
    Taps,
    own_weights,
)
from forecast.networks.inference.batch import Weights, check_future, check_weights, final_states
from forecast.networks.inference.steppers import decode
from forecast.system.errors import InputError


@dataclass(frozen=True)
class State:
    """`blocks`: what every block remembers, by block path (see `forecast.networks.description.States`)."""

    blocks: Mapping[str, Arrays]
    batch: int
    dtype: np.dtype


def initial(network: Network, weights: Weights, batch: int) -> State:
    """The state before the first row: what `forward` starts a window from."""
    refuse_windowed(network.blocks)
    dtype = check_weights(network, weights)
    return State(first_states(network, weights, batch), batch, dtype)


def absorb(network: Network, weights: Weights, past: np.ndarray, future: np.ndarray | None = None) -> State:
    """The state after a whole window, past `(B, T, C)` and future `(B, T + H, F)`: where a closed loop takes over."""
    refuse_windowed(network.blocks)
    return State(final_states(network, weights, past, future), len(past), check_weights(network, weights))


def step(
    network: Network, weights: Weights, state: State, past_t: np.ndarray, future_window: np.ndarray | None = None
) -> tuple[np.ndarray, State]:
    """One row further: `past_t (B, C)`, and the H future rows after it `future_window (B, H, F)`.

    Returns the forecast at this row `(B, H, O, K)`, equal to `forward` there, and the new state.
    """
    shapes = network.shapes
    x = np.asarray(past_t, state.dtype)
    if x.shape != (state.batch, shapes.channels):
        raise InputError(f"`past_t` has shape {x.shape}; this state wants ({state.batch}, {shapes.channels}).")
    frame = check_future(network, future_window, (state.batch, shapes.horizon), state.dtype)
    if frame is not None and future_width(network):
        z = frame.reshape(state.batch, -1) @ weights["future/kernel"] + weights["future/bias"]
        x = np.concatenate([x, np.tanh(z)], axis=1)
    blocks: States = {}
    walk = _Step(network, weights, state.blocks, blocks, frame)
    x = walk.series(network.blocks, "", x)
    if not (network.blocks and isinstance(network.blocks[-1], EncoderDecoder)):
        z = x @ weights["readout/kernel"] + weights["readout/bias"]
        x = activate(numpy_namespace, network.readout_activation, z)
    out = x.reshape(state.batch, shapes.horizon, shapes.outputs, shapes.parameters)
    return out, State(blocks, state.batch, state.dtype)


def refuse_windowed(blocks: Sequence[Block]) -> None:
    """InputError when a block needs its whole window at once and so cannot be streamed."""
    for block in blocks:
        if isinstance(block, Bidirectional):
            raise InputError(
                f"Block {block.name!r} is bidirectional: it reads its window from both ends and cannot take one row "
                "at a time. Forecast with `last` on whole windows, or use a Recurrent block."
            )


@dataclass
class _Step:
    """One row on its way through the network: reads the states `before`, fills `after`."""

    network: Network
    weights: Weights
    before: Mapping[str, Arrays]
    after: States
    frame: np.ndarray | None

    def series(self, blocks: Sequence[Block], prefix: str, x: np.ndarray) -> np.ndarray:
        for block in blocks:
            x = self._block(block, prefix + block.name, x)
        return x

    def _block(self, block: Block, path: str, x: np.ndarray) -> np.ndarray:
        match block:
            case Dense():
                w = own_weights(self.weights, path)
                return activate(numpy_namespace, block.activation, x @ w["kernel"] + w["bias"])
            case Dropout():
                return x
            case Taps():
                return self._taps(block, path, x)
            case Parallel():
                parts = [self.series(branch, f"{path}/{k}/", x) for k, branch in enumerate(block.branches)]
                return np.concatenate(parts, axis=1) if block.merge == "concat" else np.add.reduce(parts)
            case Recurrent():
                return self._recurrent(block, path, path, x)
            case EncoderDecoder():
                return self._encoder_decoder(block, path, x)
        raise InputError(f"Block {path!r} is a {type(block).__name__}, which cannot take one row at a time.")

    def _taps(self, block: Taps, path: str, x: np.ndarray) -> np.ndarray:
        now = x if block.channels is None else x[:, list(block.channels)]
        line = np.concatenate([self.before[path]["line"], now[:, None]], axis=1)
        self.after[path] = {"line": line[:, 1:]}
        return np.concatenate([line[:, -1 - delay] for delay in block.delays], axis=1)

    def _recurrent(self, block: Recurrent | EncoderDecoder, path: str, own: str, x: np.ndarray) -> np.ndarray:
        cell = block.made
        output, self.after[path] = cell.step(numpy_namespace, own_weights(self.weights, own), x, self.before[path])
        return output

    def _encoder_decoder(self, block: EncoderDecoder, path: str, x: np.ndarray) -> np.ndarray:
        encoded = self._recurrent(block, path, f"{path}/encoder", x)
        states = {name: state.T for name, state in self.after[path].items()}
        frames = None if self.frame is None else self.frame.transpose(1, 2, 0)
        w = own_weights(self.weights, f"{path}/decoder")
        return decode(self.network, block, self.weights, w, encoded.T, states, frames).T
