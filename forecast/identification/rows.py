"""Which rows of the experiments train, validate and test a net, and its errors on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from forecast.identification.data import NAMES, TRAIN, VALIDATION, Divide, Labels
from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    balanced,
    places,
    sizes_of,
)
from forecast.identification.model import Model
from forecast.identification.nets import Net, NetSet, check_rows
from forecast.networks.description import Network
from forecast.system.errors import InputError
from forecast.training.chunks import TrainingSeries

ForUse = Literal["simulation", "prediction"] | int


@dataclass(frozen=True)
class Rows:
    """The experiments, and which rows of each train, validate and test."""

    net: Net | NetSet
    experiments: Sequence[Experiment]
    labels: list[Labels]
    # how far before a row y must be known: the feedback delays, nothing for a free run
    back: tuple[int, ...] = ()

    @classmethod
    def of(cls, net: Net | NetSet, experiments: Sequence[Experiment], divide: Divide) -> Rows:
        experiments = balanced(experiments)
        for number, experiment in enumerate(experiments):
            check_rows(net, f"experiment {number}", len(experiment), net.start + 1)
        labels = [divide(len(e)) for e in experiments]
        if any(np.shape(each) != (len(e),) for each, e in zip(labels, experiments, strict=True)):
            raise InputError(
                "`divide` gave no label for each row; wanted such as divideblock(0.7, 0.15, 0.15)."
            )
        rows = cls(net, experiments, labels)
        if not rows.has(TRAIN):
            raise InputError(
                "No observed row is left to train on; give more rows, or divide them otherwise."
            )
        return rows

    @property
    def sizes(self) -> tuple[int, int]:
        return sizes_of(self.experiments)

    def weights(self, *labels: int) -> list[Array]:
        """Per experiment (T, O): the weight of each squared error, 0 outside the rows of these
        labels and wherever a delay is not filled.
        """
        parts = zip(self.experiments, self.labels, strict=True)
        return [e.counted * (np.isin(each, labels) & self._usable(e))[:, None] for e, each in parts]

    def has(self, label: int) -> bool:
        return any(weight.any() for weight in self.weights(label))

    def parts(self, label: int) -> list[Experiment]:
        """The rows of this label, one experiment each."""
        return [
            e.part(each == label) for e, each in zip(self.experiments, self.labels, strict=True)
        ]

    def record(self) -> Array:
        """(2, O): the least and the largest y of the rows that train."""
        y = np.concatenate(
            [e.y[each == TRAIN] for e, each in zip(self.experiments, self.labels, strict=True)]
        )
        return np.stack([np.nanmin(y, axis=0), np.nanmax(y, axis=0)])

    def series(self, network: Network, scaling: Standardization) -> list[TrainingSeries]:
        """The experiments as the network sees them: in row t y[t-1] and u[t - shift], and y[t] as
        the target.
        """
        outputs, found = network.shapes.outputs, []
        for e, weight in zip(
            map(scaling.scale, self.experiments), self.weights(TRAIN), strict=True
        ):
            y = np.nan_to_num(e.y)
            past = np.zeros((len(e), network.shapes.channels))
            past[1:, :outputs] = y[:-1]
            past[self.net.shift :, outputs:] = e.u[: len(e) - self.net.shift]
            # the root: the residual is weighted, its square counts what the experiment says
            found.append(
                TrainingSeries(
                    past, np.zeros((len(e) + 1, 0)), y[:, None], np.sqrt(weight)[:, None]
                )
            )
        return found

    def counted(self, scaling: Standardization, *labels: int) -> list[Experiment]:
        """The experiments, scaled, of whose errors only those in the rows of these labels count."""
        parts = zip(map(scaling.scale, self.experiments), self.weights(*labels), strict=True)
        return [e.changed(weight=weight) for e, weight in parts]

    def held_out(self, scaling: Standardization) -> list[Experiment]:
        """The stretches with validation rows, each from a place where y is measured over the
        delays.
        """
        found, start = [], self.net.start
        for e in self.counted(scaling, VALIDATION):
            rows = np.flatnonzero(e.counted.any(axis=1))
            if not len(rows):
                continue
            starts = places(e, start)
            before = starts[starts <= rows[0] - start]
            if len(starts):
                found.append(
                    e.part(slice(int(before[-1] if len(before) else starts[0]), int(rows[-1]) + 1))
                )
        return [e for e in found if len(e) > start]

    def _usable(self, experiment: Experiment) -> npt.NDArray[np.bool_]:
        """(T,): no delay of the row reaches before the series or to a missing y."""
        usable = np.arange(len(experiment)) >= self.net.start
        missing = np.asarray(np.isnan(experiment.y).any(axis=1))
        for delay in self.back:
            usable[delay:] &= ~missing[:-delay]
        return usable


def judge(
    net: Net, rows: Rows, scaling: Standardization, for_use: ForUse
) -> Callable[[Mapping[str, Array]], float]:
    """The mean squared error on the validation rows, scaled, in the loop that the net is for."""
    loop, held_out = net.loop(*rows.sizes), rows.held_out(scaling)
    least = min(map(len, held_out), default=0) - net.start
    if isinstance(for_use, int) and held_out and for_use >= least:
        raise InputError(
            f"`for_use` is {for_use}; a stretch of validation rows has {least}. Take fewer steps."
        )

    def error(named: Mapping[str, Array]) -> float:
        squares, count = 0.0, 0.0
        for e in held_out:
            run, weight = looped(loop, loop.flat(named), e, net.start, for_use)
            with np.errstate(over="ignore"):
                squares += float(
                    np.sum(weight * np.where(weight > 0, run - np.nan_to_num(e.y), 0.0) ** 2)
                )
            count += float(weight.sum())
        return squares / count if np.isfinite(squares) else np.inf

    return error


def looped(
    loop: Any, weights: Any, e: Experiment, start: int, for_use: ForUse
) -> tuple[Array, Array]:
    """(T, O) of the loop over a scaled experiment, and what the squared error of each value
    counts.
    """
    weight = np.where(np.arange(len(e))[:, None] < start, 0.0, e.counted)
    before = loop.loop(weights, loop.begin(weights, e.u), e.u[:start], e.y[:start])[1]
    with np.errstate(over="ignore", invalid="ignore"):
        if for_use == "simulation":
            run = loop.bounded(loop.loop(weights, before, e.u[start:])[0])
        elif for_use == "prediction":
            run = loop.bounded(loop.loop(weights, before, e.u[start:], e.y[start:])[0])
        else:
            run = loop.ahead(weights, before, e.u[start:], e.y[start:], int(for_use))[:, -1]
            weight[: start + int(for_use)] = 0.0
    run = np.concatenate([np.zeros((len(e) - len(run), run.shape[1])), run])
    return run, weight


def errors(model: Model, rows: Rows, for_use: ForUse) -> dict[str, float]:
    """Weighted mean squared error of train, validation and test rows in the loop, in the units of
    y; infinite where the loop is lost. A free run begins where y is first measured over the delays.
    """
    loop, weights = model.numerics()
    squares, counts = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0)
    for place, e in enumerate(rows.experiments):
        first = next(iter(places(e, model.start)), len(e)) if for_use == "simulation" else 0
        e = e.part(slice(first, None))
        if len(e) <= model.start + (for_use if isinstance(for_use, int) else 0):
            continue
        run, counted = looped(loop, weights, model.scaling.scale(e), model.start, for_use)
        run = model.scaling.unscale_y(run)
        if for_use == "simulation" and model.leaves(run[None]).any():
            run = np.full_like(e.y, np.inf)
        for label in squares:
            weight = np.where(counted > 0, rows.weights(label)[place][first:], 0.0)
            squares[label] += float(
                np.sum(np.where(weight > 0, run - np.nan_to_num(e.y), 0.0) ** 2 * weight)
            )
            counts[label] += float(weight.sum())
    found = {NAMES[label]: squares[label] / count for label, count in counts.items() if count}
    return {name: error if np.isfinite(error) else np.inf for name, error in found.items()}
