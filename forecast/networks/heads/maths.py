"""The few array functions a head's loss is written in, in NumPy; `forecast.training.descent` has them in TensorFlow.

A loss may also use `+ - * /` and slicing, which both kinds of array share, so that each equation stands once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy import special

Array = Any
"""A NumPy array or a TensorFlow tensor."""


class Maths(Protocol):
    """All functions keep the dtype of their arguments; an axis is always the last."""

    def constant(self, values: np.ndarray) -> Array:
        """`values` as an array of this kind."""

    def softplus(self, x: Array) -> Array:
        """ln(1 + e^x), without overflow."""

    def log(self, x: Array) -> Array: ...

    def log1p(self, x: Array) -> Array: ...

    def lgamma(self, x: Array) -> Array: ...

    def maximum(self, a: Array, b: Array) -> Array: ...

    def minimum(self, a: Array, b: Array) -> Array: ...

    def cumsum(self, x: Array) -> Array: ...

    def concat(self, parts: Sequence[Array]) -> Array: ...

    def mean(self, x: Array) -> Array: ...

    def cross_entropy(self, logits: Array, index: Array) -> Array:
        """-ln softmax(logits)[index]: logits (..., n), index (...) whole numbers in any dtype; result (...)."""


class NumpyMaths:
    """For validation losses and tests, in float64."""

    def constant(self, values: np.ndarray) -> Array:
        return values

    def softplus(self, x: Array) -> Array:
        return np.logaddexp(x, 0.0)

    def log(self, x: Array) -> Array:
        return np.log(x)

    def log1p(self, x: Array) -> Array:
        return np.log1p(x)

    def lgamma(self, x: Array) -> Array:
        return special.gammaln(x)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def minimum(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def cumsum(self, x: Array) -> Array:
        return np.cumsum(x, axis=-1)

    def concat(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=-1)

    def mean(self, x: Array) -> Array:
        return np.mean(x, axis=-1)

    def cross_entropy(self, logits: Array, index: Array) -> Array:
        chosen = np.take_along_axis(logits, np.asarray(index, dtype=int)[..., None], axis=-1)[..., 0]
        return special.logsumexp(logits, axis=-1) - chosen


numpy_maths = NumpyMaths()


def inverse_softplus(y: float) -> float:
    """x with softplus(x) = y > 0: what to add to a raw parameter so that zero stands for y."""
    return float(np.log(np.expm1(y)))
