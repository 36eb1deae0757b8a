"""Why this forecast: what level, season, newest rows and each input contribute to it.

    contributions = explain(ensemble, panel, rows)      # of each step; they sum to the forecast

What a forecast sees is taken apart into `Parts`: the level (of a target, the mean of its newest
season, or horizon where there is no season), the season (its mean course within a season, and the
calendar), the newest rows (what they do beside level and season), and every other column. With all
parts but the level taken away, the target is flat and each column at its mean of the train rows
(one that is modelled by its changes: at its last value). That forecast is the contribution of the
level; the others are Shapley values (Shapley 1953; Lundberg & Lee 2017; with one background, the
"baseline Shapley" of Sundararajan & Najmi 2020): the change that a part makes when it is put back,
averaged over the orders of putting back. Any model is asked by its forecasts alone, so that they
sum to the forecast of a combination or a closed loop just as to that of a ridge, where they are its
coefficients times its inputs.

All orders of up to `MOST_EXACT` parts; of more, `SAMPLED_PAIRS` random ones and their reverses,
which is still exact where no more than two parts act together.

`explain_selected` explains `N_ORIGINS` origins of the test block, so that the mean size of a
contribution says how much a part matters; of the first `MOST_SERIES` series.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from forecast.config.task import Task, TaskColumn
from forecast.config.transforms import TRANSFORMS
from forecast.data import calendars
from forecast.data.panel import Panel, Series, from_frame
from forecast.data.results import Results
from forecast.data.scaling import Scaling
from forecast.forecaster.ensemble import Ensemble, load_without_calibration
from forecast.forecaster.intervals import Array

LEVEL, SEASON, NEWEST = "level", "season", "newest rows"
MOST_EXACT = 5
SAMPLED_PAIRS = 8
Rows = Mapping[str, int]
"""By series the row of a cutoff."""
ForecastWith = Callable[[Sequence[frozenset[str]]], Sequence[Array]]
"""For each set of parts the forecast (S, H, O) of all series in raw units of a panel that has the
level and these parts.
"""


@dataclass(frozen=True)
class Parts:
    """What can be taken away from what an ensemble sees of a panel at the ends of its series."""

    ensemble: Ensemble
    panel: Panel

    @classmethod
    def at(cls, rows: Rows, ensemble: Ensemble, panel: Panel) -> Parts:
        """The parts of the forecasts at `rows`; of the panel they have the rows that those may
        read.
        """
        task = panel.task
        n_read = task.lookback + task.season_length
        cut = []
        for series in panel.series:
            stop = rows[series.unique_id] + 1
            start = 0 if ensemble.needs_whole_history else max(stop - n_read, 0)
            ds, values = series.ds[start:stop], series.values[start:stop]
            future = series.future[start : stop + task.horizon]
            cut.append(Series(series.unique_id, ds, values, future))
        return cls(ensemble, replace(panel, series=tuple(cut)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parts beside the level that there are, in the order in which they are shown."""
        task = self.panel.task
        inputs = [column.name for column in task.columns[self.panel.outputs :]]
        has_course = 1 < task.season_length <= task.lookback // 2
        season = [SEASON] if has_course or task.calendar_features else []
        return (*season, NEWEST, *dict.fromkeys(inputs))

    def forecast_with(self, subsets: Sequence[frozenset[str]]) -> list[Array]:
        """See `ForecastWith`. All at once where a forecast is made of its lookback alone: one by
        one they take six to nine times as long.
        """
        is_reconciled = any(f.reconciliation is not None for f in self.ensemble.forecasters)
        # these read the times of the rows
        at_once = 1 if self.ensemble.needs_whole_history or is_reconciled else len(subsets)
        forecasts = []
        for first in range(0, len(subsets), at_once):
            some = subsets[first : first + at_once]
            by_series = self.ensemble.predict(*_join_panels([*map(self.panel_reduced_to, some)]))
            forecasts += [*np.stack([*by_series.values()], axis=1)]
        return forecasts

    def panel_reduced_to(self, present: frozenset[str]) -> Panel:
        """The panel whose newest lookback has no other parts than the level and `present`."""
        reduced = [self._series_with(present, series) for series in self.panel.series]
        return replace(self.panel, series=tuple(reduced))

    def _series_with(self, present: frozenset[str], series: Series) -> Series:
        """The series with another lookback: targets rebuilt from their level and the `present`
        parts, an absent input at its usual value, a calendar of zeros without the season.
        """
        task = self.panel.task
        lookback = slice(len(series) - task.lookback, len(series))
        values, future = series.values.copy(), series.future.copy()
        scaling = self.ensemble.scaling
        for number, column in enumerate(task.columns):
            in_lookback = values[lookback, number]
            if number < self.panel.outputs:
                values[lookback, number] = _rebuild_target(in_lookback, column, task, present)
            elif column.name not in present:
                usual = _usual_value(in_lookback, column, scaling, (series.unique_id, number))
                values[lookback, number] = np.where(np.isnan(in_lookback), np.nan, usual)
        if SEASON not in present:
            # static inputs, which stand after the calendar's, belong to the level of a series
            first_static = task.n_calendar_inputs
            is_calendar = np.ones(future.shape[1], dtype=bool)
            is_calendar[first_static : first_static + len(task.static_names)] = False
            future[lookback.start : lookback.stop + task.horizon, is_calendar] = 0.0
        return replace(series, values=values, future=future)


