"""Training of a net on experiments by Levenberg-Marquardt, for users.

`train` lowers the one-step error (open loop) and keeps the weights that were best on the validation
rows in the loop that the net is for. `train_parallel` goes on with the free-run error (closed
loop). `trainlm` and `trainbr` give options by MATLAB's names. Every experiment is a sequence of its
own: its first rows fill the delays, and no delay reaches into another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from forecast.identification.chaos import NO_SIMULATION, describe_lost_simulation
from forecast.identification.data import TRAIN, VALIDATION, Divide, divideblock
from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    describe_cautions,
    require_same_names,
    require_whole,
)
from forecast.identification.model import Model, TrainingRecord
from forecast.identification.nets import Net
from forecast.identification.problems import ClosedLoop
from forecast.identification.rows import (
    DividedRows,
    ForUse,
    mean_square_errors,
    measure_errors,
    validation_error,
)
from forecast.system.errors import InputError, ModelError, plural
from forecast.training import levenberg_marquardt as lm
from forecast.training import network_problem
from forecast.training.levenberg_marquardt import Watch, note_interrupt

Trainer = Literal["lm", "bayesian"] | lm.Options

PATIENCE = 25  # iterations without a better validation error, which falls less evenly over time
LOST = 100.0  # times the variance of y: a larger mean squared error is that of a lost free run
NOT_FOLLOWED = (
    "No free run follows y on the validation rows, so the one-step error there chose the weights."
)


def trainlm(
    epochs: int = 1000,
    goal: float = 0.0,
    time: float = np.inf,
    max_fail: int = 6,
    min_grad: float = 1e-7,
    mu: float = 1e-3,
    mu_inc: float = 10.0,
    mu_dec: float = 0.1,
    mu_max: float = 1e10,
) -> lm.Options:
    """Options of Levenberg-Marquardt by MATLAB's names and default values (trainParam), for
    `train(..., trainer=trainlm(...))`.

    `goal`: a mean squared error in scaled units; `time`: seconds; `max_fail`: epochs without a
    better validation error. `InputError` for values out of range.
    """
    require_whole(1, epochs=epochs, max_fail=max_fail)
    if not (mu > 0 and mu_inc > 1 > mu_dec > 0):
        raise InputError(
            f"mu={mu}, mu_inc={mu_inc}, mu_dec={mu_dec}; wanted mu above 0, mu_inc above 1, mu_dec"
            " between 0 and 1."
        )
    return lm.Options(
        epochs, mu, mu_inc, mu_dec, mu_max, min_grad, max_fail, goal=goal, seconds=time
    )


def trainbr(epochs: int = 1000, *, mu: float = 5e-3, **options: Any) -> lm.Options:
    """Options of Levenberg-Marquardt with Bayesian regularisation, which finds the weight decay;
    the validation rows train, too. `options` as of `trainlm`.
    """
    return replace(trainlm(epochs, mu=mu, **options), bayesian=True)


def train(
    net: Net,
    *experiments: Experiment,
    divide: Divide | None = None,
    trainer: Trainer = "lm",
    iterations: int = 100,
    restarts: int = 1,
    seed: int = 0,
    for_use: ForUse | None = None,
    announce: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Model:
    """The net with the weights that had the least error on the validation rows of all experiments.

    `for_use`: which error: "simulation" (free run), "prediction" (one step) or a number of steps
    ahead. None: simulation for nets with feedback; prediction for others, and where no free run
    follows y, as of a chaotic series, which a note says.

    `trainer`: "lm" or "bayesian", which take `iterations` and stop after `PATIENCE` without a
    better validation error; or `trainlm(...)` or `trainbr(...)`, which have MATLAB's options and
    ignore `iterations`. `divide`: which rows train, validate and test. `announce` receives the
    predicted memory and time before the work starts; with a `watch`, which can show progress,
    Ctrl-C keeps the best net so far.

    `InputError` for an unknown trainer or use, for a `net` that is no `Net`, for restarts or a seed
    that are no whole numbers, for too few rows or none with y at all delays, and for a use that
    needs validation rows where there are none.
    """
    if not isinstance(net, Net):
        raise InputError(
            f"`net` is of type {type(net).__name__}; wanted a net such as narxnet(), then the"
            " experiments. Of a trained model `model.net` begins anew, and `train_parallel(model,"
            " ...)` goes on from its weights."
        )
    require_whole(1, restarts=restarts)
    require_whole(0, seed=seed)
    with note_interrupt(watch):
        options = _options(trainer, iterations, for_use)
        rows = _divide(net, experiments, divide or divideblock(), is_bayesian=options.bayesian)
        use = _choose_use(rows, for_use)
        scaling = Standardization.fit(rows.parts(TRAIN))
        seeds = network_problem.restart_seeds(seed, restarts)
        begin = perf_counter()
        weights, training = _fit(rows, scaling, use, seeds, options, announce, watch)
        seconds = options.seconds - (perf_counter() - begin)
        may_go_on = seconds > 0 and not (watch is not None and watch.interrupted)
        can_choose = for_use is None and use == "simulation" and may_go_on
        if can_choose and not _free_run_follows(rows, scaling, weights, training):
            use = "prediction"
            options = replace(options, seconds=seconds)
            weights, training = _fit(rows, scaling, use, seeds, options, announce, watch)
            training = replace(training, notes=(NOT_FOLLOWED,))
        training = replace(training, for_use=use)
        return add_report(Model(net, weights, scaling, training), rows)


def _divide(
    net: Net, experiments: Sequence[Experiment], divide: Divide, *, is_bayesian: bool
) -> DividedRows:
    """The divided rows for training one step ahead; with Bayesian regularisation the validation
    rows train, too. `InputError` where no row that trains has y at all its delays.
    """
    rows = DividedRows.of(net, experiments, divide)
    rows = replace(rows, feedback_delays=net.feedback_delays)
    if is_bayesian:
        labels = [np.where(each == VALIDATION, TRAIN, each) for each in rows.labels]
        rows = replace(rows, labels=labels)
    if not rows.has(TRAIN):
        raise InputError(
            f"{net.kind} learns from rows with y observed in them and at the delays"
            f" {net.feedback_delays} before; found none among those that train. Take shorter"
            " delays, a net without feedback (`timedelaynet`), or `identify`."
        )
    return rows


def _choose_use(rows: DividedRows, for_use: ForUse | None) -> ForUse:
    """The use by whose error weights are selected. Without validation rows it is "prediction", and
    `InputError` refuses any other that was asked for.
    """
    if rows.has(VALIDATION):
        if for_use is None:
            return "simulation" if rows.net.feedback else "prediction"
        return for_use if isinstance(for_use, str) else int(for_use)
    if for_use not in (None, "prediction"):
        raise InputError(
            f"`for_use` is {for_use!r}, but there are no validation rows to choose weights by it:"
            " trainer 'bayesian' trains on them, `dividetrain()` leaves none. Leave it out and go"
            " on with `train_parallel`, which trains the free run, or take trainer 'lm'."
        )
    return "prediction"


def _fit(
    rows: DividedRows,
    scaling: Standardization,
    for_use: ForUse,
    seeds: Sequence[int],
    options: lm.Options,
    announce: Callable[[str], None] | None,
    watch: Watch | None,
) -> tuple[dict[str, Array], TrainingRecord]:
    """The weights by name, trained on whole series, and the record of their training; `seeds` draw
    the first weights of each restart.
    """
    network = rows.net.network(*rows.sizes)
    judge = None
    if rows.has(VALIDATION):
        judge = validation_error(rows, scaling, for_use)
    problem = network_problem.make_problem(network, rows.series(network, scaling), judge)
    weights, result = network_problem.fit(
        problem, seeds=seeds, options=options, announce=announce, watch=watch
    )
    return weights, TrainingRecord(result.reason, result.curve, effective=result.effective_weights)


def _free_run_follows(
    rows: DividedRows,
    scaling: Standardization,
    weights: Mapping[str, Array],
    training: TrainingRecord,
) -> bool:
    """Whether the free run is nearer to y on the validation rows than the mean of the train rows
    is; without inputs it must be twice as near, since chance follows a few rows. The first weights
    of all do not count: they know but a level, near which y may stay for as long.
    """
    if min(training.curve, key=lambda row: row[2])[0] == 0:
        return False
    start = rows.net.start
    parts = rows.validation_parts(scaling)
    y = np.concatenate([e.y[start:] for e in parts])
    error_weights = np.concatenate([e.error_weights[start:] for e in parts])
    mean_square = np.average(np.nan_to_num(y) ** 2, weights=error_weights)
    inputs, _ = rows.sizes
    limit = 1.0 if inputs else NO_SIMULATION**2
    judge = validation_error(rows, scaling, "simulation")
    return bool(judge(weights) < limit * mean_square)


def train_parallel(
    model: Model,
    *experiments: Experiment,
    divide: Divide | None = None,
    trainer: Trainer = "lm",
    iterations: int = 100,
    announce: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Model:
    """The model with its weights trained further on the free-run error (closed loop).

    A note says where training improved nothing. `ModelError` where the free run of the given
    weights diverges; `InputError` for a net that is no NARX net of one hidden layer at most.
    """
    if not isinstance(model, Model):
        raise InputError(
            f"Got {type(model).__name__} where a trained model was wanted. Give `train(net, ...)`."
        )
    net = model.net
    narx = net.narx_form(model.inputs, model.outputs)
    rows = DividedRows.of(net, experiments, divide or divideblock())
    require_same_names([model.names, *(e.names for e in experiments)])
    for e in experiments:
        # refuses other columns, and gaps where it begins
        model.prepare(e.u[: net.start], e.y[: net.start])
    options = _options(trainer, iterations, "simulation")
    labels = (TRAIN, VALIDATION) if options.bayesian else (TRAIN,)
    problem = ClosedLoop(narx, rows.scale(model.scaling, *labels), model.start)
    if parts := [] if options.bayesian else rows.validation_parts(model.scaling):
        problem.validate = ClosedLoop(narx, parts, model.start).mean_square
    with note_interrupt(watch):
        given = narx.flatten(model.weights)
        if not problem.loss(given) <= LOST * problem.n_residuals:
            raise ModelError(
                "Its free run diverges, so there is no error to lower. Choose weights that"
                " simulate, by `train(..., for_use='simulation')`, take fewer delays or units, or"
                " `identify`."
            )
        result = lm.minimise(problem, given, options=options, announce=announce, watch=watch)
        notes: tuple[str, ...] = ()
        if np.array_equal(result.weights, given):
            notes = ("No free-run training improved it: the weights are those given.",)
        training = TrainingRecord(
            result.reason,
            result.curve,
            loop="parallel",
            for_use="simulation",
            notes=notes,
            effective=result.effective_weights,
        )
        return add_report(Model(net, narx.unflatten(result.weights), model.scaling, training), rows)


def _options(trainer: Trainer, iterations: int, for_use: ForUse | None) -> lm.Options:
    """The options of Levenberg-Marquardt: those that `trainer` has, else `iterations` with
    `PATIENCE`; `InputError` for an unknown trainer or use.
    """
    is_steps = isinstance(for_use, int | np.integer) and for_use > 0
    if for_use not in (None, "simulation", "prediction") and not is_steps:
        raise InputError(
            f"`for_use` is {for_use!r}; wanted 'simulation', 'prediction' or a number of steps,"
            " e.g. 5."
        )
    if isinstance(trainer, lm.Options):
        return trainer
    if trainer not in ("lm", "bayesian"):
        raise InputError(
            f"`trainer` is {trainer!r}; wanted 'lm' or trainlm(...), 'bayesian' or trainbr(...)."
        )
    require_whole(1, iterations=iterations)
    return replace(trainlm(iterations, max_fail=PATIENCE), bayesian=trainer == "bayesian")


def add_report(model: Model, rows: DividedRows) -> Model:
    """The model with its errors (`measure_errors`) and notes: the use its weights were chosen for,
    cautions about the rows, its RMSE, and for how many steps it simulates where its free run does
    not follow the record.
    """
    model = measure_errors(model, rows)
    for_use = model.training.for_use
    errors = {"one step ahead": model.training.performance}
    free_run = model.training.free_run
    notes = list(model.training.notes)
    if model.net.feedback:
        use = str(for_use)
        if isinstance(for_use, int):
            use = f"{plural(for_use, 'step')} ahead"
            errors[use] = mean_square_errors(model, rows, for_use)
        errors["in free run"] = free_run
        if free_run:
            notes.append(f"Weights chosen for {use}.")
    n_weights = sum(weight.size for weight in model.weights.values())
    notes += describe_cautions(
        rows.parts(TRAIN),
        n_weights,
        has_delay_0=model.net.shift == 0,
        cure="take fewer units or delays, or a longer record",
    )
    part = "validation" if "validation" in free_run else "train"
    if part in free_run:
        rmse = ", ".join(
            f"{model.describe_rmse(by_part.get(part, np.nan))} {loop}"
            for loop, by_part in errors.items()
        )
        notes.append(f"RMSE on the {part} rows: {rmse}{model.of_what}.")
        deviation = np.mean(model.scaling.y_scale / model.error_unit)
        is_lost = not np.sqrt(free_run[part]) < NO_SIMULATION * deviation
        if is_lost or NOT_FOLLOWED in notes:
            notes.append(describe_lost_simulation(model, rows.experiments))
    return replace(model, training=replace(model.training, notes=tuple(notes)))
