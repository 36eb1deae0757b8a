"""What one training step does: draw a batch of chunks, take the loss and its gradient, update the weights.

Many steps run inside one traced function, so Python costs nothing per step. Three ways to see a chunk:

- `state: reset`: every chunk begins from a reset state, its warm-up fills the memory and is not counted.
- `state: carry`: the chunks of a column follow each other and hand the state on, the gradient ends at their borders:
  truncated back-propagation through time.
- `teacher_forcing`: a decoder is fed the measured values instead of its own forecasts (Williams & Zipser 1989), in all
  updates or in a share of them that falls from all to none (after Bengio et al. 2015; one coin per update).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from forecast.config.training import Rule, Shape, State, Teacher
from forecast.networks.description import EncoderDecoder, Network
from forecast.networks.heads import FittedHead, Head
from forecast.networks.layers.assemble import (
    assemble,
    carried,
    first_states,
    hidden_steps,
    last_steps,
    set_seed,
    set_weights,
    teacher_forced,
)
from forecast.training import losses
from forecast.training.chunks import Chunks
from forecast.training.optimizers import Descent, Schedule, Updater
from forecast.training.trained import Weights

Drawn = dict[str, Any]
"""What a number of steps is told, each first by step: `starts (k, B)`, and as needed `anew (k, B)`, `teach (k,)`."""

States = dict[str, Any]
Pass = Callable[[dict[str, Any], Drawn, States], tuple[Any, States]]
First = Callable[[], States]


@dataclass(frozen=True)
class Settings:
    """How one network is trained. `steps` is spent in full, so every model has the same budget, unless `patience`
    looks at the validation loss in a row bring no new best."""

    steps: int
    learning_rate: float
    batch_size: int
    weight_decay: float
    clip: float
    loss: str
    evaluate_every: int
    rule: Rule = "adamw"
    schedule: Shape = "cosine"
    l2: float = 0.0
    state: State = "reset"
    patience: int | None = None
    teacher_forcing: Teacher = "none"
    change_channels: tuple[int, ...] = ()
    """Channels to be zeroed at a chunk's first row, as they are at a window's (see `forecast.data.windows`)."""
    head: FittedHead | None = None
    """What the loss is taken by; None: a point forecast and `loss`."""

    @property
    def descent(self) -> Descent:
        schedule = Schedule(self.learning_rate, self.steps, self.schedule)
        return Descent(schedule, self.clip, self.weight_decay, self.l2)

    def traced(self) -> Settings:
        """What the graph depends on: trainings for which this is equal share a trace."""
        numbers = {"steps": 0, "learning_rate": 0.0, "weight_decay": 0.0, "clip": 0.0, "l2": float(self.l2 > 0.0)}
        return replace(self, **numbers, evaluate_every=0, patience=None)  # type: ignore[arg-type]


def draw(chunks: Chunks, settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """What all steps of a training are told; depends on the seed alone."""
    steps = settings.steps
    if settings.state == "carry":
        starts, anew = chunks.walk(steps, settings.batch_size, seed)
        return {"starts": starts, "anew": anew}
    drawn = {"starts": chunks.draw(steps, settings.batch_size, seed)}
    if settings.teacher_forcing == "scheduled":
        coins = np.random.default_rng([seed, 1]).uniform(size=steps)  # [seed, 1]: not the stream of the chunks
        drawn["teach"] = coins < 1.0 - np.arange(steps) / steps
    return drawn


def draw_bins(network: Network, settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """`bins (steps, m)`: the classes of every step's sampled softmax, each once; nothing without one."""
    head = sampled_bins(network, settings)
    if head is None:
        return {}
    noise = np.random.default_rng([seed, 2]).random(
        (settings.steps, head.parameters)
    )  # [seed, 2]: a stream of its own
    return {"bins": np.argsort(noise, axis=1)[:, : head.drawn].astype(np.int32)}


