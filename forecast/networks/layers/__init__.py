"""Keras layers and models on TensorFlow, which is imported here and nowhere below, and how it runs:
threads, determinism, quiet logs.

`assemble` makes the model of a network, `wiring` its graph, `feedforward`, `scan` and `decoder`
hold the layers, and `fused` the recurrences in machine code.

Modules outside take `keras` and `tf` from here: this import switches oneDNN off and sets
threads and determinism, which equal results to the byte depend on, and is too late after
TensorFlow's own.

The next kind of layer is a class in `blocks` with its `visit_` method in `wiring`.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from forecast.system.processes import pause_garbage_collection, require_address_space

__all__ = ["keras", "tf"]
TENSORFLOW_ADDRESS_SPACE = 2_000_000_000
"""Bytes with which TensorFlow loads; below them it hangs or aborts."""


@contextmanager
def hide_keras_extras() -> Iterator[None]:
    """A context in which Keras does not find packages that it imports for its plots and wrappers,
    which take a fifth of its start-up. If a new Keras needs them, leave this out.
    """
    absent = [name for name in ("matplotlib", "sklearn") if name not in sys.modules]
    # None: the import fails as if not installed
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def set_up_tensorflow() -> None:
    """Make TensorFlow use one thread and give the same bits for the same input.

    Small recurrent nets run fastest with one thread per process and one process per core; several
    threads sum up in another order. On a GPU, memory is taken as needed instead of all at once.
    RuntimeWarning where TensorFlow can no longer change, because the program used it before.
    """
    # One traced function per network is the design; TensorFlow takes it for careless retracing and
    # warns each trial.
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    # A GPU would round the factors of float32 products to 10 bits: other numbers than NumPy's.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    is_too_late = os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0" and is_onednn_on()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        is_too_late = True
    if is_too_late:
        warnings.warn(
            "This program imported TensorFlow before forecast could set it up (no oneDNN, one"
            " thread): networks may train to other last digits than in `forecast run`. Import"
            " forecast.networks.layers before TensorFlow and Keras.",
            RuntimeWarning,
            stacklevel=2,
        )


def is_onednn_on() -> bool:
    """Whether TensorFlow uses oneDNN, as it decided while it was imported; no public function
    tells.
    """
    with suppress(ImportError):
        from tensorflow.python.util import _pywrap_util_port

        return bool(_pywrap_util_port.IsMklEnabled())
    return False


require_address_space(TENSORFLOW_ADDRESS_SPACE)
# TensorFlow reads the environment while it is imported; what the user has set stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Without oneDNN small products are faster; with it, whose message ignores the level above, sums
# have other last digits.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
with hide_keras_extras(), pause_garbage_collection():
    import keras
    import tensorflow as tf

    import forecast.networks.layers.assemble  # noqa: F401

    # nor need TensorFlow's objects be looked through at every full collection after it; inside, as
    # the pause would end with such a collection, a tenth of the import
    gc.freeze()
set_up_tensorflow()
