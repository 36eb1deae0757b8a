"""Whether the closed loop of a model holds: driven by the record's inputs over its length, and by
harder ones.

"unstable"   the run from the record's first rows under its own inputs is lost: `Model.parallel`
fails there too "drifting"   the same, but two neighbouring runs do not separate (a ramp) "fragile"
it holds there, but is lost under inputs of the same range that were not measured: the record
backwards,
             a tenth larger, random steps
"sensitive"  it holds, but two runs that begin next to each other separate (chaos): only the first
steps are sure "marginal"   it holds, and keeps a disturbance for ever (an integrator) "stable"
it holds, and forgets
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.identification.experiment import Array, Experiment, unseen_inputs
from forecast.identification.model import Model
from forecast.identification.nets import check_first

MOVED = 1e-6  # deviations by which the neighbouring run is moved
STILL = 0.01  # an exponent nearer to 0 cannot be told from it
HARDER = (
    "the record's inputs backwards",
    "inputs a tenth larger",
    "random steps between the extremes",
)


@dataclass(frozen=True)
class Stability:
    """`reach`: the farthest the run under the record's inputs goes from where it starts, in
    deviations of y.

    `exponent`: ln of how the distance of two neighbouring runs changes per step, None once they
    have met; `step` and `under`: where and under which inputs the run was lost, None where it held.
    """

    verdict: str
    reach: float | None
    exponent: float | None
    step: int | None = None
    under: str | None = None


def stability(model: Model, experiment: Experiment) -> Stability:
    """The loop closed after the first rows of the experiment, and under harder inputs from the same
    rows.

    `InputError` where y is missing there, or for a net without feedback.
    """
    model.refuse_open()
    start = model.start
    check_first(model.net, "the experiment", experiment.y, start + 1)
    first, u = experiment.y[:start], experiment.u
    run = _run(model, u, first)
    exponent, step = _exponent(run, _run(model, u, first, MOVED)), _lost(model, run)
    if step is not None:
        verdict = "unstable" if exponent is not None and exponent >= STILL else "drifting"
        return Stability(verdict, None, exponent, step, "the record's own inputs")
    reach = float(np.abs(run - model.scaling.scale_y(first[-1])).max())
    for under, harder in (
        zip(HARDER, unseen_inputs([experiment]), strict=True) if u.shape[1] else ()
    ):
        lost = _lost(model, _run(model, np.concatenate([u[:start], harder]), first))
        if lost is not None:
            return Stability("fragile", reach, exponent, lost, under)
    if exponent is not None and exponent >= STILL:
        return Stability("sensitive", reach, exponent)
    return Stability(
        "stable" if exponent is None or exponent < -STILL else "marginal", reach, exponent
    )


def _run(model: Model, u: Array, first: Array, moved: float = 0.0) -> Array:
    """(T - start, O) scaled: the free run whatever becomes of it, its last measured y larger by
    `moved` deviations.
    """
    loop, weights = model.numerics()
    near = first.copy()
    near[-1] += moved * model.scaling.y_scale
    state = model.prepare(u[: len(first)] if model.inputs else None, near)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(
            loop.bounded(loop.loop(weights, state, model.scaling.scale_u(u[len(first) :]))[0])
        )


def _lost(model: Model, run: Array) -> int | None:
    """The first step at which the run is no longer finite or too far away: `Model.parallel` fails
    at the same.
    """
    lost = model.leaves(model.scaling.unscale_y(run)[None])
    return int(np.argmax(lost)) if lost.any() else None


def _exponent(one: Array, other: Array) -> float | None:
    """The slope of ln distance until it is as large as a tenth of y; None once the runs have
    met.
    """
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - other).max(axis=1)
    far = ~(apart <= 0.1)  # NaN is far too
    near = apart[: int(np.argmax(far))] if far.any() else apart
    # the first steps follow the direction of the disturbance, not the loop
    near = near[len(near) // 4 :]
    if len(near) < 2 or near[-1] <= MOVED * 1e-7:
        return None
    kept = near > 0
    return float(np.polyfit(np.arange(len(near))[kept], np.log(near[kept]), 1)[0])
