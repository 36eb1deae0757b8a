"""The description of a network as data: what `layers` builds in Keras and `inference` steps in NumPy.

Shapes: B batch, T time, C past channels, F known-future channels, H horizon, O outputs (targets),
K parameters per forecast value (1 for a point forecast, one per quantile, ...).

A network maps `past (B, T, C)` and `future (B, T+H, F)` to `(B, T, H, O, K)`: a forecast at every step t that
sees `past[:, :t+1]` and `future[:, :t+H+1]` and nothing later. `future[:, s]` belongs to the same row as
`past[:, s]`. A network with `every_step=False` (it needs the whole window) returns `(B, 1, H, O, K)`,
the forecast at the last step alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Activation = Literal["tanh", "sigmoid", "relu", "softplus", "linear"]


@dataclass(frozen=True)
class Shapes:
    """What the data fixes. `target_channels`: the past channels that carry the targets, in output order."""

    channels: int
    future_channels: int
    horizon: int
    outputs: int
    lookback: int
    target_channels: tuple[int, ...] = (0,)
    parameters: int = 1


@dataclass(frozen=True)
class Block:
    """One stage of a network; `name` prefixes its weights and is unique in the network."""

    name: str


@dataclass(frozen=True)
class Dense(Block):
    """activation(x W + b), the same at every step."""

    units: int
    activation: Activation = "tanh"


@dataclass(frozen=True)
class Taps(Block):
    """A tapped delay line: concatenates `x[t - d]` over `delays` (0 = now); before the first row it reads zeros.

    `channels` picks input channels (None: all). A causal convolution is Taps followed by Dense.
    """

    delays: tuple[int, ...]
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Recurrent(Block):
    """A recurrent layer of the named cell (see `forecast.cells`), returning its output at every step."""

    cell: str
    units: int
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Dropout(Block):
    """Inverted dropout in training, the identity otherwise; placed on V or U, never on W."""

    rate: float


@dataclass(frozen=True)
class Parallel(Block):
    """Branches on the same input, side by side, merged by concatenation or sum."""

    branches: tuple[tuple[Block, ...], ...]
    merge: Literal["concat", "sum"] = "concat"


@dataclass(frozen=True)
class Bidirectional(Block):
    """Schuster & Paliwal 1997, inside the window only: concat(forward at the end, backward at the end of its pass)."""

    cell: str
    units: int
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Network:
    """Blocks in series between the inputs and a zero-initialised linear read-out.

    The first block's input at step t is `concat(past[t], tanh(frames[t] A + a))` where `frames[t]` is the
    flattened `future[t+1 .. t+H]` and `future_units` the width of that projection (0, or no future channels: left out).
    The read-out is `U h_t + b`, reshaped to `(H, O, K)`; its weights are named `readout/kernel`, `readout/bias`,
    those of the projection `future/kernel`, `future/bias`.
    """

    blocks: tuple[Block, ...]
    shapes: Shapes
    future_units: int = 0
    every_step: bool = True
    readout_activation: Activation = "linear"
    feedback: bool = False
    """True: a one-step map whose own output may be fed back (closed loop)."""
