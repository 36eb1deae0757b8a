"""Train a net on one or several experiments: Levenberg-Marquardt unless asked otherwise, open loop first.

`train` is series-parallel: every row is forecast from measured ones, plain regression. `train_parallel` goes on from
there on the free-run error (closed loop), for narx and nar nets of one hidden layer. Every experiment is a sequence of
its own: its first rows fill the delays, its error weights count, and no delay reaches into another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from forecast.identification.data import NAMES, TEST, TRAIN, VALIDATION, Divide, Labels, divideblock
from forecast.identification.model import Model, TrainingRecord
from forecast.identification.nets import Net
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.system.errors import InputError
from forecast.training import levenberg_marquardt as lm
from forecast.training import network_problem
from forecast.training.chunks import TrainingSeries
from forecast.training.narx.experiment import Experiment, Standardization
from forecast.training.narx.problems import ClosedLoop

Array = npt.NDArray[np.float64]
Trainer = Literal["lm", "bayesian", "adam"]
Announce = Callable[[str], None]


def train(
    net: Net,
    *experiments: Experiment,
    divide: Divide | None = None,
    trainer: Trainer = "lm",
    iterations: int = 100,
    restarts: int = 1,
    seed: int = 0,
    announce: Announce | None = None,
) -> Model:
    """The net with the weights that were best on the validation rows of all experiments.

    `trainer`: "lm" (trainlm); "bayesian" (trainbr: the weight decay follows the evidence, validation rows train too);
    "adam" for nets too large for these, `iterations` then being thousands of gradient steps.
    `announce` receives the predicted memory and time before the work starts.
    """
    rows = _Rows.of(net, experiments, divide or divideblock())
    if trainer == "bayesian":
        rows = replace(rows, labels=[np.where(each == VALIDATION, TRAIN, each) for each in rows.labels])
    scaling, network = rows.scaling(), net.network(*rows.sizes)
    series = rows.series(network, scaling)
    held_out = rows.weights(VALIDATION)

    def error(named: Mapping[str, Array]) -> float:
        return _mean_square(_outputs(network, named, series), series, held_out)

    validate = error if rows.has(VALIDATION) else None
    if trainer == "adam":
        if validate is None:
            raise InputError(
                "Adam keeps the weights that are best on the validation rows; there are none. Divide off some."
            )
        weights, training = _adam(network, series, validate, net.start, iterations, seed)
    else:
        options = lm.Options(max_iterations=iterations, bayesian=trainer == "bayesian")
        weights, run = network_problem.fit(
            network, series, validate, seed=seed, restarts=restarts, options=options, announce=announce
        )
        training = TrainingRecord(run.reason, run.curve)
    model = Model(net, weights, scaling)
    return replace(model, training=replace(training, performance=_performance(model, rows)))


def train_parallel(
    model: Model,
    *experiments: Experiment,
    divide: Divide | None = None,
    trainer: Literal["lm", "bayesian"] = "lm",
    iterations: int = 100,
    announce: Announce | None = None,
) -> Model:
    """The model with its weights trained further on the free-run error (closed loop).

    `ModelFailure` when its loop diverges already as it is.
    """
    rows = _Rows.of(model.net, experiments, divide or divideblock())
    narx = model.net.narx(*rows.sizes)
    for e in experiments:
        model.net.check_first(e.y)
    scaled = [model.scaling.scale(e) for e in experiments]
    train_labels = (TRAIN, VALIDATION) if trainer == "bayesian" else (TRAIN,)
    counted = [e.changed(weight=w) for e, w in zip(scaled, rows.weights(*train_labels), strict=True)]
    held_out = []
    if rows.has(VALIDATION) and trainer == "lm":
        held_out = [e.changed(weight=w) for e, w in zip(scaled, rows.weights(VALIDATION), strict=True)]
    options = lm.Options(max_iterations=iterations, bayesian=trainer == "bayesian")
    problem = ClosedLoop(narx, counted, model.start, held_out)
    found = lm.minimise(problem, narx.flat(model.weights), options=options, announce=announce)
    closed = replace(model, weights=narx.named(found.weights))
    training = TrainingRecord(found.reason, found.curve, _performance(closed, rows), "parallel")
    return replace(closed, training=training)


@dataclass(frozen=True)
class _Rows:
    """The experiments, and which rows of each train, validate and test."""

    net: Net
    experiments: Sequence[Experiment]
    labels: list[Labels]

    @classmethod
    def of(cls, net: Net, experiments: Sequence[Experiment], divide: Divide) -> _Rows:
        if not experiments:
            raise InputError("Training needs at least one experiment. Give `Experiment(u, y)`.")
        sizes = {(e.u.shape[1], e.y.shape[1]) for e in experiments}
        if len(sizes) > 1:
            raise InputError(f"The experiments have (inputs, outputs) {sorted(sizes)}; wanted the same for all.")
        for number, experiment in enumerate(experiments):
            net.check_rows(f"experiment {number}", len(experiment), net.start + 1)
        rows = cls(net, experiments, [divide(len(e)) for e in experiments])
        if not rows.has(TRAIN):
            raise InputError("No observed row is left to train on; give more rows, or divide them otherwise.")
        return rows

    @property
    def sizes(self) -> tuple[int, int]:
        return self.experiments[0].u.shape[1], self.experiments[0].y.shape[1]

    def weights(self, *labels: int) -> list[Array]:
        """Per experiment (T, O): the weight of each squared error, 0 outside the rows of these labels and wherever a
        delay is not filled."""
        parts = zip(self.experiments, self.labels, strict=True)
        return [e.counted * (np.isin(each, labels) & self._usable(e))[:, None] for e, each in parts]

    def has(self, label: int) -> bool:
        return any(weight.any() for weight in self.weights(label))

    def scaling(self) -> Standardization:
        """Over the rows that train."""
        parts = [e.part(each == TRAIN) for e, each in zip(self.experiments, self.labels, strict=True)]
        if not all(np.isfinite(np.concatenate([part.y for part in parts])).any(axis=0)):
            raise InputError("A column of y has no observed value among the rows that train. Divide them otherwise.")
        return Standardization.fit(parts)

    def series(self, network: Network, scaling: Standardization) -> list[TrainingSeries]:
        """The experiments as the network sees them: in row t y[t-1] and u[t - shift], and y[t] as the target."""
        outputs, found = network.shapes.outputs, []
        for e, weight in zip(map(scaling.scale, self.experiments), self.weights(TRAIN), strict=True):
            y = np.nan_to_num(e.y)
            past = np.zeros((len(e), network.shapes.channels))
            past[1:, :outputs] = y[:-1]
            past[self.net.shift :, outputs:] = e.u[: len(e) - self.net.shift]
            # the root: the residual is weighted, its square counts what the experiment says
            found.append(TrainingSeries(past, np.zeros((len(e) + 1, 0)), y[:, None], np.sqrt(weight)[:, None]))
        return found

    def _usable(self, experiment: Experiment) -> npt.NDArray[np.bool_]:
        """(T,): no delay of the row reaches before the series or to a missing y."""
        usable = np.arange(len(experiment)) >= self.net.start
        missing = np.asarray(np.isnan(experiment.y).any(axis=1))
        for delay in self.net.feedback_delays:
            usable[delay:] &= ~missing[:-delay]
        return usable


def _outputs(network: Network, weights: Mapping[str, Array], series: list[TrainingSeries]) -> list[Array]:
    """(T, O) of each series, one step ahead, scaled."""
    return [inference.forward(network, weights, one.past[None])[0, :, 0, :, 0] for one in series]


def _mean_square(
    outputs: list[Array], series: list[TrainingSeries], weights: list[Array], scale: float | Array = 1.0
) -> float:
    """Weighted, of the errors times `scale`."""
    parts = zip(outputs, series, weights, strict=True)
    squares = sum(float(np.sum(w * ((out - one.target[:, 0]) * scale) ** 2)) for out, one, w in parts)
    return float(squares / sum(w.sum() for w in weights))


def _adam(
    network: Network,
    series: list[TrainingSeries],
    validate: Callable[[Mapping[str, Array]], float],
    start: int,
    iterations: int,
    seed: int,
) -> tuple[dict[str, Array], TrainingRecord]:
    from forecast.training import chunks, descent, gradient

    shortest = min(len(one.past) for one in series)
    arrays = ([one.past, one.future, one.target, one.weight] for one in series)
    float32 = [TrainingSeries(*(np.asarray(array, np.float32) for array in each)) for each in arrays]
    joined = chunks.join(float32, supervised=min(64, shortest - start), warm_up=min(start, shortest - 2))
    settings = descent.Settings(
        steps=1000 * iterations,
        learning_rate=5e-3,
        batch_size=8,
        weight_decay=0.0,
        clip=1.0,
        loss="mse",
        evaluate_every=250,
    )
    found = gradient.fit(network, joined, validate, settings, seed=seed)
    curve = tuple((step, loss, error, float("nan")) for step, loss, error in found.curve)
    weights = {name: np.asarray(value, np.float64) for name, value in found.weights.items()}
    return weights, TrainingRecord(found.note or "iterations used", curve)


def _performance(model: Model, rows: _Rows) -> dict[str, float]:
    """Weighted mean squared one-step error of train, validation and test rows, in the units of y."""
    series = rows.series(model.network, model.scaling)
    outputs = _outputs(model.network, model.weights, series)
    parts = {label: rows.weights(label) for label in (TRAIN, VALIDATION, TEST) if rows.has(label)}
    scale = model.scaling.y_scale
    return {NAMES[label]: _mean_square(outputs, series, weights, scale) for label, weights in parts.items()}
