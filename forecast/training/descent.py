"""What a gradient step is made of, in TensorFlow: its settings, losses, learning-rate schedules and
update rules; `gradient` puts them together.

The rules work on one flat vector of all weights: the whole update is a dozen operations, however
many variables a network has. Keras applies its optimisers variable by variable, which for small
recurrent nets costs more to trace than the network itself. The rules are the same; a test holds
them equal to Keras's.

`Settings` says how a network is trained, `UpdateRule` changes its weights, `TensorMaths` writes
losses in TensorFlow.

The next update rule is a method of `UpdateRule`, a row of `rules` there and a name in
`config.models.OptimizerName`; the next point loss is not made here but in `networks.losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecast.config.models import (
    LearningRateSchedule,
    OptimizerName,
)
from forecast.networks.heads.base import Maths
from forecast.networks.layers import tf
from forecast.networks.layers.feedforward import TensorNamespace
from forecast.networks.losses import ForecastLoss

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-7
MOMENTUM = 0.9
EXPONENTIAL_END = 0.01
"""Where the exponential schedule ends, as a share of the peak."""


def learning_rate(
    schedule: LearningRateSchedule, step: Any, peak: Any, rising: Any, falling: Any
) -> Any:
    """A schedule's rate at update number `step`, counted from 0, as a float32 tensor; its numbers
    may be tensors.

    Constant, or a linear rise (a learning-rate warm-up) over `rising` updates and then a fall over
    `falling`: to zero along half a cosine (Loshchilov & Hutter 2017) or a line, or exponentially to
    `EXPONENTIAL_END` of the peak.
    """
    if schedule == "constant":
        return tf.convert_to_tensor(peak, tf.float32)
    t = tf.cast(step, tf.float32)
    # how much of the fall is over, 0 to 1
    share = tf.clip_by_value((t - rising) / falling, 0.0, 1.0)
    if schedule == "linear":
        left = 1.0 - share
    elif schedule == "exponential":
        left = tf.exp(np.float32(np.log(EXPONENTIAL_END)) * share)
    else:
        left = 0.5 * (1.0 + tf.cos(np.float32(np.pi) * share))
    return tf.where(t < rising, peak * (t + 1.0) / rising, peak * left)


@dataclass(frozen=True)
class Settings:
    """How one network is trained.

    `steps` is the budget, the same for every model; a training stops before where `patience` looks
    at the validation loss in a row bring no new best (None: half of all looks, once it has gained
    on its beginning, see `gradient.PATIENT_SHARE`). `evaluate_every`: steps between two looks.
    `rule`: the update rule; `clip`: the longest gradient; `l2`: a penalty on the squared weights,
    beside the decoupled `weight_decay`; `l1`: how far, in learning rates, a step draws the kernels
    of inputs to zero.
    """

    steps: int
    learning_rate: float
    batch_size: int
    weight_decay: float
    clip: float
    loss: ForecastLoss
    evaluate_every: int
    rule: OptimizerName = "adamw"
    schedule: LearningRateSchedule = "cosine"
    l1: float = 0.0
    l2: float = 0.0
    patience: int | None = None
    change_channels: tuple[int, ...] = ()
    """Channels to be zeroed at a chunk's first row, as they are at a window's (see
    `forecast.data.windows`).
    """

    @property
    def rule_numbers(self) -> dict[str, float]:
        """The numbers of the update rule by name, which `UpdateRule` holds in variables: peak, rise
        (the first twentieth of the steps) and fall of the schedule, the longest gradient, decoupled
        weight decay, the soft threshold, and mu of mu |w|^2.
        """
        rising = max(1.0, self.steps // 20)
        return {
            "peak": self.learning_rate,
            "rising": rising,
            "falling": max(1.0, self.steps - rising),
            "clip": self.clip,
            "decay": 0.0 if self.rule == "adam" else self.weight_decay,
            "l1": self.l1,
            "l2": self.l2,
        }

    def graph_settings(self) -> Settings:
        """These settings without what the traced graph does not depend on: trainings for which this
        is equal share a trace.
        """
        return replace(
            self,
            steps=0,
            learning_rate=0.0,
            weight_decay=0.0,
            clip=0.0,
            l1=0.0,
            l2=0.0,
            evaluate_every=0,
            patience=None,
        )


class UpdateRule:
    """Adds the L2 penalty, clips the global norm, applies one rule with decoupled weight decay,
    draws the kernels of inputs to zero, writes the weights.

    The penalty is mu |w|^2 over all weights with mu = `l2`; the gradient g is scaled to g * clip /
    |g| where |g| is above `clip` (Pascanu, Mikolov & Bengio 2013). Adam (Kingma & Ba 2015) ignores
    `weight_decay`; with it, it is AdamW (Loshchilov & Hutter 2019). Momentum is Polyak's. Last,
    an input kernel's w becomes sign(w) max(|w| - rate * l1, 0), the soft threshold of a penalty on
    |w| (Parikh & Boyd 2014): beside the rule, as the decay is, so Adam does not scale it.
    """

    def __init__(self, variables: list[Any], settings: Settings) -> None:
        """Keep the variables, with zero moments; the rule and the schedule are fixed here."""
        self._variables = variables
        self._schedule = settings.schedule
        self._sizes = [int(np.prod(v.shape)) for v in variables]
        self._reads_inputs = np.repeat([reads_inputs(v) for v in variables], self._sizes)
        total = sum(self._sizes)
        self._first_moment = tf.Variable(tf.zeros(total), trainable=False)
        self._second_moment = tf.Variable(tf.zeros(total), trainable=False)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        # variables, so that a trace serves other numbers
        self._numbers = {name: tf.Variable(0.0, trainable=False) for name in settings.rule_numbers}
        rules: dict[OptimizerName, Callable[[Any], Any]] = {
            "adam": self._adam,
            "adamw": self._adam,
            "sgd": tf.identity,
            "momentum": self._momentum,
        }
        self._direction = rules[settings.rule]
        self.reset(settings)

    def reset(self, settings: Settings) -> None:
        """Zero the moments and take the numbers of `settings`; rule and schedule stay."""
        for variable in (self._first_moment, self._second_moment, self._step):
            variable.assign(tf.zeros_like(variable))
        for name, value in settings.rule_numbers.items():
            self._numbers[name].assign(value)

    def apply(self, gradients: list[Any]) -> None:
        """One update of all variables; a missing gradient counts as zero."""
        sized = zip(gradients, self._sizes, strict=True)
        flat = tf.concat(
            [tf.zeros(n) if g is None else tf.reshape(g, [-1]) for g, n in sized], axis=0
        )
        weights = tf.concat([tf.reshape(v, [-1]) for v in self._variables], axis=0)
        numbers = self._numbers
        flat += 2.0 * numbers["l2"] * weights
        norm = tf.norm(flat)
        flat = flat * tf.minimum(1.0, numbers["clip"] / (norm + 1e-12))
        rate = learning_rate(
            self._schedule, self._step, numbers["peak"], numbers["rising"], numbers["falling"]
        )
        weights -= rate * (self._direction(flat) + numbers["decay"] * weights)
        threshold = rate * numbers["l1"] * self._reads_inputs
        weights -= tf.clip_by_value(weights, -threshold, threshold)
        for variable, part in zip(self._variables, tf.split(weights, self._sizes), strict=True):
            variable.assign(tf.reshape(part, variable.shape))
        self._step.assign_add(1)

    def _momentum(self, gradient: Any) -> Any:
        """The velocity, which stands in the first moment."""
        return self._first_moment.assign(MOMENTUM * self._first_moment + gradient)

    def _adam(self, gradient: Any) -> Any:
        """The step of Adam for a learning rate of 1, from the moments, which it moves."""
        t = tf.cast(self._step + 1, tf.float32)
        mean = self._first_moment.assign(BETA_1 * self._first_moment + (1.0 - BETA_1) * gradient)
        mean_square = self._second_moment.assign(
            BETA_2 * self._second_moment + (1.0 - BETA_2) * tf.square(gradient)
        )
        scale = tf.sqrt(1.0 - BETA_2**t) / (1.0 - BETA_1**t)
        return scale * mean / (tf.sqrt(mean_square) + EPSILON)


def reads_inputs(variable: Any) -> bool:
    """Whether it is the kernel of a layer's inputs: neither of its own state nor of a read-out."""
    layer, _, name = getattr(variable, "path", variable.name).rpartition("/")
    return name == "kernel" and layer != "readout"


class TensorMaths(TensorNamespace, Maths):
    """The array functions of `heads.base.Maths` in TensorFlow, float32: losses that are written
    with them have a gradient here.
    """

    log = staticmethod(tf.math.log)
    log1p = staticmethod(tf.math.log1p)
    lgamma = staticmethod(tf.math.lgamma)
    maximum = staticmethod(tf.maximum)
    minimum = staticmethod(tf.minimum)
    square = staticmethod(tf.square)

    def constant(self, values: np.ndarray) -> tf.Tensor:
        """`values` as a float32 tensor."""
        return tf.constant(values, tf.float32)

    def squeeze(self, x: tf.Tensor) -> tf.Tensor:
        """(...) from (..., 1)."""
        return tf.squeeze(x, -1)

    def cumsum(self, x: tf.Tensor) -> tf.Tensor:
        """Running sums along the last axis."""
        return tf.cumsum(x, axis=-1)

    def mean(self, x: tf.Tensor) -> tf.Tensor:
        """The mean over the last axis."""
        return tf.reduce_mean(x, axis=-1)

    def cross_entropy(self, logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """-ln softmax(logits)[index], (...)."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(index, tf.int32), logits)


TENSOR_MATHS = TensorMaths()
