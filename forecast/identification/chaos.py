"""The note on a model whose free run does not follow its record, for `training.add_report` (after
`train`, `train_parallel` and `frols`) and `identify`.

The free run of a chaotic series departs from it after a few steps, however good the net. The note
says for how many steps the record can be simulated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.identification.experiment import (
    Experiment,
    begin_where_measured,
    following_rows,
)
from forecast.identification.model import Model
from forecast.system.errors import ModelError, plural

NO_SIMULATION = 0.5  # deviations of y: a run with a larger error is no simulation
MOST_STEPS = 50  # that are counted
MOST_ROWS = 2_000  # of the longest experiment, on which the steps are counted


def describe_lost_simulation(model: Model, experiments: Sequence[Experiment]) -> str:
    """The note that the free run is no simulation, and for how many steps it is one."""
    longest = max(begin_where_measured(experiments, model.start), key=len).part(slice(MOST_ROWS))
    steps, is_cut = count_simulated_steps(model, longest)
    at_least = "at least " if is_cut else ""
    advice = ""
    if model.training.loop == "series-parallel":
        advice = (
            " A net trained one step ahead may be led astray by noise on y: try `train_parallel` or"
            " `identify`."
        )
    return (
        "Its free run is no simulation of this record: the series is chaotic, disturbances that"
        " nobody measured move it, or an input is missing or acts later than the model allows"
        f" for.{advice} It can be simulated for {at_least}{plural(steps, 'step')} from measured"
        " rows, its error below"
        f" {NO_SIMULATION:g} standard deviations. For forecasts of several steps compare `train`"
        " with `for_use`, their number, by `ahead`."
    )


def count_simulated_steps(model: Model, experiment: Experiment) -> tuple[int, bool]:
    """The steps from measured rows until the root mean square error over the rows reaches
    `NO_SIMULATION` deviations of y, and whether the count ended before it did: at `MOST_STEPS`, at
    a quarter of the rows, or, halved, where some of the longer runs are lost.
    """
    steps = min(MOST_STEPS, (len(experiment) - model.start) // 4)
    while steps > 0:
        try:
            forecasts = model.ahead(experiment.u, experiment.y, steps=steps)
            break
        except ModelError:  # some of these runs are lost
            steps //= 2
    if steps < 1:
        return 0, False
    errors = forecasts - following_rows(experiment.y, steps)
    rmse = np.sqrt(np.nanmean(errors**2, axis=0)) / model.scaling.y_scale
    is_lost = ~(rmse.mean(axis=1) < NO_SIMULATION)
    return (int(np.argmax(is_lost)), False) if is_lost.any() else (steps, True)
