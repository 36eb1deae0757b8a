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

from forecast.identification.division import NAMES, TEST, TRAIN, VALIDATION, Divide, Labels, divideblock
from forecast.identification.experiment import Experiment
from forecast.identification.model import Model, Training
from forecast.identification.narx_weights import from_narx, narx_of, to_narx
from forecast.identification.nets import Net
from forecast.networks import inference
from forecast.networks.description import Network
from forecast.system.errors import InputError
from forecast.training import levenberg_marquardt as lm
from forecast.training import network_problem
from forecast.training.chunks import TrainingSeries
from forecast.training.narx.narx import Record
from forecast.training.narx.narx_problems import ClosedLoop
from forecast.training.narx.narx_signals import Scaling

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
    scaling = rows.scaling()
    network = net.network(*rows.sizes)
    series = [_series(net, network, e, scaling, rows.weight(k, TRAIN)) for k, e in enumerate(rows.experiments)]
    validate = _validate(network, series, rows, scaling) if rows.has(VALIDATION) else None
    if trainer == "adam":
        if validate is None:
            raise InputError(
                "Adam keeps the weights that are best on the validation rows; there are none. Divide off some."
            )
        weights, training = _adam(network, series, validate, net.start, iterations, seed)
    else:
        options = lm.Options(max_iterations=iterations, bayesian=trainer == "bayesian")
        found = network_problem.fit(
            network, series, validate, seed=seed, restarts=restarts, options=options, announce=announce
        )
        weights, training = found.weights, Training(found.run.reason, found.run.curve)
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
    """The model with weights that go on from its own towards the least free-run error (closed loop).

    `ModelFailure` when its loop diverges already as it is.
    """
    rows = _Rows.of(model.net, experiments, divide or divideblock())
    narx = narx_of(model.net, *rows.sizes)
    train_labels = (TRAIN, VALIDATION) if trainer == "bayesian" else (TRAIN,)
    records = [_record(model, e, rows.weight(k, *train_labels)) for k, e in enumerate(rows.experiments)]
    held_out = []
    if rows.has(VALIDATION) and trainer == "lm":
        held_out = [_record(model, e, rows.weight(k, VALIDATION)) for k, e in enumerate(rows.experiments)]
    options = lm.Options(max_iterations=iterations, bayesian=trainer == "bayesian")
    problem = ClosedLoop(narx, records, held_out)
    found = lm.minimise(problem, to_narx(model.net, model.weights), options, announce=announce)
    closed = replace(model, weights=from_narx(model.net, narx, found.weights))
    training = Training(found.reason, found.curve, _performance(closed, rows), "parallel")
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
            _check_length(net, number, experiment)
        rows = cls(net, experiments, [divide(len(e)) for e in experiments])
        if not rows.has(TRAIN):
            raise InputError("No observed row is left to train on; give more rows, or divide them otherwise.")
        return rows

    @property
    def sizes(self) -> tuple[int, int]:
        return self.experiments[0].u.shape[1], self.experiments[0].y.shape[1]

    def weight(self, number: int, *labels: int) -> Array:
        """(T, O): what each squared error counts among the rows of these labels whose delays are all filled."""
        experiment = self.experiments[number]
        chosen = np.isin(self.labels[number], labels) & self._usable(experiment)
        return experiment.counted * chosen[:, None]

    def has(self, label: int) -> bool:
        return any(self.weight(k, label).any() for k in range(len(self.experiments)))

    def scaling(self) -> Scaling:
        """Mean and deviation over the rows that train."""
        parts = []
        for experiment, labels in zip(self.experiments, self.labels, strict=True):
            seen = labels == TRAIN
            parts.append(Record(experiment.u[seen], experiment.y[seen], 0))
        if not all(np.isfinite(np.concatenate([p.y for p in parts])).any(axis=0)):
            raise InputError("A column of y has no observed value among the rows that train. Divide them otherwise.")
        return Scaling.fit(parts)

    def _usable(self, experiment: Experiment) -> npt.NDArray[np.bool_]:
        """(T,): no delay of the row reaches before the series or to a missing y."""
        usable = np.arange(len(experiment)) >= self.net.start
        missing = np.asarray(np.isnan(experiment.y).any(axis=1))
        for delay in self.net.feedback_delays:
            usable[delay:] &= ~missing[:-delay]
        return usable


