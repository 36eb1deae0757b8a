"""Steps of the LSTM, the GRU and the simple net, there and back, as machine code of numba: one pass
over the values.

Arrays are float32. In training they have windows before values, as OpenBLAS copies no factor of
such products. Imported where a net is trained or many windows are forecast: .4 s, with what was
compiled before; compiling takes 5 s. That is kept beside this file or, failing that, in the user's
cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, cfunc, config, njit, types
from numba.extending import intrinsic
from numba.np.linalg import _BLAS

if config.DISABLE_JIT:  # intrinsics and products of OpenBLAS are machine code alone
    raise ImportError("NUMBA_DISABLE_JIT is set")
# NaN and infinity stay
OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "arcp", "reassoc", "nsz"}}
# Inlined: a call is bound by name to the form loaded first, and the process that compiles has more
# than one.
compiled: Callable[..., Any] = njit(no_cpython_wrapper=True, forceinline=True, **OPTIONS)

inlined: Callable[..., Any] = njit(inline="always", **OPTIONS)


class Ignored(contextlib.suppress, contextlib.ContextDecorator):
    """`suppress` around a function."""


def stored(function: Callable[..., Any]) -> Any:
    """Compiled and kept; where that fails, for want of a folder, space or a whole file, every
    process compiles it.
    """
    try:
        found = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder
        return compiled(function)
    cache = getattr(found, "_cache", None)
    # numba lets their OSError end a training
    for name in ("load_overload", "save_overload") if cache else ():
        setattr(cache, name, Ignored(Exception)(getattr(cache, name)))
    return found


LSTM, GRU, SIMPLE = range(3)
BLOCKS = np.array([4, 4, 1])  # sums of a step, in units
KINDS = np.array([-1, SIMPLE, -1, GRU, LSTM])  # by columns of the weights, in units
HALF, ONE, END = np.float32(0.5), np.float32(1), np.float32(7.8)

# tanh by x (A + B s + C s^2 + D s^3) / (1 + P s + Q s^2 + R s^3 + S s^4), s = x^2: of all such
# functions that with the smallest relative error up to END, 1.2e-7; in float32 it is exact to 5e-7.
A, B, C, D, P, Q, R, S = np.array(
    [
        0.99999988,
        0.12943116,
        0.0029698892,
        1.16357196e-05,
        0.46276352,
        0.023892397,
        2.4135462e-04,
        2.5262364e-07,
    ],
    np.float32,
)


@compiled
def fraction(x: Any) -> Any:
    """tanh(x) as a numerator and a denominator between 1 and 180, of which products of three stay
    in range.
    """
    x = END if x > END else (-END if x < -END else x)  # NaN stays
    s = x * x
    return x * (((D * s + C) * s + B) * s + A), (((S * s + R) * s + Q) * s + P) * s + ONE


@compiled
def tanh(x: Any) -> Any:
    above, below = fraction(x)
    return above / below


@compiled
def sigmoid(x: Any) -> Any:
    return HALF * tanh(HALF * x) + HALF


gemm = _BLAS.numba_xxgemm(types.float32)  # behind numba's np.dot: OpenBLAS, with strides and sums
KIND, PLAIN, TURNED = ord("s"), ord("n"), ord("t")
FACTORS = np.array([0, 1], np.float32)


@compiled
def product(
    order: Any, a: Any, lda: Any, b: Any, ldb: Any, c: Any, ldc: Any, shape: Any, add: Any
) -> None:
    """`c (rows, columns) = a b`, added to what is there if `add`; TURNED: a is given as `(inner,
    rows)`.
    """
    (rows, columns, inner), one, beta = shape, FACTORS[1:].ctypes, FACTORS[add:].ctypes
    gemm(
        KIND,
        PLAIN,
        order,
        columns,
        rows,
        inner,
        one,
        b.ctypes,
        ldb,
        a.ctypes,
        lda,
        beta,
        c.ctypes,
        ldc,
    )


@compiled
def lstm_step(kept: Any, before: Any, c: Any, h: Any) -> None:
    """The sums of i, f, g, o in `kept`, and c before, to i, f, g, o in their place, c and h."""
    widest()
    for k in range(c.size):
        i, f, g, o = sigmoid(kept[0, k]), sigmoid(kept[1, k]), tanh(kept[2, k]), sigmoid(kept[3, k])
        new = i * g + f * before[k]
        c[k], h[k] = new, o * tanh(new)
        kept[0, k], kept[1, k], kept[2, k], kept[3, k] = i, f, g, o


@compiled
def lstm_step_back(kept: Any, before: Any, c: Any, dh: Any, d_c: Any) -> None:
    """The gradients of h and c after a step to those of the sums, in place of `kept`, and of c
    before it, of `d_c`.
    """
    for k in range(before.size):
        i, f, g, o, squashed = kept[0, k], kept[1, k], kept[2, k], kept[3, k], tanh(c[k])
        d_h = dh[k]
        to_c = d_c[k] + d_h * o * (ONE - squashed * squashed)
        kept[0, k], kept[1, k] = to_c * g * i * (ONE - i), to_c * before[k] * f * (ONE - f)
        kept[2, k], kept[3, k] = to_c * i * (ONE - g * g), d_h * squashed * o * (ONE - o)
        d_c[k] = to_c * f


@compiled
def gru_step(kept: Any, h: Any) -> None:
    """The sums of z, r, g and g's of h in `kept`, and h before, to z, r, g and g's of h, and h, in
    their place.
    """
    widest()
    for k in range(h.size):
        u, r, q = sigmoid(kept[0, k]), sigmoid(kept[1, k]), kept[3, k]
        g = tanh(kept[2, k] + r * q)
        h[k] = u * (h[k] - g) + g
        kept[0, k], kept[1, k], kept[2, k] = u, r, g


@compiled
def gru_step_back(kept: Any, before: Any, dh: Any, past: Any) -> None:
    """The gradient of h after a step to those of the sums, in place of `kept`, and before past
    them, of `past`.
    """
    for k in range(before.size):
        u, r, g, q = kept[0, k], kept[1, k], kept[2, k], kept[3, k]
        d_h = dh[k] + past[k]
        to_g = d_h * (ONE - u) * (ONE - g * g)
        kept[0, k], kept[1, k] = d_h * (before[k] - g) * u * (ONE - u), to_g * q * r * (ONE - r)
        kept[2, k], kept[3, k] = to_g, to_g * r
        past[k] = d_h * u


@compiled
def simple_step(kept: Any, h: Any) -> None:
    for k in range(h.size):
        h[k] = kept[0, k] = tanh(kept[0, k])


@compiled
def simple_step_back(kept: Any, dh: Any) -> None:
    for k in range(dh.size):
        kept[0, k] = dh[k] * (ONE - kept[0, k] * kept[0, k])


@compiled
def of_block(kind: int, k: int, inputs: int, units: int, rows: int) -> Any:
    """Of one block of sums: its first column in the weights, and the first row of them and the one
    after the last.
    """
    if kind == GRU and k > 1:
        return (2 * units, 0, inputs + 1) if k == 2 else (2 * units, inputs + 1, rows)
    return k * units, 0, rows


@compiled
def copy(found: Any, given: Any) -> None:
    for k in range(given.size):
        found[k] = given[k]


@compiled
def add(found: Any, given: Any) -> None:
    for k in range(given.size):
        found[k] += given[k]


@compiled
def few(units: int, rows: int, batch: int) -> int:
    """Windows in one product: OpenBLAS has its fast way for a million multiplications at most."""
    while units * rows * batch > 10**6 and batch > 1:
        batch = (batch + 1) // 2
    return max(batch, 1)


@inlined
def there(kind: int, x: Any, weights: Any, h0: Any, c0: Any, h: Any, tape: Any) -> None:
    """All steps of `x (B, T, I)`: `h (B, T, U)`, and in `tape` what `back` needs.

    `weights (I + biases + U, columns)`: the rows of [x; 1; h], of a GRU of [x; 1; 1; h]. A row of
    the tape holds these of every window, of an LSTM c before the step, and the step's own values in
    blocks of (B, U).
    """
    widest()
    (batch, steps, inputs), (rows, columns), units = x.shape, weights.shape, h.shape[2]
    size, first, flat, part = (
        batch * units,
        rows - units,
        weights.reshape(-1),
        few(units, rows, batch),
    )
    of_c, own, now = (
        batch * rows,
        batch * rows + (size if kind == LSTM else 0),
        h0.copy().reshape(-1),
    )
    if kind == LSTM:
        copy(tape[0, of_c:own], c0.reshape(-1))
    for t in range(steps):
        for b in range(batch):
            row = tape[t, b * rows : (b + 1) * rows]
            copy(row, x[b, t])
            for k in range(inputs, first):
                row[k] = ONE
            copy(row[first:], now[b * units : (b + 1) * units])
        seen, kept = tape[t, :of_c], tape[t, own:].reshape(-1, size)
        for k in range(BLOCKS[kind]):
            column, low, high = of_block(kind, k, inputs, units, rows)
            for b in range(0, batch, part):
                product(
                    PLAIN,
                    seen[b * rows + low :],
                    rows,
                    flat[low * columns + column :],
                    columns,
                    kept[k, b * units :],
                    units,
                    (min(part, batch - b), units, high - low),
                    0,
                )
        if kind == LSTM:
            lstm_step(kept, tape[t, of_c:own], tape[t + 1, of_c:own], now)
        elif kind == GRU:
            gru_step(kept, now)
        else:
            simple_step(kept, now)
        for b in range(batch):
            copy(h[b, t], now[b * units : (b + 1) * units])


@inlined
def back(
    kind: int, recurrent: Any, tape: Any, dh: Any, dc: Any, d_weights: Any, d_first: Any
) -> None:
    """Fills in the gradients of the weights, which begin at 0, and of the states before the first
    step.

    Those of the sums replace the steps' own values in the tape. `dc (B, n, U)` is that of c after
    the n last steps.
    """
    (batch, steps, units), (rows, columns), first = (
        dh.shape,
        d_weights.shape,
        len(d_weights) - dh.shape[2],
    )
    size, part, inputs = batch * units, few(units, rows, batch), first - (2 if kind == GRU else 1)
    of_c, own = batch * rows, batch * rows + (size if kind == LSTM else 0)
    carried, passed, before = (
        np.zeros(size, dh.dtype),
        np.zeros(size, dh.dtype),
        np.empty(size, dh.dtype),
    )
    turned, d_flat = recurrent.T.copy().reshape(-1), d_weights.reshape(-1)
    for t in range(steps - 1, -1, -1):
        seen, kept, of_dc = tape[t, :of_c], tape[t, own:].reshape(-1, size), t - steps + dc.shape[1]
        for b in range(batch):
            add(carried[b * units :], dh[b, t])
            if kind == LSTM and of_dc >= 0:
                add(passed[b * units :], dc[b, of_dc])
            if kind == GRU:
                copy(before[b * units :], seen[b * rows + first : (b + 1) * rows])
        if kind == LSTM:
            lstm_step_back(kept, tape[t, of_c:own], tape[t + 1, of_c:own], carried, passed)
        elif kind == GRU:
            gru_step_back(kept, before, carried, passed)
        else:
            simple_step_back(kept, carried)
        for k in range(BLOCKS[kind]):
            column, low, high = of_block(kind, k, inputs, units, rows)
            for b in range(0, batch, part):
                count, made = min(part, batch - b), kept[k, b * units :]
                if high == rows:
                    product(
                        PLAIN,
                        made,
                        units,
                        turned[column * units :],
                        units,
                        carried[b * units :],
                        units,
                        (count, units, units),
                        min(k, 1),
                    )
                product(
                    TURNED,
                    seen[b * rows + low :],
                    rows,
                    made,
                    units,
                    d_flat[low * columns + column :],
                    columns,
                    (high - low, units, count),
                    1,
                )
    if kind == GRU:
        add(carried, passed)
    copy(d_first.reshape(-1), carried)
    if kind == LSTM:
        copy(d_first.reshape(-1)[size:], passed)


@intrinsic  # type: ignore[untyped-decorator]
def widest(_: Any) -> tuple[Any, Callable[..., Any]]:
    """Tells LLVM that a function may use registers of 512 bits, where the processor has them: a
    quarter faster.
    """

    def mark(context: Any, builder: Any, *_: Any) -> Any:
        # `add` of its own knows few names
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), mark


@stored
def lstm(z: Any, _: Any, h: Any) -> None:
    """z: in rows the halved sums of i, f and o, the sum of g, and c, which is replaced; h is filled
    in.
    """
    widest()
    out = h.reshape(-1)
    for k in range(out.size):
        (i, of_i), (f, of_f) = fraction(z[0, k]), fraction(z[1, k])
        (o, of_o), (g, of_g) = fraction(z[2, k]), fraction(z[3, k])
        added = of_i * of_g  # one division for c and one for h, in place of five
        new = HALF * ((of_i + i) * g * of_f + (of_f + f) * z[4, k] * added) / (added * of_f)
        squashed, of_c = fraction(new)
        z[4, k], out[k] = new, HALF * (of_o + o) * squashed / (of_o * of_c)


@stored
def gru(z: Any, before: Any, after: Any) -> None:
    """z: in rows the halved sums of u and r, the sum of g and what r is multiplied with; h before
    and after.
    """
    widest()
    old, out = before.reshape(-1), after.reshape(-1)
    for k in range(out.size):
        (u, of_u), (r, of_r) = fraction(z[0, k]), fraction(z[1, k])
        g, of_g = fraction(z[2, k] + HALF * (of_r + r) * z[3, k] / of_r)
        out[k] = HALF * ((of_u + u) * old[k] * of_g + (of_u - u) * g) / (of_u * of_g)


WORD, INT, NONE, MEMORY = types.uintp, types.intc, types.void, types.voidptr
INTERFACE = {
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
"""What an operation may call of TensorFlow's C interface; `layers.fused` says where it is."""
give, data, axes, make, size, release, new_status, end, code, fail = (
    types.ExternalFunction(f"TF_{name}", signature) for name, signature in INTERFACE.items()
)


