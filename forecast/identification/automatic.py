"""`identify`: a model found without any choice of one's own, as the same `Model` that `train`
gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from forecast.identification import search
from forecast.identification.coordinates import Member
from forecast.identification.data import dividetrain
from forecast.identification.experiment import Experiment, balanced, cautions
from forecast.identification.model import Model, TrainingRecord
from forecast.identification.nets import Net
from forecast.identification.rows import Rows, errors
from forecast.identification.search import Identified
from forecast.identification.search_settings import SearchSettings
from forecast.identification.training import POOR
from forecast.training.levenberg_marquardt import Watch, listening

FAR = 2.0  # times the one-step error: more than white noise on y leaves in a free run


def identify(
    *experiments: Experiment,
    seed: int = 0,
    settings: SearchSettings | None = None,
    announce: Callable[[str], None] | None = None,
    watch: Watch | None = None,
) -> Model:
    """A simulator of the system: the median of NARX nets chosen by their free run on held-out
    blocks.

    y may have gaps (NaN), u may not. A free run of it begins with `Model.start` measured rows.
    `announce` receives the predicted memory and time before the work starts; with a `watch`, Ctrl-C
    keeps the nets found so far. `ModelFailure` when no net follows any held-out block. The method:
    `identification.search`.
    """
    with listening(watch):
        found = search.identify(
            balanced(experiments), seed=seed, settings=settings, announce=announce, watch=watch
        )
    models = [
        Model(_net(m, found.start), m.net.named(m.weights), found.scaling) for m in found.members
    ]
    return _reported(Model.average(*models), found, experiments)


def _net(member: Member, start: int) -> Net:
    narx, start = member.net, start * member.treatment.stride
    kind, bounds = "narxnet" if narx.inputs else "narnet", (narx.low, narx.high)
    layers = (narx.hidden,) if narx.hidden else ()
    return Net(
        kind,
        layers,
        narx.u_delays,
        narx.y_delays,
        (),
        narx.linear,
        *bounds,
        narx.dead_times,
        start,
        narx.states,
    )


def _reported(model: Model, found: Identified, experiments: tuple[Experiment, ...]) -> Model:
    """With its errors on the record, on the held-out blocks ("validation"), and what was chosen."""
    rows = Rows.of(model.net, experiments, dividetrain())
    model = replace(model, record=rows.record())
    stepped, free = (
        errors(model, rows, use).get("train", np.nan) for use in ("prediction", "simulation")
    )
    held_out = [member.held_out_rmse for member in found.members]
    y, middle = np.concatenate([e.y for e in experiments]), float(np.median(held_out))
    span = float(np.mean(np.nanmax(y, axis=0) - np.nanmin(y, axis=0)))
    notes = [
        (
            f"Median of {len(found.members)} nets; free-run RMSE on their held-out blocks"
            f" {min(held_out):.4g} to {max(held_out):.4g}, {middle:.4g} in the middle:"
            f" {100 * middle / span:.2g} % of the range of y."
        ),
        "; ".join(
            f"{count} x {net}"
            for net, count in Counter(m.net.describe() for m in model.members).items()
        )
        + ".",
        *found.notes,
        *cautions(experiments, max(member.net.n_weights for member in found.members)),
    ]
    if len(found.members) == 1:
        notes.append(
            "No other net follows the record as well, so nothing bears this one out: compare"
            " another `seed`."
        )
    if not middle < POOR * float(np.mean(found.scaling.y_scale)):
        notes.append(
            "Its free run is no simulation: an input is missing, or the series is chaotic, and is"
            " better forecast by `train` with `for_use`, the number of steps it is wanted for."
        )
    elif middle > FAR * np.sqrt(stepped):
        notes.append(
            f"The free-run error is {middle / np.sqrt(stepped):.2g} times the one-step error:"
            " unless the noise of y is correlated over time, part of the system is not in it, such"
            " as an input, or what only a longer record shows. Compare ARX and single nets by"
            " their free run (`forecast identify`)."
        )
    performance, run = {"train": stepped}, {"train": free, "validation": middle**2}
    training = TrainingRecord(
        "nets found", (), performance, "parallel", run, "simulation", tuple(notes)
    )
    return replace(model, training=training)
