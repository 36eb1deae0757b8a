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

    @property
    def cells(self) -> tuple[str, ...]:
        """The names of the recurrent cells in it."""
        return ()


@dataclass(frozen=True)
class Dense(Block):
    """activation(x W + b), the same at every step.

    `principal_of`: past channels, which are then the block's input; W and b are their principal axes on the train rows
    and are not trained (`forecast.forecaster.trainers`).
    """

    units: int
    activation: Activation = "tanh"
    principal_of: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Taps(Block):
    """A tapped delay line: concatenates `x[t - d]` over `delays` (0 = now); before the first row it reads zeros.

    `channels` picks input channels (None: all). A causal convolution is Taps followed by Dense.
    """

    delays: tuple[int, ...]
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class CellBlock(Block):
    """A block that runs the named cell (see `forecast.networks.cells`)."""

    cell: str
    units: int
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.cell,)


@dataclass(frozen=True)
class Recurrent(CellBlock):
    """A recurrent layer of the named cell, returning its output at every step."""


@dataclass(frozen=True)
class Dropout(Block):
    """Inverted dropout in training, the identity otherwise; placed on V or U, never on W."""

    rate: float


@dataclass(frozen=True)
class Parallel(Block):
    """Branches on the same input, side by side, merged by concatenation or sum."""

    branches: tuple[tuple[Block, ...], ...]
    merge: Literal["concat", "sum"] = "concat"

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(cell for branch in self.branches for block in branch for cell in block.cells)


@dataclass(frozen=True)
class Bidirectional(CellBlock):
    """Schuster & Paliwal 1997, inside the window only: concat(forward at the end, backward at the end of its pass)."""


@dataclass(frozen=True)
class EncoderDecoder(CellBlock):
    """Sequence to sequence (Sutskever, Vinyals & Le 2014; context as in Cho et al. 2014): the network's last block.

    The encoder, a recurrent cell, reads the block's input up to step t: output e_t and states s_t. From there the
    decoder, a second cell of the same kind with weights of its own, runs the H steps k = 1 .. H:

        d_k, states_k = decoder(concat(p_{k-1}, e_t, future[t + k]), states_{k-1})       states_0 = s_t
        p_k = readout_activation(d_k U + b)                                              reshaped to (O, K)

    and the forecast at t is `p_1 .. p_H`. The input's parts, in this order:
    - p_{k-1} `(O,)`: the forecast of the step before, `p_{k-1}[:, parameter]`, with p_0 = 0. It is in the units of the
      network's own output, so beside a skip it is the residual. Free run (inference and forecasts): the decoder's own
      p. Teacher forcing (training only): the value p ought to have had, target minus skip, at step k - 1 in its place,
      with 0 for a missing target. `feedback=False` leaves this part out: one-to-many from one state.
    - e_t `(units,)`, the same at every k;
    - `future[t + k]` `(F,)`: left out when F = 0. (`future_units` acts on the encoder's input as in any network.)

    The read-out is one step's, shared by all k: `readout/kernel` (units, O*K), `readout/bias` (O*K,), zero at first.
    Weights: `<name>/encoder/<weight>`, those of the cell with the block's input width; `<name>/decoder/<weight>`, the
    cell's own ones with width (O if feedback) + units + F: no `initial_<state>`, as the encoder hands over its states.
    At a network with `every_step` the decoder starts from every t, in one batch of B*T rows.
    """

    feedback: bool = True
    parameter: int = 0
    """Which of the K parameters is fed back, e.g. the median of the quantiles or the mean of a density."""


@dataclass(frozen=True)
class Network:
    """Blocks in series between the inputs and a zero-initialised linear read-out.

    The first block's input at step t is `concat(past[t], tanh(frames[t] A + a))` where `frames[t]` is the
    flattened `future[t+1 .. t+H]` and `future_units` the width of that projection (0 or F = 0: left out).
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


def warm_up(network: Network, wanted: int) -> int:
    """Rows before the first that counts in training; a network that needs its whole window gets all of it."""
    window = network.shapes.lookback
    return min(wanted, memory(network, window) - 1) if network.every_step else window - 1


def memory(network: Network, lookback: int) -> int:
    """How many rows can influence an output: finite for delay lines, the whole lookback with recurrence."""
    return min(lookback, 1 + sum(_reach(block, lookback) for block in network.blocks))


def _reach(block: Block, lookback: int) -> int:
    if isinstance(block, Taps):
        return max(block.delays, default=0)
    if isinstance(block, Parallel):
        return max((sum(_reach(b, lookback) for b in branch) for branch in block.branches), default=0)
    return 0 if isinstance(block, Dense | Dropout) else lookback
