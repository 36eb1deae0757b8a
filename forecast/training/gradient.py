"""Gradient descent: blocks of updates, each followed by a validation that decides which weights are
kept.

Many updates run inside one traced function, so Python costs nothing per step. Three ways to see a
chunk:

- `state: reset`: every chunk begins from a reset state, its warm-up fills the memory and is not
  counted.
- `state: carry`: the chunks of a column follow each other and hand the state on, the gradient ends
  at their borders: truncated back-propagation through time (Williams & Peng 1990).
- `teacher_forcing`: a decoder is fed the measured values instead of its own forecasts (Williams &
  Zipser 1989), in all updates or in a share of them that falls from all to none (after Bengio et
  al. 2015; one coin per update).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from forecast.networks.description import Network
from forecast.networks.heads import FittedHead, Head
from forecast.networks.layers.assemble import (
    assemble,
    first_states,
    get_weights,
    set_seed,
    set_weights,
)
from forecast.networks.layers.wiring import Wiring
from forecast.networks.weights import initialise
from forecast.system.errors import ModelFailure
from forecast.training.chunks import Chunks, Curve, TrainedNetwork, Weights
from forecast.training.descent import Settings, Updater, sampled_loss, tensor_maths

BEYOND = 1e5
"""Times the error before training: targets are scaled, so a loss is of order one."""

ValidationLosses = Callable[[Weights], float | np.ndarray]
"""The loss that decides; of an array the first, and each further one decides on weights of its own.
"""
Kept = tuple[float, int, Weights]
KEPT = 8
"""Traced trainings in memory: the trials of a study, which the network's other ranking goes through
again.
"""
Drawn = dict[str, Any]
"""The random choices of some steps, step by step: `starts (k, B)`, and as needed `anew (k, B)`,
`teach (k,)`.
"""

States = dict[str, Any]
Pass = Callable[[dict[str, Any], Drawn, States], tuple[Any, States]]
First = Callable[[], States]

_kept: dict[str, Updates] = {}


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
    Stops early when the loss explodes or is no longer finite, and says so in `note`, and after
    `settings.patience`. `ModelFailure` when no validation loss ever was finite, and when the
    training diverged without having improved on its beginning once. Without `validate` the first
    `stop` updates are taken, and the weights after them are kept.
    """
    drawn = draw_chunks(chunks, settings, seed) | draw_bins(network, settings, seed)
    with _traced(network, chunks, settings, drawn) as updates:
        states = updates.begin(
            seed, initialise(network, seed) if initial is None else initial, chunks, settings
        )
        if validate is None:
            return _repeated(updates, drawn, states, stop)
        return _descended(updates, drawn, states, validate, settings)


def _repeated(updates: Updates, drawn: Drawn, states: States, stop: int) -> TrainedNetwork:
    """A known number of updates; `ModelFailure` where they diverge."""
    if stop:
        updates.take({name: tf.constant(values[:stop]) for name, values in drawn.items()}, states)
    weights = get_weights(updates.model)
    if not all(np.isfinite(w).all() for w in weights.values()):
        raise ModelFailure(
            f"Training on train and validation rows diverged in {stop} steps. Lower"
            " `learning_rate`."
        )
    return TrainedNetwork(weights, stop, float("nan"), [])


def _descended(
    updates: Updates, drawn: Drawn, states: States, validate: ValidationLosses, settings: Settings
) -> TrainedNetwork:
    """Block after block of updates, the validation loss after each."""
    curve: Curve = []
    kept: list[Kept | None] = []
    note, loss, waited = "", float("nan"), 0
    edges = [*range(0, settings.steps, settings.evaluate_every), settings.steps]
    for before, step in [(0, 0), *itertools.pairwise(edges)]:  # (0, 0): validation before training
        if step:
            part = {name: tf.constant(values[before:step]) for name, values in drawn.items()}
            mean, states = updates.take(part, states)
            loss = float(mean)
        weights = get_weights(updates.model)
        errors = [float(error) for error in np.atleast_1d(validate(weights))]
        curve.append((step, loss, errors[0]))
        kept = [
            _lower(before, (e, step, weights)) for before, e in itertools.zip_longest(kept, errors)
        ]
        waited = 0 if kept[0] is not None and kept[0][1] == step else waited + 1
        note = _exploded(curve)
        if note or waited == settings.patience:
            break
    best = kept[0]
    if best is None:
        raise ModelFailure(
            f"No finite validation loss up to step {curve[-1][0]}: the network diverged from its"
            " first weights on. Lower `learning_rate`, or look for extreme values in the data."
        )
    if best[1] == 0 and _diverged(curve):
        raise ModelFailure(
            f"Training diverged: its loss was {curve[-1][1]:.3g} at step {curve[-1][0]}, and no"
            " step improved on the skip alone. Lower `learning_rate` (now"
            f" {settings.learning_rate:g})."
        )
    elsewhere = tuple((one or best)[1:] for one in kept[1:])
    return TrainedNetwork(best[2], best[1], best[0], curve, note, elsewhere)


