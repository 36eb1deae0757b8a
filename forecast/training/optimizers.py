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

    def rate(self, step: Any) -> Any:
        """The learning rate of update number `step`, counted from 0; a float32 tensor."""
        if self.shape == "constant":
            return tf.constant(self.peak, tf.float32)
        rising = max(1.0, self.steps // 20)
        t = tf.cast(step, tf.float32)
        share = tf.clip_by_value((t - rising) / max(1.0, self.steps - rising), 0.0, 1.0)
        return tf.where(t < rising, self.peak * (t + 1.0) / rising, self._falling(share))

    def _falling(self, share: Any) -> Any:
        """The rate when `share` of the way from the peak to the last step is gone."""
        if self.shape == "linear":
            return self.peak * (1.0 - share)
        if self.shape == "exponential":
            return self.peak * tf.exp(np.float32(np.log(LEAST)) * share)
        return 0.5 * self.peak * (1.0 + tf.cos(np.float32(np.pi) * share))


class Updater:
    """Adds the L2 penalty, clips the global norm, applies one rule with decoupled weight decay, writes the weights.

    The penalty is mu |w|^2 over all weights with mu = `l2`; the gradient g is scaled to g * clip / |g| where |g| is
    above `clip` (Pascanu, Mikolov & Bengio 2013). Adam (Kingma & Ba 2015) ignores `weight_decay`; with it, it is AdamW
    (Loshchilov & Hutter 2019). Momentum is Polyak's.
    """

    def __init__(
        self,
        variables: list[Any],
        schedule: Schedule,
        *,
        rule: Rule = "adamw",
        clip: float,
        weight_decay: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        self._variables = variables
        self._sizes = [int(np.prod(v.shape)) for v in variables]
        self._schedule, self._clip, self._l2 = schedule, clip, l2
        self._decay = 0.0 if rule == "adam" else weight_decay
        total = sum(self._sizes)
        self._first, self._second = (tf.Variable(tf.zeros(total), trainable=False) for _ in range(2))
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        rules: dict[Rule, Callable[[Any], Any]] = {
            "adam": self._adam,
            "adamw": self._adam,
            "sgd": lambda gradient: gradient,
            "momentum": self._momentum,
        }
        self._direction = rules[rule]

    def reset(self) -> None:
        """Forget all updates: moments and step count as before the first."""
        for variable in (self._first, self._second, self._step):
            variable.assign(tf.zeros_like(variable))

    def apply(self, gradients: list[Any]) -> None:
        """One update of all variables; a missing gradient counts as zero."""
        flat = tf.concat([self._flat(g, n) for g, n in zip(gradients, self._sizes, strict=True)], axis=0)
        weights = tf.concat([tf.reshape(v, [-1]) for v in self._variables], axis=0)
        if self._l2:
            flat = flat + 2.0 * self._l2 * weights
        norm = tf.norm(flat)
        flat = flat * tf.minimum(1.0, self._clip / (norm + 1e-12))
        rate = self._schedule.rate(self._step)
        change = rate * (self._direction(flat) + self._decay * weights)
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
