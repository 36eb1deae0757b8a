"""Gradient descent: blocks of updates, each followed by a validation that decides which weights are
kept.

Many updates run inside one traced function, so Python costs nothing per step. Every chunk begins
from a reset state, its burn-in fills the memory and is not counted.

The step with the lowest validation loss is kept, step 0 (the skip alone) included; a second fit
without validation takes a given number of steps. A training without any finite loss, or that
diverged before it improved, is a `ModelError`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from forecast.networks.description import Network
from forecast.networks.inference.steppers import CACHE_LINE
from forecast.networks.layers import keras, tf
from forecast.networks.layers.assemble import assemble, get_weights, set_seed, set_weights
from forecast.networks.weights import initialise
from forecast.system.errors import ModelError
from forecast.training.chunks import Chunks, Curve, TrainedNetwork, Weights
from forecast.training.descent import TENSOR_MATHS, Settings, UpdateRule

PATIENT_SHARE = 0.5
"""The share of the looks at validation after which, in a row without a new best, a training stops,
if it had one behind its beginning. So no fit of the packaged datasets has another best step; folds
of seven choose otherwise (docs/research/seconds.md).
"""
LEAST_PATIENCE = 3
DIVERGED_LOSS = 1e5
"""Times the error before training: targets are scaled, so a loss is of order one."""

ValidationLosses = Callable[[Weights], float | np.ndarray]
"""The loss that decides; of an array the first, and each further one decides on weights of its own.
"""
MAX_TRACES = 8
"""Traced trainings in memory: the trials of a study, which the network's other ranking goes through
again.
"""
BatchInputs = dict[str, tf.Tensor]
"""The inputs of one step: past (B, T, C) and, as needed, future (B, T + H, F)."""


class BestStep(NamedTuple):
    """The step with the lowest of one validation loss so far, and the weights after it."""

    loss: float
    step: int
    weights: Weights


_traces: dict[str, Updates] = {}
"""The `MAX_TRACES` updates that were used last, by all that their graphs depend on."""


def fit(
    network: Network,
    chunks: Chunks,
    validate: ValidationLosses | None,
    settings: Settings,
    *,
    seed: int,
    initial: Weights | None = None,
    stop: int = 0,
) -> TrainedNetwork:
    """Train from the seed (or from `initial`) and keep the best validation step, step 0 (the skip
    alone) included.

    For every further loss that `validate` gives the step with the lowest is kept as well.
    Stops early when the loss explodes or is no longer finite, and says so in `note`, and where its
    `patience` is used up. `ModelError` when no validation loss ever was finite, and when the
    training diverged without having improved on its beginning once. Without `validate` the first
    `stop` updates are taken, and the weights after them are kept.
    """
    # those of all steps, so that a training that is stopped early has drawn the same
    starts = chunks.random_starts(settings.steps, settings.batch_size, seed)
    with _reuse_trace(network, chunks, settings) as updates:
        weights = initialise(network, seed) if initial is None else initial
        updates.begin(seed, weights, chunks, settings)
        if validate is None:
            return _take_steps(updates, starts[:stop])
        return _descend(updates, starts, validate, settings)


def _take_steps(updates: Updates, starts: np.ndarray) -> TrainedNetwork:
    """The weights after an update for each row of `starts`; `ModelError` where one is not
    finite.
    """
    stop = len(starts)
    if stop:
        updates.take_steps(tf.constant(starts))
    weights = get_weights(updates.model)
    if not all(np.isfinite(w).all() for w in weights.values()):
        raise ModelError(
            f"Training on train and validation rows diverged in {stop} steps. Lower"
            " `learning_rate`."
        )
    return TrainedNetwork(weights, stop, float("nan"), [])


def _descend(
    updates: Updates,
    starts: np.ndarray,
    validate: ValidationLosses,
    settings: Settings,
) -> TrainedNetwork:
    """`evaluate_every` updates at a time, and the validation losses after each block of them, until
    the steps are used up, the choice by each loss is made, or the training has diverged; the best
    weights, see `fit`. Raises `ModelError` as `fit` says.
    """
    curve: Curve = []
    edges = [*range(0, settings.steps, settings.evaluate_every), settings.steps]
    best_by_loss: list[BestStep | None] = []
    n_waited: list[int] = []

    def is_settled(number: int) -> bool:
        """Whether the choice by this loss is made."""
        return _is_patience_over(settings, len(edges) - 1, best_by_loss[number], n_waited[number])

    note = ""
    train_loss = float("nan")
    for start, stop in [(0, 0), *itertools.pairwise(edges)]:  # (0, 0): before training
        if stop:
            train_loss = float(updates.take_steps(tf.constant(starts[start:stop])))
        weights = get_weights(updates.model)
        losses = [float(loss) for loss in np.atleast_1d(validate(weights))]
        curve.append((stop, train_loss, losses[0]))
        if not n_waited:
            best_by_loss = [None for _ in losses]
            n_waited = [0 for _ in losses]
        for number, loss in enumerate(losses):
            # other losses, which know what this fold must not, shall not give it further looks
            if number and is_settled(number):
                continue
            best = best_by_loss[number]
            best_by_loss[number] = _lower_loss(best, BestStep(loss, stop, weights))
            n_waited[number] = n_waited[number] + 1 if best_by_loss[number] is best else 0
        note = _stop_reason(curve)
        if note or all(map(is_settled, range(len(losses)))):
            break
    best = best_by_loss[0]
    if best is None:
        raise ModelError(
            f"No finite validation loss up to step {curve[-1][0]}: the network diverged from its"
            " first weights on. Lower `learning_rate`, or look for extreme values in the data."
        )
    if best.step == 0 and _has_diverged(curve):
        raise ModelError(
            f"Training diverged: its loss was {curve[-1][1]:.3g} at step {curve[-1][0]}, and no"
            " step improved on the skip alone. Lower `learning_rate` (now"
            f" {settings.learning_rate:g})."
        )
    best_by_fold = tuple((fold_best or best)[1:] for fold_best in best_by_loss[1:])
    return TrainedNetwork(best.weights, best.step, best.loss, curve, note, best_by_fold)


def _is_patience_over(
    settings: Settings, n_looks: int, best: BestStep | None, n_waited: int
) -> bool:
    """Whether `n_waited` looks since the best step end the choice by a loss, in a training that has
    `n_looks` after its beginning. What has not gained on its beginning goes on, unless the
    settings have a patience.
    """
    if settings.patience is not None:
        return n_waited >= settings.patience
    has_gained = best is not None and best.step > 0
    return has_gained and n_waited >= max(LEAST_PATIENCE, int(PATIENT_SHARE * n_looks))


def _lower_loss(best: BestStep | None, candidate: BestStep) -> BestStep | None:
    """The one with the lower finite loss; the earlier of two equal ones; None where none is
    finite.
    """
    is_lower = np.isfinite(candidate.loss) and (best is None or candidate.loss < best.loss)
    return candidate if is_lower else best


@contextmanager
def _reuse_trace(network: Network, chunks: Chunks, settings: Settings) -> Iterator[Updates]:
    """The updates of this training: a new trace, or one of an earlier training that differs in
    what is no part of the graph, for a trace costs as much as 40 steps. Taken out of `_traces`
    while they are used: no second training, in a thread or inside this one's validation, may touch
    them.
    """
    shapes = [chunks.past.shape[1:], chunks.future.shape[1:], chunks.target.shape[1:]]
    data = (shapes, chunks.length, chunks.burn_in, chunks.offset is not None)
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # a head's constants in full
        key = repr((network, data, settings.graph_settings()))
    updates = _traces.pop(key, None)
    if updates is None:
        # or the graphs of earlier trials stay referenced
        keras.backend.clear_session(free_memory=False)
        updates = Updates(network, chunks, settings)
    try:
        yield updates
    finally:
        updates.data.empty()
        _traces[key] = updates
        while len(_traces) > MAX_TRACES:
            del _traces[next(iter(_traces))]


def _stop_reason(curve: Curve) -> str:
    """Why training cannot go on after its last validation; empty when it can."""
    step, loss, error = curve[-1]
    if step and not (np.isfinite(loss) and np.isfinite(error)):
        return f"the loss was no longer finite at step {step}; the best weights before it are kept"
    if step and _has_diverged(curve):
        return (
            f"the loss exploded to {loss:.3g} at step {step}; the best weights before it are kept"
        )
    return ""


def _has_diverged(curve: Curve) -> bool:
    """Whether the last training loss is not finite or beyond anything scaled targets can cost."""
    loss = curve[-1][1]
    return len(curve) > 1 and not loss < DIVERGED_LOSS * max(1.0, curve[0][2])


class Updates:
    """The updates of one training, traced once: `begin` takes other weights, another seed, other
    numbers of the rule or data of another length without a second trace.
    """

    def __init__(self, network: Network, chunks: Chunks, settings: Settings) -> None:
        """Build the model of `network` with the weights of seed 0, and its compiled passes."""
        # A network that needs its whole window forecasts from the last step of a chunk alone.
        read = chunks.length - chunks.burn_in if network.every_step else 1
        self.model = assemble(network, seed=0, read=read)
        self.data = _BatchData(chunks, network, settings, read)
        self._updater = UpdateRule(self.model.trainable_variables, settings)
        starts = tf.TensorSpec((None, settings.batch_size), tf.int32)
        self.take_steps = tf.function(self._take_steps, input_signature=[starts], autograph=False)

    def begin(self, seed: int, weights: Weights, chunks: Chunks, settings: Settings) -> None:
        """Set these weights, seed, data and numbers of the rule, and forget earlier updates."""
        self.data.fill(chunks)
        set_weights(self.model, weights)
        set_seed(self.model, seed)
        self._updater.reset(settings)

    def _take_steps(self, starts: tf.Tensor) -> tf.Tensor:
        """The mean loss of as many steps as `starts` (steps, B) has rows, the first rows of the
        chunks of each, in a loop of the graph.
        """
        steps = tf.shape(starts)[0]

        def is_left(i: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return i < steps

        def step(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """Step number i; `total`: the sum of the losses up to it."""
            return i + 1, total + self._update(starts[i])

        start = tf.constant(0), tf.constant(0.0)
        _, total = tf.while_loop(is_left, step, start, parallel_iterations=1)
        return total / tf.cast(steps, tf.float32)

    def _update(self, starts: tf.Tensor) -> tf.Tensor:
        """Change the weights once, by the chunks from `starts` (B,) on; the loss before the
        change.
        """
        with tf.GradientTape() as tape:
            loss = self.data.loss(starts, self.model(self.data.inputs(starts), training=True))
        self._updater.apply(tape.gradient(loss, self.model.trainable_variables))
        return loss


class _BatchData:
    """The chunks, as variables so that the traced graph does not depend on them; gives the inputs
    of a batch and its loss.
    """

    def __init__(
        self, chunks: Chunks, network: Network, settings: Settings, n_supervised: int
    ) -> None:
        """Variables without rows, of the columns that `chunks` has; so many of the last steps of a
        chunk carry a loss.
        """
        self.variables: dict[str, tf.Variable] = {}
        for name in ("past", "future", "target", "sample_weight", "offset"):
            array = getattr(chunks, name)
            if array is not None:
                self.variables[name] = tf.Variable(
                    array[:0], trainable=False, shape=(None, *array.shape[1:])
                )
        self.rows = tf.range(chunks.length)
        self.ahead = tf.range(chunks.length + network.shapes.horizon)
        mask = np.ones((1, chunks.length, network.shapes.channels), dtype=np.float32)
        mask[:, 0, list(settings.change_channels)] = 0.0
        self.first_row_mask = tf.constant(mask)
        self.n_supervised = n_supervised
        self.forecast_loss = settings.loss

    def fill(self, chunks: Chunks) -> None:
        """Take these chunks instead, of any number of rows: where an array begins on a line of the
        cache its memory, else a copy, since TensorFlow aborts on any other memory.
        """
        for name, variable in self.variables.items():
            array = getattr(chunks, name)
            if array.ctypes.data % CACHE_LINE == 0:
                array = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
            variable.assign(array)

    def empty(self) -> None:
        """No rows: traces are kept, and of many series the data are most of the memory."""
        for variable in self.variables.values():
            variable.assign(tf.zeros((0, *variable.shape[1:]), variable.dtype))

    def inputs(self, starts: tf.Tensor) -> BatchInputs:
        """The inputs of the network for one step: the rows of its chunks."""
        inputs = {"past": self._gather("past", starts, self.rows) * self.first_row_mask}
        if self.variables["future"].shape[-1]:
            inputs["future"] = self._gather("future", starts, self.ahead)
        return inputs

    def _gather(self, name: str, starts: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The `rows` of each chunk of one step, counted from the chunk's first."""
        # a variable that is gathered from copies memory that is not its own; one that is read, not
        array = self.variables[name].read_value()
        return tf.gather(array, starts[:, None] + rows[None, :])

    def loss(self, starts: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """The mean loss of one step over the known targets of its chunks."""
        rows = self.rows[-self.n_supervised :]
        target = self._gather("target", starts, rows)
        weight = tf.cast(self._gather("sample_weight", starts, rows), tf.float32)
        offset = None
        if "offset" in self.variables:
            offset = self._gather("offset", starts, rows)
        losses = self.forecast_loss.loss(TENSOR_MATHS, output, target, offset)
        return tf.reduce_sum(weight * losses) / tf.maximum(tf.reduce_sum(weight), 1.0)
