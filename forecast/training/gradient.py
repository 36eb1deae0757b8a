"""Gradient descent: blocks of update steps, each followed by a validation. The weights of the step
with the lowest validation loss are kept, step 0 (the skip alone) included.

A block of steps runs inside one traced TensorFlow function, so Python costs nothing per step.
Traces are reused between trainings that differ only in their data and numbers. A second fit without
validation takes a given number of steps. The curve of losses is stored in fit.json and the record
(`data.records.SeedFit.curve`); MLflow (`tracking.runs.curve_points`) and `dvc plots`
(`report.dvc_files`) draw it.

Who keeps other weights than those of one step (an average, the last ones) has to follow the step in
five more places: the steps by fold here (`TrainedNetwork.best_by_fold`); the second fit and the fit
on all rows, which take `best_step` steps (`forecaster.fitting`, `backtest.all_rows`); step 0, which
means that a network did not train (`RunRecord.is_untrained`); Levenberg-Marquardt, which keeps its
own best iteration (`levenberg_marquardt`); and the audit, which checks that the lowest validation
loss was kept (`audit.rescored.check_best_kept`).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from forecast.networks.description import Network
from forecast.networks.inference.steppers import CACHE_LINE
from forecast.networks.layers import keras, tf
from forecast.networks.layers.assemble import assemble, get_weights, set_seed, set_weights
from forecast.networks.weights import initialise
from forecast.system.errors import ModelError
from forecast.training.chunks import Chunks, Curve, TrainedNetwork, ValidationLosses, Weights
from forecast.training.descent import TENSOR_MATHS, Settings, UpdateRule

PATIENT_SHARE = 0.5
"""A training that has improved on its beginning stops after this share of all validations in a row
without a new best. It changes the best step of no fit of the packaged datasets, and that of folds
in seven of them (docs/research/seconds.md).
"""
LEAST_PATIENCE = 3
DIVERGED_LOSS = 1e5
"""A training whose loss is this many times the validation loss before training (at least 1) has
diverged.
"""

MAX_TRACES = 8
"""Traces that are kept in memory: those of a study's trials, which the other ranking of the network
repeats.
"""


class BestStep(NamedTuple):
    """The step with the lowest validation loss so far, and the weights after it."""

    loss: float
    step: int
    weights: Weights


@dataclass
class StepChoice:
    """The choice of the best step by one validation loss."""

    best: BestStep | None = None
    n_waited: int = 0
    """Validations since the best step."""

    def add(self, candidate: BestStep) -> None:
        """Take `candidate` as the best step where its loss is finite and the lowest so far."""
        if np.isfinite(candidate.loss) and (self.best is None or candidate.loss < self.best.loss):
            self.best = candidate
            self.n_waited = 0
        else:
            self.n_waited += 1

    def is_over(self, settings: Settings) -> bool:
        """Whether the patience of `settings` is over. Without a `patience` it is never over before
        the training has improved on its beginning.
        """
        if settings.patience is not None:
            return self.n_waited >= settings.patience
        n_validations = len(range(0, settings.steps, settings.evaluate_every))
        has_improved = self.best is not None and self.best.step > 0
        patience = max(LEAST_PATIENCE, int(PATIENT_SHARE * n_validations))
        return has_improved and self.n_waited >= patience


_traces: dict[str, Updates] = {}
"""The `MAX_TRACES` most recently used updates, by everything that their graphs depend on."""


def fit(
    network: Network,
    chunks: Chunks,
    validate: ValidationLosses | None,
    settings: Settings,
    *,
    seed: int,
    initial: Weights | None = None,
    n_steps: int = 0,
) -> TrainedNetwork:
    """Train from `initial` weights (None: those of the seed), and keep those of the step with the
    lowest validation loss; further losses of `validate` choose the steps of folds.

    It stops early when the patience with every one of these losses is over (`StepChoice.is_over`,
    also without a `patience`), or when the training diverges (then with a `note`).
    `ModelError` where no validation loss is finite, or training diverged before it improved on its
    beginning. Without `validate` the first `n_steps` are taken, and the weights after them kept.
    """
    # the batches of all steps, so that stopping early does not change them
    starts = chunks.random_starts(settings.steps, settings.batch_size, seed)
    with _reuse_trace(network, chunks, settings) as updates:
        weights = initialise(network, seed) if initial is None else initial
        updates.begin(seed, weights, chunks, settings)
        if validate is None:
            return _take_all_steps(updates, starts[:n_steps])
        return _descend(updates, starts, validate, settings)


def _take_all_steps(updates: Updates, starts: np.ndarray) -> TrainedNetwork:
    """The weights after a step for each row of `starts`; `ModelError` where they are not finite."""
    n_steps = len(starts)
    if n_steps:
        updates.take_steps(tf.constant(starts))
    weights = get_weights(updates.model)
    if not all(np.isfinite(w).all() for w in weights.values()):
        raise ModelError(
            f"Training on train and validation rows diverged in {n_steps} steps. Lower"
            " `learning_rate`."
        )
    return TrainedNetwork(weights, n_steps, float("nan"), [])


def _descend(
    updates: Updates,
    starts: np.ndarray,
    validate: ValidationLosses,
    settings: Settings,
) -> TrainedNetwork:
    """Take `evaluate_every` steps at a time and validate after each such block, until the steps are
    used up, the patience with every loss is over, or the training has diverged. Returns the best
    weights; `ModelError` as in `fit`.
    """
    curve: Curve = []
    edges = [*range(0, settings.steps, settings.evaluate_every), settings.steps]
    choices: list[StepChoice] = []
    note = ""
    train_loss = float("nan")
    for start, stop in [(0, 0), *itertools.pairwise(edges)]:  # (0, 0): before training
        if stop:
            train_loss = float(updates.take_steps(tf.constant(starts[start:stop])))
        weights = get_weights(updates.model)
        losses = validate(weights).tolist()
        curve.append((stop, train_loss, losses[0]))
        choices = choices or [StepChoice() for _ in losses]
        for number, (choice, loss) in enumerate(zip(choices, losses, strict=True)):
            # a fold chooses as if it were alone, however long the other losses go on
            if number == 0 or not choice.is_over(settings):
                choice.add(BestStep(loss, stop, weights))
        note = _stop_reason(curve)
        if note or all(choice.is_over(settings) for choice in choices):
            break
    best = choices[0].best
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
    best_by_fold = tuple((choice.best or best)[1:] for choice in choices[1:])
    return TrainedNetwork(best.weights, best.step, best.loss, curve, note, best_by_fold)


@contextmanager
def _reuse_trace(network: Network, chunks: Chunks, settings: Settings) -> Iterator[Updates]:
    """The updates of this training: those of an earlier training with the same graph, or new ones,
    whose trace costs as much as 40 steps. They are taken out of `_traces` while they are used, so
    that no other training, in a thread or inside this one's validation, can use them.
    """
    shapes = [chunks.past.shape[1:], chunks.future.shape[1:], chunks.target.shape[1:]]
    data = (shapes, chunks.length, chunks.burn_in, chunks.offset is not None)
    # the key is a text, because the arrays of a head are not hashable; they are printed in full
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        key = repr((network, data, settings.graph_settings()))
    updates = _traces.pop(key, None)
    if updates is None:
        # else Keras keeps references to the graphs of earlier trials
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
    """Why training cannot go on after the last validation of `curve`; empty where it can."""
    step, loss, error = curve[-1]
    if step and not (np.isfinite(loss) and np.isfinite(error)):
        return f"the loss was no longer finite at step {step}; the best weights before it are kept"
    if step and _has_diverged(curve):
        return (
            f"the loss exploded to {loss:.3g} at step {step}; the best weights before it are kept"
        )
    return ""


def _has_diverged(curve: Curve) -> bool:
    """Whether the last training loss is not finite, or beyond `DIVERGED_LOSS`."""
    loss = curve[-1][1]
    return len(curve) > 1 and not loss < DIVERGED_LOSS * max(1.0, curve[0][2])


class Updates:
    """The traced update steps of a training. `begin` starts another training with other weights,
    seed, numbers of the rule or data, without a new trace.
    """

    def __init__(self, network: Network, chunks: Chunks, settings: Settings) -> None:
        """Build the Keras model of `network` and its traced function."""
        # a network that needs its whole window forecasts from the last step of a chunk alone
        n_supervised = chunks.length - chunks.burn_in if network.every_step else 1
        self.model = assemble(network, seed=0, last_steps=n_supervised)
        self.data = _BatchData(chunks, network, settings, n_supervised)
        self._updater = UpdateRule(self.model.trainable_variables, settings)
        starts = tf.TensorSpec((None, settings.batch_size), tf.int32)
        self.take_steps = tf.function(self._take_steps, input_signature=[starts], autograph=False)

    def begin(self, seed: int, weights: Weights, chunks: Chunks, settings: Settings) -> None:
        """Set the weights, seed, data and numbers of a new training."""
        self.data.fill(chunks)
        set_weights(self.model, weights)
        set_seed(self.model, seed)
        self._updater.reset(settings)

    def _take_steps(self, starts: tf.Tensor) -> tf.Tensor:
        """Take a step for each row of `starts` (steps, B), the first rows of its chunks; returns
        the mean loss. The loop is part of the graph.
        """
        n_steps = tf.shape(starts)[0]

        def has_step(i: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return i < n_steps

        def add_step(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, total + self._update(starts[i])

        start = tf.constant(0), tf.constant(0.0)
        _, total = tf.while_loop(has_step, add_step, start, parallel_iterations=1)
        return total / tf.cast(n_steps, tf.float32)

    def _update(self, starts: tf.Tensor) -> tf.Tensor:
        """Update the weights once by the chunks that begin at `starts` (B,); returns the loss
        before the update.
        """
        with tf.GradientTape() as tape:
            loss = self.data.loss(starts, self.model(self.data.inputs(starts), training=True))
        self._updater.apply(tape.gradient(loss, self.model.trainable_variables))
        return loss


class _BatchData:
    """The chunks as TensorFlow variables, so that the traced graph does not depend on them; gives
    the inputs and the loss of a batch.
    """

    def __init__(
        self, chunks: Chunks, network: Network, settings: Settings, n_supervised: int
    ) -> None:
        """Variables without rows, with the columns of `chunks`. The last `n_supervised` steps of a
        chunk have a loss.
        """
        self.variables: dict[str, tf.Variable] = {}
        for name in ("past", "future", "target", "sample_weight", "offset"):
            array = getattr(chunks, name)
            if array is not None:
                self.variables[name] = tf.Variable(
                    array[:0], trainable=False, shape=(None, *array.shape[1:])
                )
        self.rows = tf.range(chunks.length)
        self.future_rows = tf.range(chunks.length + network.shapes.horizon)
        mask = np.ones((1, chunks.length, network.shapes.channels), dtype=np.float32)
        mask[:, 0, list(settings.change_channels)] = 0.0
        self.first_row_mask = tf.constant(mask)
        self.n_supervised = n_supervised
        self.forecast_loss = settings.loss

    def fill(self, chunks: Chunks) -> None:
        """Set the data to `chunks`, of any number of rows. An array that is aligned to a cache line
        is shared, any other is copied, because TensorFlow aborts on unaligned memory.
        """
        for name, variable in self.variables.items():
            array = getattr(chunks, name)
            if array.ctypes.data % CACHE_LINE == 0:
                array = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
            variable.assign(array)

    def empty(self) -> None:
        """Remove all rows, because traces are kept and data of many series need much memory."""
        for variable in self.variables.values():
            variable.assign(tf.zeros((0, *variable.shape[1:]), variable.dtype))

    def inputs(self, starts: tf.Tensor) -> dict[str, tf.Tensor]:
        """The inputs of the network for the chunks that begin at `starts` (B,): past (B, T, C) and,
        as needed, future (B, T + H, F).

        `first_row_mask` sets the changes into the first row to 0, as they are in a forecast, so
        whatever is added to the inputs is added before it.
        """
        inputs = {"past": self._gather("past", starts, self.rows) * self.first_row_mask}
        if self.variables["future"].shape[-1]:
            inputs["future"] = self._gather("future", starts, self.future_rows)
        return inputs

    def _gather(self, name: str, starts: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The `rows` (R,) of each chunk, counted from its start: (B, R, ...)."""
        # reading the variable first keeps gather from copying its shared memory
        array = self.variables[name].read_value()
        return tf.gather(array, starts[:, None] + rows[None, :])

    def loss(self, starts: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """The mean loss over the known targets of the chunks that begin at `starts` (B,)."""
        rows = self.rows[-self.n_supervised :]
        target = self._gather("target", starts, rows)
        weight = tf.cast(self._gather("sample_weight", starts, rows), tf.float32)
        offset = None
        if "offset" in self.variables:
            offset = self._gather("offset", starts, rows)
        losses = self.forecast_loss.loss(TENSOR_MATHS, output, target, offset)
        return tf.reduce_sum(weight * losses) / tf.maximum(tf.reduce_sum(weight), 1.0)
