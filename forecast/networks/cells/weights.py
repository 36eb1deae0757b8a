"""Names, shapes and first values of a network's weights and states, by NumPy: Keras and NumPy start
from the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence

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
    Weights,
    series_states,
    series_weights,
    walk,
)
from forecast.system.errors import InputError


def weight_shapes(network: Network) -> Weights:
    """Every weight of the network by its full name, in a fixed order; InputError where blocks do
    not fit together.
    """
    _check_order(network)
    shapes = network.shapes
    weights: Weights = {}
    if projected := future_width(network):
        frame = shapes.horizon * shapes.future_channels
        weights["future/kernel"] = Weight((frame, projected), "glorot_uniform")
        weights["future/bias"] = Weight((projected,), "zeros")
    blocks, width = series_weights(network.blocks, shapes.channels + projected, network)
    size = (
        (1 if network.decoder else shapes.horizon // network.parts)
        * shapes.outputs
        * shapes.parameters
    )
    readout = {
        "readout/kernel": Weight((width, size), "zeros"),
        "readout/bias": Weight((size,), "zeros"),
    }
    return weights | blocks | readout


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


def widest(network: Network) -> int:
    """Columns of the widest array between two blocks, or of the outputs."""
    shapes = network.shapes
    first = shapes.channels + max(future_width(network), shapes.future_channels * shapes.horizon)
    outputs = shapes.horizon * shapes.outputs * shapes.parameters
    return max(
        first, outputs, _widest(network.blocks, shapes.channels + future_width(network), network)
    )


def _widest(blocks: Sequence[Block], width: int, network: Network) -> int:
    found = width
    for block in blocks:
        inner = block.branches if isinstance(block, Parallel) else ()
        found = max(found, *(_widest(branch, width, network) for branch in inner), 1)
        width = block.weights(width, network)[1]
        found = max(found, width)
    return found


def _check_order(network: Network) -> None:
    flat = [block for _, block in walk(network.blocks)]
    names = [block.name for block in flat]
    if doubled := {name for name in names if names.count(name) > 1} | (
        {"future", "readout"} & set(names)
    ):
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
    place = network.blocks.index(block) if block in network.blocks else None
    fits = place is not None and all(
        isinstance(later, allowed) for later in network.blocks[place + 1 :]
    )
    if network.every_step or not fits or (cut and place):
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
    """Zeros, or the weights that hold a first state, in the dtype of the weights."""
    width = network.shapes.channels + future_width(network)
    return series_states(network.blocks, "", weights, width, network, batch)
