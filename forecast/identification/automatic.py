"""`identify`: a simulator of a record without any choice of the user's.

`search` finds the models; `identify` joins them by their median into a `Model` in the units of the
data, and writes into `Model.notes` what was found and how far it can be trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from forecast.identification.chaos import NO_SIMULATION, describe_lost_simulation
from forecast.identification.data import dividetrain
from forecast.identification.experiment import (
    Experiment,
    describe_cautions,
    normalise_weights,
    require_whole,
)
from forecast.identification.frols import formula
from forecast.identification.member import Member
from forecast.identification.model import Model, TrainingRecord
from forecast.identification.nets import Net
from forecast.identification.rows import DividedRows, measure_errors
from forecast.identification.search import SearchResult, search_members
from forecast.identification.search_settings import SearchSettings
from forecast.system.errors import plural
from forecast.training.levenberg_marquardt import Watch, note_interrupt

FAR_FROM_ONE_STEP = 2.0  # times the one-step error: more than white noise on y leaves in a free run
WORSE_ONE_STEP = 1.1  # times the free-run error: one-step forecasts take over the noise of y
EXACT_SHARE = 1e-3  # of the range of y: a free run with less error lacks nothing


def identify(
    *experiments: Experiment,
    seed: int = 0,
    settings: SearchSettings | None = None,
    announce: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Model:
    """A simulator of the system: the median of NARX models that are chosen by their free run on
    held-out blocks; a series without inputs may get models chosen by forecasts of several steps
    (`search`).

    y may have gaps (NaN), u may not. A free run begins with `Model.start` measured rows. `announce`
    receives the plan before the work starts, and the time that is left from the second fold on;
    with a `watch`, Ctrl-C keeps the models found so far. `InputError` for too few rows,
    `ModelError` when no model follows any held-out block.
    """
    require_whole(0, seed=seed)
    with note_interrupt(watch):
        result = search_members(
            normalise_weights(experiments),
            seed=seed,
            settings=settings,
            announce=announce,
            watch=watch,
        )
    models = [
        Model(
            _describe_net(member, result.start),
            member.net.unflatten(member.weights),
            result.scaling,
        )
        for member in result.members
    ]
    return _add_report(Model.average(*models), result)


def _describe_net(member: Member, start: int) -> Net:
    """The member's net as a `Net`, whose free run begins with `start` measured rows, more where its
    delays of y are longer.
    """
    narx = member.net
    kind = "narxnet" if narx.inputs else "narnet"
    return Net(
        "polynomial" if narx.terms else kind,
        hidden=(narx.hidden,) if narx.hidden else (),
        input_delays=narx.u_delays,
        feedback_delays=narx.y_delays,
        linear=narx.linear,
        low=narx.low,
        high=narx.high,
        held_back_rows=narx.held_back_rows,
        first=narx.start_rows(start),
        states=narx.states,
        terms=narx.terms,
        origin=narx.origin,
    )


def _add_report(model: Model, result: SearchResult) -> Model:
    """The model with its errors on the record and on the held-out blocks ("validation"), and with
    notes on what was chosen and how far it can be trusted.
    """
    experiments = result.experiments
    rows = DividedRows.of(model.net, experiments, dividetrain())
    training = TrainingRecord("nets found", loop="parallel", for_use="simulation")
    model = measure_errors(replace(model, training=training), rows)
    training = model.training
    one_step = np.sqrt(training.performance.get("train", np.nan))
    on_record = np.sqrt(training.free_run.get("train", np.nan))
    deviation = float(np.mean(result.scaling.y_scale / model.error_unit))
    median = deviation * float(np.median([member.held_out_rmse for member in result.members]))
    counts = Counter(member.net.describe() for member in model.members)
    n_weights = max(member.net.n_weights for member in result.members)
    y_range = np.mean(np.ptp(np.asarray(model.y_range), axis=0) / model.error_unit)
    of_range = f": {100 * median / y_range:.2g} % of the range of y"
    notes = [
        f"Median of {plural(len(result.members), 'net')}; free-run RMSE of single nets on their"
        f" held-out blocks, before the last training, {model.describe_rmse(median**2)} in the"
        f" middle{model.of_what or of_range}; of the median itself on the rows that train"
        f" {model.describe_rmse(on_record**2)}.",
        "; ".join(f"{count} x {net}" for net, count in counts.items()) + ".",
        *result.notes,
        *describe_cautions(experiments, n_weights),
    ]
    polynomials = [member for member in model.members if member.net.kind == "polynomial"]
    if polynomials:
        shortest = min(polynomials, key=lambda member: member.weights["coefficients"].size)
        notes.insert(2, f"A polynomial of them, to four digits: {formula(shortest, digits=4)}.")
    if len({(member.candidate, member.fold) for member in result.members}) == 1:
        notes.append(
            "No other net follows the record as well, so nothing bears this one out: compare"
            " another `seed`."
        )
    exact = EXACT_SHARE * y_range
    if one_step > max(WORSE_ONE_STEP * on_record, exact):
        notes.append(
            "One-step forecasts from measured y (`predict`) err on the same rows by"
            f" {model.describe_rmse(one_step**2)}, more than the free run, for they take over the"
            " noise of y. As measurements arrive, compare on other rows `predict`, `simulate` from"
            ' a state and a net of `train(..., for_use="prediction")`.'
        )
    if not median < NO_SIMULATION * deviation:
        notes.append(describe_lost_simulation(model, experiments))
    elif on_record > max(FAR_FROM_ONE_STEP * one_step, exact):
        several = "; identify each output alone, too" if model.outputs > 1 else ""
        notes.append(
            f"The free-run error is {on_record / one_step:.2g} times the one-step error:"
            " unless the noise of y is correlated over time or single values are measured wrong,"
            " part of the system is not in it, such as an input, or what only a longer record"
            f" shows. Compare ARX and single nets by their free run (`forecast identify`){several}."
        )
    free_run = {**training.free_run, "validation": median**2}
    return replace(model, training=replace(training, free_run=free_run, notes=tuple(notes)))
