"""Notes on a model whose free run does not follow its record, for `train` and `identify`.

`describe_lost_simulation` says for how many steps the record can be simulated: the free run of a
chaotic series departs from it after a few steps, however good the net. `describe_spikes` lists
values that may be measured wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from forecast.identification.experiment import (
    Array,
    Experiment,
    begin_where_measured,
    simulation_starts,
)
from forecast.identification.model import Model
from forecast.system.errors import InputError, ModelError, plural

NO_SIMULATION = 0.5  # deviations of y: a run with a larger error is no simulation
MOST_STEPS = 50  # that are counted
SPIKE_SHARE = 0.5  # of the range of the middle 90 % of y: a spike is larger
SPIKE_DEVIATIONS = 12.0  # times the median error, eight deviations of normal errors: as well
MOST_LISTED = 20  # rows of spikes in a note
MOST_ROWS = 2_000  # of the longest experiment, on which the steps are counted


def describe_lost_simulation(model: Model, experiments: Sequence[Experiment]) -> str:
    """The note that the free run is no simulation, and for how many steps it is one."""
    longest = max(begin_where_measured(experiments, model.start), key=len).part(slice(MOST_ROWS))
    steps = count_simulated_steps(model, longest)
    at_least = "at least " if steps == MOST_STEPS else ""
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


def describe_spikes(model: Model, experiments: Sequence[Experiment]) -> list[str]:
    """A note for each output of which single values are far from a free run that the others are
    near.
    """
    places: list[list[str]] = [[] for _ in range(model.outputs)]
    for number, e in enumerate(experiments):
        of_experiment = f" of experiment {number}" if len(experiments) > 1 else ""
        first = next(iter(simulation_starts(e, model.start)), len(e))
        with suppress(InputError, ModelError):
            run = model.simulate(e.u[first:], e.y[first : first + model.start]).y
            y = np.where(e.error_weights > 0, e.y, np.nan)[first:]
            for column, errors in enumerate((y - run).T):
                rows = first + find_spikes(errors, y[:, column])
                places[column] += [f"{row}{of_experiment}" for row in rows]
    notes = []
    for column, listed in enumerate(places):
        if listed:
            row_list = ", ".join(listed[:MOST_LISTED]) + (", ..." if listed[MOST_LISTED:] else "")
            notes.append(
                f"{plural(len(listed), 'value')} of output {column} far from the free run, which"
                f" the rows beside are near: rows {row_list}. If measured wrong, set them to NaN"
                " and identify again: they bend the model and count in its errors."
            )
    return notes


def find_spikes(errors: Array, y: Array) -> npt.NDArray[np.intp]:
    """The rows of errors (T,), NaN where unknown, that are far larger than the median error and
    large beside y. Three or more in succession are no spikes but a wrong run.
    """
    rows = np.flatnonzero(np.isfinite(errors))
    if not len(rows):
        return rows
    size = np.abs(errors[rows] - np.median(errors[rows]))
    least = SPIKE_SHARE * np.ptp(np.percentile(y[rows], [5, 95]))
    is_far = size > max(SPIKE_DEVIATIONS * np.median(size), least)
    in_a_row = sliding_window_view(np.pad(is_far, 2), 3).all(axis=1)
    return rows[is_far & ~sliding_window_view(in_a_row, 3).any(axis=1)]


def count_simulated_steps(model: Model, experiment: Experiment) -> int:
    """The steps from measured rows until the root mean square error over the rows reaches
    `NO_SIMULATION` deviations of y; `MOST_STEPS` at most.
    """
    steps = min(MOST_STEPS, (len(experiment) - model.start) // 4)
    while steps > 0:
        try:
            forecasts = model.ahead(experiment.u, experiment.y, steps=steps)
            break
        except ModelError:  # some of these runs are lost
            steps //= 2
    for step in range(1, steps + 1):
        target = experiment.y[step : step + len(forecasts)]
        error = np.sqrt(np.nanmean((forecasts[:, step - 1] - target) ** 2, axis=0))
        if not np.mean(error / model.scaling.y_scale) < NO_SIMULATION:
            return step - 1
    return steps
