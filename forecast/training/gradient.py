"""Gradient descent: stretches of updates, and after each a look at validation that decides which weights are kept."""

from __future__ import annotations

import hashlib
import io
import itertools
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from forecast.networks.cells.weights import initialise
from forecast.networks.description import Network
from forecast.networks.layers.assemble import get_weights
from forecast.system.errors import ModelFailure
from forecast.training.chunks import Chunks
from forecast.training.trained import Curve, Trained, Weights
from forecast.training.updates import Drawn, Settings, States, Updates, draw, draw_bins

BEYOND = 1e5
"""Times the error before training: targets are scaled, so an honest loss is of order one."""

Validate = Callable[[Weights], float]
KEPT = 8
"""Traced trainings in memory: the trials of a study, which the network's other ranking goes through again."""
_kept: dict[str, Updates] = {}


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

    Stops early when the loss explodes or is no longer finite, and says so in `note`, and after `settings.patience`.
    `ModelFailure` when no validation loss ever was finite, and when the training diverged without having improved on
    its beginning once.
    """
    drawn = draw(chunks, settings, seed) | draw_bins(network, settings, seed)
    with _traced(network, chunks, settings) as updates:
        states = updates.begin(seed, initialise(network, seed) if initial is None else initial, chunks, settings)
        return _descended(updates, drawn, states, validate, settings)


def _descended(updates: Updates, drawn: Drawn, states: States, validate: Validate, settings: Settings) -> Trained:
    """The stretches one after the other, each with its look at validation."""
    curve: Curve = []
    best: tuple[float, int, Weights] | None = None
    note, loss, waited = "", float("nan"), 0
    for before, step in _stretches(settings):
        if step:
            told = {name: tf.constant(values[before:step]) for name, values in drawn.items()}
            mean, states = updates.take(told, states)
            loss = float(mean)
        weights = get_weights(updates.model)
        error = validate(weights)
        curve.append((step, loss, error))
        waited += 1
        if np.isfinite(error) and (best is None or error < best[0]):
            best, waited = (error, step, weights), 0
        note = _exploded(curve)
        if note or waited == settings.patience:
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


@contextmanager
def _traced(network: Network, chunks: Chunks, settings: Settings) -> Iterator[Updates]:
    """The updates of this training, traced anew or kept from one that differs in what is no part of the graph: a trace
    costs as much as 40 steps. Taken out while they are used: no second training, in a thread or inside this one's
    validation, may touch them."""
    shapes = {f.name: getattr(getattr(chunks, f.name), "shape", None) for f in fields(chunks)}
    key = _digest(network, shapes, chunks.length, chunks.warm_up, settings.traced())
    updates = _kept.pop(key, None)
    if updates is None:
        keras.backend.clear_session(free_memory=False)  # or the graphs of earlier trials stay referenced
        updates = Updates(network, chunks, settings)
    try:
        yield updates
    finally:
        _kept[key] = updates
        while len(_kept) > KEPT:
            del _kept[next(iter(_kept))]


def _digest(*parts: object) -> str:
    written = io.BytesIO()
    _Pickler(written).dump(parts)
    return hashlib.sha256(written.getbuffer()).hexdigest()


class _Pickler(pickle.Pickler):
    """Takes the read-only mappings of a network's options as well, which pickle refuses."""

    def reducer_override(self, obj: object) -> Any:
        return (dict, (dict(obj),)) if isinstance(obj, MappingProxyType) else NotImplemented


def _exploded(curve: Curve) -> str:
    """Why training cannot go on after its last look; empty when it can."""
    step, loss, error = curve[-1]
    if step and not (np.isfinite(loss) and np.isfinite(error)):
        return f"the loss was no longer finite at step {step}; the best weights before it are kept"
    if step and _diverged(curve):
        return f"the loss exploded to {loss:.3g} at step {step}; the best weights before it are kept"
    return ""


def _diverged(curve: Curve) -> bool:
    """Whether the last training loss is not finite or beyond anything scaled targets can cost."""
    loss = curve[-1][1]
    return len(curve) > 1 and not loss < BEYOND * max(1.0, curve[0][2])


def _stretches(settings: Settings) -> list[tuple[int, int]]:
    """(from, to) step between two looks at the validation loss; (0, 0) is the look before training."""
    edges = [*range(0, settings.steps, settings.evaluate_every), settings.steps]
    return [(0, 0), *itertools.pairwise(edges)]
