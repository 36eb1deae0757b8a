"""What native kernels need of private interfaces of numba and TensorFlow.

Of numba: its BLAS wrapper, and attributes of LLVM functions. Of TensorFlow: the C interface for
custom operations, called from machine code. Importing it raises ImportError where numba is missing
or has another BLAS wrapper, or `NUMBA_DISABLE_JIT` is set; callers then compute the same in
TensorFlow. docs/native-kernels.md has the reasons, and what to check with new versions.

`compile_callback` compiles, `load_tensorflow` and `register_operation` use TensorFlow's C library;
everything else is used inside of compiled code.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import carray, cfunc, config, njit, types
from numba.extending import intrinsic
from numba.np.linalg import _BLAS

if config.DISABLE_JIT:  # intrinsics and products of OpenBLAS are machine code alone
    raise ImportError("Native kernels are switched off by NUMBA_DISABLE_JIT=1.")

# fast mathematics, but with NaN and infinity
OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "arcp", "reassoc", "nsz"}}

# Inlined, since machine code calls a function by name, and the linker takes the version of it that
# was loaded first; a process that compiles has more than one version.
compile_inlined: Callable[..., Any] = njit(no_cpython_wrapper=True, forceinline=True, **OPTIONS)

expand_inline: Callable[..., Any] = njit(inline="always", **OPTIONS)


def compile_callback(function: Callable[..., None]) -> Any:
    """The function (state, context) for TensorFlow to call, compiled now and stored on disk; where
    that fails, every process compiles it. Its `address` is that of the machine code.
    """
    with contextlib.suppress(Exception):  # of a folder, a disk or a damaged file
        return cfunc(NONE(WORD, WORD), cache=True, **OPTIONS)(function)
    return cfunc(NONE(WORD, WORD), **OPTIONS)(function)


@intrinsic  # type: ignore[untyped-decorator]
def prefer_wide_registers(_: Any) -> tuple[Any, Callable[..., Any]]:
    """Tells LLVM that a function may use registers of 512 bits, where the processor has them: a
    quarter faster.
    """

    def mark(context: Any, builder: Any, *_: Any) -> Any:
        # the attributes' own `add` knows few names
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), mark


try:
    # behind numba's np.dot: OpenBLAS, with strides and sums
    gemm = _BLAS.numba_xxgemm(types.float32)
except AttributeError as error:
    raise ImportError("This version of numba has another BLAS wrapper.") from error
FLOAT32 = ord("s")
PLAIN = ord("n")
TRANSPOSED = ord("t")
FACTORS = np.array([0, 1], np.float32)


@compile_inlined
def multiply(order: Any, a: Any, b: Any, c: Any, shape: Any, add: Any) -> None:
    """`c (rows, columns) = a b`, added to what is there if `add`; TRANSPOSED: a is given as
    `(inner, rows)`. Each matrix is its flat values and the length of its rows in memory (BLAS's
    leading dimension); `shape` is (rows, columns, inner).
    """
    a_values, a_length = a
    b_values, b_length = b
    c_values, c_length = c
    rows, columns, inner = shape
    alpha = FACTORS[1:].ctypes
    beta = FACTORS[add:].ctypes  # 1 to add, else 0
    # row-major c = a b is column-major c' = b' a'
    gemm(
        FLOAT32,
        PLAIN,
        order,
        columns,
        rows,
        inner,
        alpha,
        b_values.ctypes,
        b_length,
        a_values.ctypes,
        a_length,
        beta,
        c_values.ctypes,
        c_length,
    )


WORD = types.uintp
INT = types.intc
NONE = types.void
MEMORY = types.voidptr
TENSORFLOW_FUNCTIONS = {
    "GetInput": NONE(WORD, INT, MEMORY, WORD),
    "TensorData": MEMORY(WORD),
    "NumDims": INT(WORD),
    "ForwardInputOrAllocateOutput": WORD(WORD, MEMORY, INT, INT, MEMORY, INT, MEMORY, WORD),
    "Dim": types.int64(WORD, INT),
    "DeleteTensor": NONE(WORD),
    "NewStatus": WORD(),
    "DeleteStatus": NONE(WORD),
    "GetCode": INT(WORD),
    "OpKernelContext_Failure": NONE(WORD, WORD),
}
"""Name without `TF_` → signature, of all that an operation calls of TensorFlow's C interface."""
(
    get_input,
    tensor_data,
    num_dims,
    forward_input_or_allocate_output,
    dim,
    delete_tensor,
    new_status,
    delete_status,
    get_code,
    fail,
) = (
    types.ExternalFunction(f"TF_{name}", signature)
    for name, signature in TENSORFLOW_FUNCTIONS.items()
)


