"""Windows on their way through a network, with the input of every recurrent layer kept.

Arrays are time-first and batch-second, (T, B, columns), in the dtype of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.networks import cells
from forecast.networks.cells.base import Array, Arrays, Cell, NumpyNamespace, activate, numpy_namespace
from forecast.networks.cells.weights import future_width, own_weights
from forecast.networks.description import (
    Bidirectional,
    Block,
    Dense,
    Dropout,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Taps,
)
from forecast.networks.inference.batch import frames_of

FLAT = 0.05
"""A unit is saturated where its slope is below this share of the steepest slope of its function."""


@dataclass(frozen=True)
class Layer:
    """A recurrent layer and what it reads: `x (T, B, I)`; of the backward pass of a bidirectional one in its order."""

    path: str
    cell: Cell
    weights: Mapping[str, np.ndarray]
    x: np.ndarray

    @property
    def size(self) -> int:
        """S, the number of its states."""
        return sum(self.cell.states().values())

    def joined(self, states: Mapping[str, np.ndarray]) -> np.ndarray:
        """(N, S)."""
        return np.concatenate([states[name] for name in self.cell.states()], axis=1)

    def parted(self, states: np.ndarray) -> dict[str, np.ndarray]:
        sizes = self.cell.states()
        parts = np.split(states, np.cumsum(list(sizes.values()))[:-1], axis=1)
        return dict(zip(sizes, parts, strict=True))


@dataclass
class Watching(NumpyNamespace):
    """The namespace that counts how many squashed values lie where the function is flat."""

    seen: int = 0
    flat: int = 0

    def tanh(self, x: Array) -> Array:
        return self._watched(np.tanh(x))

    def sigmoid(self, x: Array) -> Array:
        a = super().sigmoid(x)
        self._watched(2 * a - 1)
        return a

    def _watched(self, a: np.ndarray) -> np.ndarray:
        self.seen += a.size
        self.flat += int((1 - a * a < FLAT).sum())
        return a

    @property
    def share(self) -> float | None:
        """None where nothing is squashed, as with ReLU."""
        return self.flat / self.seen if self.seen else None


def states_of(layer: Layer, xp: NumpyNamespace = numpy_namespace) -> tuple[np.ndarray, np.ndarray]:
    """Every output (T, B, units) and, joined, every state (T + 1, B, S): the first before row 0."""
    states: Arrays = layer.cell.initial(xp, layer.weights, layer.x.shape[1])
    outputs, visited = [], [layer.joined(states)]
    for row in layer.x:
        output, states = layer.cell.step(xp, layer.weights, row, states)
        outputs.append(output)
        visited.append(layer.joined(states))
    return np.stack(outputs), np.stack(visited)


@dataclass
class Walk:
    """`through` gives the input of the read-out and leaves the recurrent layers in `layers`.

    Of an encoder-decoder only the encoder is walked: its output at every step is the result.
    """

    network: Network
    weights: Mapping[str, np.ndarray]
    layers: list[Layer] = field(default_factory=list)
    dense: Watching = field(default_factory=Watching)
    """What the dense layers squash."""

    def through(self, past: np.ndarray, future: np.ndarray | None) -> np.ndarray:
        """past (B, T, C), future (B, T + H, F) give (T, B, columns), or (1, B, columns) of a bidirectional network."""
        dtype = self.weights["readout/kernel"].dtype
        x = past.astype(dtype).transpose(1, 0, 2)
        if future is not None and future_width(self.network):
            frames = frames_of(future.astype(dtype), self.network.shapes.horizon, len(x))
            flat = frames.transpose(0, 3, 1, 2).reshape(*x.shape[:2], -1)
            projected = np.tanh(flat @ self.weights["future/kernel"] + self.weights["future/bias"])
            x = np.concatenate([x, projected], axis=2)
        return self._series(self.network.blocks, "", x)

    def _series(self, blocks: Sequence[Block], prefix: str, x: np.ndarray) -> np.ndarray:
        for block in blocks:
            x = self._block(block, prefix + block.name, x)
        return x

    def _block(self, block: Block, path: str, x: np.ndarray) -> np.ndarray:
        match block:
            case Dense():
                w = own_weights(self.weights, path)
                return activate(self.dense, block.activation, x @ w["kernel"] + w["bias"])
            case Taps():
                return _delayed(block, x)
            case Parallel():
                parts = [self._series(branch, f"{path}/{k}/", x) for k, branch in enumerate(block.branches)]
                return np.concatenate(parts, axis=2) if block.merge == "concat" else np.add.reduce(parts)
            case Recurrent():
                return self._recurrent(block, path, x)
            case EncoderDecoder():
                return self._recurrent(block, f"{path}/encoder", x)
            case Bidirectional():
                ends = [
                    self._recurrent(block, f"{path}/forward", x),
                    self._recurrent(block, f"{path}/backward", x[::-1]),
                ]
                return np.concatenate([end[-1:] for end in ends], axis=2)
        assert isinstance(block, Dropout), f"{type(block).__name__} has no rule in forecast.backtest.diagnostics"
        return x

    def _recurrent(self, block: Recurrent | EncoderDecoder | Bidirectional, path: str, x: np.ndarray) -> np.ndarray:
        cell = cells.get(block.cell, block.units, block.options)
        layer = Layer(path, cell, own_weights(self.weights, path), x)
        self.layers.append(layer)
        return states_of(layer)[0]


def _delayed(block: Taps, x: np.ndarray) -> np.ndarray:
    columns = x if block.channels is None else x[:, :, list(block.channels)]
    parts = []
    for delay in block.delays:
        part = np.zeros_like(columns)
        part[delay:] = columns[: len(columns) - delay] if delay < len(columns) else 0
        parts.append(part)
    return np.concatenate(parts, axis=2)
