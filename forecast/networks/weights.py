"""Names, shapes and initial values of a network's weights and states, the same for Keras and NumPy.

`weight_specs` lists the weights of a `Network` by their full names ("hidden/kernel"); `initialise`
draws them; `first_network_states` gives the states before the first row. Another initializer is a
case of `draw`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import numpy as np

from forecast.networks.cells.base import Weight, numpy_namespace
from forecast.networks.description import (
    Arrays,
    Block,
    EncoderDecoder,
    Network,
    Parallel,
    Recurrent,
    Segments,
    States,
    Taps,
    WeightSpecs,
    add_path,
    walk_blocks,
)
from forecast.networks.visitor import BlockVisitor


@dataclass
class WidthVisitor(BlockVisitor[int]):
    """Finds the weights of all blocks and the numbers of columns between them.

    `input_widths`: by block path, the columns of its input. `widest`: the most output columns of a
    block. `output_width`: the output columns of the last block.
    """

    network: Network
    weights: WeightSpecs = field(default_factory=dict)
    input_widths: dict[str, int] = field(default_factory=dict)
    widest: int = 0
    output_width: int = 0

    @classmethod
    def of_network(cls, network: Network) -> WidthVisitor:
        """The visitor after it has been through the network's blocks, between inputs and
        read-out.
        """
        visitor = cls(network)
        width = network.shapes.channels + future_width(network)
        visitor.output_width = visitor.visit_series(network.blocks, "", width)
        return visitor

    def visit_default(self, block: Block, path: str, x: int) -> int:
        """Note the weights of a block for an input of `x` columns; returns its output columns."""
        self.input_widths[path] = x
        weights, width = block.weights_and_width(x, self.network)
        self.weights |= add_path(path, weights)
        self.widest = max(self.widest, width)
        return width

    def join_branches(self, block: Parallel, path: str, outputs: list[int]) -> int:
        """The output columns of a parallel block."""
        width = sum(outputs)
        self.widest = max(self.widest, width)
        return width


def weight_specs(network: Network) -> WeightSpecs:
    """Every weight of the network by its full name, in a fixed order."""
    shapes = network.shapes
    weights: WeightSpecs = {}
    if projected := future_width(network):
        columns = shapes.horizon * shapes.future_channels
        weights["future/kernel"] = Weight((columns, projected), "glorot_uniform")
        weights["future/bias"] = Weight((projected,), "zeros")
    widths = WidthVisitor.of_network(network)
    steps = 1 if network.decoder else shapes.horizon // network.parts
    size = steps * shapes.outputs * shapes.parameters
    readout = {
        "readout/kernel": Weight((widths.output_width, size), "zeros"),
        "readout/bias": Weight((size,), "zeros"),
    }
    return weights | widths.weights | readout


def initialise(network: Network, seed: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    """The initial values of every weight. They depend on the seed, the name and the shape of the
    weight alone, so changing one block leaves those of the others as they are.
    """
    return {name: draw(weight, name, seed, dtype) for name, weight in weight_specs(network).items()}


def draw(weight: Weight, name: str, seed: int, dtype: str = "float32") -> np.ndarray:
    """The initial values of one weight, computed in float64."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    shape = weight.shape
    match weight.initializer:
        case "zeros":
            values = np.zeros(shape)
        case "glorot_uniform":
            limit = math.sqrt(6 / (shape[0] + shape[-1]))
            values = rng.uniform(-limit, limit, shape)
        case "orthogonal":
            values = _orthogonal(rng, shape)
        case "normal":
            values = rng.normal(0, 0.1, shape)
        case "forget_bias":
            values = np.repeat([0.0, 1.0, 0.0, 0.0], shape[-1] // 4)
        case "forget_bias_first_third":
            values = np.repeat([1.0, 0.0, 0.0], shape[-1] // 3)
    return values.astype(dtype)


def future_width(network: Network) -> int:
    """How many columns the projection of the future frames adds to the first block's input."""
    return network.future_units if network.shapes.future_channels else 0


def widest_columns(network: Network) -> int:
    """The number of columns of the widest array between two blocks, or of the outputs."""
    shapes = network.shapes
    first = shapes.channels + max(future_width(network), shapes.future_channels * shapes.horizon)
    outputs = shapes.horizon * shapes.outputs * shapes.parameters
    return max(first, outputs, WidthVisitor.of_network(network).widest)


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Orthonormal rows or columns, whichever are fewer (Saxe, McClelland & Ganguli 2014)."""
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.sign(np.diag(r))  # without this, the sign convention of QR makes the draw not uniform
    return q.T if rows < columns else q


def first_network_states(network: Network, weights: Arrays, batch: int) -> States:
    """The states of all blocks before the first row, each `(B, ...)`: zeros in the dtype of the
    weights.
    """
    states: States = {}
    input_widths = WidthVisitor.of_network(network).input_widths
    for path, block in walk_blocks(network.blocks):
        match block:
            case Taps() | Segments():
                columns = input_widths[path]
                if isinstance(block, Taps) and block.channels is not None:
                    columns = len(block.channels)
                dtype = weights["readout/kernel"].dtype
                states[path] = {"line": np.zeros((batch, block.reach, columns), dtype)}
            case Recurrent() | EncoderDecoder():
                states[path] = block.cell_object.initial_states(numpy_namespace, weights, batch)
    return states
