"""What a family lets the tuner choose, as data: no Optuna, no TensorFlow.

A search space is `dict[str, Dimension]`, e.g. `{"units": Choice((16, 32)), "learning_rate": LogUniform(1e-4, 1e-2)}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecast.errors import InputError, closest, quote_names


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


@dataclass(frozen=True)
class Uniform:
    """A real number between `low` and `high`, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _require(self, self.low <= self.high, "low <= high")

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class LogUniform:
    """A positive real number whose logarithm is uniform: for learning rates and penalties."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _require(self, 0 < self.low <= self.high, "0 < low <= high")

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


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
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0


Dimension = Choice | Uniform | LogUniform | Integer
Space = Mapping[str, Dimension]


def check_inside(space: Space, params: Mapping[str, Any], *, whose: str) -> None:
    """`InputError` unless every name in `params` is a dimension of `space` and its value lies inside."""
    for name, value in params.items():
        if name not in space:
            raise InputError(
                f"{whose}: {name!r} is not in the search space.{closest(name, space)} Known: {quote_names(space)}."
            )
        if value not in space[name]:
            raise InputError(
                f"{whose}: {name} = {value!r} lies outside {space[name]}. Widen it or choose a value inside."
            )


def _require(dimension: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise InputError(f"{dimension}: wanted {wanted}.")


def _plain(value: object) -> object:
    """YAML and JSON know lists only, so a tuple equals the list of the same members."""
    return [_plain(member) for member in value] if isinstance(value, list | tuple) else value
