"""The description of a network as data: `layers` builds it in Keras, `inference` computes it with
NumPy.

A `Network` is a tuple of `Block`s in series between its inputs and a linear read-out. A block is a
frozen dataclass with its options; it knows its weights' shapes and how far back it reads, but holds
no weights and computes nothing. Families (`forecast.models.families`) create networks, and a
`visitor.BlockVisitor` walks over the blocks.

Shapes: B batch, T time, C past channels, F known-future channels, H horizon, O outputs (targets),
K parameters per forecast value (1 for a point forecast, one per quantile, ...).

A network maps `past (B, T, C)` and `future (B, T+H, F)` to `(B, T, H, O, K)`: a forecast at every
step t that sees `past[:, :t+1]` and `future[:, :t+H+1]` and nothing later. `future[:, s]` belongs
to the same row as `past[:, s]`. A network with `every_step=False` (it needs the whole window)
returns `(B, 1, H, O, K)`, the forecast at the last step alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from forecast.networks import cells
from forecast.networks.cells.base import Cell, HiddenActivation, Weight

ALL_ROWS = 10**9
"""The `reach` of a block that depends on all rows before."""
WeightSpecs = dict[str, Weight]
Arrays = Mapping[str, np.ndarray]
States = dict[str, Arrays]
"""The state of a network between two rows. By block path ("name", inside parallel blocks
"name/branch/name"), arrays with the batch first: the states `(B, size)` of the cell of a recurrent
block (of the encoder in an encoder-decoder), or the delay `line` `(B, longest delay, columns)` of
taps and segments, oldest row first. Blocks without a state are left out.
"""
Activation = Literal[HiddenActivation, "linear"]


@dataclass(frozen=True)
class Shapes:
    """The sizes of a network that follow from the task.

    `channels`: the number of past channels C; `future_channels`: F; `outputs`: O, the targets;
    `parameters`: K. `target_channels`: the past channels that hold the targets, in output order;
    `change_channels`: the channels that hold a change instead of a level.
    """

    channels: int
    future_channels: int
    horizon: int
    outputs: int
    lookback: int
    target_channels: tuple[int, ...] = (0,)
    parameters: int = 1
    change_channels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Block:
    """One stage of a network. `name` is the prefix of its weights, unique in the network."""

    name: str

    @property
    def reach(self) -> int:
        """How many earlier rows its output depends on; `ALL_ROWS` if recurrent."""
        return 0

    def weights_and_width(self, width: int, network: Network) -> tuple[WeightSpecs, int]:
        """Its weights by their own names for an input of `width` columns, and the number of its
        output columns; by default no weights, and as many columns.
        """
        return {}, width


@dataclass(frozen=True)
class Dense(Block):
    """activation(x W + b), the same at every step.

    `principal_of`: the past channels that are the block's input. W and b are then their principal
    axes on the train rows and are not trained (`forecast.forecaster.trainers.set_principal_axes`).
    None: W and b are trained.
    """

    units: int
    activation: Activation = "tanh"
    principal_of: tuple[int, ...] | None = None

    def weights_and_width(self, width: int, network: Network) -> tuple[WeightSpecs, int]:
        """Kernel and bias, and `units`."""
        kernel = Weight((width, self.units), "glorot_uniform")
        return {"kernel": kernel, "bias": Weight((self.units,), "zeros")}, self.units


@dataclass(frozen=True)
class Taps(Block):
    """A tapped delay line: concatenates `x[t - d]` over `delays` (0 = now); before the first row it
    reads zeros.

    `channels`: the input channels that are read (None: all). Taps followed by Dense are a causal
    convolution.
    """

    delays: tuple[int, ...]
    channels: tuple[int, ...] | None = None

    @property
    def reach(self) -> int:
        """The longest delay."""
        return max(self.delays, default=0)

    @cached_property
    def places(self) -> np.ndarray:
        """The indices of the delayed rows, in the order of `delays`, in an array of rows that ends
        with the present one.
        """
        return -1 - np.array(self.delays)

    def weights_and_width(self, width: int, network: Network) -> tuple[WeightSpecs, int]:
        """No weights, and one column per delay and channel."""
        columns = width if self.channels is None else len(self.channels)
        return {}, columns * len(self.delays)


@dataclass(frozen=True)
class Segments(Block):
    """Cuts the newest `count * length` rows of a window (zeros before its first) into `count`
    segments, which are the steps of the recurrent block after it. It must be the first block.

    A segment has the past channels of its rows, oldest first, and then the projected future frames
    of its last row. The channels in `relative` are differences to their last value in the window.
    """

    length: int
    count: int
    relative: tuple[int, ...] = ()

    @property
    def reach(self) -> int:
        """All rows of the segments but the present one."""
        return self.length * self.count - 1

    def weights_and_width(self, width: int, network: Network) -> tuple[WeightSpecs, int]:
        """No weights, and the columns of a segment."""
        return {}, width + network.shapes.channels * (self.length - 1)


@dataclass(frozen=True)
class CellBlock(Block):
    """A block that runs the cell with this name, units and options (`forecast.networks.cells`)."""

    cell: str
    units: int
    options: cells.Options = field(default_factory=dict)

    @property
    def cell_object(self) -> Cell:
        """The cell itself."""
        return cells.get(self.cell, self.units, self.options)

    @property
    def reach(self) -> int:
        """All rows, because a state can keep anything."""
        return ALL_ROWS


@dataclass(frozen=True)
class Recurrent(CellBlock):
    """A recurrent layer, with an output at every step.

    With `parts` it has that many outputs instead, each one step of the cell from the last state h:
    `cell(embedding[k], h)` gives part k of the horizon (Lin et al. 2023). The read-out is that of
    one part, shared by all parts.
    """

    parts: int = 0

    def weights_and_width(self, width: int, network: Network) -> tuple[WeightSpecs, int]:
        """The weights of the cell and of the embedding of the parts, and `units`."""
        embedding = {"embedding": Weight((self.parts, width), "normal")} if self.parts else {}
        return self.cell_object.weight_specs(width) | embedding, self.units


@dataclass(frozen=True)
class Dropout(Block):
    """Inverted dropout in training, the identity otherwise; it is never inside a recurrence."""

    rate: float


@dataclass(frozen=True)
class Parallel(Block):
    """Branches on the same input, whose outputs are concatenated; an empty branch passes its input
    on.
    """

    branches: tuple[tuple[Block, ...], ...]

    @property
    def reach(self) -> int:
        """The longest reach of the branches."""
        return max([0, *map(total_reach, self.branches)])

    def prefixed_branches(self, path: str) -> Iterator[tuple[str, tuple[Block, ...]]]:
        """The branches, each with the prefix of the paths of its blocks."""
        for number, branch in enumerate(self.branches):
            yield f"{path}/{number}/", branch


@dataclass(frozen=True)
class Bidirectional(CellBlock):
    """Two cells of one kind that read the window forwards and backwards (Schuster & Paliwal 1997);
    the last outputs of both are concatenated. The whole window is needed, so the network forecasts
    at the last step alone.
    """

    def weights_and_width(self, width: int, network: Network) -> tuple[WeightSpecs, int]:
        """The cell's weights twice, forward and backward, and twice the units."""
        cell_weights = self.cell_object.weight_specs(width)
        both = add_path("forward", cell_weights) | add_path("backward", cell_weights)
        return both, 2 * self.units


