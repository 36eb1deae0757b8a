"""Search spaces for tuning, as data without Optuna.

A `Space` gives fields of a spec a `Dimension` each: a `Choice` among options, or a `LogUniform`
number, e.g. `{"units": Choice((16, 32)), "learning_rate": LogUniform(1e-4, 1e-2)}`. Families return
one from `ModelSpec.space`; `forecast.backtest.studies` draws trials from it. A setting of the user
that lies outside widens the space (`widen_space`).

A dimension is a field of the spec itself, with plain values, so no option inside of `training`
(rule and schedule of the gradient steps) is tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecast.config.reading import PlainValue


@dataclass(frozen=True)
class Choice:
    """One of `options`, which have no order: numbers, words, booleans or tuples of them."""

    options: Sequence[PlainValue]

    def widen_to(self, value: PlainValue) -> Choice:
        """This choice with `value` as a further option where it is none yet."""
        is_option = _plain(value) in map(_plain, self.options)
        return self if is_option else Choice((*self.options, value))


@dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform, both ends included: for learning rates and
    penalties.
    """

    low: float
    high: float

    def widen_to(self, value: Any) -> LogUniform:
        """This range, widened to `value` where it lies outside."""
        return LogUniform(min(self.low, value), max(self.high, value))


Dimension = Choice | LogUniform
Space = Mapping[str, Dimension]
Params = Mapping[str, PlainValue]
"""By field of a spec, the value that a trial gives it."""


def widen_space(space: Space, defaults: Params) -> dict[str, Dimension]:
    """`space` widened so that it has all `defaults`, because these are the first trial."""
    return {**space, **{name: space[name].widen_to(value) for name, value in defaults.items()}}


def _plain(value: object) -> object:
    """`value` with tuples turned into lists, as YAML and JSON know lists only."""
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value