def _join_panels(panels: Sequence[Panel]) -> tuple[Panel, dict[str, np.ndarray]]:
    """The series of all `panels`, which have the same steps, one after the other, between them the
    rows of a horizon without observations; and by series the rows at which they end.
    """
    horizon = panels[0].task.horizon
    joined = []
    ends: dict[str, np.ndarray] = {}
    for same_series in zip(*(panel.series for panel in panels), strict=True):
        first = same_series[0]
        steps = len(first) + horizon
        gap = np.full((horizon, first.values.shape[1]), np.nan)
        values = np.concatenate([rows for each in same_series for rows in (each.values, gap)])
        values = values[:-horizon]
        future = np.concatenate([each.future for each in same_series])
        joined.append(Series(first.unique_id, np.resize(first.ds, len(values)), values, future))
        ends[first.unique_id] = np.arange(len(panels)) * steps + len(first) - 1
    return replace(panels[0], series=tuple(joined)), ends


def _rebuild_target(
    values: Array, column: TaskColumn, task: Task, present: frozenset[str]
) -> Array:
    """`values` (L,) in raw units, from their level and the `present` of season and newest rows."""
    if {SEASON, NEWEST} <= present:
        return values
    transform = TRANSFORMS[column.transform]
    y = transform.to_model_units(values)
    level = trailing_level(y, task)[-1]
    course = mean_course(y, task.season_length)
    rebuilt = np.where(np.isnan(y), np.nan, level)
    if SEASON in present:
        rebuilt = rebuilt + course
    if NEWEST in present:
        rebuilt = rebuilt + (y - level - course)
    return transform.to_raw(rebuilt)


def trailing_level(y: Array, task: Task) -> Array:
    """(T,): at each row of y (T,) the mean of the newest season up to it, of the newest horizon
    where there is no season; missing values are passed over, 0 before the first.
    """
    span = task.season_length if task.season_length > 1 else task.horizon
    means = pd.Series(y).rolling(span, min_periods=1).mean()
    return np.asarray(means.ffill().fillna(0.0))


def mean_course(y: Array, season: int) -> Array:
    """(L,): the mean deviation of y (L,) at each place of the season; 0 without two seasons."""
    if season == 1 or len(y) < 2 * season:
        return np.zeros(len(y))
    place = pd.Series(np.arange(len(y)) % season)
    deviation = pd.Series(y - float(np.nanmean(y)))
    return np.asarray(deviation.groupby(place).transform("mean").fillna(0.0))