def _lower(before: Kept | None, now: Kept) -> Kept | None:
    better = np.isfinite(now[0]) and (before is None or now[0] < before[0])
    return now if better else before


@contextmanager
def _traced(
    network: Network, chunks: Chunks, settings: Settings, drawn: Drawn
) -> Iterator[Updates]:
    """The updates of this training, traced anew or kept from one that differs in what is no part of
    the graph: a trace costs as much as 40 steps. Taken out while they are used: no second training,
    in a thread or inside this one's validation, may touch them.
    """
    shapes = {f.name: getattr(getattr(chunks, f.name), "shape", ())[1:] for f in fields(chunks)}
    shapes["offset"] = chunks.offset is not None
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # a head's constants in full
        key = repr((network, shapes, chunks.length, chunks.warm_up, settings.traced()))
    updates = _kept.pop(key, None)
    if updates is None:
        # or the graphs of earlier trials stay referenced
        keras.backend.clear_session(free_memory=False)
        updates = Updates(network, chunks, settings, drawn)
    try:
        yield updates
    finally:
        updates.data.empty()
        _kept[key] = updates
        while len(_kept) > KEPT:
            del _kept[next(iter(_kept))]


def _exploded(curve: Curve) -> str:
    """Why training cannot go on after its last look; empty when it can."""
    step, loss, error = curve[-1]
    if step and not (np.isfinite(loss) and np.isfinite(error)):
        return f"the loss was no longer finite at step {step}; the best weights before it are kept"
    if step and _diverged(curve):
        return (
            f"the loss exploded to {loss:.3g} at step {step}; the best weights before it are kept"
        )
    return ""


def _diverged(curve: Curve) -> bool:
    """Whether the last training loss is not finite or beyond anything scaled targets can cost."""
    loss = curve[-1][1]
    return len(curve) > 1 and not loss < BEYOND * max(1.0, curve[0][2])


