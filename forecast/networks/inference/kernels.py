"""Steps of the LSTM, the GRU and the simple net, there and back, as machine code of numba: one pass over the values.

Arrays have the batch last and are float32. Imported where a net is trained or many windows are forecast: .4 s, with
what was compiled before; compiling takes 6 s. That is kept beside this file or, failing that, in the user's cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "arcp", "reassoc", "nsz"}}  # NaN and infinity stay
compiled: Callable[..., Any] = njit(**OPTIONS)


def stored(function: Callable[..., Any]) -> Any:
    """Compiled and kept; where that fails, for want of a folder, space or a whole file, every process compiles it."""
    try:
        found = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder
        return compiled(function)
    cache = getattr(found, "_cache", None)
    for name in ("load_overload", "save_overload") if cache else ():  # numba lets their OSError end a training
        setattr(cache, name, _if_possible(getattr(cache, name)))
    return found


def _if_possible(call: Callable[..., Any]) -> Callable[..., Any]:
    def tried(*given: Any) -> Any:
        with contextlib.suppress(Exception):
            return call(*given)

    return tried


LSTM, GRU, SIMPLE = range(3)
HALF, ONE, END = np.float32(0.5), np.float32(1), np.float32(7.8)

# tanh by x (A + B s + C s^2 + D s^3) / (1 + P s + Q s^2 + R s^3 + S s^4), s = x^2: of all such functions that with the
# smallest relative error up to END, 1.2e-7; in float32 it is exact to 5e-7.
A, B, C, D, P, Q, R, S = np.array(
    [0.99999988, 0.12943116, 0.0029698892, 1.16357196e-05, 0.46276352, 0.023892397, 2.4135462e-04, 2.5262364e-07],
    np.float32)  # fmt: skip


@compiled
def fraction(x: Any) -> Any:
    """tanh(x) as a numerator and a denominator between 1 and 180, of which products of three stay in range."""
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


@compiled
def lstm_step(z: Any, before: Any, kept: Any, c: Any, h: Any) -> None:
    """z, the sums of i, f, g, o, and c before to i, f, g, o and tanh(c) in `kept`, c and h."""
    for k in range(c.size):
        i, f, g, o = sigmoid(z[0, k]), sigmoid(z[1, k]), tanh(z[2, k]), sigmoid(z[3, k])
        new = i * g + f * before[k]
        squashed = tanh(new)
        c[k], h[k] = new, o * squashed
        kept[0, k], kept[1, k], kept[2, k], kept[3, k], kept[4, k] = i, f, g, o, squashed


@compiled
def lstm_step_back(kept: Any, before: Any, dh: Any, carried: Any, dc: Any, d_c: Any, d: Any) -> None:
    """The gradients of h and c after a step to those of the sums, `d`, and of c before it, which replaces `d_c`."""
    for k in range(before.size):
        i, f, g, o, squashed = kept[0, k], kept[1, k], kept[2, k], kept[3, k], kept[4, k]
        d_h = dh[k] + carried[k]
        to_c = d_c[k] + dc[k] + d_h * o * (ONE - squashed * squashed)
        d[0, k], d[1, k] = to_c * g * i * (ONE - i), to_c * before[k] * f * (ONE - f)
        d[2, k], d[3, k] = to_c * i * (ONE - g * g), d_h * squashed * o * (ONE - o)
        d_c[k] = to_c * f


@compiled
def gru_step(z: Any, before: Any, kept: Any, h: Any) -> None:
    """z, the sums of z, r, g and g's of h, and h before to z, r, g and g's of h in `kept`, and h."""
    for k in range(h.size):
        u, r, q = sigmoid(z[0, k]), sigmoid(z[1, k]), z[3, k]
        g = tanh(z[2, k] + r * q)
        h[k] = u * (before[k] - g) + g
        kept[0, k], kept[1, k], kept[2, k], kept[3, k] = u, r, g, q


@compiled
def gru_step_back(kept: Any, before: Any, dh: Any, carried: Any, past: Any, d: Any) -> None:
    """The gradient of h after a step to those of the sums, `d`, and of h before past them, in place of `past`."""
    for k in range(before.size):
        u, r, g, q = kept[0, k], kept[1, k], kept[2, k], kept[3, k]
        d_h = dh[k] + carried[k] + past[k]
        to_g = d_h * (ONE - u) * (ONE - g * g)
        d[0, k], d[1, k] = d_h * (before[k] - g) * u * (ONE - u), to_g * q * r * (ONE - r)
        d[2, k], d[3, k] = to_g, to_g * r
        past[k] = d_h * u


@compiled
def simple_step(z: Any, h: Any) -> None:
    for k in range(h.size):
        h[k] = tanh(z[0, k])


@compiled
def simple_step_back(h: Any, dh: Any, carried: Any, d: Any) -> None:
    for k in range(h.size):
        d[0, k] = (dh[k] + carried[k]) * (ONE - h[k] * h[k])


@stored
def there(kind: int, blocks: Any, seen: Any, c: Any, kept: Any, inputs: int) -> None:
    """All steps of `seen (T + 1, [x; 1; h], B)`, of which x and the first h are given.

    `blocks`: the weights' rows, one for each sum; `c (T + 1, U, B)`, of an LSTM; `kept (T, blocks of U, B)`.
    """
    z, units = np.empty((blocks.shape[0], blocks.shape[1], seen.shape[2]), seen.dtype), seen.shape[1] - inputs - 1
    size, of_kept = units * seen.shape[2], kept.shape[1] // units
    sums = z.reshape(blocks.shape[0] * blocks.shape[1] // units, size)
    for t in range(len(seen) - 1):
        for k in range(len(blocks)):
            np.dot(blocks[k], seen[t], z[k])
        before, h = seen[t, inputs + 1 :].reshape(-1), seen[t + 1, inputs + 1 :].reshape(-1)
        if kind == LSTM:
            lstm_step(sums, c[t].reshape(-1), kept[t].reshape(of_kept, size), c[t + 1].reshape(-1), h)
        elif kind == GRU:
            gru_step(sums, before, kept[t].reshape(of_kept, size), h)
        else:
            simple_step(sums, h)


@stored
def back(kind: int, blocks: Any, seen: Any, c: Any, kept: Any, dh: Any, dc: Any, dx: Any, d_rows: Any) -> Any:
    """The gradients of h and c before the first step; fills in those of x and, in `d_rows`, the weights.

    `blocks`: the weights' columns, one for each of x and h.
    """
    (steps, units, batch), inputs = dh.shape, dx.shape[1]
    below, passed = np.zeros((blocks.shape[0], blocks.shape[1], batch), dh.dtype), np.zeros(units * batch, dh.dtype)
    rows = below.reshape(inputs + units, batch)
    to_x, to_h = rows[:inputs], rows[inputs:]
    d, part, carried = np.empty((d_rows.shape[1], batch), dh.dtype), np.empty_like(d_rows), to_h.reshape(-1)
    sums, of_kept = d.reshape(d_rows.shape[1] // units, units * batch), kept.shape[1] // units
    for t in range(steps - 1, -1, -1):
        d_h, before = dh[t].reshape(-1), seen[t, inputs + 1 :].reshape(-1)
        if kind == LSTM:
            own = kept[t].reshape(of_kept, units * batch)
            lstm_step_back(own, c[t].reshape(-1), d_h, carried, dc[t].reshape(-1), passed, sums)
        elif kind == GRU:
            gru_step_back(kept[t].reshape(of_kept, units * batch), before, d_h, carried, passed, sums)
        else:
            simple_step_back(seen[t + 1, inputs + 1 :].reshape(-1), d_h, carried, sums)
        for k in range(len(blocks)):
            np.dot(blocks[k], d, below[k])
        dx[t] = to_x
        np.dot(seen[t], d.T, part)
        d_rows += part
    if kind == GRU:
        carried += passed
    return to_h, passed.reshape(units, batch)


@intrinsic  # type: ignore[untyped-decorator]
def widest(_: Any) -> tuple[Any, Callable[..., Any]]:
    """Tells LLVM that a function may use registers of 512 bits, where the processor has them: a quarter faster."""

    def mark(context: Any, builder: Any, *_: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # `add` of its own knows few names
        return context.get_dummy_value()

    return types.void(), mark


@stored
def lstm(z: Any, _: Any, h: Any) -> None:
    """z: in rows the halved sums of i, f and o, the sum of g, and c, which is replaced; h is filled in."""
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
    """z: in rows the halved sums of u and r, the sum of g and what r is multiplied with; h before and after."""
    widest()
    old, out = before.reshape(-1), after.reshape(-1)
    for k in range(out.size):
        (u, of_u), (r, of_r) = fraction(z[0, k]), fraction(z[1, k])
        g, of_g = fraction(z[2, k] + HALF * (of_r + r) * z[3, k] / of_r)
        out[k] = HALF * ((of_u + u) * old[k] * of_g + (of_u - u) * g) / (of_u * of_g)
