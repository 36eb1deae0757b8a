"""The ranking of models of one input-output record by the error of their free run, for the command
`forecast identify`.

The models are the contestants of `FIT_BY_CONTESTANT`. Each is fitted twice: on the training rows,
for its error on the validation rows, by which it is ranked; then on both, for its error on the test
rows, by which nothing is chosen. A free run begins with measured rows, those before the block or
the first `WARM_UP` of a whole record, and sees no y after them.

The ranking says nothing to the search inside of `identify`, which chooses by its own errors on
blocks held out (`search`, `member.mean_errors`). `performance.perform` has further measures for a
user's script. A further field of `ContestantResult` is in result.json by itself; the table,
`--format json` and MLflow name their columns in `cli.identify`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from forecast.config.operation import ExperimentEntry
from forecast.identification.automatic import identify
from forecast.identification.data import divideblock, dividetrain
from forecast.identification.delays import choose_delays
from forecast.identification.experiment import Array, Experiment, join_rows
from forecast.identification.model import Model
from forecast.identification.nets import Net, grunet, lstmnet, narnet, narxnet
from forecast.identification.training import train, train_parallel, trainlm
from forecast.system.errors import ForecastError, InputError, ModelError, plural
from forecast.system.progress import show_nothing

Fit = Callable[[Sequence[Experiment], int], Model]
"""A function from experiments and a seed to a model."""

WARM_UP = 20  # measured rows of a whole test record; more for a model with longer delays
STOPPING_SHARE = divideblock(0.8, 0.2, 0.0)  # of the rows to fit, the last decide when to stop

Block = tuple[Experiment, Experiment]
"""The rows before a free run, and those it covers."""


@dataclass(frozen=True)
class ContestantResult:
    """The result of a contestant.

    `validation`, `test`: the RMSE of the free run over the deviation of y in the fitted rows, a
    mean over outputs; infinite where the fit failed or the run is lost, and `note` says why.
    `rmse`: on test, of each output in its units; `seconds`: of CPU time.
    """

    name: str
    seconds: float
    note: str
    validation: float = np.inf
    test: float = np.inf
    rmse: tuple[float, ...] = ()
    model: Model | None = None


def compete(
    entry: ExperimentEntry,
    experiments: Mapping[str, Experiment],
    advance: Callable[[str], None] = show_nothing,
) -> list[ContestantResult]:
    """The results, the lowest validation error first and those without a model last; Ctrl-C keeps
    those that are done. `advance` is called with the name of each contestant when it is done.
    """
    fitted, test = split(experiments, entry.test)
    train, validation = split(fitted, entry.validation)
    results: list[ContestantResult] = []
    with suppress(KeyboardInterrupt):
        stages = [(train, validation), (fitted, test)]
        for contestant in entry.models:
            results.append(_fit_contestant(contestant, stages, entry.seed))
            advance(contestant)
    return sorted(results, key=lambda result: (result.model is None, result.validation))


def split(
    experiments: Mapping[str, Experiment], part: float | tuple[str | int, ...]
) -> tuple[dict[str, Experiment], list[Block]]:
    """What is fitted, and the free runs after it: the share of each record at its end, after all
    its earlier rows, or whole records by name, after their first `WARM_UP` rows.

    `InputError` for an unknown name, where no record is left to fit, and for a record with too few
    rows.
    """
    if isinstance(part, tuple):
        names = list(map(str, part))
        if unknown := set(names) - set(experiments):
            raise InputError(
                f"There is no record {sorted(unknown)} to test on; the file has"
                f" {sorted(experiments)}. Name some of these; the key `record` names their column."
            )
        fitted = {name: e for name, e in experiments.items() if name not in names}
        if not fitted:
            raise InputError("Every record is named in `test`, and none is left. Name fewer.")
        for name in names:
            _require_more_than_warm_up(name, experiments[name], "test on")
        whole = [experiments[name] for name in names]
        return fitted, [(e.part(slice(WARM_UP)), e.part(slice(WARM_UP, None))) for e in whole]
    fitted = {}
    blocks = []
    for name, experiment in experiments.items():
        border = round(len(experiment) * (1.0 - part))
        fitted[name] = experiment.part(slice(border))
        _require_more_than_warm_up(name, fitted[name], f"fit before the last {part:.0%}")
        blocks.append((fitted[name], experiment.part(slice(border, None))))
    return fitted, blocks


def _require_more_than_warm_up(name: str, experiment: Experiment, purpose: str) -> None:
    if len(experiment) <= WARM_UP:
        record = f"record {name!r}" if name else "the record"
        raise InputError(
            f"{plural(len(experiment), 'row')} of {record} to {purpose}, wanted more than"
            f" {WARM_UP}. Leave it out, or lower `test` or `validation`."
        )


def _fit_contestant(
    name: str, stages: Sequence[tuple[Mapping[str, Experiment], list[Block]]], seed: int
) -> ContestantResult:
    """The result of a contestant after both stages, validation and test; of one that raises a
    `ForecastError` its message.
    """
    begin = time.process_time()
    errors = [np.inf, np.inf]
    try:
        for stage, (fitted, blocks) in enumerate(stages):
            model = FIT_BY_CONTESTANT[name](list(fitted.values()), seed)
            rmse = free_run_rmse(model, blocks)
            deviation = np.nanstd(join_rows(fitted.values())[1], axis=0)
            errors[stage] = float(np.mean(rmse / deviation))
    except ForecastError as error:
        return ContestantResult(name, time.process_time() - begin, str(error), errors[0], errors[1])
    seconds = time.process_time() - begin
    # for a set of nets the first line, since the notes count its nets
    note = "\n".join([model.net.describe().splitlines()[0], *model.notes])
    return ContestantResult(name, seconds, note, errors[0], errors[1], tuple(rmse.tolist()), model)


def free_run_rmse(model: Model, blocks: Sequence[Block]) -> Array:
    """(O,): the RMSE of the free runs of all blocks together, without rows of a block that a model
    with long delays begins with.
    """
    errors = []
    for before, rows in blocks:
        u = np.concatenate([before.u, rows.u])
        y = np.concatenate([before.y, rows.y])
        run = model.simulate(u, y[: max(len(before), model.start)]).y
        errors.append((run - y)[len(before) :])
    return np.sqrt(np.nanmean(np.concatenate(errors) ** 2, axis=0))


def _identify(experiments: Sequence[Experiment], seed: int) -> Model:
    return identify(*experiments, seed=seed)


def _fit_narx(experiments: Sequence[Experiment], seed: int) -> Model:
    """A NARX net trained in open loop from three starts, then in closed loop unless that fails."""
    net = replace(_arx_net(experiments), hidden=(8,), linear=True)
    model = train(net, *experiments, divide=STOPPING_SHARE, restarts=3, seed=seed)
    try:
        return train_parallel(model, *experiments, divide=STOPPING_SHARE)
    except ModelError:
        return model


def _fit_by_lm(net: Net) -> Fit:
    """The fit of `net` by Levenberg-Marquardt from two starts, stopped by validation rows."""
    trainer = trainlm(epochs=100, max_fail=15, time=240.0)
    return lambda experiments, seed: train(
        net, *experiments, divide=STOPPING_SHARE, trainer=trainer, restarts=2, seed=seed
    )


def _fit_arx(experiments: Sequence[Experiment], seed: int) -> Model:
    return train(_arx_net(experiments), *experiments, divide=dividetrain(), seed=seed)


def _arx_net(experiments: Sequence[Experiment]) -> Net:
    """The ARX model whose delays Schwarz's criterion chooses."""
    input_delays, feedback_delays = choose_delays(*experiments, longest=8)
    if not input_delays:
        return narnet(feedback_delays, (), linear=False)
    return narxnet(input_delays, feedback_delays, ())


FIT_BY_CONTESTANT: Mapping[str, Fit] = {
    "identify": _identify,
    "narx_lm": _fit_narx,
    "gru": _fit_by_lm(grunet()),
    "lstm": _fit_by_lm(lstmnet()),
    "arx": _fit_arx,
}

WEIGHT_BY_CONTESTANT: Mapping[str, float] = {
    "identify": 1.0,
    "narx_lm": 0.05,
    "gru": 3.0,
    "lstm": 5.0,
    "arx": 0.01,
}
"""How long a contestant takes beside the others, as measured on records of some hundred rows."""
