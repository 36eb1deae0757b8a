"""The rows of experiments that train, validate and test a net, and its errors on them.

For `training`, `frols`, `automatic`. Rows that fill delays and missing values of y count nowhere.
A free run begins where y is first measured over the delays; a lost one has an infinite error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from forecast.identification.data import BLOCK_NAMES, TRAIN, VALIDATION, Divide, Labels
from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    count_columns,
    join_rows,
    normalise_weights,
    simulation_starts,
)
from forecast.identification.model import Model
from forecast.identification.nets import Net, NetSet, check_rows
from forecast.identification.problems import ClosedLoop
from forecast.networks.description import Network
from forecast.system.errors import InputError
from forecast.training.chunks import TrainingSeries

ForUse = Literal["simulation", "prediction"] | int
"""What a net is for: the free run, one-step forecasts, or forecasts of so many steps."""


@dataclass(frozen=True)
class DividedRows:
    """Experiments in the units of the data, with a label (`data`) for each of their rows.

    `feedback_delays`: the delays at which y must be known for a row to count; () for a free run.
    """

    net: Net | NetSet
    experiments: Sequence[Experiment]
    labels: list[Labels]
    feedback_delays: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, net: Net | NetSet, experiments: Sequence[Experiment], divide: Divide
    ) -> DividedRows:
        """The experiments with the labels that `divide` gives, their weights 1 on average over
        all values that count.

        `InputError` for too few rows, for labels that do not fit, and where no row trains.
        """
        if not callable(divide):
            raise InputError(
                f"`divide` is {divide!r}; wanted such as divideblock(0.7, 0.15, 0.15)."
            )
        experiments = normalise_weights(experiments)
        labels = []
        for number, experiment in enumerate(experiments):
            check_rows(net, f"experiment {number}", len(experiment), net.start + 1)
            labels.append(divide(len(experiment)))
            if np.shape(labels[-1]) != (len(experiment),):
                raise InputError(
                    "`divide` gave no label for each row; wanted such as divideblock(0.7, 0.15,"
                    " 0.15)."
                )
        rows = cls(net, experiments, labels)
        if not rows.has(TRAIN):
            raise InputError(
                "No observed row is left to train on; give more rows, or divide them otherwise."
            )
        return rows

    @property
    def sizes(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return count_columns(self.experiments)

    def weights(self, *labels: int) -> list[Array]:
        """(T, O) for each experiment: the weight of each squared error, 0 in rows of other labels
        and where a delay is not filled.
        """
        weights = []
        for e, row_labels in zip(self.experiments, self.labels, strict=True):
            is_counted = np.isin(row_labels, labels) & self._is_usable(e)
            weights.append(e.error_weights * is_counted[:, None])
        return weights

    def has(self, label: int) -> bool:
        """Whether any error counts in the rows of this label."""
        return any(weight.any() for weight in self.weights(label))

    def parts(self, label: int) -> list[Experiment]:
        """The rows of this label of each experiment that has some. They may not follow each other,
        so use them only where order does not matter.
        """
        pairs = zip(self.experiments, self.labels, strict=True)
        return [e.take(labels == label) for e, labels in pairs if (labels == label).any()]

    def series(self, network: Network, scaling: Standardization) -> list[TrainingSeries]:
        """The scaled experiments as the network sees them: row t has y[t-1] and u[t - shift], and
        y[t] as the target, with weight 0 unless the row trains.
        """
        outputs = network.shapes.outputs
        series = []
        for e in self.scale(scaling, TRAIN):
            y = np.nan_to_num(e.y)
            past = np.zeros((len(e), network.shapes.channels))
            past[1:, :outputs] = y[:-1]
            past[self.net.shift :, outputs:] = e.u[: len(e) - self.net.shift]
            future = np.zeros((len(e) + 1, 0))
            # the residual is weighted, the experiment has the weight of its square
            weight = np.sqrt(e.error_weights)
            series.append(TrainingSeries(past, future, y[:, None], weight[:, None]))
        return series

    def scale(self, scaling: Standardization, *labels: int) -> list[Experiment]:
        """The scaled experiments, with weight 0 for errors in rows of other labels."""
        pairs = zip(self.experiments, self.weights(*labels), strict=True)
        return [scaling.scale(e).with_arrays(weight=weight) for e, weight in pairs]

    def validation_parts(self, scaling: Standardization) -> list[Experiment]:
        """The scaled parts of the experiments with validation rows. Each begins with rows where y
        is measured over the delays; of a net without feedback with the first row, since the net
        knows u alone.
        """
        start = self.net.start
        parts = []
        for e in self.scale(scaling, VALIDATION):
            rows = np.flatnonzero(e.error_weights.any(axis=1))
            starts = simulation_starts(e, start) if self.net.feedback else np.zeros(1, int)
            if not len(rows) or not len(starts):
                continue
            before = starts[starts <= rows[0] - start]
            first = before[-1] if len(before) else starts[0]
            part = e.part(slice(int(first), int(rows[-1]) + 1))
            if part.error_weights[start:].any():
                parts.append(part)
        return parts

    def _is_usable(self, experiment: Experiment) -> npt.NDArray[np.bool_]:
        """(T,): whether no delay of the row reaches before the series or to a missing y."""
        is_usable = np.arange(len(experiment)) >= self.net.start
        is_missing = np.asarray(np.isnan(experiment.y).any(axis=1))
        for delay in self.feedback_delays:
            is_usable[delay:] &= ~is_missing[:-delay]
        return is_usable


def validation_error(
    rows: DividedRows, scaling: Standardization, for_use: ForUse
) -> Callable[[Mapping[str, Array]], float]:
    """The mean squared error on the validation rows, scaled, in the loop that the net is for, as a
    function of the weights by name; infinite where the loop is lost. `InputError` where no
    validation row counts, and where `for_use` is more steps than their parts have.
    """
    net = rows.net
    loop = net.loop(*rows.sizes)
    parts = rows.validation_parts(scaling)
    if not parts:
        raise InputError(
            f"No validation row counts after {net.start} rows in which y is measured. Take fewer"
            " delays, fill the gaps of y, or train on all rows: `divide=dividetrain()`."
        )
    shortest = min(map(len, parts)) - net.start
    if isinstance(for_use, int) and for_use >= shortest:
        raise InputError(
            f"`for_use` is {for_use}; a stretch of validation rows has {shortest}. Take fewer"
            " steps."
        )
    if for_use == "simulation" and net.has_narx_form:
        narx = net.narx_form(*rows.sizes)
        problem = ClosedLoop(narx, parts, net.start)  # faster than row after row
        return lambda weights: problem.mean_square(narx.flatten(weights))

    def error(weights: Mapping[str, Array]) -> float:
        """The weighted mean over all parts."""
        squares = 0.0
        total_weight = 0.0
        for part in parts:
            run, weight = run_loop(loop, loop.flatten(weights), part, net.start, for_use)
            with np.errstate(over="ignore"):
                squares += float(np.sum(weight * _counted_errors(run, part.y, weight) ** 2))
            total_weight += float(weight.sum())
        return squares / total_weight if np.isfinite(squares) else np.inf

    return error


def _counted_errors(run: Array, y: Array, weight: Array) -> Array:
    """run - y (T, O), 0 where the weight is 0."""
    return np.where(weight > 0, run - np.nan_to_num(y), 0.0)


def run_loop(
    loop: Any, weights: Any, e: Experiment, start: int, for_use: ForUse
) -> tuple[Array, Array]:
    """The run (T, O) of the loop over a scaled experiment, and the weight (T, O) of each squared
    error; both are 0 in the `start` rows that fill the delays. `for_use` k: the run has the last
    rows of forecasts over k rows, and both are 0 in k more rows.
    """
    weight = np.where(np.arange(len(e))[:, None] < start, 0.0, e.error_weights)
    state = loop.absorb(weights, e.u[:start], e.y[:start])
    u, y = e.u[start:], e.y[start:]
    with np.errstate(over="ignore", invalid="ignore"):
        if for_use == "simulation":
            run = loop.bounded(loop.loop(weights, state, u)[0])
        elif for_use == "prediction":
            run = loop.bounded(loop.loop(weights, state, u, y)[0])
        else:
            run = loop.ahead(weights, state, u, y, int(for_use))[:, -1]
            weight[: start + int(for_use)] = 0.0
    not_run = np.zeros((len(e) - len(run), run.shape[1]))
    return np.concatenate([not_run, run]), weight


def measure_errors(model: Model, rows: DividedRows) -> Model:
    """The model with the ranges and column names of the rows that train, and with its errors one
    step ahead and, with feedback, in free run on train, validation and test rows.
    """
    tables = join_rows(rows.parts(TRAIN))
    u_range, y_range = (np.stack([np.nanmin(t, axis=0), np.nanmax(t, axis=0)]) for t in tables)
    names: dict[str, tuple[str, ...]] = {}
    for e in rows.experiments:
        names |= {table: columns for table, columns in e.names.items() if columns}
    is_vector = rows.experiments[0].is_vector
    model = replace(model, y_range=y_range, u_range=u_range, names=names, is_vector=is_vector)
    free_run = mean_square_errors(model, rows, "simulation") if model.net.feedback else {}
    one_step = mean_square_errors(model, rows, "prediction")
    training = replace(model.training, performance=one_step, free_run=free_run)
    return replace(model, training=training)


def mean_square_errors(model: Model, rows: DividedRows, for_use: ForUse) -> dict[str, float]:
    """The weighted mean squared errors of train, validation and test rows by name, in
    `Model.error_unit`, in the loop of `for_use`; infinite where the loop is lost.
    """
    loop, loop_weights = model.loop_and_weights()
    sums = np.zeros((len(BLOCK_NAMES), 2))  # of weighted squares, of weights
    label_weights = {label: rows.weights(label) for label in BLOCK_NAMES}
    steps = for_use if isinstance(for_use, int) else 0
    for number, experiment in enumerate(rows.experiments):
        first = 0
        if for_use == "simulation":
            first = next(iter(simulation_starts(experiment, model.start)), len(experiment))
        if len(experiment) - first <= model.start + steps:
            continue
        e = experiment.part(slice(first, None))
        scaled = model.scaling.scale(e)
        run, counted_weight = run_loop(loop, loop_weights, scaled, model.start, for_use)
        run = model.scaling.unscale_y(run)
        if for_use == "simulation" and model.find_lost_step(run[None]) is not None:
            run = np.full_like(e.y, np.inf)
        for label in BLOCK_NAMES:
            weight = np.where(counted_weight > 0, label_weights[label][number][first:], 0.0)
            errors = _counted_errors(run, e.y, weight) / model.error_unit
            sums[label] += np.sum(errors**2 * weight), weight.sum()
    errors_by_part = {}
    for label, name in BLOCK_NAMES.items():
        squares, total_weight = sums[label]
        if total_weight:
            mean = float(squares / total_weight)
            errors_by_part[name] = mean if np.isfinite(mean) else np.inf
    return errors_by_part
