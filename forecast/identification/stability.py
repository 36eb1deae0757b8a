"""The stability of a model's closed loop under the inputs of a record and under harder inputs.

The verdict of `stability` is one of:

- "unstable": the free run under the record's own inputs is lost, as in `Model.simulate`.
- "drifting": the same, but two neighbouring runs do not separate (a ramp).
- "fragile": it holds there, but is lost under inputs that were not measured: the record's first
  2,000 rows backwards or a tenth farther from their mean, or random steps of the same range.
- "sensitive": it holds, but two neighbouring runs separate (chaos): only the first steps can be
  trusted.
- "marginal": it holds, and a disturbance stays (an integrator).
- "stable": it holds, and a disturbance dies out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.identification.experiment import (
    Array,
    Experiment,
    count_columns,
    enlarge_inputs,
    step_inputs,
)
from forecast.identification.model import Model
from forecast.identification.nets import check_first_rows

DISTURBANCE = 1e-6  # deviations of y by which the neighbouring run begins beside the other
ZERO_EXPONENT = 0.01  # an exponent nearer to 0 counts as 0


@dataclass(frozen=True)
class Stability:
    """The verdict, and what it rests on.

    `excursion`: how far the run under the record's inputs goes from where it starts, in deviations
    of y; `exponent`: the growth per step of the logarithm of the distance between two neighbouring
    runs, None where they meet; `step`, `under`: where and under which inputs the run was lost, None
    where it held.
    """

    verdict: str
    excursion: float | None
    exponent: float | None
    step: int | None = None
    under: str | None = None


def stability(model: Model, experiment: Experiment) -> Stability:
    """The stability of the closed loop from the first rows of the experiment under its own inputs
    and harder ones; `InputError` where y is missing in these rows, or for a net without feedback.
    """
    model.refuse_open()
    count_columns([experiment])
    start = model.start
    check_first_rows(model.net, "the experiment", experiment.y, start + 1)
    first_y, u = experiment.y[:start], experiment.u
    run = _free_run(model, u, first_y)
    exponent = _lyapunov_exponent(run, _free_run(model, u, first_y, DISTURBANCE))
    separates = exponent is not None and exponent >= ZERO_EXPONENT
    step = model.find_lost_step(model.scaling.unscale_y(run)[None])
    if step is not None:
        verdict = "unstable" if separates else "drifting"
        return Stability(verdict, None, exponent, step, "the record's own inputs")
    excursion = float(np.abs(run - model.scaling.scale_y(first_y[-1])).max())
    if model.inputs:
        first = u[:2_000]
        harder = {
            "the record's inputs backwards": first[::-1],
            "inputs a tenth larger": enlarge_inputs(first, 1.1),
            "random steps between the extremes": step_inputs(first, 1_000),
        }
        for name, unseen in harder.items():
            run = _free_run(model, np.concatenate([u[:start], unseen]), first_y)
            step = model.find_lost_step(model.scaling.unscale_y(run)[None])
            if step is not None:
                return Stability("fragile", excursion, exponent, step, name)
    if separates:
        return Stability("sensitive", excursion, exponent)
    forgets = exponent is None or exponent < -ZERO_EXPONENT
    return Stability("stable" if forgets else "marginal", excursion, exponent)


def _free_run(model: Model, u: Array, first_y: Array, disturbance: float = 0.0) -> Array:
    """(T - start, O), scaled: the free run, also where it is lost, from rows of which the last y is
    larger by `disturbance` deviations.
    """
    loop, weights = model.loop_and_weights()
    start = len(first_y)
    measured = first_y.copy()
    measured[-1] += disturbance * model.scaling.y_scale
    state = model.prepare(u[:start] if model.inputs else None, measured)
    with np.errstate(over="ignore", invalid="ignore"):
        run, _ = loop.loop(weights, state.memory, model.scaling.scale_u(u[start:]))
        return loop.bounded(run)


def _lyapunov_exponent(run: Array, neighbour: Array) -> float | None:
    """The growth per row of the logarithm of the distance between two scaled runs (T, O), fitted to
    the rows until they are 0.1 apart; None for runs that meet or are too short. Where they are 0.1
    apart within two rows, the mean growth until there.
    """
    with np.errstate(invalid="ignore"):
        distance = np.abs(run - neighbour).max(axis=1)
    is_far = ~(distance <= 0.1)  # NaN is far too
    n_near = int(np.argmax(is_far)) if is_far.any() else len(distance)
    if n_near < 2 < len(distance):
        return float(np.log(0.1 / DISTURBANCE) / (n_near + 1))
    distance = distance[:n_near]
    # the first steps follow the direction of the disturbance, not the loop
    distance = distance[len(distance) // 4 :]
    if len(distance) < 2 or distance[-1] <= DISTURBANCE * 1e-7:
        return None
    steps = np.flatnonzero(distance > 0)
    return float(np.polyfit(steps, np.log(distance[steps]), 1)[0])
