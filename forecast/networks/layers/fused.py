"""The recurrences of the commonest cells over time, faster than `scan` on a CPU: the plain LSTM,
GRU and simple net.

    simple  h_t = tanh(x_t V + h_{t-1} W + b)
    lstm    i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
            c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)          (Hochreiter & Schmidhuber 1997;
            Gers et al. 2000)
    gru     z, r = sigmoid(x V + h_{t-1} W + b),  h_t = (1 - z) * g + z * h_{t-1}
            g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))          reset_after: true (cuDNN,
            Keras, torch)

They run in numba (`kernels`), as operations registered through TensorFlow's C interface: without
Python a step is one product and one pass over its values. In a loop of TensorFlow every operation
takes several microseconds.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from forecast.networks.cells import Cell
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.cells.simple import SimpleRNN

CELLS = LSTM, GRU, SimpleRNN
Array = Any  # a tf.TensorArray
Tensors = Mapping[str, tf.Tensor]


@functools.lru_cache(maxsize=256)
def compiled(function: Callable[..., Any], dtype: tf.DType, *ranks: int) -> Callable[..., Any]:
    """A function that returns its results and their gradient, traced once for all models of the
    process.

    TensorFlow keeps the graph of every traced `tf.custom_gradient` for ever,
    `keras.backend.clear_session()` or not. Traced into each model anew that is a leak of several MB
    a model; and in a short training, tracing is most of the time. Hence one `tf.function` with all
    sizes open; `ranks` are the arguments' numbers of axes.
    """
    signature = [tf.TensorSpec([None] * rank, dtype) for rank in ranks]
    return tf.function(tf.custom_gradient(function), input_signature=signature, autograph=False)


def rows(sequence: tf.Tensor) -> tf.Tensor:
    """`(T, B, U)` as the rows `(T * B, U)` of one matrix."""
    return tf.reshape(sequence, [-1, tf.shape(sequence)[-1]])


def steps_of(sequence: tf.Tensor) -> tf.TensorArray:
    """The steps of `(T, B, U)`, to be read inside a loop without copying them."""
    return collector(tf.shape(sequence)[0], sequence).unstack(sequence)


def collector(steps: tf.Tensor, like: tf.Tensor) -> tf.TensorArray:
    """An empty array for `steps` results of one loop, matrices of the dtype of `like`."""
    return tf.TensorArray(
        like.dtype, size=steps, element_shape=[None, None], clear_after_read=False
    )


def traced(cell: Cell, w: Tensors, x: tf.Tensor, first: Tensors, whole: bool) -> list[tf.Tensor]:
    """From x `(B, T, C)`: h `(B, T, U)` and, of an LSTM, c after every step or, unless `whole`,
    after the last.
    """
    weights = [w[name] for name in ("kernel", "bias", "recurrent_kernel")]
    given = (
        x,
        *weights,
        tf.stack([first[name] for name in cell.states()]),
        tf.zeros([int(whole), 1, 1], x.dtype),
    )
    found: list[tf.Tensor] = compiled(
        recur, x.dtype, 3, *(one.shape.rank for one in weights), 3, 3
    )(*given)
    shapes = [[x.shape[0], count, cell.units] for count in (x.shape[1], x.shape[1] if whole else 1)]
    return [
        tf.ensure_shape(one, shape) for one, shape in zip(found[: len(first)], shapes, strict=False)
    ]


def recur(*given: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
    """For `traced`: h and c, and their gradient."""
    *states, tape = operation(*FORWARD, *given)

    def gradient(dh: tf.Tensor, dc: tf.Tensor) -> tuple[Any, ...]:
        *d_weights, d_first, changed = operation(*BACKWARD, *given[1:4], tape, dh, dc)
        return *operation(*TO_DATA, given[1], changed, dh), *d_weights, d_first, None

    return states, gradient


# inputs and outputs
FORWARD, BACKWARD = ("ForecastRecurrence", 6, 3), ("ForecastRecurrenceBack", 6, 5)
# of its own: left out where nobody asks for the gradient of the data
TO_DATA = "ForecastRecurrenceToData", 3, 1


@functools.cache
def native() -> list[Any]:
    """What TensorFlow calls from now on; nothing where numba or TensorFlow's C interface is
    absent.
    """
    try:
        import llvmlite.binding as llvm

        from forecast.networks.inference import kernels

        library = ctypes.CDLL(
            str(next(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework.*")))
        )
        for name in kernels.INTERFACE:
            llvm.add_symbol(
                f"TF_{name}", ctypes.cast(getattr(library, f"TF_{name}"), ctypes.c_void_p).value
            )
        found = [
            kernels.callback(function)
            for function in (kernels.forward, kernels.backward, kernels.to_data)
        ]
        for function, about in zip(found, (FORWARD, BACKWARD, TO_DATA), strict=True):
            _register(library, function.address, *about)
            tf.no_gradient(about[0])  # of its own: `recur` gives it
    except (ImportError, StopIteration, OSError, AttributeError):
        return []
    return found


def _register(library: ctypes.CDLL, address: int, name: str, given: int, made: int) -> None:
    def call(what: str, *arguments: Any) -> ctypes.c_void_p:
        (function := getattr(library, f"TF_{what}")).restype = ctypes.c_void_p
        return ctypes.c_void_p(function(*arguments))

    status, about = call("NewStatus"), call("NewOpDefinitionBuilder", name.encode())
    for kind, count in (("Input", given), ("Output", made)):
        for k in range(count):
            call(f"OpDefinitionBuilderAdd{kind}", about, f"{kind.lower()}{k}: float".encode())
    call(
        "OpDefinitionBuilderSetShapeInferenceFunction",
        about,
        library.TF_ShapeInferenceContextSetUnknownShape,
    )
    call("RegisterOpDefinition", about, status)
    kernel = call("NewKernelBuilder", name.encode(), b"CPU", None, ctypes.c_void_p(address), None)
    call("RegisterKernelBuilder", name.encode(), kernel, status)
    call("DeleteStatus", status)


def operation(name: str, _: int, made: int, *given: tf.Tensor) -> list[tf.Tensor]:
    """A registered operation in the graph that is being traced."""
    graph: Any = tf.compat.v1.get_default_graph()
    return list(graph.create_op(name, given, [tf.float32] * made).outputs)
