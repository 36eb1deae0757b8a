"""The states of a network before its first row, the same for Keras and NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from forecast.networks import cells
from forecast.networks.cells.namespace import numpy_namespace
from forecast.networks.cells.weights import future_width, output_width
from forecast.networks.description import Block, EncoderDecoder, Network, Parallel, Recurrent, Taps

States = Mapping[str, Mapping[str, np.ndarray]]
"""By block path ("name", inside parallel blocks "name/branch/name"), arrays with the batch first: the states
`(B, size)` of a recurrent block's cell (an encoder-decoder's: of the encoder), or the delay `line`
`(B, longest delay, columns)` of taps, oldest row first."""


def first_states(network: Network, weights: Mapping[str, np.ndarray], batch: int) -> dict[str, dict[str, np.ndarray]]:
    """Zeros, or the weights that hold a first state, in the dtype of the weights."""
    width = network.shapes.channels + future_width(network)
    return _series(network, weights, network.blocks, "", width, batch)


def own_weights(weights: Mapping[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    """The weights of the block at `path` by their own names."""
    start = len(path) + 1
    return {name[start:]: weight for name, weight in weights.items() if name.startswith(f"{path}/")}


def _series(
    network: Network, weights: Mapping[str, np.ndarray], blocks: Sequence[Block], prefix: str, width: int, batch: int
) -> dict[str, dict[str, np.ndarray]]:
    states: dict[str, dict[str, np.ndarray]] = {}
    for block in blocks:
        path = prefix + block.name
        match block:
            case Recurrent() | EncoderDecoder():
                cell = cells.get(block.cell, block.units, block.options)
                own = own_weights(weights, path if isinstance(block, Recurrent) else f"{path}/encoder")
                states[path] = cell.initial(numpy_namespace, own, batch)
            case Taps():
                columns = output_width(block, width, network) // len(block.delays)
                dtype = weights["readout/kernel"].dtype
                states[path] = {"line": np.zeros((batch, max(block.delays), columns), dtype)}
            case Parallel():
                for k, branch in enumerate(block.branches):
                    states |= _series(network, weights, branch, f"{path}/{k}/", width, batch)
        width = output_width(block, width, network)
    return states