def sampled_bins(network: Network, settings: Settings) -> Head | None:
    """The head whose softmax is sampled: then the network is passed without its read-out. A decoder reads out inside
    its own loop, and a carried pass hands on whole outputs, so those two take the whole softmax."""
    head = settings.head.head if settings.head is not None else None
    decoded = bool(network.blocks) and isinstance(network.blocks[-1], EncoderDecoder)
    if head is None or not head.drawn or decoded or settings.state == "carry":
        return None
    return head


class Updates:
    """The updates of one training, traced once: begun anew with other weights, another seed, other numbers of the rule
    (`Settings.traced`) or other data of the same shapes, they need no second trace."""

    def __init__(self, network: Network, chunks: Chunks, settings: Settings) -> None:
        self.model = assemble(network, seed=0)
        self._forecast, self._first = _pass(self.model, network, chunks, settings)
        self._data = _Data(chunks, network, settings, self.model)
        self._updater = Updater(self.model.trainable_variables, settings.descent, rule=settings.rule)
        states = {path: tf.TensorSpec(state.shape, state.dtype) for path, state in self._first().items()}
        signature = [_told(network, settings), states]
        self.take = tf.function(self._take, input_signature=signature, autograph=False)

    def begin(self, seed: int, weights: Weights, chunks: Chunks, settings: Settings) -> States:
        """The states before the first step, of the network with these weights; what earlier updates left is gone."""
        self._data.fill(chunks)
        set_weights(self.model, weights)
        set_seed(self.model, seed)
        self._updater.begin(settings.descent)
        return self._first()

    def _take(self, drawn: Drawn, states: States) -> tuple[Any, States]:
        """As many steps as `drawn` tells; their mean loss and the last states. Called as `take`."""
        steps = tf.shape(drawn["starts"])[0]

        def step(i: Any, total: Any, before: States) -> tuple[Any, Any, States]:
            loss, after = self._update({name: values[i] for name, values in drawn.items()}, before)
            return i + 1, total + loss, after

        start = (tf.constant(0), tf.constant(0.0), states)
        _, total, last = tf.while_loop(lambda i, *_: i < steps, step, start, parallel_iterations=1)
        return total / tf.cast(steps, tf.float32), last

    def _update(self, drawn: Drawn, before: States) -> tuple[Any, States]:
        with tf.GradientTape() as tape:
            output, after = self._forecast(self._data.inputs(drawn), drawn, before)
            loss = self._data.loss(drawn, output)
        self._updater.apply(tape.gradient(loss, self.model.trainable_variables))
        return loss, after


def _told(network: Network, settings: Settings) -> Drawn:
    """Shapes and types of what any number of steps is told."""
    drawn: Drawn = {"starts": tf.TensorSpec((None, settings.batch_size), tf.int32)}
    if settings.state == "carry":
        drawn["anew"] = tf.TensorSpec((None, settings.batch_size), tf.bool)
    if settings.teacher_forcing == "scheduled":
        drawn["teach"] = tf.TensorSpec((None,), tf.bool)
    if bins := sampled_bins(network, settings):
        drawn["bins"] = tf.TensorSpec((None, bins.drawn), tf.int32)
    return drawn