def _usual_value(
    values: Array, column: TaskColumn, scaling: Scaling, place: tuple[str, int]
) -> float:
    """What stands for an input that is taken away: its mean of the train rows, in raw units; of one
    modelled by its changes its last value.
    """
    known = values[np.isfinite(values)]
    transform = TRANSFORMS[column.transform]
    if column.difference_inputs or transform.takes_changes:
        return float(known[-1]) if len(known) else float("nan")
    unique_id, number = place
    return float(transform.to_raw(scaling.centre[unique_id][number]))


def explain(ensemble: Ensemble, panel: Panel, rows: Rows) -> pd.DataFrame:
    """The contributions to the forecasts at `rows`, in the unit of the target: `unique_id, output,
    cutoff, step, ds, part, contribution`, the level first.
    """
    parts = Parts.at(rows, ensemble, panel)
    contribution_of = average_changes(parts.names, parts.forecast_with)
    steps = range(1, panel.task.horizon + 1)
    targets = panel.task.targets
    rows_of_a_series = pd.MultiIndex.from_product(
        [targets, contribution_of, steps], names=["output", "part", "step"]
    ).to_frame(index=False)
    contributions = np.stack([*contribution_of.values()])  # (part, series, step, output)
    tables = []
    for number, series in enumerate(panel.series):
        cutoff = pd.Timestamp(series.ds[rows[series.unique_id]])
        ds = calendars.next_steps(panel.task.calendar, cutoff, panel.task.horizon)
        table = rows_of_a_series.assign(unique_id=series.unique_id, cutoff=cutoff)
        table["ds"] = np.tile(ds, len(targets) * len(contribution_of))
        # (output, part, step)
        table["contribution"] = contributions[:, number].transpose(2, 0, 1).ravel()
        tables.append(table)
    columns = ["unique_id", "output", "cutoff", "step", "ds", "part", "contribution"]
    return pd.concat(tables, ignore_index=True)[columns]


def average_changes(names: Sequence[str], forecast_with: ForecastWith) -> dict[str, Array]:
    """The contribution (S, H, O) of each part: the forecast from the level alone, and every other
    part's Shapley value. `forecast_with` is asked once.
    """
    if len(names) <= MOST_EXACT:
        orders = list(itertools.permutations(names))
    else:
        rng = np.random.default_rng(0)
        drawn = [tuple(map(str, rng.permutation(list(names)))) for _ in range(SAMPLED_PAIRS)]
        orders = [*drawn, *(order[::-1] for order in drawn)]
    growing = [[frozenset(order[:n]) for n in range(len(order) + 1)] for order in orders]
    subsets = list(dict.fromkeys(itertools.chain.from_iterable(growing)))
    forecasts = dict(zip(subsets, forecast_with(subsets), strict=True))
    level = forecasts[frozenset()]
    sums = dict.fromkeys(names, np.zeros_like(level))
    for order, grown in zip(orders, growing, strict=True):
        for name, before, after in zip(order, grown, grown[1:], strict=False):
            change = (forecasts[after] - forecasts[before]) / len(orders)
            sums[name] = sums[name] + change
    return {LEVEL: level, **sums}


MOST_SERIES = 4
N_ORIGINS = 10


def explain_selected(
    results: Results, selected: str, frame: pd.DataFrame, task: Task
) -> pd.DataFrame:
    """The contributions to some test forecasts of the selected model, as it serves, from the
    prepared `frame`; `selected`: its candidate. Of a hierarchy as it forecasts before the sums are
    reconciled, which mixes all series.
    """
    ensemble = load_without_calibration(results.folder(selected)).without_reconciliation()
    cutoffs = results.forecasts(selected, "test").groupby("unique_id")["cutoff"].unique()
    names = sorted(cutoffs.index)[:MOST_SERIES]
    panel = from_frame(frame[frame["unique_id"].isin(names)], results.name, task)
    rows = {uid: np.searchsorted(panel.by_id[uid].ds, np.sort(cutoffs[uid])) for uid in names}
    tables = []
    for share in np.linspace(0, 1, N_ORIGINS):
        spread = {uid: int(each[round(share * (len(each) - 1))]) for uid, each in rows.items()}
        tables.append(explain(ensemble, panel, spread))
    return pd.concat(tables).drop_duplicates()
