"""Gradient descent on chunks: one traced function runs many steps, so Python costs nothing per step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from forecast.errors import ModelFailure
from forecast.layers.assemble import assemble, get_weights, set_weights
from forecast.network import Network
from forecast.training.chunks import Chunks
from forecast.training.optimizers import Rule, Schedule, Updater

BEYOND = 1e5
"""Times the error before training: targets are scaled, so an honest loss is of order one."""

Weights = dict[str, np.ndarray]
Validate = Callable[[Weights], float]


@dataclass(frozen=True)
class Settings:
    """How one network is trained. `steps` is spent in full, so every model has the same budget."""

    steps: int
    learning_rate: float
    batch_size: int
    weight_decay: float
    clip: float
    loss: str
    evaluate_every: int
    rule: Rule = "adam"
    change_channels: tuple[int, ...] = ()
    """Channels to be zeroed at a chunk's first row, as they are at a window's (see `forecast.windows`)."""


@dataclass(frozen=True)
class Trained:
    """The weights with the lowest validation loss. `curve`: (step, train loss, validation loss)."""

    weights: Weights
    best_step: int
    validation_loss: float
    curve: list[tuple[int, float, float]] = field(repr=False)
    note: str = ""


def fit(
    network: Network,
    chunks: Chunks,
    validate: Validate,
    settings: Settings,
    *,
    seed: int,
    initial: Weights | None = None,
) -> Trained:
    """Train from the seed (or from `initial`) and keep the best validation step, step 0 (the skip alone) included.

    Stops early only when the loss is no longer finite, and says so in `note`. `ModelFailure` when no validation loss
    ever was, and when the training diverged without having improved on its beginning once.
    """
    keras.backend.clear_session(free_memory=False)  # or the graphs of earlier trials stay referenced
    model = assemble(network, seed=seed)
    if initial is not None:
        set_weights(model, initial)
    run = _training_function(model, network, chunks, settings)
    batches = chunks.draw(settings.steps, settings.batch_size, seed)
    curve: list[tuple[int, float, float]] = []
    best: tuple[float, int, Weights] | None = None
    note, loss = "", float("nan")
    for before, step in _stretches(settings):
        if step:
            loss = float(run(tf.constant(batches[before:step])))
        weights = get_weights(model)
        error = validate(weights)
        curve.append((step, loss, error))
        if np.isfinite(error) and (best is None or error < best[0]):
            best = (error, step, weights)
        if step and not (np.isfinite(loss) and np.isfinite(error)):
            note = f"the loss was no longer finite at step {step}; the best weights before it are kept"
            break
    if best is None:
        raise ModelFailure(
            f"No finite validation loss up to step {curve[-1][0]}: the network diverged from its first weights on. "
            "Lower `learning_rate`, or look for extreme values in the data."
        )
    if best[1] == 0 and _diverged(curve):
        raise ModelFailure(
            f"Training diverged: its loss was {curve[-1][1]:.3g} at step {curve[-1][0]}, and no step improved on "
            f"the skip alone. Lower `learning_rate` (now {settings.learning_rate:g})."
        )
    return Trained(best[2], best[1], best[0], curve, note)


def _diverged(curve: list[tuple[int, float, float]]) -> bool:
    """Whether the last training loss is not finite or beyond anything scaled targets can cost."""
    loss = curve[-1][1]
    return len(curve) > 1 and not loss < BEYOND * max(1.0, curve[0][2])


def _stretches(settings: Settings) -> list[tuple[int, int]]:
    """(from, to) step between two looks at the validation loss; (0, 0) is the look before training."""
    edges = [*range(0, settings.steps, settings.evaluate_every), settings.steps]
    return [(0, 0), *itertools.pairwise(edges)]


def _training_function(model: Any, network: Network, chunks: Chunks, settings: Settings) -> Callable[[Any], Any]:
    """(k, B) chunk starts → the mean loss of k updates."""
    past, future = tf.constant(chunks.past), tf.constant(chunks.future)
    target, weight = tf.constant(chunks.target), tf.constant(chunks.weight)
    rows = tf.range(chunks.length)
    ahead = tf.range(chunks.length + network.shapes.horizon)
    first_row = _first_row_mask(chunks.length, network.shapes.channels, settings.change_channels)
    supervised = chunks.warm_up if network.every_step else chunks.length - 1
    schedule = Schedule(settings.learning_rate, settings.steps)
    updater = Updater(
        model.trainable_variables,
        schedule,
        rule=settings.rule,
        clip=settings.clip,
        weight_decay=settings.weight_decay,
    )
    pointwise = POINTWISE[settings.loss]

    def update(starts: Any) -> Any:
        index = starts[:, None] + rows[None, :]
        inputs = _inputs(tf.gather(past, index) * first_row, tf.gather(future, starts[:, None] + ahead[None, :]))
        wanted = tf.gather(target, index[:, supervised:])
        counted = tf.gather(weight, index[:, supervised:])
        with tf.GradientTape() as tape:
            output = model(inputs, training=True)
            output = output[:, supervised if network.every_step else 0 :, :, :, 0]
            loss = tf.reduce_sum(counted * pointwise(output - wanted)) / tf.maximum(tf.reduce_sum(counted), 1.0)
        updater.apply(tape.gradient(loss, model.trainable_variables))
        return loss

    signature = [tf.TensorSpec((None, settings.batch_size), tf.int32)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def run(starts: Any) -> Any:
        steps = tf.shape(starts)[0]
        _, total = tf.while_loop(
            lambda i, _: i < steps,
            lambda i, total: (i + 1, total + update(starts[i])),
            (tf.constant(0), tf.constant(0.0)),
            parallel_iterations=1,
        )
        return total / tf.cast(steps, tf.float32)

    return run


POINTWISE: dict[str, Callable[[Any], Any]] = {
    "mse": tf.square,
    "mae": tf.abs,
    "huber": lambda error: tf.where(tf.abs(error) < 1.0, 0.5 * tf.square(error), tf.abs(error) - 0.5),
}


def _inputs(past: Any, future: Any) -> dict[str, Any]:
    return {"past": past, "future": future} if future.shape[-1] else {"past": past}


def _first_row_mask(length: int, channels: int, zeroed: tuple[int, ...]) -> Any:
    mask = np.ones((1, length, channels), dtype=np.float32)
    mask[:, 0, list(zeroed)] = 0.0
    return tf.constant(mask)