@dataclass(frozen=True)
class EncoderDecoder(CellBlock):
    """Sequence to sequence: the network's last block.

    Sutskever, Vinyals & Le (2014); the context is that of Cho et al. (2014).

    The encoder, a recurrent cell, reads the block's input up to step t: output e_t and states s_t.
    From there the decoder, a second cell of the same kind with weights of its own, runs the H steps
    k = 1 .. H:

        states_0      = s_t
        d_k, states_k = decoder(concat(p_{k-1}, e_t, future[t + k]), states_{k-1})
        p_k           = d_k U + b                                           reshaped to (O, K)

    and the forecast at t is `p_1 .. p_H`. The input's parts, in this order:
    - p_{k-1} `(O,)`: the forecast of the step before, `p_{k-1}[:, parameter]`, with p_0 = 0. It is
      in the units of the network's own output, so beside a skip it is the residual.
      `feedback=False` leaves this part out: one-to-many from one state.
    - e_t `(units,)`, the same at every k;
    - `future[t + k]` `(F,)`: left out when F = 0. (`future_units` acts on the encoder's input as in
      any network.)

    The read-out is one step's, shared by all k: `readout/kernel` (units, O*K), `readout/bias`
    (O*K,), zero at first. Weights: `<name>/encoder/<weight>`, those of the cell with the block's
    input width; `<name>/decoder/<weight>`, those with width (O if feedback) + units + F. At a
    network with `every_step` the decoder starts from every t, in one batch of B*T rows.
    """

    feedback: bool = True
    parameter: int = 0
    """The index of the parameter that is fed back, e.g. of the median or the mean."""

    def weights_and_width(self, width: int, network: Network) -> tuple[WeightSpecs, int]:
        """The cell's weights twice, for the encoder and for the decoder, and `units`."""
        fed_back = network.shapes.outputs if self.feedback else 0
        decoder = self.cell_object.weight_specs(
            fed_back + self.units + network.shapes.future_channels
        )
        encoder = self.cell_object.weight_specs(width)
        return add_path("encoder", encoder) | add_path("decoder", decoder), self.units


