"""One experiment: what went in and what came out, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecast.system.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Experiment:
    """u (T, I), None without inputs; y (T, O), NaN where missing; one column may be given as (T,).

    `weight` (T, O) or (T,): MATLAB's EW, what each squared error counts. Several experiments are several sequences:
    each begins with its own first rows, and no delay reaches from one into another.
    """

    u: Array
    y: Array
    weight: Array | None = None

    def __init__(self, u: npt.ArrayLike | None, y: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> None:
        outputs = columns("y", y)
        inputs = np.zeros((len(outputs), 0)) if u is None else columns("u", u)
        if len(inputs) != len(outputs):
            raise InputError(f"u has {len(inputs)} rows and y has {len(outputs)}; wanted one of each for every time.")
        refuse_gaps(inputs)
        if not np.isfinite(outputs).any(axis=0).all():
            raise InputError("A column of y has no observed value at all. Leave it out.")
        object.__setattr__(self, "u", inputs)
        object.__setattr__(self, "y", outputs)
        object.__setattr__(self, "weight", None if weight is None else _weights(weight, outputs))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def counted(self) -> Array:
        """(T, O): what each squared error counts, 0 where y is missing."""
        observed = np.isfinite(self.y).astype(np.float64)
        return observed if self.weight is None else observed * self.weight


def columns(name: str, values: npt.ArrayLike) -> Array:
    """(T,) or (T, columns) as (T, columns) float64; `InputError` for other ranks, for text and for infinite values."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"`{name}` is no table of numbers ({error}). Give one row of numbers per time.") from error
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2:
        raise InputError(
            f"`{name}` has shape {found.shape}; wanted (rows, columns) or (rows,). Give several sequences as several "
            "experiments."
        )
    if np.isinf(found).any():
        raise InputError(f"`{name}` has infinite values; wanted numbers, or NaN for a missing y. Clean it first.")
    return found


def refuse_gaps(u: Array) -> None:
    """`InputError` that names the first missing input."""
    if np.isnan(u).any():
        row, column = np.argwhere(np.isnan(u))[0]
        raise InputError(
            f"u is missing in row {row}, column {column}; only y may have gaps. Fill it (MATLAB: fixunknowns), or cut "
            "the experiment there."
        )


def _weights(weight: npt.ArrayLike, y: Array) -> Array:
    found = columns("weight", weight)
    if found.shape == (len(y), 1):
        found = np.repeat(found, y.shape[1], axis=1)
    if found.shape != y.shape or np.isnan(found).any() or (found < 0).any():
        raise InputError(f"`weight` has shape {found.shape}; wanted {y.shape} or ({len(y)},), numbers from 0 up.")
    return found
