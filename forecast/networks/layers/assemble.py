"""From the description of a network to a Keras model, and its weights in and out.

The model maps `{"past": (B, T, C), "future": (B, T + H, F)}` to `(B, T, H, O, K)`; see
`description`. Batch and time are open, so chunks for training and windows for validation share one
model. Layers are named after their blocks ("parallel.0.hidden"), weights after both
("parallel/0/hidden/kernel"), the same names `networks.inference` uses. For
`forecast.training.gradient`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from forecast.networks.description import Network
from forecast.networks.layers.wiring import FRAMES, Wiring, dropout_seed
from forecast.networks.weights import initialise


def assemble(
    network: Network, *, seed: int, dtype: str = "float32", read: int | None = None
) -> keras.Model:
    """The network as a functional Keras model with the initial weights of `seed`; `read`: how
    many of the last steps are read out, None: every one.
    """
    model = Wiring(network, dtype, seed).model(read)
    set_weights(model, initialise(network, seed, dtype))
    return model


def get_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Every weight of the model by its full name, e.g. "hidden/kernel"."""
    return {name: np.array(variable.numpy()) for name, variable in named_weights(model)}


def set_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Give every weight of the model the value of its name; KeyError for a name that is missing in
    `weights`, ValueError for another shape. Further names are not looked at.
    """
    for name, variable in named_weights(model):
        variable.assign(weights[name])


def set_seed(model: keras.Model, seed: int) -> None:
    """Seed the dropout masks of the model as `assemble` does with this seed; weights stay."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            state = layer.seed_generator.state
            state.assign(keras.ops.cast([dropout_seed(seed, _path(layer)), 0], state.dtype))


def named_weights(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Every weight as "<block path>/<weight>" and variable; one whose own name has a path (the
    decoder's read-out) keeps that. Random generators' states are no weights.
    """
    for layer in model.layers:
        block = "future" if layer.name == FRAMES else _path(layer)
        for variable in layer.weights:
            name = variable.name.replace(".", "/")
            yield name if "/" in name else f"{block}/{name}", variable


def _path(layer: keras.Layer) -> str:
    """The path of the block that the layer was made for."""
    return str(layer.name.replace(".", "/"))
