"""Keras layers and models on TensorFlow, which is imported here and nowhere below, and how it runs:
threads, determinism, quiet logs.

`assemble` makes the model of a network, `wiring` its graph, `blocks`, `scan` and `decoder` hold the
layers, and `fused` the recurrences in machine code.

Call `prepare_runtime` before TensorFlow's first use in a process: it sets threads and determinism,
which equal results to the byte depend on. `hide_keras_extras` keeps Keras from importing libraries
that are not needed. The next kind of layer is a class in `blocks` with its `visit_` method in
`wiring`.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from forecast.system.processes import pause_garbage_collection, require_address_space

TENSORFLOW_ADDRESS_SPACE = 2_000_000_000
"""Bytes with which TensorFlow loads; below them it hangs or aborts."""
KERAS_EXTRAS = ("matplotlib", "sklearn")


@contextmanager
def hide_keras_extras() -> Iterator[None]:
    """A context in which Keras does not find packages that it imports for its plots and wrappers,
    which take a fifth of its start-up. If a new Keras needs them, leave this out.
    """
    absent = [name for name in KERAS_EXTRAS if name not in sys.modules]
    # None: the import fails as if not installed
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def silence_libraries() -> None:
    """Silence what TensorFlow's libraries print when they load, unless loaded already; what the
    user has set stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The message that oneDNN is in use ignores the level above. Without oneDNN small products are
    # faster.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def prepare_runtime(threads: int = 1) -> None:
    """Set TensorFlow's threads and determinism; call it at the start of a worker, before the first
    tensor exists.

    Small recurrent nets run fastest with one thread per process and one process per core. Every
    operation gives the same bits for the same input. On a GPU, memory is taken as needed instead of
    all at once. Calling it again with the same arguments does nothing; TensorFlow cannot change its
    threads after the first tensor, which gives a RuntimeWarning.
    """
    silence_libraries()
    import tensorflow as tf

    # One traced function per network is the design; TensorFlow takes it for careless retracing and
    # warns each trial.
    tf.get_logger().setLevel("ERROR")
    tf.config.experimental.enable_op_determinism()
    # A GPU would round the factors of float32 products to 10 bits: other numbers than NumPy's.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    threading = tf.config.threading
    wanted_threads = (threads, threads)
    current_threads = (
        threading.get_intra_op_parallelism_threads(),
        threading.get_inter_op_parallelism_threads(),
    )
    if current_threads == wanted_threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError:
        warnings.warn(
            f"TensorFlow already runs with (intra, inter) threads {current_threads}, wanted"
            f" {wanted_threads} (0: one per core). For these, fit a model before other work"
            " with TensorFlow.",
            RuntimeWarning,
            stacklevel=2,
        )


require_address_space(TENSORFLOW_ADDRESS_SPACE)
silence_libraries()  # TensorFlow reads the environment while it is imported, so this comes first.

with hide_keras_extras(), pause_garbage_collection():
    import forecast.networks.layers.assemble  # noqa: F401

    # nor need TensorFlow's objects be looked through at every full collection after it; inside, as
    # the pause would end with such a collection, a tenth of the import
    gc.freeze()
