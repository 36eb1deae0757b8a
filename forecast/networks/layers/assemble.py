"""From the description of a network to a Keras model, its weights in and out, and to a .keras or
.onnx file of the whole forecast.

The model maps `{"past": (B, T, C), "future": (B, T + H, F)}` to `(B, T, H, O, K)`; see
`description`. Batch and time are open, so chunks for training and windows for validation share one
model. Layers are named after their blocks ("parallel.0.hidden"), weights after both
("parallel/0/hidden/kernel"), the same names `networks.inference` uses; `set_weights` refuses others
and other shapes. For `forecast.training.gradient` and `forecast.api.network_file`. Loading a .keras
file needs this module imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from forecast.networks.description import Network
from forecast.networks.layers import blocks, decoder
from forecast.networks.layers.scan import UNROLLED_STEPS, Scan
from forecast.networks.layers.wiring import FRAMES, StateTensors, Wiring, dropout_seed
from forecast.networks.weights import initialise
from forecast.system.errors import InputError, quote_names

for _layer in (
    blocks.Dense,
    blocks.DelayedDense,
    blocks.DelayLine,
    blocks.FutureFrames,
    blocks.Joined,
    blocks.ReadOut,
    blocks.Segments,
    decoder.Decoder,
    Scan,
):
    keras.saving.register_keras_serializable("forecast")(_layer)  # a .keras file names them


def assemble(network: Network, *, seed: int, dtype: str = "float32") -> keras.Model:
    """The network as a functional Keras model with the initial weights of `seed`."""
    model = Wiring(network, dtype, seed).model()
    set_weights(model, initialise(network, seed, dtype))
    return model


def first_states(stateful: keras.Model, batch: int) -> StateTensors:
    """The states (batch, size) before the first row, by "<block path>/<state>", as the model of
    `Wiring.stateful_model` takes them.

    Tensors: zeros, or the cell's learnt or random initial state, through which a gradient can pass.
    """
    weights = dict(named_weights(stateful))
    states: StateTensors = {}
    for path, state in stateful.input["states"].items():
        block, _, name = path.rpartition("/")
        states[path] = keras.ops.zeros((batch, *state.shape[1:]), state.dtype)
        for holder in (f"{block}/initial_{name}", f"{block}/encoder/initial_{name}"):
            if holder in weights:
                vector = keras.ops.convert_to_tensor(weights[holder])
                states[path] = keras.ops.repeat(vector[None], batch, axis=0)
    return states


def write_network_file(
    network: Network, weights: Mapping[str, np.ndarray], skip: Sequence[np.ndarray], path: Path
) -> None:
    """Write the whole forecast `(B, H, O)` of `{"past": (B, L, C), "future": (B, L + H, F)}` as a
    .keras file, or as .onnx with the recurrence unrolled to L rows.

    Of K parameters per value the first alone; all in scaled units. skip: kernel `(L * C, H * O)`,
    bias `(H * O,)` and, with future channels, their kernel `(H * F, H * O)`, of the linear map that
    the network stands on. A .keras file is read after `import forecast.networks.layers.assemble`.
    """
    shapes = network.shapes
    model = assemble(network, seed=0)
    set_weights(model, weights)
    inputs = {"past": keras.Input(shapes.past, name="past")}
    skip_terms = [(inputs["past"], skip[:2])]
    if shapes.future_channels:
        inputs["future"] = keras.Input(shapes.future, name="future")
        skip_terms.append((inputs["future"][:, -shapes.horizon :], skip[2:]))
    terms = [Wiring.sharing_layers(network, model).model(1)(inputs)[:, 0, :, :, 0]]
    for rows, skip_weights in skip_terms:
        has_bias = len(skip_weights) == 2
        linear = keras.layers.Dense(shapes.horizon * shapes.outputs, use_bias=has_bias)
        flat_forecast = linear(keras.layers.Flatten()(rows))
        terms.append(keras.layers.Reshape((shapes.horizon, shapes.outputs))(flat_forecast))
        linear.set_weights(list(skip_weights))
    whole = keras.Model(inputs, keras.layers.Add()(terms))
    # export asks for a call
    whole({name: np.zeros((1, *rows.shape[1:]), rows.dtype) for name, rows in inputs.items()})
    is_keras_file = path.suffix == ".keras"
    token = UNROLLED_STEPS.set(0 if is_keras_file else shapes.past[0])
    try:
        with warnings.catch_warnings(action="ignore"):  # of Keras and tf2onnx about NumPy 2
            if is_keras_file:
                whole.save(path)
            else:
                whole.export(path, format="onnx", verbose=False)
    finally:
        UNROLLED_STEPS.reset(token)


def get_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Every weight of the model by its full name, e.g. "hidden/kernel"."""
    return {name: np.array(variable.numpy()) for name, variable in named_weights(model)}


def set_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Give every weight of the model the value of its name; InputError unless names and shapes
    match exactly.
    """
    variables = dict(named_weights(model))
    if weights.keys() != variables.keys():
        missing = variables.keys() - weights.keys()
        unknown = weights.keys() - variables.keys()
        raise InputError(
            f"The weights do not belong to this model: missing {quote_names(missing) or 'none'},"
            f" unknown {quote_names(unknown) or 'none'}. Load the weights that were saved with this"
            " network."
        )
    for name, variable in variables.items():
        if variable.shape != weights[name].shape:
            raise InputError(
                f"Weight {name!r} has shape {weights[name].shape}, the model wants"
                f" {tuple(variable.shape)}. Load the weights that were saved with this network."
            )
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
    """Of the block that the layer was made for."""
    return str(layer.name.replace(".", "/"))
