"""What a family lets the tuner choose, as data: no Optuna, no TensorFlow.

A search space is `dict[str, Dimension]`, e.g. `{"units": Choice((16, 32)), "learning_rate": LogUniform(1e-4, 1e-2)}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeGuard

from forecast.system.errors import InputError, nearest


@dataclass(frozen=True)
class Choice:
    """One of `options`: numbers, words, truth values or tuples of them, without an order between them."""

    options: Sequence[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or len({repr(option) for option in self.options}) < len(self.options):
            raise InputError(f"Choice({self.options!r}): wanted at least one option, each of them once.")

    def __contains__(self, value: object) -> bool:
        return any(_plain(value) == _plain(option) for option in self.options)

    def including(self, value: Any) -> Choice:
        return self if value in self else Choice((*self.options, value))


@dataclass(frozen=True)
class _Real:
    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def including(self, value: Any) -> Self:
        _require(value, _is_number(value), f"a number, as {self} needs")
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class Uniform(_Real):
    """A real number between `low` and `high`, both included."""

    def __post_init__(self) -> None:
        _require(self, self.low <= self.high, "low <= high")


@dataclass(frozen=True)
class LogUniform(_Real):
    """A positive real number whose logarithm is uniform: for learning rates and penalties."""

    def __post_init__(self) -> None:
        _require(self, 0 < self.low <= self.high, "0 < low <= high")


@dataclass(frozen=True)
class Integer:
    """A whole number: `low`, `low + step`, ... up to `high`; with `log`, small numbers as likely as large ones."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        _require(self, self.low <= self.high and self.step >= 1, "low <= high and step >= 1")
        _require(self, not self.log or (self.low >= 1 and self.step == 1), "low >= 1 and step = 1 with log")
        _require(self, (self.high - self.low) % self.step == 0, "high = low + a multiple of step")

    def __contains__(self, value: object) -> bool:
        return _is_whole(value) and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def including(self, value: Any) -> Integer:
        """A value between two steps makes the steps finer."""
        _require(value, _is_whole(value), f"a whole number, as {self} needs")
        step = math.gcd(self.step, abs(value - self.low))
        return Integer(min(self.low, value), max(self.high, value), step, self.log)


Dimension = Choice | Uniform | LogUniform | Integer
Space = Mapping[str, Dimension]


def including(space: Space, defaults: Mapping[str, Any]) -> dict[str, Dimension]:
    """`space` widened where a default lies outside, so that a user's own setting can always be the first trial.

    `InputError` for a name that is no dimension, or a value of the wrong kind.
    """
    for name in defaults:
        if name not in space:
            raise InputError(f"{name!r} is not in the search space.{nearest(name, space)}.")
    return {name: space[name].including(defaults[name]) if name in defaults else space[name] for name in space}


def _require(found: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise InputError(f"{found}: wanted {wanted}.")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(value: object) -> object:
    """YAML and JSON know lists only, so a tuple equals the list of the same members."""
    return [_plain(member) for member in value] if isinstance(value, list | tuple) else value