def draw_chunks(chunks: Chunks, settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """The random choices of all steps of a training, by step; they depend on the seed alone."""
    steps = settings.steps
    if settings.state == "carry":
        starts, anew = chunks.walk(steps, settings.batch_size, seed)
        return {"starts": starts, "anew": anew}
    drawn = {"starts": chunks.draw(steps, settings.batch_size, seed)}
    if settings.teacher_forcing == "scheduled":
        # [seed, 1]: not the stream of the chunks
        coins = np.random.default_rng([seed, 1]).uniform(size=steps)
        drawn["teach"] = coins < 1.0 - np.arange(steps) / steps
    return drawn


def draw_bins(network: Network, settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """`bins (steps, m)`: the classes of every step's sampled softmax, each once; nothing without
    one.
    """
    head = sampled_bins(network, settings)
    if head is None:
        return {}
    generator = np.random.default_rng([seed, 2])  # a stream of its own
    noise = generator.random((settings.steps, head.parameters))
    return {"bins": np.argsort(noise, axis=1)[:, : head.n_sampled_classes].astype(np.int32)}


def sampled_bins(network: Network, settings: Settings) -> Head | None:
    """The head whose softmax is sampled: then the network is passed without its read-out.

    A decoder reads out inside its own loop, and a carried pass hands on whole outputs, so those two
    take the whole softmax.
    """
    if not isinstance(settings.loss, FittedHead):
        return None
    head = settings.loss.head
    if (
        not head.n_sampled_classes
        or network.decoder
        or network.parts > 1
        or settings.state == "carry"
    ):
        return None
    return head


class Updates:
    """The updates of one training, traced once: `begin` takes other weights, another seed, other
    numbers of the rule or data of another length without a second trace.
    """

    def __init__(self, network: Network, chunks: Chunks, settings: Settings, drawn: Drawn) -> None:
        self.model = assemble(network, seed=0)
        self._forecast, self._first = _pass(self.model, network, chunks, settings)
        self.data = _Data(chunks, network, settings, self.model)
        self._updater = Updater(self.model.trainable_variables, settings)
        states = {
            path: tf.TensorSpec(state.shape, state.dtype) for path, state in self._first().items()
        }
        steps = {
            name: tf.TensorSpec((None, *each.shape[1:]), each.dtype) for name, each in drawn.items()
        }
        self.take = tf.function(self._take, input_signature=[steps, states], autograph=False)

    def begin(self, seed: int, weights: Weights, chunks: Chunks, settings: Settings) -> States:
        """The states before the first step, of the network with these weights; what earlier updates
        left is gone.
        """
        self.data.fill(chunks)
        set_weights(self.model, weights)
        set_seed(self.model, seed)
        self._updater.begin(settings)
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
            output, after = self._forecast(self.data.inputs(drawn), drawn, before)
            loss = self.data.loss(drawn, output)
        self._updater.apply(tape.gradient(loss, self.model.trainable_variables))
        return loss, after


class _Data:
    """The chunks, as variables so that the graph does not depend on them: the inputs of a batch and
    its loss.
    """

    def __init__(
        self, chunks: Chunks, network: Network, settings: Settings, model: keras.Model
    ) -> None:
        given = {
            name: getattr(chunks, name) for name in ("past", "future", "target", "weight", "offset")
        }
        self.held = {
            name: tf.Variable(array[:0], trainable=False, shape=(None, *array.shape[1:]))
            for name, array in given.items()
            if array is not None
        }
        self.rows = tf.range(chunks.length)
        self.ahead = tf.range(chunks.length + network.shapes.horizon)
        mask = np.ones((1, chunks.length, network.shapes.channels), dtype=np.float32)
        mask[:, 0, list(settings.change_channels)] = 0.0
        self.first_row = tf.constant(mask)
        self.counted = _counted(chunks, network)
        self.whole = settings.loss
        self.sampled = sampled_loss(network, model) if sampled_bins(network, settings) else None
        self.taught = settings.teacher_forcing != "none"

    def fill(self, chunks: Chunks) -> None:
        """Take these chunks instead, of any number of rows."""
        for name, variable in self.held.items():
            variable.assign(getattr(chunks, name))

    def empty(self) -> None:
        """No rows: traces are kept, and of many series the data are most of the memory."""
        for variable in self.held.values():
            variable.assign(tf.zeros((0, *variable.shape[1:])))

    def inputs(self, drawn: Drawn) -> dict[str, Any]:
        starts = drawn["starts"]
        index = starts[:, None] + self.rows[None, :]
        first_row = self.first_row
        if "anew" in drawn:  # a chunk that goes on knows the row before its first
            first_row = tf.where(drawn["anew"][:, None, None], first_row, tf.ones_like(first_row))
        found = {"past": tf.gather(self.held["past"], index) * first_row}
        if self.held["future"].shape[-1]:
            found["future"] = tf.gather(self.held["future"], starts[:, None] + self.ahead[None, :])
        if self.taught:
            # zero where no target is known
            found["teacher"] = tf.gather(self.held["target"], index)
        return found

    def loss(self, drawn: Drawn, output: Any) -> Any:
        index = drawn["starts"][:, None] + self.rows[None, :]
        wanted = tf.gather(self.held["target"], index[:, -self.counted :])
        counted = tf.gather(self.held["weight"], index[:, -self.counted :])
        # carried, hidden: of all steps
        output = tf.split(output, [tf.shape(output)[1] - self.counted, -1], 1)[1]
        if self.sampled is not None:
            each = self.sampled(output, wanted, drawn["bins"])
        else:
            offset = (
                tf.gather(self.held["offset"], index[:, -self.counted :])
                if "offset" in self.held
                else None
            )
            each = self.whole.loss(tensor_maths, output, wanted, offset)
        return tf.reduce_sum(counted * each) / tf.maximum(tf.reduce_sum(counted), 1.0)


def _counted(chunks: Chunks, network: Network) -> int:
    """The last steps of a chunk that carry a loss; a network that needs its window forecasts from
    the last alone.
    """
    return chunks.length - chunks.warm_up if network.every_step else 1


def _pass(model: Any, network: Network, chunks: Chunks, settings: Settings) -> tuple[Pass, First]:
    """((inputs, drawn, states) → (output, states), first states); the states are empty unless they
    are carried.
    """
    if settings.state == "carry":
        return _carrying(
            Wiring.sharing_layers(network, model).stateful_model(), settings.batch_size
        )
    graph, steps = Wiring.sharing_layers(network, model), _counted(chunks, network)
    free = graph.hidden_model() if sampled_bins(network, settings) else graph.model(steps)
    taught = free if settings.teacher_forcing == "none" else graph.teacher_forced(steps)

    def plain(inputs: dict[str, Any], _drawn: Drawn, states: States) -> tuple[Any, States]:
        return taught(inputs, training=True), states

    def scheduled(inputs: dict[str, Any], drawn: Drawn, states: States) -> tuple[Any, States]:
        own = {name: value for name, value in inputs.items() if name != "teacher"}
        output = tf.cond(
            drawn["teach"], lambda: taught(inputs, training=True), lambda: free(own, training=True)
        )
        return output, states

    return (scheduled if settings.teacher_forcing == "scheduled" else plain), dict


def _carrying(model: keras.Model, batch: int) -> tuple[Pass, First]:
    def forecast(inputs: dict[str, Any], drawn: Drawn, before: States) -> tuple[Any, States]:
        states = first_states(model, batch)
        for path, state in before.items():
            anew = tf.reshape(drawn["anew"], [-1] + [1] * (state.shape.rank - 1))
            states[path] = tf.where(anew, states[path], tf.stop_gradient(state))
        made = model({**inputs, "states": states}, training=True)
        return made["forecast"], made["states"]

    return forecast, lambda: {
        path: tf.convert_to_tensor(s) for path, s in first_states(model, batch).items()
    }
