"""Keras layers and models, and the set-up of TensorFlow: one thread, determinism, quiet logs.

`assemble` makes the model of a network and `wiring` its graph; `feedforward`, `scan` and `decoder`
have the layers, `fused` and `cudnn` the fast recurrences.

Other packages must import `keras` and `tf` from here, because results that are equal to the byte
depend on this set-up, which comes too late once TensorFlow has been imported. Another kind of layer
is a class here, with a `visit_` method in `wiring`.
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
"""Bytes of address space that TensorFlow needs; with less it hangs or aborts."""


@contextmanager
def hide_keras_extras() -> Iterator[None]:
    """A context in which Keras cannot import matplotlib and scikit-learn, which it needs for plots
    and wrappers alone, and which take a fifth of its start-up.
    """
    absent = [name for name in ("matplotlib", "sklearn") if name not in sys.modules]
    # with None the import fails as if the package were not installed
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def set_up_tensorflow() -> None:
    """Make TensorFlow use one thread, products of whole precision and equal bits for equal inputs.

    Small recurrent networks run fastest with one thread per process and one process per core, and
    several threads sum in another order. On a GPU, memory is taken as needed instead of all at
    once. RuntimeWarning where the program used TensorFlow, or imported it with oneDNN, before.
    """
    # TensorFlow warns of retracing, but one traced function per network is intended
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    # a GPU would round the factors of float32 products to 10 bits, unlike NumPy
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
    """Whether TensorFlow uses oneDNN, which it decides while it is imported. There is no public
    function for this.
    """
    with suppress(ImportError):
        from tensorflow.python.util import _pywrap_util_port

        return bool(_pywrap_util_port.IsMklEnabled())
    return False


require_address_space(TENSORFLOW_ADDRESS_SPACE)
# TensorFlow reads the environment while it is imported; settings of the user stay
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# without oneDNN small products are faster, and sums round as they do elsewhere
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
with hide_keras_extras(), pause_garbage_collection():
    import keras
    import tensorflow as tf

    # imported here and now, so that `gc.freeze` covers its objects as well
    import forecast.networks.layers.assemble  # noqa: F401

    # keeps TensorFlow's objects out of all later garbage collections; inside of the context, as
    # that ends with a collection, which would take a tenth of the time of the import
    gc.freeze()
set_up_tensorflow()
