"""What comes into an inference pass: refused with a message before any arithmetic, brought to the weights' dtype."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast.networks.cells.weights import weight_shapes
from forecast.networks.description import Network
from forecast.system.errors import InputError, quote_names


def check_weights(network: Network, weights: Mapping[str, np.ndarray]) -> np.dtype:
    """The dtype of the weights; InputError unless names and shapes are those of the network."""
    wanted = weight_shapes(network)
    if missing := wanted.keys() - weights.keys():
        raise InputError(f"Weights {quote_names(missing)} are missing; the network has {quote_names(wanted)}.")
    if unknown := weights.keys() - wanted.keys():
        raise InputError(f"Weights {quote_names(unknown)} belong to no block of the network: {quote_names(wanted)}.")
    for name, weight in wanted.items():
        if weights[name].shape != weight.shape:
            raise InputError(
                f"Weight {name!r} has shape {weights[name].shape}; this network wants {weight.shape}. "
                "Load the weights that were saved with this network."
            )
    dtypes = {array.dtype for array in weights.values()}
    if len(dtypes) > 1 or not all(dtype.kind == "f" for dtype in dtypes):
        found = quote_names(dtypes)
        raise InputError(f"Weights have dtypes {found}; wanted one floating dtype. Convert them with `astype`.")
    return dtypes.pop()


def check_windows(
    network: Network, past: np.ndarray, future: np.ndarray | None, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray | None]:
    """`past (B, T, C)` and `future (B, T + H, F)` in `dtype`; a network without future channels takes no `future`."""
    shapes = network.shapes
    past = np.asarray(past, dtype)
    if past.ndim != 3 or past.shape[2] != shapes.channels or past.shape[1] < 1:
        raise InputError(
            f"`past` has shape {past.shape}; wanted (batch, steps, {shapes.channels}) with at least one step."
        )
    rows = past.shape[1] + shapes.horizon
    return past, check_future(network, future, (past.shape[0], rows), dtype)


def check_future(
    network: Network, future: np.ndarray | None, leading: tuple[int, int], dtype: np.dtype
) -> np.ndarray | None:
    """`future` with the two leading axes wanted, or None for a network without future channels."""
    channels = network.shapes.future_channels
    wanted = (*leading, channels)
    if channels == 0:
        if future is not None and np.asarray(future).size:
            raise InputError(
                f"`future` has shape {np.shape(future)}, but the network has no future channels; leave it out."
            )
        return None
    if future is None or np.shape(future) != wanted:
        found = "missing" if future is None else f"of shape {np.shape(future)}"
        raise InputError(
            f"`future` is {found}; wanted {wanted}: batch, rows up to H = {network.shapes.horizon} steps past the "
            "last past row, future channels."
        )
    return np.asarray(future, dtype)