def add_path(path: str, weights: WeightSpecs) -> WeightSpecs:
    """`weights` with the names "<path>/<name>"."""
    return {f"{path}/{name}": weight for name, weight in weights.items()}


@dataclass(frozen=True)
class Network:
    """Blocks in series between the inputs and a zero-initialised linear read-out.

    The first block's input at step t is `concat(past[t], tanh(frames[t] A + a))` where `frames[t]`
    is the flattened `future[t+1 .. t+H]` and `future_units` the width of that projection (0 or F =
    0: left out). The read-out is `U h_t + b`, reshaped to `(H, O, K)`; its weights are named
    `readout/kernel`, `readout/bias`, those of the projection `future/kernel`, `future/bias`.
    """

    blocks: tuple[Block, ...]
    shapes: Shapes
    future_units: int = 0
    every_step: bool = True

    @property
    def is_segmented(self) -> bool:
        """Whether its recurrence runs over segments of a window."""
        return bool(self.blocks) and isinstance(self.blocks[0], Segments)

    @property
    def parts(self) -> int:
        """Into how many parts the horizon is split, each with an output of the last block."""
        return max([1, *(block.parts for block in self.blocks if isinstance(block, Recurrent))])

    @property
    def decoder(self) -> EncoderDecoder | None:
        """Its last block where that is an encoder-decoder, which has a read-out of its own; else
        None.
        """
        last = self.blocks[-1] if self.blocks else None
        return last if isinstance(last, EncoderDecoder) else None


def walk_blocks(blocks: Sequence[Block], prefix: str = "") -> Iterator[tuple[str, Block]]:
    """Every block with its path; the blocks inside a parallel block come after it."""
    for block in blocks:
        yield prefix + block.name, block
        if isinstance(block, Parallel):
            for inner_prefix, branch in block.prefixed_branches(prefix + block.name):
                yield from walk_blocks(branch, inner_prefix)


def burn_in_rows(network: Network, rows: int) -> int:
    """The burn-in of a training: `rows`, or fewer where the memory of the network is shorter; all
    rows of the window but one for a network that needs its whole window.
    """
    window = network.shapes.lookback
    if not network.every_step:
        return window - 1
    return min(rows, memory_rows(network, window) - 1)


def memory_rows(network: Network, lookback: int) -> int:
    """How many rows an output depends on: finite for delay lines, the whole lookback with
    recurrence.
    """
    return min(lookback, 1 + total_reach(network.blocks))


def total_reach(blocks: Sequence[Block]) -> int:
    """How many earlier rows the output of blocks in series depends on."""
    return sum(block.reach for block in blocks)


def weights_at(weights: Arrays, path: str) -> dict[str, np.ndarray]:
    """The weights of the block at `path`, by their own names."""
    start = len(path) + 1
    return {name[start:]: weight for name, weight in weights.items() if name.startswith(f"{path}/")}


def count_twins(weights: Arrays) -> int:
    """How many twins the arrays of `weights` hold along an additional first axis; 1 without such an
    axis. Twins are networks that differ in their weights alone.
    """
    readout = weights.get("readout/kernel", np.empty((0, 0)))
    return len(readout) if readout.ndim == 3 else 1
