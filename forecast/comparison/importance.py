"""Why the selected model forecasts as it does: contributions to its newest test forecast, and how
much each part of what it sees matters over the test block.

    importance = measure_importance(ensemble, panel, rows)

A part matters as far as the error rises where it is permuted in blocks of time (Breiman 2001;
blocks keep its own course, Politis & Romano 1994): the same fitted model forecasts the same
origins, `N_PERMUTATIONS` times. The difference of the losses by origin has the interval of the
Diebold-Mariano test, so that what chance could have made is not shown as importance. Of the first
series alone, and at no more than `MOST_ORIGINS` of their origins.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from forecast.comparison.paired_tests import diebold_mariano
from forecast.config.task import Task
from forecast.data.panel import Panel, from_frame
from forecast.data.results import Results
from forecast.forecaster.ensemble import Ensemble, load_trained_ensemble
from forecast.forecaster.explaining import SEASON, Parts, explain, permute_part
from forecast.forecaster.intervals import Array

N_PERMUTATIONS = 3
MOST_ORIGINS = 100
MOST_SERIES = 4
IMPORTANCE_COLUMNS = ["part", "change", "low", "high", "n_origins"]
MATTERS, HARMS, NEITHER = "matters", "harms", "not distinguishable"
NO_CHANGE = 1e-9
"""A smaller change, as a share of the error, is a rounding error: the part is not read."""


def explain_selected(
    results: Results, selected: str, frame: pd.DataFrame, task: Task
) -> dict[str, pd.DataFrame]:
    """The tables `explanation` and `importance` of the selected model, as it serves, from the
    prepared `frame`; `selected`: its candidate. Of a hierarchy as it forecasts before the sums are
    reconciled, which mixes all series.
    """
    ensemble = load_trained_ensemble(results.folder(selected)).without_reconciliation()
    cutoffs = results.forecasts(selected, "test").groupby("unique_id")["cutoff"].unique()
    names = sorted(cutoffs.index)[:MOST_SERIES]
    panel = from_frame(frame[frame["unique_id"].isin(names)], results.name, task)
    rows = {uid: np.searchsorted(panel.by_id[uid].ds, np.sort(cutoffs[uid])) for uid in names}
    newest = {uid: int(of_series[-1]) for uid, of_series in rows.items()}
    return {
        "explanation": explain(ensemble, panel, newest),
        "importance": measure_importance(ensemble, panel, rows),
    }


def measure_importance(
    ensemble: Ensemble, panel: Panel, rows: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """By part the change of the error at `rows`, as a share of it, and its 95 % limits (NaN where
    there are too few origins): `IMPORTANCE_COLUMNS`. The part season is the calendar here.
    """
    task = panel.task
    every = max(1, -(-max(map(len, rows.values())) // MOST_ORIGINS))
    thinned = {uid: of_series[::every] for uid, of_series in rows.items()}
    # from the first row that a forecast sees
    first = {uid: int(of_series[0]) + 1 - task.lookback for uid, of_series in thinned.items()}
    block = max(task.horizon, task.season_length)
    if task.season_length > 1:
        block = -(-block // task.season_length) * task.season_length
    errors = _errors_by_target(ensemble, panel, panel, thinned)
    loss = _mean_loss(errors, errors)
    rng = np.random.default_rng(0)
    table = []
    for part in Parts(ensemble, panel).names:
        if part == SEASON and not task.calendar_features:
            continue  # of the rows alone, whose course blocks of whole seasons keep
        losses = []
        for _ in range(N_PERMUTATIONS):
            permuted = permute_part(panel, part, first, block, rng)
            permuted_errors = _errors_by_target(ensemble, panel, permuted, thinned)
            losses.append(_mean_loss(permuted_errors, errors))
        permuted_loss = np.mean(losses, axis=0)
        test = diebold_mariano(
            permuted_loss, loss, horizon=task.horizon, step_size=task.step_size * every
        )
        limits = np.array([test.ci_low, test.ci_high]) / loss.mean()
        table.append((part, test.relative_difference, *limits, test.n))
    return pd.DataFrame(table, columns=IMPORTANCE_COLUMNS)


def describe_importance(low: float, high: float) -> str:
    """What the limits of a change say in a word."""
    if low > NO_CHANGE:
        return MATTERS
    return HARMS if high < -NO_CHANGE else NEITHER


def _errors_by_target(
    ensemble: Ensemble, observed: Panel, inputs: Panel, rows: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Mean absolute error over the horizon by cutoff, a column for each series and target: of
    forecasts from the panel `inputs`, against the values of `observed`.
    """
    columns = {}
    for uid, forecasts in ensemble.predict(inputs, rows).items():
        series = observed.by_id[uid]
        ahead = rows[uid][:, None] + np.arange(1, forecasts.shape[1] + 1)
        missed = np.abs(series.values[ahead, : observed.outputs] - forecasts)
        by_target = pd.DataFrame(missed.swapaxes(1, 2).reshape(-1, forecasts.shape[1])).mean(axis=1)
        means = by_target.to_numpy().reshape(len(forecasts), -1)
        for output, values in enumerate(means.T):
            columns[uid, output] = pd.Series(values, index=series.ds[rows[uid]])
    return pd.DataFrame(columns).sort_index()


def _mean_loss(errors: pd.DataFrame, reference: pd.DataFrame) -> Array:
    """(cutoffs,): the mean over series and targets of their errors, each as a share of its mean in
    `reference`; a cutoff without an actual is left out.
    """
    return np.asarray((errors / reference.mean()).mean(axis=1).dropna())
