"""Which rows train, validate and test: MATLAB's divide functions, block by block unless asked otherwise.

Each returns a function from the number of rows to a label for each of them. Random or interleaved rows of one series
share their delays, so the validation error flatters; `divideblock` is the default here, where narxnet's was random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from forecast.system.errors import InputError

Labels = npt.NDArray[np.int64]
Divide = Callable[[int], Labels]

UNUSED, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}


def divideblock(train: float = 0.7, validation: float = 0.15, test: float = 0.15) -> Divide:
    """The first rows train, the next validate, the last test."""
    shares = _shares(train, validation, test)
    return lambda rows: np.searchsorted(np.cumsum(shares)[:2] * rows, np.arange(rows), side="right").astype(np.int64)


def divideint(train: float = 0.7, validation: float = 0.15, test: float = 0.15) -> Divide:
    """The kinds take turns, as often as their shares say."""
    shares = _shares(train, validation, test)

    def divide(rows: int) -> Labels:
        due, labels = np.zeros(3), np.empty(rows, np.int64)
        for row in range(rows):
            due += shares
            labels[row] = np.argmax(due)
            due[labels[row]] -= 1
        return labels

    return divide


def dividerand(train: float = 0.7, validation: float = 0.15, test: float = 0.15, *, seed: int = 0) -> Divide:
    """Rows at random, equal for equal seeds."""
    block = divideblock(train, validation, test)
    return lambda rows: np.random.default_rng(seed).permutation(block(rows))


def divideind(train: Iterable[int], validation: Iterable[int] = (), test: Iterable[int] = ()) -> Divide:
    """Rows by their numbers, from 0; a row in none of them is not used."""
    chosen = {TRAIN: list(train), VALIDATION: list(validation), TEST: list(test)}

    def divide(rows: int) -> Labels:
        labels = np.full(rows, UNUSED)
        for label, numbers in chosen.items():
            if numbers and (min(numbers) < 0 or max(numbers) >= rows):
                raise InputError(
                    f"divideind: {NAMES[label]} rows reach from {min(numbers)} to {max(numbers)}; the experiment has "
                    f"rows 0 to {rows - 1}."
                )
            labels[numbers] = label
        return labels

    return divide


def dividetrain() -> Divide:
    """Every row trains."""
    return lambda rows: np.zeros(rows, np.int64)


def _shares(*shares: float) -> npt.NDArray[np.float64]:
    found = np.array(shares, dtype=float)
    if (found < 0).any() or found[0] == 0:
        raise InputError(f"Shares {shares} of train, validation and test; wanted none below 0 and train above it.")
    return found / found.sum()
