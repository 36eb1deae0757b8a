"""Gradient rules on one flat vector: the whole update is a dozen operations, however many weights a network has.

Keras applies its optimisers variable by variable, which for small recurrent nets costs more to trace than the
network itself. The rules are the same; a test holds them equal to Keras's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from forecast.config.training import Rule, Shape

BETA_1, BETA_2, EPSILON, MOMENTUM = 0.9, 0.999, 1e-7, 0.9
LEAST = 0.01
"""Of the peak: where the exponential schedule ends."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over `steps` updates: `constant`, or a linear rise over their first twentieth and then a fall.

    It falls to zero along half a cosine (Loshchilov & Hutter 2017) or a line, or exponentially to `LEAST` of the peak.
    """

    peak: float
    steps: int
    shape: Shape = "cosine"

    @property
    def rising(self) -> float:
        """The updates of the rise."""
        return max(1.0, self.steps // 20)

    @property
    def falling(self) -> float:
        """The updates from the peak to the end."""
        return max(1.0, self.steps - self.rising)

    def rate(self, step: Any) -> Any:
        """The learning rate of update number `step`, counted from 0; a float32 tensor."""
        return _rate(self.shape, step, self.peak, self.rising, self.falling)


def _rate(shape: Shape, step: Any, peak: Any, rising: Any, falling: Any) -> Any:
    """Of a schedule whose numbers may be tensors."""
    if shape == "constant":
        return tf.convert_to_tensor(peak, tf.float32)
    t = tf.cast(step, tf.float32)
    share = tf.clip_by_value((t - rising) / falling, 0.0, 1.0)
    return tf.where(t < rising, peak * (t + 1.0) / rising, peak * _left(shape, share))


def _left(shape: Shape, share: Any) -> Any:
    """Of the peak, when `share` of the way to the last step is gone."""
    if shape == "linear":
        return 1.0 - share
    if shape == "exponential":
        return tf.exp(np.float32(np.log(LEAST)) * share)
    return 0.5 * (1.0 + tf.cos(np.float32(np.pi) * share))


@dataclass(frozen=True)
class Descent:
    """The numbers of a gradient rule: its schedule, the longest gradient, decoupled decay, and mu of mu |w|^2."""

    schedule: Schedule
    clip: float
    weight_decay: float = 0.0
    l2: float = 0.0


class Updater:
    """Adds the L2 penalty, clips the global norm, applies one rule with decoupled weight decay, writes the weights.

    The penalty is mu |w|^2 over all weights with mu = `l2`; the gradient g is scaled to g * clip / |g| where |g| is
    above `clip` (Pascanu, Mikolov & Bengio 2013). Adam (Kingma & Ba 2015) ignores `weight_decay`; with it, it is AdamW
    (Loshchilov & Hutter 2019). Momentum is Polyak's.
    """

    def __init__(self, variables: list[Any], first: Descent, *, rule: Rule = "adamw") -> None:
        self._variables, self._shape, self._rule = variables, first.schedule.shape, rule
        self._sizes = [int(np.prod(v.shape)) for v in variables]
        self._penalised = bool(first.l2)
        total = sum(self._sizes)
        self._first, self._second = (tf.Variable(tf.zeros(total), trainable=False) for _ in range(2))
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        # variables, so that a trace serves other numbers
        self._numbers = {name: tf.Variable(0.0, trainable=False) for name in self._values(first)}
        rules: dict[Rule, Callable[[Any], Any]] = {
            "adam": self._adam,
            "adamw": self._adam,
            "sgd": lambda gradient: gradient,
            "momentum": self._momentum,
        }
        self._direction = rules[rule]
        self.begin(first)

    def begin(self, descent: Descent) -> None:
        """Forget all updates and go on with these numbers. The schedule's shape, and whether there is a penalty, stay
        those of the first."""
        for variable in (self._first, self._second, self._step):
            variable.assign(tf.zeros_like(variable))
        for name, value in self._values(descent).items():
            self._numbers[name].assign(value)

    def _values(self, descent: Descent) -> dict[str, float]:
        schedule = descent.schedule
        return {
            "peak": schedule.peak,
            "rising": schedule.rising,
            "falling": schedule.falling,
            "clip": descent.clip,
            "decay": 0.0 if self._rule == "adam" else descent.weight_decay,
            "l2": descent.l2,
        }

    def apply(self, gradients: list[Any]) -> None:
        """One update of all variables; a missing gradient counts as zero."""
        flat = tf.concat([self._flat(g, n) for g, n in zip(gradients, self._sizes, strict=True)], axis=0)
        weights = tf.concat([tf.reshape(v, [-1]) for v in self._variables], axis=0)
        numbers = self._numbers
        if self._penalised:
            flat = flat + 2.0 * numbers["l2"] * weights
        norm = tf.norm(flat)
        flat = flat * tf.minimum(1.0, numbers["clip"] / (norm + 1e-12))
        rate = _rate(self._shape, self._step, numbers["peak"], numbers["rising"], numbers["falling"])
        change = rate * (self._direction(flat) + numbers["decay"] * weights)
        for variable, part in zip(self._variables, tf.split(change, self._sizes), strict=True):
            variable.assign_sub(tf.reshape(part, variable.shape))
        self._step.assign_add(1)

    def _flat(self, gradient: Any, size: int) -> Any:
        return tf.zeros(size) if gradient is None else tf.reshape(gradient, [-1])

    def _adam(self, gradient: Any) -> Any:
        t = tf.cast(self._step + 1, tf.float32)
        first = self._first.assign(BETA_1 * self._first + (1.0 - BETA_1) * gradient)
        second = self._second.assign(BETA_2 * self._second + (1.0 - BETA_2) * tf.square(gradient))
        scale = tf.sqrt(1.0 - BETA_2**t) / (1.0 - BETA_1**t)
        return scale * first / (tf.sqrt(second) + EPSILON)

    def _momentum(self, gradient: Any) -> Any:
        return self._first.assign(MOMENTUM * self._first + gradient)
