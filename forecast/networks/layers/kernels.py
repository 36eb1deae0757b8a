"""Steps of the LSTM, the GRU and the simple net, there and back, as machine code of numba: one pass over the values.

Arrays have the batch last and are float32. Imported where the first net is trained: with what was compiled before that
takes .3 s. Compiling takes 5 s. It is kept beside this file or, where that cannot be written, in the user's cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

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
HALF, ONE, END = np.float32(0.5), np.float32(1), np.float32(7.9053111)

# The rational function of Eigen's and TensorFlow's tanh, exact to 3e-7.
A, B, C, D, E, F, G, P, Q, R, S = np.array(
    [-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
     6.37261928875436e-04, 4.89352455891786e-03,
     1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03], np.float32)  # fmt: skip


@compiled
def tanh(x: Any) -> Any:
    x = END if x > END else (-END if x < -END else x)  # NaN stays
    s = x * x
    return x * ((((((A * s + B) * s + C) * s + D) * s + E) * s + F) * s + G) / (((P * s + Q) * s + R) * s + S)


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
