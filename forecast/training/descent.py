"""The parts of a gradient step in TensorFlow, for `gradient`: `Settings`, learning-rate schedules,
`UpdateRule`, and `TensorMaths` for losses.

The rules work on one flat vector of all weights, so an update is a dozen operations however many
variables a network has. Keras applies its optimisers variable by variable, which for small
recurrent networks costs more to trace than the network itself. A test holds the rules equal to
those of Keras. Another rule is a method of `UpdateRule` with a row in `rules`, and a name in
`config.models.OptimizerName`. Another schedule is a branch of `learning_rate` and a name in
`config.models.LearningRateSchedule`; every schedule but "constant" already rises over the first
twentieth of the steps (`Settings.rule_numbers`). Another point loss belongs in `networks.losses`. A
further option of an entry is a field of `config.models.Training` and, of the same name, of
`Settings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np

from forecast.config.models import LearningRateSchedule, OptimizerName
from forecast.networks.heads.base import Maths
from forecast.networks.layers import tf
from forecast.networks.layers.feedforward import TensorNamespace
from forecast.networks.losses import ForecastLoss

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-7
MOMENTUM = 0.9
EXPONENTIAL_END = 0.01
"""The last rate of the exponential schedule, as a share of the peak."""


def learning_rate(
    schedule: LearningRateSchedule, step: Any, peak: Any, n_rising: Any, n_falling: Any
) -> Any:
    """The learning rate at update number `step` (from 0) as a float32 tensor; the numbers may be
    tensors.

    Constant, or a linear warm-up over `n_rising` updates and then a fall over `n_falling` updates:
    to zero along half a cosine (Loshchilov & Hutter 2017) or a line, or exponentially to
    `EXPONENTIAL_END` of the peak.
    """
    if schedule == "constant":
        return tf.convert_to_tensor(peak, tf.float32)
    t = tf.cast(step, tf.float32)
    progress = tf.clip_by_value((t - n_rising) / n_falling, 0.0, 1.0)  # of the fall
    if schedule == "linear":
        share_of_peak = 1.0 - progress
    elif schedule == "exponential":
        share_of_peak = tf.exp(np.float32(np.log(EXPONENTIAL_END)) * progress)
    elif schedule == "cosine":
        share_of_peak = 0.5 * (1.0 + tf.cos(np.float32(np.pi) * progress))
    else:
        assert_never(schedule)
    return tf.where(t < n_rising, peak * (t + 1.0) / n_rising, peak * share_of_peak)


@dataclass(frozen=True)
class Settings:
    """How one network is trained.

    `steps`: the budget, the same for every model. `evaluate_every`: steps between two validations.
    `patience`: a training stops after so many validations in a row without a new best; None: after
    half of all validations, at least three, once it has improved on its beginning
    (`gradient.PATIENT_SHARE`, `LEAST_PATIENCE`); with folds, after that for each of them too.
    `rule`: the update rule. `clip`: the largest norm of a gradient. `l2`: the penalty on squared
    weights, beside the decoupled `weight_decay`. `l1`: by how many learning rates a step moves the
    kernels of inputs (`reads_inputs`) towards zero.
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
    """Channels that are set to zero at the first row of a chunk, as at that of a window
    (`forecast.data.windows`).
    """

    @property
    def rule_numbers(self) -> dict[str, float]:
        """The numbers that `UpdateRule` holds in variables, by name; a rate that is not constant
        rises for the first twentieth of the steps.
        """
        n_rising = max(1.0, self.steps // 20)
        return {
            "peak": self.learning_rate,
            "n_rising": n_rising,
            "n_falling": max(1.0, self.steps - n_rising),
            "clip": self.clip,
            "decay": 0.0 if self.rule == "adam" else self.weight_decay,
            "l1": self.l1,
            "l2": self.l2,
        }

    def graph_settings(self) -> Settings:
        """These settings with 0 for everything that the traced graph does not depend on: trainings
        for which they are equal share a trace.
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
    """Updates the weights: adds the L2 penalty, clips the gradient, applies the rule with decoupled
    weight decay, and moves the kernels of inputs towards zero.

    The penalty is `l2` |w|^2 over all weights. A gradient g with a norm above `clip` is scaled to
    that norm (Pascanu, Mikolov & Bengio 2013). `adam` (Kingma & Ba 2015) ignores `weight_decay`;
    `adamw` is Adam with it (Loshchilov & Hutter 2019). `momentum` is Polyak's. Last, a weight w of
    an input kernel becomes sign(w) max(|w| - rate * l1, 0), the soft threshold of a penalty on |w|
    (Parikh & Boyd 2014); like the weight decay it is not scaled by Adam.
    """

    def __init__(self, variables: list[Any], settings: Settings) -> None:
        """An update rule with zero moments for `variables`; rule and schedule stay fixed."""
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
        """Set the moments to zero, and the numbers to those of `settings`."""
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
            self._schedule, self._step, numbers["peak"], numbers["n_rising"], numbers["n_falling"]
        )
        weights -= rate * (self._direction(flat) + numbers["decay"] * weights)
        threshold = rate * numbers["l1"] * self._reads_inputs
        weights -= tf.clip_by_value(weights, -threshold, threshold)
        for variable, part in zip(self._variables, tf.split(weights, self._sizes), strict=True):
            variable.assign(tf.reshape(part, variable.shape))
        self._step.assign_add(1)

    def _momentum(self, gradient: Any) -> Any:
        """The new velocity, which is kept as the first moment."""
        return self._first_moment.assign(MOMENTUM * self._first_moment + gradient)

    def _adam(self, gradient: Any) -> Any:
        """The step of Adam for a learning rate of 1; updates both moments."""
        t = tf.cast(self._step + 1, tf.float32)
        mean = self._first_moment.assign(BETA_1 * self._first_moment + (1.0 - BETA_1) * gradient)
        mean_square = self._second_moment.assign(
            BETA_2 * self._second_moment + (1.0 - BETA_2) * tf.square(gradient)
        )
        scale = tf.sqrt(1.0 - BETA_2**t) / (1.0 - BETA_1**t)
        return scale * mean / (tf.sqrt(mean_square) + EPSILON)


def reads_inputs(variable: Any) -> bool:
    """Whether `variable` is the kernel of a layer's inputs, in whatever depth; not of its own state
    or of the read-out.
    """
    layer, _, name = getattr(variable, "path", variable.name).rpartition("/")
    return name == "kernel" and layer != "readout"


class TensorMaths(TensorNamespace, Maths):
    """The array functions of `heads.base.Maths` in TensorFlow (float32), for losses with a
    gradient.
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
