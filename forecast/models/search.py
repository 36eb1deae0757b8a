"""What a family lets the tuner choose, as data: no Optuna, no TensorFlow.

A search space (`Space`) names fields of a spec and gives each a `Dimension`: a `Choice` among
options, or a `LogUniform` number, e.g. `{"units": Choice((16, 32)), "learning_rate":
LogUniform(1e-4, 1e-2)}`. Families return one from `ModelSpec.space`; `forecast.backtest.studies`
draws from it. A user's own value outside of the space widens it (`widen_space`).

A name that is no dimension, and a value of another kind, are `InputError`s.

Another kind of range is a class beside `LogUniform`, and its draw in `backtest.studies`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from forecast.config.reading import PlainValue
from forecast.system.errors import InputError, suggest_known


@dataclass(frozen=True)
class Choice:
    """One of `options`: numbers, words, truth values or tuples of them, without an order between
    them.
    """

    options: Sequence[PlainValue]

    def __contains__(self, value: object) -> bool:
        """Whether `value` is one of the options."""
        return any(_plain(value) == _plain(option) for option in self.options)

    def widen_to(self, value: PlainValue) -> Choice:
        """Widened where `value` lies outside."""
        return self if value in self else Choice((*self.options, value))


@dataclass(frozen=True)
class LogUniform:
    """A positive real number whose logarithm is uniform, both ends included: for learning rates and
    penalties.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        """Raise `InputError` unless 0 < low <= high."""
        if not 0 < self.low <= self.high:
            raise InputError(f"{self}: wanted 0 < low <= high.")

    def __contains__(self, value: object) -> bool:
        """Whether `value` is a number from `low` to `high`."""
        return _is_number(value) and self.low <= value <= self.high

    def widen_to(self, value: PlainValue) -> LogUniform:
        """Widened where `value` lies outside."""
        if not _is_number(value):
            raise InputError(f"{value}: wanted a number, as {self} needs.")
        return LogUniform(min(self.low, value), max(self.high, value))


Dimension = Choice | LogUniform
Space = Mapping[str, Dimension]
Params = Mapping[str, PlainValue]
"""Field of a spec to the value that a trial gives it."""


def widen_space(space: Space, defaults: Params) -> dict[str, Dimension]:
    """`space` widened where a default lies outside, so that a user's own setting can always be the
    first trial.

    `InputError` for a name that is no dimension, or a value of the wrong kind.
    """
    for name in defaults:
        if name not in space:
            raise InputError(f"{name!r} is not in the search space.{suggest_known(name, space)}.")
    widened = dict(space)
    for name, value in defaults.items():
        widened[name] = space[name].widen_to(value)
    return widened


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: object) -> object:
    """YAML and JSON know lists only, so a tuple equals the list of the same members."""
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value
