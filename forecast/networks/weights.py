"""Names, shapes and first values of a network's weights and states, by NumPy: Keras and NumPy start
from the same.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from forecast.networks.cells.base import Weight
from forecast.networks.description import (
    Bidirectional,
    Block,
    Dense,
    Dropout,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Segments,
    States,
    WeightSpecs,
    walk_blocks,
)
from forecast.networks.visitor import BlockVisitor
from forecast.system.errors import InputError


@dataclass
class Layout(BlockVisitor[int]):
    """The weights of all blocks, and the columns that flow between them.

    `input_widths`: by block path, the columns of its input; `widest`: the most columns that leave a
    block; `output_width`: those that leave the last.
    """

    network: Network
    weights: WeightSpecs = field(default_factory=dict)
    input_widths: dict[str, int] = field(default_factory=dict)
    widest: int = 0
    output_width: int = 0

    @classmethod
    def of_network(cls, network: Network) -> Layout:
        """The layout of the blocks between the inputs and the read-out."""
        layout = cls(network)
        width = network.shapes.channels + future_width(network)
        layout.output_width = layout.visit_series(network.blocks, "", width)
        return layout

    def visit_other(self, block: Block, path: str, x: int) -> int:
        """Note the weights of a block for an input of `x` columns; returns the columns that leave
        it.
        """
        self.input_widths[path] = x
        weights, width = block.weights(x, self.network)
        self.weights |= {f"{path}/{name}": weight for name, weight in weights.items()}
        self.widest = max(self.widest, width)
        return width

    def join_branches(self, block: Parallel, path: str, outputs: list[int]) -> int:
        """The columns that leave a parallel block; InputError where branches of different widths
        are to be added.
        """
        if block.merge == "concat":
            self.widest = max(self.widest, sum(outputs))
            return sum(outputs)
        if len(set(outputs)) > 1:
            raise InputError(
                f"Block {block.name!r} sums branches of widths {outputs}; make them equal, or merge"
                " by concat."
            )
        return outputs[0]


def weight_shapes(network: Network) -> WeightSpecs:
    """Every weight of the network by its full name, in a fixed order; InputError where blocks do
    not fit together.
    """
    _check_order(network)
    shapes = network.shapes
    weights: WeightSpecs = {}
    if projected := future_width(network):
        frame = shapes.horizon * shapes.future_channels
        weights["future/kernel"] = Weight((frame, projected), "glorot_uniform")
        weights["future/bias"] = Weight((projected,), "zeros")
    layout = Layout.of_network(network)
    steps = 1 if network.decoder else shapes.horizon // network.parts
    size = steps * shapes.outputs * shapes.parameters
    readout = {
        "readout/kernel": Weight((layout.output_width, size), "zeros"),
        "readout/bias": Weight((size,), "zeros"),
    }
    return weights | layout.weights | readout


def initialise(network: Network, seed: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    """First values of every weight.

    They depend on the seed, the weight's name and its shape alone, so changing one block leaves the
    values of the others as they were.
    """
    return {
        name: draw(weight, name, seed, dtype) for name, weight in weight_shapes(network).items()
    }


def draw(weight: Weight, name: str, seed: int, dtype: str = "float32") -> np.ndarray:
    """The first value of one weight, computed in float64."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return INITIALIZERS[weight.initializer](rng, weight.shape).astype(dtype)


def future_width(network: Network) -> int:
    """Columns that the projection of the future frames adds to the first block's input."""
    return network.future_units if network.shapes.future_channels else 0


def widest_columns(network: Network) -> int:
    """Columns of the widest array between two blocks, or of the outputs."""
    shapes = network.shapes
    first = shapes.channels + max(future_width(network), shapes.future_channels * shapes.horizon)
    outputs = shapes.horizon * shapes.outputs * shapes.parameters
    return max(first, outputs, Layout.of_network(network).widest)


def _check_order(network: Network) -> None:
    flat = [block for _, block in walk_blocks(network.blocks)]
    names = [block.name for block in flat]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    if doubled := repeated | ({"future", "readout"} & set(names)):
        raise InputError(
            f"Block names {sorted(doubled)} are used twice or reserved; give each block its own"
            " name."
        )
    for block in flat:
        if isinstance(block, EncoderDecoder) and block is not network.blocks[-1]:
            raise InputError(
                f"Block {block.name!r} (encoder-decoder) must be the network's last block."
            )
        if isinstance(block, Bidirectional | Segments):
            _check_windowed(block, network)


def _check_windowed(block: Bidirectional | Segments, network: Network) -> None:
    """One vector per window leaves a bidirectional block: only what needs no other step may
    follow.
    """
    cut = isinstance(block, Segments)
    allowed = Dense | Dropout | Recurrent if cut else Dense | Dropout
    where = (
        "stand first, followed by Dense, Dropout and Recurrent"
        if cut
        else "be followed by Dense and Dropout"
    )
    position = network.blocks.index(block) if block in network.blocks else None
    fits = position is not None and all(
        isinstance(following, allowed) for following in network.blocks[position + 1 :]
    )
    if network.every_step or not fits or (cut and position):
        raise InputError(
            f"Block {block.name!r} ({type(block).__name__}) sees its whole window, so it forecasts"
            f" at the last step alone: set every_step=False. It may only {where} blocks, and not"
            " stand in a parallel branch."
        )


def _glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    limit = math.sqrt(6 / (shape[0] + shape[-1]))
    return rng.uniform(-limit, limit, shape)


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Orthonormal rows or columns, whichever are fewer (Saxe, McClelland & Ganguli 2014)."""
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.sign(np.diag(r))  # without it QR's sign convention makes the draw not uniform
    return q.T if rows < columns else q


def _ones_in(part: int, parts: int) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    def initializer(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.repeat(np.arange(parts) == part, shape[-1] // parts).astype(float)

    return initializer


INITIALIZERS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "glorot_uniform": _glorot,
    "orthogonal": _orthogonal,
    "zeros": lambda rng, shape: np.zeros(shape),
    "ones": lambda rng, shape: np.ones(shape),
    "normal": lambda rng, shape: rng.normal(0, 0.1, shape),
    "forget_bias": _ones_in(1, 4),
    "forget_bias_first_third": _ones_in(0, 3),
}


def first_states(network: Network, weights: Mapping[str, np.ndarray], batch: int) -> States:
    """What every block remembers before the first row: zeros, or the weights that hold a first
    state, in the dtype of the weights.
    """
    states: States = {}
    input_widths = Layout.of_network(network).input_widths
    for path, block in walk_blocks(network.blocks):
        if path in input_widths:
            states |= block.first_states(path, weights, input_widths[path], network, batch)
    return states
