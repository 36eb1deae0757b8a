"""What is left to say of a model whose free run does not follow its record.

In closed loop a chaotic series parts from its model after a few steps, however good the net. For
`train` and `identify`: `describe_lost_simulation` says for how many steps the record can be
simulated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.identification.experiment import Experiment
from forecast.identification.model import Model
from forecast.system.errors import ModelError, plural

NO_SIMULATION = 0.5  # of the deviation of y: an error beyond it is no simulation
MOST_STEPS = 50  # that are looked at
MOST_ROWS = 2_000  # of the longest experiment, from which the steps are counted


def describe_lost_simulation(model: Model, experiments: Sequence[Experiment]) -> str:
    """That the free run is no simulation, and for how many steps it is one."""
    steps = count_simulated_steps(model, max(experiments, key=len))
    reach = f"It can be simulated for {plural(steps, 'step')} from measured rows"
    if steps == MOST_STEPS:
        reach = f"It holds for {MOST_STEPS} steps from measured rows and is lost later"
    return (
        "Its free run is no simulation of this record: an input is missing, or the series is"
        f" chaotic. {reach}. For forecasts of several steps compare `train` with `for_use`, their"
        " number, by `ahead`."
    )


def count_simulated_steps(model: Model, experiment: Experiment) -> int:
    """The steps from measured rows over which the error, root mean square over the rows, stays
    below `NO_SIMULATION` deviations of y; `MOST_STEPS` at most.
    """
    part = experiment.part(slice(MOST_ROWS))
    steps = min(MOST_STEPS, (len(part) - model.start) // 4)
    while steps > 0:
        try:
            forecasts = model.ahead(part.u, part.y, steps=steps)
            break
        except ModelError:  # some of these runs are lost
            steps //= 2
    for step in range(1, steps + 1):
        target = part.y[step : step + len(forecasts)]
        error = np.sqrt(np.nanmean((forecasts[:, step - 1] - target) ** 2, axis=0))
        if not np.mean(error / model.scaling.y_scale) < NO_SIMULATION:
            return step - 1
    return steps
