"""The few array functions a cell is written in, and their NumPy form; the TensorFlow form lives in `networks.layers`.

A cell may also use `+ - *` and slicing (`x[:, a:b]`), which both kinds of array share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Array = Any
"""A NumPy array or a TensorFlow tensor: a cell does not care which."""


class Namespace(Protocol):
    """All functions keep the dtype of their arguments; `axis` is always the last."""

    def matmul(self, a: Array, b: Array) -> Array:
        """`a (..., m) @ b (m, n)`: `(..., n)`, whatever the number of leading axes."""

    def tanh(self, x: Array) -> Array: ...

    def sigmoid(self, x: Array) -> Array:
        """Stable for any finite x: no overflow, exactly 0 and 1 far out."""

    def relu(self, x: Array) -> Array: ...

    def softplus(self, x: Array) -> Array:
        """The smoothed ReLU `ln(1 + e^x)`, without overflow."""

    def concat(self, parts: Sequence[Array]) -> Array: ...

    def split(self, x: Array, parts: int) -> Sequence[Array]:
        """`parts` equal pieces of the last axis, in order."""

    def take(self, x: Array, columns: Sequence[int]) -> Array:
        """The given columns of the last axis, in the given order."""

    def stop_gradient(self, x: Array) -> Array:
        """x, through which no gradient flows."""

    def zeros(self, batch: Any, size: int, like: Array) -> Array:
        """Zeros `(batch, size)` in the dtype of `like`."""

    def rows(self, vector: Array, batch: Any) -> Array:
        """`vector (size,)` repeated in every row: `(batch, size)`."""


class NumpyNamespace:
    """The namespace of the reference loops, the export and the service without TensorFlow."""

    def matmul(self, a: Array, b: Array) -> Array:
        # One large product: NumPy would run a stack of small ones for more than two axes.
        return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[-1])

    def tanh(self, x: Array) -> Array:
        return np.tanh(x)

    def sigmoid(self, x: Array) -> Array:
        half = x.dtype.type(0.5)
        return half * np.tanh(half * x) + half

    def relu(self, x: Array) -> Array:
        return np.maximum(x, x.dtype.type(0))

    def softplus(self, x: Array) -> Array:
        return np.logaddexp(x, x.dtype.type(0))

    def concat(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=-1)

    def split(self, x: Array, parts: int) -> Sequence[Array]:
        size = x.shape[-1] // parts
        return [x[..., k * size : (k + 1) * size] for k in range(parts)]

    def take(self, x: Array, columns: Sequence[int]) -> Array:
        return x[..., list(columns)]

    def stop_gradient(self, x: Array) -> Array:
        return x

    def zeros(self, batch: Any, size: int, like: Array) -> Array:
        return np.zeros((batch, size), like.dtype)

    def rows(self, vector: Array, batch: Any) -> Array:
        return np.repeat(vector[None, :], batch, axis=0)


numpy_namespace = NumpyNamespace()


def activate(xp: Namespace, name: str, x: Array) -> Array:
    """The activation function `name` of x: tanh, sigmoid, relu, softplus or linear."""
    if name == "linear":
        return x
    return getattr(xp, name)(x)
