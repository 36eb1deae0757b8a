"""Train a net on one or several experiments: Levenberg-Marquardt unless asked otherwise, open loop
first.

`train` is series-parallel: every row is forecast from measured ones, plain regression; of the
weights it passes, those are kept that are best on the validation rows in the loop the net is for.
`train_parallel` goes on from there on the free-run error (closed loop), for narx and nar nets of
one hidden layer. Every experiment is a sequence of its own: its first rows fill the delays, its
error weights count, and no delay reaches into another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from forecast.identification.data import TRAIN, VALIDATION, Divide, divideblock
from forecast.identification.experiment import Array, Experiment, Standardization, cautions
from forecast.identification.model import Model, TrainingRecord
from forecast.identification.nets import Net
from forecast.identification.problems import ClosedLoop, OpenLoop, segments
from forecast.identification.rows import ForUse, Rows, errors, judge
from forecast.networks.description import Network
from forecast.networks.losses import POINT_LOSSES
from forecast.system.errors import InputError, ModelFailure, counted
from forecast.training import levenberg_marquardt as lm
from forecast.training import network_problem
from forecast.training.chunks import TrainingSeries
from forecast.training.levenberg_marquardt import Watch, listening

Trainer = Literal["lm", "bayesian", "adam"] | lm.Options
Announce = Callable[[str], None]

# steps of the free runs that a diverging net is trained on, in turn
HORIZONS = (10, 30, 100, 300, 1_000, 3_000)
# iterations without a better free run: its error falls less evenly than the one-step error
PATIENCE = 25
POOR = 0.5  # of the deviation of y: a free-run error beyond it is no simulation


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
    """Levenberg-Marquardt with the names and values of MATLAB's trainParam, for `train(...,
    trainer=trainlm(...))`.

    `goal`: mean squared error in scaled units; `time`: seconds; `max_fail`: epochs without a better
    validation error.
    """
    if type(epochs) not in (int, np.int64) or not (
        epochs >= 1 and mu > 0 and mu_inc > 1 > mu_dec > 0
    ):
        found = f"epochs={epochs}, mu={mu}, mu_inc={mu_inc}, mu_dec={mu_dec}"
        raise InputError(
            f"{found}; wanted whole epochs from 1, mu above 0, mu_inc above 1, mu_dec between 0"
            " and 1."
        )
    return lm.Options(
        epochs, mu, mu_inc, mu_dec, mu_max, min_grad, max_fail, goal=goal, seconds=time
    )


def trainbr(epochs: int = 1000, *, mu: float = 5e-3, **options: Any) -> lm.Options:
    """The same with Bayesian regularisation: validation rows train too, the weight decay follows
    the evidence.
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
    announce: Announce | None = None,
    watch: Watch | None = None,
) -> Model:
    """The net with the weights that were best on the validation rows of all experiments.

    `for_use`: by which error there: "simulation" (free run), "prediction" (one step) or a number of
    steps; None: simulation for nets with feedback, prediction for others. `Model.notes` has the
    other errors too.

    `trainer`: "lm" (trainlm), "bayesian" (trainbr: the weight decay follows the evidence,
    validation rows train too), or either with options of its own, `trainlm(...)`, `trainbr(...)`;
    "adam" for nets too large for these, `iterations` then being thousands of gradient steps.
    `announce` receives the predicted memory and time before the work starts; with a `watch`, which
    can show progress, Ctrl-C keeps the best net so far. Adam knows neither.
    """
    if {type(restarts), type(seed)} - {int, np.int64} or restarts < 1 or seed < 0:
        raise InputError(
            f"`restarts` is {restarts!r}, `seed` {seed!r}; wanted whole numbers from 1 and from"
            " 0 up."
        )
    with listening(None if trainer == "adam" else watch):
        rows = replace(Rows.of(net, experiments, divide or divideblock()), back=net.feedback_delays)
        use: ForUse = (
            ("simulation" if net.feedback else "prediction") if for_use is None else for_use
        )
        options = _options(trainer, iterations, use)
        use = use if isinstance(use, str) else int(use)
        if options.bayesian:
            rows = replace(
                rows, labels=[np.where(each == VALIDATION, TRAIN, each) for each in rows.labels]
            )
        scaling, network, has = (
            Standardization.fit(rows.parts(TRAIN)),
            net.network(*rows.sizes),
            rows.has(VALIDATION),
        )
        if trainer == "adam":
            if not has:
                raise InputError(
                    "Adam keeps the weights best on validation rows; there are none. Divide off"
                    " some."
                )
            validate = judge(net, rows, scaling, use)
            weights, training = _adam(
                network, rows.series(network, scaling), validate, net.start, iterations, seed
            )
        elif net.is_narx:
            weights, run = _one_layer(
                net, rows, scaling, use, options, range(seed, seed + restarts), announce, watch
            )
            training = TrainingRecord(run.reason, run.curve, effective=run.effective_weights)
        else:
            series, error = (
                rows.series(network, scaling),
                judge(net, rows, scaling, use) if has else None,
            )
            weights, run = network_problem.fit(
                network,
                series,
                error,
                seed=seed,
                restarts=restarts,
                options=options,
                announce=announce,
                watch=watch,
            )
            training = TrainingRecord(run.reason, run.curve, effective=run.effective_weights)
        model = Model(net, weights, scaling, record=rows.record())
        return _reported(
            replace(model, training=replace(training, for_use=use if has else "prediction")), rows
        )


def train_parallel(
    model: Model,
    *experiments: Experiment,
    divide: Divide | None = None,
    trainer: Trainer = "lm",
    iterations: int = 100,
    announce: Announce | None = None,
    watch: Watch | None = None,
) -> Model:
    """The model with its weights trained further on the free-run error (closed loop).

    A loop that diverges as it is is first trained on free runs of 10, 30, 100, ... steps from
    measured rows, until it holds over the whole experiments; `Model.notes` says so. `ModelFailure`
    when it never does.
    """
    net = model.net
    narx = net.narx(model.inputs, model.outputs)
    assert isinstance(net, Net)
    rows = Rows.of(net, experiments, divide or divideblock())
    for e in experiments:
        # refuses other columns, and gaps where it begins
        model.prepare(e.u[: net.start], e.y[: net.start])
    options = _options(trainer, iterations, "simulation")
    counted = rows.counted(model.scaling, *((TRAIN, VALIDATION) if options.bayesian else (TRAIN,)))
    held_out = [] if options.bayesian else rows.held_out(model.scaling)
    problem = ClosedLoop(narx, counted, model.start, held_out)
    with listening(watch):
        start, notes, begun = narx.flat(model.weights), tuple[str, ...](), perf_counter()
        if lost(problem, start):
            brief = replace(
                options, max_iterations=20, patience=20, seconds=options.seconds / len(HORIZONS)
            )
            start, notes = _growing(problem, counted, start, brief, watch)
            options = replace(options, seconds=options.seconds - (perf_counter() - begun))
        run = lm.minimise(problem, start, options=options, announce=announce, watch=watch)
        training = TrainingRecord(
            run.reason, run.curve, {}, "parallel", {}, "simulation", notes, run.effective_weights
        )
        return _reported(
            replace(
                model, weights=narx.named(run.weights), record=rows.record(), training=training
            ),
            rows,
        )


def lost(problem: ClosedLoop, weights: Array) -> bool:
    """Whether the free run leaves the record: no finite error, or one beyond the deviation of y by
    a factor of ten.
    """
    loss = problem.loss(weights)
    return not np.isfinite(loss) or loss > 100.0 * max(problem.n_residuals, 1)


def _growing(
    problem: ClosedLoop,
    experiments: Sequence[Experiment],
    weights: Array,
    options: lm.Options,
    watch: Watch | None,
) -> tuple[Array, tuple[str, ...]]:
    """Weights whose free run holds over the whole experiments, and what was done for it."""
    longest, done = max(map(len, experiments)), []
    for steps in (each for each in HORIZONS if each < longest):
        short = ClosedLoop(
            problem.net, segments(experiments, problem.train.start, steps), problem.train.start
        )
        weights = lm.minimise(short, weights, options=options, watch=watch).weights
        done.append(steps)
        if not lost(problem, weights):
            tried = ", ".join(map(str, done))
            return weights, (
                (
                    f"The free run diverged at first; it was trained on free runs of {tried} steps"
                    " before."
                ),
            )
    raise ModelFailure(
        "The free run diverges from the start, and still does after training on free runs of"
        f" {done} steps. Take fewer delays or units, or a net whose one-step training went on for"
        " longer."
    )


def _options(trainer: Trainer, iterations: int, for_use: ForUse) -> lm.Options:
    if for_use not in ("simulation", "prediction") and not (
        isinstance(for_use, int | np.integer) and for_use > 0
    ):
        raise InputError(
            f"`for_use` is {for_use!r}; wanted 'simulation', 'prediction' or a number of steps,"
            " e.g. 5."
        )
    if isinstance(trainer, lm.Options):
        return trainer
    if trainer not in ("lm", "bayesian", "adam"):
        raise InputError(
            f"`trainer` is {trainer!r}; wanted 'lm', 'bayesian', 'adam', trainlm(...) or"
            " trainbr(...)."
        )
    patience = 6 if for_use == "prediction" else PATIENCE
    return replace(trainlm(iterations, max_fail=patience), bayesian=trainer == "bayesian")


def _one_layer(
    net: Net,
    rows: Rows,
    scaling: Standardization,
    for_use: ForUse,
    options: lm.Options,
    seeds: range,
    announce: Announce | None,
    watch: Watch | None,
) -> tuple[dict[str, Array], lm.Result]:
    """By the short way of nets with one hidden layer: rows at once, and a free run solved instead
    of stepped.
    """
    narx = net.narx(*rows.sizes)
    held_out = [] if options.bayesian else rows.held_out(scaling)
    problem = OpenLoop(narx, rows.counted(scaling, TRAIN), net.start, held_out)
    error = judge(net, rows, scaling, for_use) if held_out and for_use != "simulation" else None
    if error is not None:
        problem.validate = lambda flat: error(narx.named(flat))
    starts = [narx.flat(network_problem.drawn(net.network(*rows.sizes), seed)) for seed in seeds]
    found = lm.minimise(problem, *starts, options=options, announce=announce, watch=watch)
    return narx.named(found.weights), found


def _reported(model: Model, rows: Rows) -> Model:
    """With its errors in both loops, and the notes that follow from them."""
    stepped, use = errors(model, rows, "prediction"), model.training.for_use
    free = errors(model, rows, "simulation") if model.net.feedback else {}
    ahead = (
        {f"{counted(use, 'step')} ahead": errors(model, rows, use)} if isinstance(use, int) else {}
    )
    training = replace(model.training, performance=stepped, free_run=free)
    notes = (
        [*training.notes, f"Weights chosen for {next(iter(ahead), use)}."]
        if free
        else list(training.notes)
    )
    notes += cautions(rows.parts(TRAIN), sum(weight.size for weight in model.weights.values()))
    part = "validation" if "validation" in free else "train"
    if part in free:
        told = {"one step ahead": stepped} | ahead | {"in free run": free}
        said = ", ".join(
            f"{np.sqrt(each.get(part, np.nan)):.4g} {name}" for name, each in told.items()
        )
        spread = float(np.linalg.norm(model.scaling.y_scale) / np.sqrt(model.outputs))
        notes.append(f"RMSE on the {part} rows: {said}.")
        if not np.sqrt(free[part]) < POOR * spread:
            notes.append(
                "Its free run is no simulation of these rows, however good its one-step forecasts"
                " are."
            )
    return replace(model, training=replace(training, notes=tuple(notes)))


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
    float32 = [
        TrainingSeries(*(np.asarray(array, np.float32) for array in each)) for each in arrays
    ]
    joined = chunks.join_series(
        float32, supervised=min(64, shortest - start), warm_up=min(start, shortest - 2)
    )
    steps = 1000 * iterations
    settings = descent.Settings(
        steps=steps,
        learning_rate=5e-3,
        batch_size=8,
        weight_decay=0.0,
        clip=1.0,
        loss=POINT_LOSSES["mse"],
        evaluate_every=250,
    )
    found = gradient.fit(network, joined, validate, settings, seed=seed)
    curve = tuple((step, loss, error, float("nan")) for step, loss, error in found.curve)
    weights = {name: np.asarray(value, np.float64) for name, value in found.weights.items()}
    return weights, TrainingRecord(found.note or "iterations used", curve)