@compile_inlined
def view_tensor(tensor: Any) -> Any:
    """The values of a tensor as an array with three axes: of length 1 before its own.

    The tensor is only a handle: after its deletion the operation still holds the memory.
    """
    sizes = np.ones(3, np.int64)
    rank = num_dims(tensor)
    for axis in range(rank):
        sizes[3 - rank + axis] = dim(tensor, axis)
    array = carray(tensor_data(tensor), (sizes[0], sizes[1], sizes[2]), np.float32)
    delete_tensor(tensor)
    return array


@compile_inlined
def read_input(context: Any, number: int, status: Any) -> Any:
    """Input `number` of the running operation, with three axes."""
    tensor = np.empty(1, np.uintp)
    get_input(context, number, tensor.ctypes, status)
    return view_tensor(tensor[0])


@compile_inlined
def allocate_output(
    context: Any, number: int, shape: Any, rank: int, status: Any, reused_input: int = -1
) -> Any:
    """Output `number`: in the memory of `reused_input`, unless something else will read that.

    shape: three sizes, of which the last `rank` are those of the tensor.
    """
    sizes = np.array(shape)
    candidates = np.array([reused_input, 0], np.intc)
    tensor = forward_input_or_allocate_output(
        context,
        candidates.ctypes,
        reused_input >= 0,
        number,
        sizes[3 - rank :].ctypes,
        rank,
        candidates[1:].ctypes,
        status,
    )
    if get_code(status):
        fail(context, status)
        raise MemoryError
    return view_tensor(tensor)


def load_tensorflow(folder: Path) -> ctypes.CDLL:
    """TensorFlow's library in `folder`, its C functions made known to numba's linker.

    StopIteration, OSError or AttributeError where the library or a function is absent.
    """
    library = ctypes.CDLL(str(next(folder.glob("libtensorflow_framework.*"))))
    for name in TENSORFLOW_FUNCTIONS:
        address = ctypes.cast(getattr(library, f"TF_{name}"), ctypes.c_void_p).value
        llvm.add_symbol(f"TF_{name}", address)
    return library


def register_operation(
    library: ctypes.CDLL, address: int, name: str, n_inputs: int, n_outputs: int
) -> None:
    """Make the machine code at `address` the operation `name` of TensorFlow for the CPU, with
    float32 tensors of unknown shape; the code must stay in memory.

    A second call with one name makes TensorFlow abort the process. Any other fault shows only when
    the operation is called: the status of the registration is not read.
    """

    def call(function_name: str, *arguments: Any) -> ctypes.c_void_p:
        function = getattr(library, f"TF_{function_name}")
        function.restype = ctypes.c_void_p
        return ctypes.c_void_p(function(*arguments))

    status = call("NewStatus")
    definition = call("NewOpDefinitionBuilder", name.encode())
    for kind, count in (("Input", n_inputs), ("Output", n_outputs)):
        for number in range(count):
            argument = f"{kind.lower()}{number}: float"
            call(f"OpDefinitionBuilderAdd{kind}", definition, argument.encode())
    call(
        "OpDefinitionBuilderSetShapeInferenceFunction",
        definition,
        library.TF_ShapeInferenceContextSetUnknownShape,
    )
    call("RegisterOpDefinition", definition, status)
    kernel = call("NewKernelBuilder", name.encode(), b"CPU", None, ctypes.c_void_p(address), None)
    call("RegisterKernelBuilder", name.encode(), kernel, status)
    call("DeleteStatus", status)
