"""What a family lets the tuner choose, as data: no Optuna, no TensorFlow.

A search space (`Space`) names fields of a spec and gives each a `Dimension`: a `Choice` among
options, or a `LogUniform` number, e.g. `{"units": Choice((16, 32)), "learning_rate":
LogUniform(1e-4, 1e-2)}`. Families return one from `ModelSpec.space`; `forecast.backtest.studies`
draws from it. A user's own value outside of the space widens it (`widen_space`).

Another kind of range is a class beside `LogUniform`, and its draw in `backtest.studies`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecast.config.reading import PlainValue


@dataclass(frozen=True)
class Choice:
    """One of `options`: numbers, words, truth values or tuples of them, without an order between
    them.
    """

    options: Sequence[PlainValue]

    def widen_to(self, value: PlainValue) -> Choice:
        """Widened where `value` lies outside."""
        is_option = _plain(value) in map(_plain, self.options)
        return self if is_option else Choice((*self.options, value))


@dataclass(frozen=True)
class LogUniform:
    """A positive real number whose logarithm is uniform, both ends included: for learning rates and
    penalties.
    """

    low: float
    high: float

    def widen_to(self, value: Any) -> LogUniform:
        """Widened where `value`, a number, lies outside."""
        return LogUniform(min(self.low, value), max(self.high, value))


Dimension = Choice | LogUniform
Space = Mapping[str, Dimension]
Params = Mapping[str, PlainValue]
"""Field of a spec to the value that a trial gives it."""


def widen_space(space: Space, defaults: Params) -> dict[str, Dimension]:
    """`space` widened where a default lies outside, so that a user's own setting can always be the
    first trial.
    """
    return {**space, **{name: space[name].widen_to(value) for name, value in defaults.items()}}


def _plain(value: object) -> object:
    """YAML and JSON know lists only, so a tuple equals the list of the same members."""
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value
