"""Keras layers and models on TensorFlow; importing this package imports TensorFlow."""

from forecast.networks.layers.runtime import prepare_runtime, quiet, without_extras
from forecast.system.processes import without_collecting

quiet()  # TensorFlow reads the environment while it is imported, so this comes first.

with without_extras(), without_collecting():
    from forecast.networks.layers.assemble import (
        assemble,
        carried,
        first_states,
        get_weights,
        hidden_steps,
        last_steps,
        named_weights,
        set_seed,
        set_weights,
        teacher_forced,
    )

__all__ = [
    "assemble",
    "carried",
    "first_states",
    "get_weights",
    "hidden_steps",
    "last_steps",
    "named_weights",
    "prepare_runtime",
    "quiet",
    "set_seed",
    "set_weights",
    "teacher_forced",
    "without_extras",
]
