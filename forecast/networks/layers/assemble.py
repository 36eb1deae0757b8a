"""Makes the Keras model of a network, and gets and sets its weights; for
`forecast.training.gradient`.

The model maps `{"past": (B, T, C), "future": (B, T + H, F)}` to `(B, T, H, O, K)`, for any batch
size and number of steps. A layer has the path of its block with dots as its name
("parallel.0.hidden"); weights have the names that `networks.inference` uses
("parallel/0/hidden/kernel").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from forecast.networks.description import Network
from forecast.networks.layers.wiring import FRAMES, Wiring, dropout_seed
from forecast.networks.weights import initialise


def assemble(
    network: Network, *, seed: int, dtype: str = "float32", last_steps: int | None = None
) -> keras.Model:
    """The network as a functional Keras model with the initial weights of `seed`; `last_steps`: how
    many of the last steps are read out, None: every one.
    """
    model = Wiring(network, dtype, seed).model(last_steps)
    set_weights(model, initialise(network, seed, dtype))
    return model


def get_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Every weight of the model by its full name, e.g. "hidden/kernel"."""
    return {name: np.array(variable.numpy()) for name, variable in named_weights(model)}


def set_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Set every weight of the model to the value of its name; other names in `weights` are ignored.
    KeyError for a missing name, ValueError for another shape.
    """
    for name, variable in named_weights(model):
        variable.assign(weights[name])


def set_seed(model: keras.Model, seed: int) -> None:
    """Seed the dropout masks of the model as `assemble` does; the weights stay."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            state = layer.seed_generator.state
            state.assign(keras.ops.cast([dropout_seed(seed, _path(layer)), 0], state.dtype))


def named_weights(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Every weight as "<block path>/<weight>" and variable. The read-out of a decoder has a path in
    its own name, which stays. Random generators' states are no weights.
    """
    for layer in model.layers:
        # no layer can be named "future", as an input is
        block = "future" if layer.name == FRAMES else _path(layer)
        for variable in layer.weights:
            name = variable.name.replace(".", "/")
            yield name if "/" in name else f"{block}/{name}", variable


def _path(layer: keras.Layer) -> str:
    """The path of the block of a layer."""
    return str(layer.name.replace(".", "/"))
