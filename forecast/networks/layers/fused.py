"""The plain LSTM, GRU and simple cell over time, faster than `scan.loop_over_time` on a CPU.

    simple  h_t = tanh(x_t V + h_{t-1} W + b)
    lstm    i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
            c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)
            (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
    gru     z, r = sigmoid(x V + h_{t-1} W + b),  h_t = (1 - z) * g + z * h_{t-1}
            g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))
            (reset_after: true, as in cuDNN, Keras and torch)

They run as machine code (`forecast.networks.native`), in operations that are registered through
TensorFlow's C interface. A step is then one product and one pass over its values, while in a loop
of TensorFlow every operation takes several microseconds. `scan.run_cell` calls `run_fused` after
`register_recurrences` has returned True.

`traced_function` traces a function once for all models of a process; the other layers use it too.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from forecast.networks.cells.base import Cell
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.cells.simple import SimpleRNN
from forecast.system import files
from forecast.system.errors import ForecastError

COMPILING_SECONDS = 600.0
"""How long a process waits for another one that compiles."""
FUSED_CELLS = LSTM, GRU, SimpleRNN
Tensors = Mapping[str, tf.Tensor]


@functools.lru_cache(maxsize=256)
def traced_function(
    function: Callable[..., Any], dtype: tf.DType, *ranks: int
) -> Callable[..., Any]:
    """`function`, which returns its results and their gradient function, traced once for all models
    of the process. ranks: the numbers of axes of its arguments, whose sizes are open.

    TensorFlow keeps the graph of every traced `tf.custom_gradient` for ever. Tracing it for each
    model would leak several MB per model, and be most of the time of a short training.
    """
    signature = [tf.TensorSpec([None] * rank, dtype) for rank in ranks]
    return tf.function(tf.custom_gradient(function), input_signature=signature, autograph=False)


class Operation(NamedTuple):
    """An operation that `register_recurrences` registers with TensorFlow."""

    name: str
    inputs: int
    outputs: int


FORWARD = Operation("ForecastRecurrence", inputs=6, outputs=3)
BACKWARD = Operation("ForecastRecurrenceBack", inputs=6, outputs=5)
# not part of BACKWARD, because the gradient of the data is not always needed
DATA_GRADIENT = Operation("ForecastRecurrenceToData", inputs=3, outputs=1)


def run_fused(
    cell: Cell, w: Tensors, x: tf.Tensor, first: Tensors, every_c: bool
) -> list[tf.Tensor]:
    """The states of the cell over x `(B, T, C)`: h `(B, T, U)` after every step, and for an LSTM
    also c: after every step with `every_c`, else `(B, 1, U)` after the last.
    """
    weights = [w[name] for name in ("kernel", "bias", "recurrent_kernel")]
    first_states = tf.stack([first[name] for name in cell.states()])
    # arguments of an operation are tensors: one with a row stands for True
    wants_every_c = tf.zeros([int(every_c), 1, 1], x.dtype)
    ranks = (3, *(weight.shape.rank for weight in weights), 3, 3)
    states = traced_function(recur_with_gradient, x.dtype, *ranks)(
        x, *weights, first_states, wants_every_c
    )
    steps = x.shape[1]
    shapes = [[x.shape[0], count, cell.units] for count in (steps, steps if every_c else 1)]
    return [
        tf.ensure_shape(state, shape)
        for state, shape in zip(states[: len(first)], shapes, strict=False)
    ]


def recur_with_gradient(*arguments: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
    """The function that `run_fused` traces: gives h and c, and their gradient function.
    `arguments`: x, kernel, bias, recurrent kernel, first states, and whether c is wanted after
    every step.
    """
    *states, tape = run_operation(FORWARD, *arguments)

    def gradient(dh: tf.Tensor, dc: tf.Tensor) -> tuple[Any, ...]:
        """The gradients by all arguments, from those by h and c."""
        weights = arguments[1:4]
        *d_weights, d_first, d_sums_tape = run_operation(BACKWARD, *weights, tape, dh, dc)
        dx = run_operation(DATA_GRADIENT, weights[0], d_sums_tape, dh)
        return *dx, *d_weights, d_first, None

    return states, gradient


@functools.cache
def register_recurrences() -> bool:
    """Compile the operations of `forecast.networks.native.recurrence` and register them with
    TensorFlow, at the first call in a process. False where that is not possible: native kernels are
    switched off, or numba or TensorFlow's C interface is missing.
    """
    try:
        from forecast.networks.native import private_interfaces, recurrence

        library = private_interfaces.load_tensorflow(Path(tf.sysconfig.get_lib()))
    except (ImportError, StopIteration, OSError, AttributeError):
        return False
    functions = (recurrence.forward, recurrence.backward, recurrence.input_gradient)
    lock = Path(recurrence.__file__).parent / "__pycache__" / "compiling.lock"
    with contextlib.ExitStack() as stack:
        # a lock, so that of several workers only one compiles for ten CPU seconds
        with contextlib.suppress(ForecastError, OSError):
            stack.enter_context(
                files.hold_lock(lock, purpose="Compiling", timeout=COMPILING_SECONDS)
            )
        # compile all before registering the first, because an operation cannot be registered twice
        callbacks = [private_interfaces.compile_callback(function) for function in functions]
    for operation, callback in zip((FORWARD, BACKWARD, DATA_GRADIENT), callbacks, strict=True):
        CALLBACKS.append(callback)
        private_interfaces.register_operation(
            library, callback.address, operation.name, operation.inputs, operation.outputs
        )
        tf.no_gradient(operation.name)  # `recur_with_gradient` has the gradient
    return True


CALLBACKS: list[Any] = []
"""The compiled functions that TensorFlow calls, kept in memory."""


def run_operation(operation: Operation, *arguments: tf.Tensor) -> list[tf.Tensor]:
    """The outputs of a registered operation in the graph that is being traced."""
    graph: Any = tf.compat.v1.get_default_graph()
    kinds = [tf.float32] * operation.outputs
    return list(graph.create_op(operation.name, arguments, kinds).outputs)
