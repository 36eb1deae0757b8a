"""The decoder of an EncoderDecoder block in free run: H steps from a state, its own forecasts fed back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast.networks import cells
from forecast.networks.cells.namespace import activate, numpy_namespace
from forecast.networks.description import EncoderDecoder, Network
from forecast.networks.inference.steppers import Arrays, stepper

ROWS = 2048  # rows decoded at once: the arrays of a step stay in the cache


def decode(
    network: Network,
    block: EncoderDecoder,
    weights: Mapping[str, np.ndarray],
    w: Arrays,
    encoded: np.ndarray,
    states: Arrays,
    frames: np.ndarray | None,
) -> np.ndarray:
    """Forecasts `(H*O*K, R)` of R rows: `encoded (units, R)`, `states` each `(size, R)`, `frames (H, F, R)` or None.

    `w` holds the decoder's weights, `weights` the read-out's. A row is one window at one step t.
    """
    shapes = network.shapes
    size = shapes.outputs * shapes.parameters
    rows = encoded.shape[1]
    out = np.empty((shapes.horizon, size, rows), encoded.dtype)
    for start in range(0, rows, ROWS):
        part = slice(start, start + ROWS)
        frame = None if frames is None else frames[:, :, part]
        some = {name: state[:, part] for name, state in states.items()}
        _decode(network, block, weights, w, encoded[:, part], some, frame, out[:, :, part])
    return out.reshape(shapes.horizon * size, rows)


def _decode(
    network: Network,
    block: EncoderDecoder,
    weights: Mapping[str, np.ndarray],
    w: Arrays,
    encoded: np.ndarray,
    states: Arrays,
    frames: np.ndarray | None,
    out: np.ndarray,
) -> None:
    shapes = network.shapes
    fed_back = shapes.outputs if block.feedback else 0
    columns = fed_back + block.units
    x = np.zeros((columns + (0 if frames is None else frames.shape[1]), encoded.shape[1]), encoded.dtype)
    x[fed_back:columns] = encoded
    decoder = stepper(cells.get(block.cell, block.units, block.options), w, states)
    kernel, bias = weights["readout/kernel"].T, weights["readout/bias"][:, None]
    for k in range(shapes.horizon):
        if frames is not None:
            x[columns:] = frames[k]
        out[k] = activate(numpy_namespace, network.readout_activation, kernel @ decoder(x) + bias)
        if block.feedback:
            x[:fed_back] = out[k].reshape(shapes.outputs, shapes.parameters, -1)[:, block.parameter]