def _check_length(net: Net, number: int, experiment: Experiment) -> None:
    if len(experiment) <= net.start:
        raise InputError(
            f"{net.kind} has delays that reach {net.start} rows back; experiment {number} has {len(experiment)} rows, "
            f"at least {net.start + 1} are needed. Give a longer one, leave it out, or take shorter delays."
        )


def _series(net: Net, network: Network, experiment: Experiment, scaling: Scaling, weight: Array) -> TrainingSeries:
    """The rows of one experiment as the network sees them: y of the row before, and the inputs that act now."""
    z, u = scaling.scale_y(experiment.y), scaling.scale_u(experiment.u)
    past = np.zeros((len(z), network.shapes.channels))
    past[1:, : network.shapes.outputs] = np.nan_to_num(z[:-1])
    past[net.shift :, network.shapes.outputs :] = u[: len(u) - net.shift]
    return TrainingSeries(
        past=past,
        future=np.zeros((len(z) + 1, 0)),
        target=np.nan_to_num(z)[:, None],
        weight=np.sqrt(weight)[:, None],  # the residual's; its square counts what the experiment says
    )


def _validate(
    network: Network, series: list[TrainingSeries], rows: _Rows, scaling: Scaling
) -> Callable[[Mapping[str, Array]], float]:
    """Weights → mean squared one-step error on the validation rows, scaled."""
    weights = [rows.weight(k, VALIDATION) for k in range(len(series))]
    total = sum(weight.sum() for weight in weights)

    def error(named: Mapping[str, Array]) -> float:
        squares = 0.0
        for one, weight in zip(series, weights, strict=True):
            output = inference.forward(network, named, one.past[None])[0, :, 0, :, 0]
            squares += float(np.sum(weight * (output - one.target[:, 0]) ** 2))
        return squares / total

    return error


def _adam(
    network: Network,
    series: list[TrainingSeries],
    validate: Callable[[Mapping[str, Array]], float],
    start: int,
    iterations: int,
    seed: int,
) -> tuple[dict[str, Array], Training]:
    from forecast.training import chunks, gradient, updates

    shortest = min(len(one.past) for one in series)
    joined = chunks.join(
        [_float32(one) for one in series], supervised=min(64, shortest - start), warm_up=min(start, shortest - 2)
    )
    settings = updates.Settings(
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
    return weights, Training(found.note or "iterations used", curve)


def _float32(one: TrainingSeries) -> TrainingSeries:
    parts = {name: np.asarray(getattr(one, name), np.float32) for name in ("past", "future", "target", "weight")}
    return TrainingSeries(**parts)


def _record(model: Model, experiment: Experiment, weight: Array) -> Record:
    u, y = model.scaling.scale_u(experiment.u), model.scaling.scale_y(experiment.y)
    if np.isnan(y[: model.start]).any():
        raise InputError(
            f"y is missing in the first {model.start} rows of an experiment, from which its free run starts. Begin it "
            "where they are all measured."
        )
    return Record(u, y, model.start, np.sqrt(weight))


def _performance(model: Model, rows: _Rows) -> dict[str, float]:
    """Weighted mean squared one-step error of each part, in the units of y."""
    network, found = model.network, {}
    series = [
        _series(model.net, network, e, model.scaling, rows.weight(k, TRAIN)) for k, e in enumerate(rows.experiments)
    ]
    outputs = [inference.forward(network, model.weights, one.past[None])[0, :, 0, :, 0] for one in series]
    for label in (TRAIN, VALIDATION, TEST):
        weights = [rows.weight(k, label) for k in range(len(series))]
        errors = [
            w * ((out - one.target[:, 0]) * model.scaling.y_scale) ** 2
            for w, out, one in zip(weights, outputs, series, strict=True)
        ]
        if total := sum(w.sum() for w in weights):
            found[NAMES[label]] = float(sum(e.sum() for e in errors) / total)
    return found
