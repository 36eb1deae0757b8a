"""Rows of models on one input-output record, ranked by the error of their free run.

A row is a way to a `Model`. Every row is fitted twice: on the training rows, for its error on the
validation rows, by which it is ranked; then on both, for its error on the test rows, by which
nothing is chosen. A free run begins with measured rows (those before the block, or the first
`WARM_UP` of a whole record) and sees y no more after them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecast.config.operation import ExperimentEntry
from forecast.identification.automatic import identify
from forecast.identification.data import divideblock, dividetrain
from forecast.identification.delays import arx_order
from forecast.identification.experiment import Array, Experiment
from forecast.identification.model import Model
from forecast.identification.nets import Net, grunet, lstmnet, narxnet
from forecast.identification.training import train, train_parallel, trainlm
from forecast.system.errors import ForecastError, InputError, ModelFailure

Fit = Callable[[Sequence[Experiment], int], Model]

# rows of a whole record that are measured; more for a model whose delays reach farther
WARM_UP = 20
HELD_OUT = divideblock(0.8, 0.2, 0.0)  # of the rows a net is fitted on: where its training stops

Block = tuple[Experiment, Experiment]
"""The rows before a free run, and those it covers."""


@dataclass(frozen=True)
class Entry:
    """A row's result. Errors: RMSE of the free run over the deviation of y in the fitted rows, mean
    over outputs; infinite where the loop is lost or the fit failed, and `note` says why. `rmse`: on
    test, per output in its units; `run`: the first free run there.
    """

    row: str
    seconds: float
    note: str
    validation: float = np.inf
    test: float = np.inf
    rmse: tuple[float, ...] = ()
    model: Model | None = None
    run: Array | None = None


def compete(record: ExperimentEntry, experiments: Mapping[str, Experiment]) -> list[Entry]:
    """The rows, the lowest validation error first and those without a model last; Ctrl-C keeps
    those that are done.
    """
    both, test = split(experiments, record.test)
    train, validation = split(both, record.validation)
    found: list[Entry] = []
    with suppress(KeyboardInterrupt):
        found.extend(
            _entry(row, (train, validation), (both, test), record.seed) for row in record.rows
        )
    return sorted(found, key=lambda entry: (entry.model is None, entry.validation))


def split(
    experiments: Mapping[str, Experiment], part: float | tuple[str | int, ...]
) -> tuple[dict[str, Experiment], list[Block]]:
    """What is fitted, and the free runs behind it: the share of each record at its end, or whole
    records by name.
    """
    if isinstance(part, tuple):
        part = tuple(map(str, part))
        if unknown := set(part) - set(experiments):
            raise InputError(
                f"There is no record {sorted(unknown)} to test on; the file has"
                f" {sorted(experiments)}."
            )
        blocks = [
            (e.part(slice(WARM_UP)), e.part(slice(WARM_UP, None)))
            for e in map(experiments.get, part)
            if e
        ]
        return {name: e for name, e in experiments.items() if name not in part}, blocks
    borders = {name: round(len(e) * (1.0 - part)) for name, e in experiments.items()}
    if not borders or min(borders.values()) <= WARM_UP:
        raise InputError(
            f"A record keeps {WARM_UP} rows or fewer to train on. Leave it out, or test on less."
        )
    kept = {name: e.part(slice(borders[name])) for name, e in experiments.items()}
    return kept, [
        (kept[name], e.part(slice(borders[name], None))) for name, e in experiments.items()
    ]


def _entry(row: str, *parts: Any) -> Entry:
    *stages, seed = parts
    begun, found = time.process_time(), [np.inf, np.inf]
    try:
        for stage, (fitted, blocks) in enumerate(stages):
            model = ROWS[row](list(fitted.values()), seed)
            rmse, run = judged(model, blocks)
            size = np.nanstd(np.concatenate([e.y for e in fitted.values()]), axis=0)
            found[stage] = float(np.mean(rmse / size))
    except ForecastError as error:
        return Entry(row, time.process_time() - begun, str(error), found[0], found[1])
    seconds, note = time.process_time() - begun, "\n".join([model.net.describe(), *model.notes])
    return Entry(row, seconds, note, found[0], found[1], tuple(rmse.tolist()), model, run)


def judged(model: Model, blocks: Sequence[Block]) -> tuple[Array, Array]:
    """(O,): the RMSE of the free runs of all blocks together; and the first block's run (rows,
    O).
    """
    runs = [_free(model, *block) for block in blocks]
    error = np.concatenate([run - rows.y for run, (_, rows) in zip(runs, blocks, strict=True)])
    return np.sqrt(np.nanmean(error**2, axis=0)), runs[0]


def _free(model: Model, before: Experiment, rows: Experiment) -> Array:
    """(rows, O); NaN in the first rows of a net whose delays reach farther back than what is
    measured before.
    """
    u, y = np.concatenate([before.u, rows.u]), np.concatenate([before.y, rows.y])
    begun, run = max(len(before), model.start), np.full_like(y, np.nan)
    state = model.prepare(u[:begun], y[:begun])
    free = (
        model.parallel(u[begun:], state)
        if model.net.feedback
        else model.series_parallel(u[begun:], None, state)
    )
    run[begun:] = free.y
    return run[len(before) :]


def _narx(experiments: Sequence[Experiment], seed: int) -> Model:
    net = replace(_linear(experiments), hidden=(8,), linear=True)
    opened = train(net, *experiments, divide=HELD_OUT, restarts=3, seed=seed)
    try:
        return train_parallel(opened, *experiments, divide=HELD_OUT)
    except ModelFailure:
        return opened


def _gated(net: Net) -> Fit:
    trainer = trainlm(epochs=100, max_fail=15, time=240.0)
    return lambda experiments, seed: train(
        net, *experiments, divide=HELD_OUT, trainer=trainer, restarts=2, seed=seed
    )


def _linear(experiments: Sequence[Experiment]) -> Net:
    """The ARX model whose delays Schwarz's criterion chooses."""
    inputs, outputs = arx_order(*experiments, longest=8)
    return narxnet(inputs, outputs, ()) if inputs else Net("narnet", (), feedback_delays=outputs)


ROWS: Mapping[str, Fit] = {
    "identify": lambda experiments, seed: identify(*experiments, seed=seed),
    "narx_lm": _narx,
    "gru": _gated(grunet()),
    "lstm": _gated(lstmnet()),
    "arx": lambda experiments, seed: train(
        _linear(experiments), *experiments, divide=dividetrain(), seed=seed
    ),
}