@compiled
def seen(tensor: Any) -> Any:
    """What lies in a tensor, with three axes: of length 1 before its own.

    The operation goes on holding it.
    """
    sizes, rank = np.ones(3, np.int64), axes(tensor)
    for axis in range(rank):
        sizes[3 - rank + axis] = size(tensor, axis)
    found = carray(data(tensor), (sizes[0], sizes[1], sizes[2]), np.float32)
    release(tensor)
    return found


@compiled
def given(context: Any, k: int, status: Any) -> Any:
    tensor = np.empty(1, np.uintp)
    give(context, k, tensor.ctypes, status)
    return seen(tensor[0])


@compiled
def made(context: Any, k: int, shape: Any, rank: int, status: Any, of: int = -1) -> Any:
    """Output k: in the memory of input `of`, unless something else will read that."""
    sizes, known = np.array(shape), np.array([of, 0], np.intc)
    tensor = make(
        context, known.ctypes, of >= 0, k, sizes[3 - rank :].ctypes, rank, known[1:].ctypes, status
    )
    if code(status):
        fail(context, status)
        raise MemoryError
    return seen(tensor)


def forward(_: Any, context: Any) -> None:
    """From x, the kernel, the bias, the recurrent kernel, the first h and c, and a tensor with or
    without rows: h of every step, every c or the last, and the tape.
    """
    status = new_status()
    x, kernel, bias = (
        given(context, 0, status),
        given(context, 1, status)[0],
        given(context, 2, status)[0],
    )
    weights, first = (
        np.concatenate((kernel, bias, given(context, 3, status)[0])),
        given(context, 4, status),
    )
    (batch, steps, _), (rows, columns), units = x.shape, weights.shape, first.shape[2]
    kind = KINDS[columns // units]
    count = (steps if len(given(context, 5, status)) else 1) if kind == LSTM else 0
    of_c, blocks = batch * rows, BLOCKS[kind] + len(first) - 1
    h, c = (
        made(context, 0, (batch, steps, units), 3, status),
        made(context, 1, (batch, count, units), 3, status),
    )
    tape = made(context, 2, (1, steps + 1, of_c + batch * blocks * units), 3, status)[0]
    there(kind, x, weights, first[0], first[-1], h, tape)
    for b in range(batch):
        for t in range(count):
            copy(c[b, t], tape[steps + 1 - count + t, of_c + b * units : of_c + (b + 1) * units])
    end(status)


def backward(_: Any, context: Any) -> None:
    """From the kernel, the bias, the recurrent kernel, the tape and the gradients of h and c: those
    of the weights and the first states, and the tape for `to_data`.
    """
    status = new_status()
    weights = (
        given(context, 0, status)[0],
        given(context, 1, status)[0],
        given(context, 2, status)[0],
    )
    tape, dh, dc = given(context, 3, status), given(context, 4, status), given(context, 5, status)
    changed = made(context, 4, tape.shape, 3, status, 3)
    if changed.ctypes.data != tape.ctypes.data:
        copy(changed.reshape(-1), tape.reshape(-1))
    (units, columns), d_weights, row = weights[2].shape, np.zeros_like(np.concatenate(weights)), 0
    kind = KINDS[columns // units]
    d_first = made(context, 3, (2 if kind == LSTM else 1, len(dh), units), 3, status)
    back(kind, weights[2], changed[0], dh, dc, d_weights, d_first)
    for k, part in enumerate(weights):
        rank = len(part) if k == 1 else 2  # a bias that is alone is a vector
        made(context, k, (1, len(part), columns), rank, status)[0][:] = d_weights[
            row : row + len(part)
        ]
        row += len(part)
    end(status)


def to_data(_: Any, context: Any) -> None:
    """From the kernel, the tape after `backward` and the gradient of h: that of x."""
    status = new_status()
    kernel, tape, dh = (
        given(context, 0, status)[0],
        given(context, 1, status)[0],
        given(context, 2, status),
    )
    (batch, steps, units), (inputs, columns), turned = (
        dh.shape,
        kernel.shape,
        kernel.T.copy().reshape(-1),
    )
    dx, part = (
        made(context, 0, (batch, steps, inputs), 3, status).reshape(-1),
        few(units, inputs, batch),
    )
    own = tape.shape[1] - BLOCKS[KINDS[columns // units]] * batch * units
    for t in range(steps):
        for column in range(0, columns, units):
            for b in range(0, batch, part):
                product(
                    PLAIN,
                    tape[t, own + column * batch + b * units :],
                    units,
                    turned[column * inputs :],
                    inputs,
                    dx[(b * steps + t) * inputs :],
                    steps * inputs,
                    (min(part, batch - b), inputs, units),
                    min(column, 1),
                )
    end(status)


def callback(function: Callable[..., None]) -> Any:
    """The function for a caller in C, compiled and kept; where that fails, every process compiles
    it.
    """
    with contextlib.suppress(Exception):  # as many kinds as a folder, a disk and a cut file have
        return cfunc(NONE(WORD, WORD), cache=True, **OPTIONS)(function)
    return cfunc(NONE(WORD, WORD), **OPTIONS)(function)
