"""Gradient descent on chunks: one traced function runs many steps, so Python costs nothing per step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from forecast.errors import ModelFailure
from forecast.layers.assemble import assemble, get_weights
from forecast.network import Network
from forecast.training.chunks import Chunks

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
    validate: Validate | ValidationWindows,
    settings: Settings,
    *,
    seed: int,
    initial: Weights | None = None,
) -> Trained:
    """Train from the seed (or from `initial`) and keep the best validation step, step 0 (the skip alone) included.

    Stops early only when the loss is no longer finite, and says so in `note`; `ModelFailure` when no validation
    loss ever was.
    """
    model = assemble(network, seed=seed)
    if initial is not None:
        from forecast.layers.assemble import set_weights

        set_weights(model, initial)
    measure = _on_model(validate, model) if isinstance(validate, ValidationWindows) else _on_weights(validate, model)
    run = _training_function(model, network, chunks, settings)
    batches = chunks.draw(settings.steps, settings.batch_size, seed)
    curve: list[tuple[int, float, float]] = []
    best: tuple[float, int, Weights] | None = None
    note = ""
    losses = float("nan")
    for before, step in _stretches(settings):
        if step:
            losses = float(run(tf.constant(batches[before:step])))
        error = measure()
        curve.append((step, losses, error))
        if np.isfinite(error) and (best is None or error < best[0]):
            best = (error, step, get_weights(model))
        if step and not (np.isfinite(losses) and np.isfinite(error)):
            note = f"the loss was no longer finite at step {step}; the best weights before it are kept"
            break
    if best is None:
        raise ModelFailure(f"No finite validation loss in {settings.steps} steps; {note or 'the network diverged'}.")
    return Trained(best[2], best[1], best[0], curve, note)


def _stretches(settings: Settings) -> list[tuple[int, int]]:
    """(from, to) step between two looks at the validation loss; (0, 0) is the look before training."""
    edges = [*range(0, settings.steps, settings.evaluate_every), settings.steps]
    return [(0, 0), *zip(edges[:-1], edges[1:], strict=True)]


@dataclass(frozen=True)
class ValidationWindows:
    """Windows exactly as a forecast will see them. past (n, L, C), future (n, L + H, F), target and weight
    (n, H, O): what is to be added to the skip; `scale` (n,) turns scaled errors into comparable units."""

    past: np.ndarray
    future: np.ndarray
    target: np.ndarray
    weight: np.ndarray


def _on_model(windows: ValidationWindows, model: Any) -> Callable[[], float]:
    """Mean absolute error over the windows, in the graph."""
    past, future = tf.constant(windows.past), tf.constant(windows.future)
    target, weight = tf.constant(windows.target), tf.constant(windows.weight)

    @tf.function(autograph=False)
    def error() -> Any:
        output = model(_inputs(past, future), training=False)[:, -1, :, :, 0]
        return tf.reduce_sum(weight * tf.abs(output - target)) / tf.reduce_sum(weight)

    return lambda: float(error())


def _on_weights(validate: Validate, model: Any) -> Callable[[], float]:
    return lambda: validate(get_weights(model))


def _training_function(model: Any, network: Network, chunks: Chunks, settings: Settings) -> Callable[[Any], Any]:
    """(k, B) chunk starts → the mean loss of k updates."""
    past, future = tf.constant(chunks.past), tf.constant(chunks.future)
    target, weight = tf.constant(chunks.target), tf.constant(chunks.weight)
    rows = tf.range(chunks.length)
    ahead = tf.range(chunks.length + network.shapes.horizon)
    first_row = _first_row_mask(chunks.length, network.shapes.channels, settings.change_channels)
    supervised = chunks.warm_up if network.every_step else chunks.length - 1
    optimizer = _optimizer(settings)
    optimizer.build(model.trainable_variables)
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
        gradients = tape.gradient(loss, model.trainable_variables)
        clipped, _ = tf.clip_by_global_norm(gradients, settings.clip)
        optimizer.apply(clipped, model.trainable_variables)
        return loss

    @tf.function(input_signature=[tf.TensorSpec((None, settings.batch_size), tf.int32)])
    def run(starts: Any) -> Any:
        total = tf.constant(0.0)
        for i in tf.range(tf.shape(starts)[0]):
            total += update(starts[i])
        return total / tf.cast(tf.shape(starts)[0], tf.float32)

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


def _optimizer(settings: Settings) -> Any:
    """AdamW (Loshchilov & Hutter 2019) with a cosine schedule to zero after a short linear warm-up."""
    rising = max(1, settings.steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.1 * settings.learning_rate,
        decay_steps=max(1, settings.steps - rising),
        warmup_target=settings.learning_rate,
        warmup_steps=rising,
    )
    return keras.optimizers.AdamW(learning_rate=schedule, weight_decay=settings.weight_decay)