class _Data:
    """The chunks, as variables so that the graph does not depend on them: the inputs of a batch and its loss."""

    def __init__(self, chunks: Chunks, network: Network, settings: Settings, model: keras.Model) -> None:
        self.past, self.future = _variable(chunks.past), _variable(chunks.future)
        self.target, self.weight = _variable(chunks.target), _variable(chunks.weight)
        self.offset = None if chunks.offset is None else _variable(chunks.offset)
        self.rows = tf.range(chunks.length)
        self.ahead = tf.range(chunks.length + network.shapes.horizon)
        self.first_row = _first_row_mask(chunks.length, network.shapes.channels, settings.change_channels)
        self.counted = _counted(chunks, network)
        self.whole = losses.of(settings.loss, settings.head)
        self.read_out = losses.ReadOut(network, model) if sampled_bins(network, settings) else None
        self.taught = settings.teacher_forcing != "none"

    def fill(self, chunks: Chunks) -> None:
        """Take these chunks instead, of the same shapes."""
        for name in ("past", "future", "target", "weight", "offset"):
            if getattr(self, name) is not None:
                getattr(self, name).assign(getattr(chunks, name))

    def inputs(self, drawn: Drawn) -> dict[str, Any]:
        starts = drawn["starts"]
        index = starts[:, None] + self.rows[None, :]
        first_row = self.first_row
        if "anew" in drawn:  # a chunk that goes on knows the row before its first
            first_row = tf.where(drawn["anew"][:, None, None], first_row, tf.ones_like(first_row))
        past = tf.gather(self.past, index) * first_row
        found = _inputs(past, tf.gather(self.future, starts[:, None] + self.ahead[None, :]))
        if self.taught:
            found["teacher"] = tf.gather(self.target, index)  # zero where no target is known
        return found

    def loss(self, drawn: Drawn, output: Any) -> Any:
        index = drawn["starts"][:, None] + self.rows[None, :]
        wanted = tf.gather(self.target, index[:, -self.counted :])
        counted = tf.gather(self.weight, index[:, -self.counted :])
        output = output[:, -self.counted :]  # carried and hidden models give every step
        if self.read_out is not None:
            each = self.read_out.sampled_cross_entropy(output, wanted, drawn["bins"])
        else:
            offset = None if self.offset is None else tf.gather(self.offset, index[:, -self.counted :])
            each = self.whole(output, wanted, offset)
        return tf.reduce_sum(counted * each) / tf.maximum(tf.reduce_sum(counted), 1.0)


def _variable(values: np.ndarray) -> tf.Variable:
    return tf.Variable(values, trainable=False)


def _counted(chunks: Chunks, network: Network) -> int:
    """The last steps of a chunk that carry a loss; a network that needs its window forecasts from the last alone."""
    return chunks.length - chunks.warm_up if network.every_step else 1


def _pass(model: Any, network: Network, chunks: Chunks, settings: Settings) -> tuple[Pass, First]:
    """((inputs, drawn, states) → (output, states), first states); the states are empty unless they are carried."""
    if settings.state == "carry":
        return _carrying(carried(network, model), settings.batch_size)
    steps = _counted(chunks, network)
    free = hidden_steps(network, model) if sampled_bins(network, settings) else last_steps(network, model, steps)
    taught = free if settings.teacher_forcing == "none" else teacher_forced(network, model, steps)

    def plain(inputs: dict[str, Any], _drawn: Drawn, states: States) -> tuple[Any, States]:
        return taught(inputs, training=True), states

    def scheduled(inputs: dict[str, Any], drawn: Drawn, states: States) -> tuple[Any, States]:
        own = {name: value for name, value in inputs.items() if name != "teacher"}
        output = tf.cond(drawn["teach"], lambda: taught(inputs, training=True), lambda: free(own, training=True))
        return output, states

    return (scheduled if settings.teacher_forcing == "scheduled" else plain), dict


def _carrying(model: keras.Model, batch: int) -> tuple[Pass, First]:
    def forecast(inputs: dict[str, Any], drawn: Drawn, before: States) -> tuple[Any, States]:
        fresh = first_states(model, batch)
        states = {path: _where(drawn["anew"], fresh[path], tf.stop_gradient(state)) for path, state in before.items()}
        made = model({**inputs, "states": states}, training=True)
        return made["forecast"], made["states"]

    return forecast, lambda: {path: tf.convert_to_tensor(s) for path, s in first_states(model, batch).items()}


def _where(chosen: Any, one: Any, other: Any) -> Any:
    """Row by row of the batch."""
    return tf.where(tf.reshape(chosen, [-1] + [1] * (other.shape.rank - 1)), one, other)


def _inputs(past: Any, future: Any) -> dict[str, Any]:
    return {"past": past, "future": future} if future.shape[-1] else {"past": past}


def _first_row_mask(length: int, channels: int, zeroed: tuple[int, ...]) -> Any:
    mask = np.ones((1, length, channels), dtype=np.float32)
    mask[:, 0, list(zeroed)] = 0.0
    return tf.constant(mask)
