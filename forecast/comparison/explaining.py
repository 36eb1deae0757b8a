"""Explains a forecast: how much level, season, newest rows and each input contribute to it.

    contributions = explain(ensemble, panel, rows)      # by step; they sum to the forecast

The lookback is taken apart into `Parts`:

    level          of a target, the mean of its newest season (or horizon without a season)
    season         the mean course of the target within a season, and the calendar inputs
    newest rows    the deviations of the target from level and season
    each other column

Without all parts but the level, the target is flat and every other column has its mean of the train
rows (its last value if it is modelled by its changes). The forecast then is the contribution of the
level. The other contributions are Shapley values (Shapley 1953; Lundberg & Lee 2017; with one
background, as the "baseline Shapley" of Sundararajan & Najmi 2020): the change of the forecast when
a part is added, averaged over the orders of adding. They need forecasts only, so they exist for any
model; for a ridge they are its coefficients times its inputs.

All orders of up to `MOST_EXACT` parts are used; of more parts `SAMPLED_PAIRS` random orders and
their reverses, which is still exact where no more than two parts interact.

Stage `compare` calls `explain_selected`, the Python door `explain`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from forecast.comparison.scores import sort_by_size
from forecast.config.task import Task, TaskColumn
from forecast.config.transforms import TRANSFORMS
from forecast.data import calendars
from forecast.data.panel import Panel, Series, from_frame
from forecast.data.results import Results
from forecast.forecaster.ensemble import Ensemble, load_without_calibration
from forecast.forecaster.intervals import Array

LEVEL, SEASON, NEWEST = "level", "season", "newest rows"
MOST_EXACT = 5
SAMPLED_PAIRS = 8
Rows = Mapping[str, int]
"""The row of a cutoff by series."""
ForecastWith = Callable[[Sequence[frozenset[str]]], Sequence[Array]]
"""Maps sets of parts to the forecasts (S, H, O) in raw units from the level and these parts."""


@dataclass(frozen=True)
class Parts:
    """The parts of the lookback that an ensemble forecasts from, at the ends of the series."""

    ensemble: Ensemble
    panel: Panel

    @classmethod
    def at(cls, rows: Rows, ensemble: Ensemble, panel: Panel) -> Parts:
        """The parts of the forecasts at `rows`; the panel is cut to the rows that these read."""
        task = panel.task
        cut = []
        for series in panel.series:
            stop = rows[series.unique_id] + 1
            start = stop - ensemble.count_rows_read(stop)
            ds, values = series.ds[start:stop], series.values[start:stop]
            future = series.future[start : stop + task.horizon]
            cut.append(Series(series.unique_id, ds, values, future))
        return cls(ensemble, replace(panel, series=tuple(cut)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parts other than the level, in the order in which they are shown."""
        task = self.panel.task
        inputs = [column.name for column in task.columns[self.panel.outputs :]]
        has_course = 1 < task.season_length <= task.lookback // 2
        season = [SEASON] if has_course or task.calendar_features else []
        return (*season, NEWEST, *dict.fromkeys(inputs))

    def forecast_with(self, subsets: Sequence[frozenset[str]]) -> list[Array]:
        """The forecasts (S, H, O) in raw units from the level and the parts of each of `subsets`.

        All are forecast in one call where forecasts read their lookback only: calls one by one take
        six to nine times as long.
        """
        is_reconciled = any(f.reconciliation is not None for f in self.ensemble.forecasters)
        # such forecasts read the times of rows, which a joined panel does not have
        reads_times = self.ensemble.needs_whole_history or is_reconciled
        batch_size = 1 if reads_times else len(subsets)
        forecasts = []
        for start in range(0, len(subsets), batch_size):
            batch = subsets[start : start + batch_size]
            joined, ends = _join_panels([self.panel_reduced_to(present) for present in batch])
            by_series = self.ensemble.predict(joined, ends)
            forecasts += [*np.stack([*by_series.values()], axis=1)]
        return forecasts

    def panel_reduced_to(self, present: frozenset[str]) -> Panel:
        """The panel with a lookback that has only the level and the parts `present`."""
        reduced = [self._reduce_series(series, present) for series in self.panel.series]
        return replace(self.panel, series=tuple(reduced))

    def _reduce_series(self, series: Series, present: frozenset[str]) -> Series:
        """The series with a lookback of only the level and the parts `present`: targets are rebuilt
        from them, an absent input has its usual value, the calendar is zero without the season.
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
                usual = _usual_value(in_lookback, column, scaling.centre[series.unique_id][number])
                values[lookback, number] = np.where(np.isnan(in_lookback), np.nan, usual)
        if SEASON not in present:
            # static inputs, which follow those of the calendar, belong to the level of a series
            first_static = task.n_calendar_inputs
            is_calendar = np.ones(future.shape[1], dtype=bool)
            is_calendar[first_static : first_static + len(task.static_names)] = False
            future[lookback.start : lookback.stop + task.horizon, is_calendar] = 0.0
        return replace(series, values=values, future=future)


def _join_panels(panels: Sequence[Panel]) -> tuple[Panel, dict[str, np.ndarray]]:
    """One panel in which each series has its rows of all `panels` one after the other, separated by
    a horizon of rows without values; and by series the rows at which the panels end.

    The panels have the same series and times. The times of the joined panel mean nothing.
    """
    horizon = panels[0].task.horizon
    joined = []
    ends: dict[str, np.ndarray] = {}
    for versions in zip(*(panel.series for panel in panels), strict=True):
        first = versions[0]
        padding = ((0, horizon), (0, 0))
        padded = [np.pad(version.values, padding, constant_values=np.nan) for version in versions]
        values = np.concatenate(padded)[:-horizon]
        future = np.concatenate([version.future for version in versions])
        joined.append(Series(first.unique_id, np.resize(first.ds, len(values)), values, future))
        ends[first.unique_id] = np.arange(len(panels)) * len(padded[0]) + len(first) - 1
    return replace(panels[0], series=tuple(joined)), ends


def _rebuild_target(
    values: Array, column: TaskColumn, task: Task, present: frozenset[str]
) -> Array:
    """(L,): the target `values` (L,) in raw units, rebuilt from their level and those of season and
    newest rows that are `present`.
    """
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
    """(T,): at each row of y (T,) the mean of the newest season up to it (or of the newest horizon
    without a season). Missing values are skipped; 0 before the first value.
    """
    span = task.season_length if task.season_length > 1 else task.horizon
    means = pd.Series(y).rolling(span, min_periods=1).mean()
    return np.asarray(means.ffill().fillna(0.0))


def mean_course(y: Array, season: int) -> Array:
    """(L,): the mean deviation of y (L,) from its mean at each position of the season; 0 without a
    season, and if y is shorter than two.
    """
    if season == 1 or len(y) < 2 * season:
        return np.zeros(len(y))
    position = pd.Series(np.arange(len(y)) % season)
    deviation = pd.Series(y - float(np.nanmean(y)))
    return np.asarray(deviation.groupby(position).transform("mean").fillna(0.0))


def _usual_value(values: Array, column: TaskColumn, train_mean: float) -> float:
    """The value of an absent input in raw units: its mean of the train rows (`train_mean`, in model
    units), or the last of its `values` if it is modelled by its changes.
    """
    known = values[np.isfinite(values)]
    transform = TRANSFORMS[column.transform]
    if column.difference_inputs or transform.takes_changes:
        return float(known[-1]) if len(known) else float("nan")
    return float(transform.to_raw(np.array(train_mean)))


def explain(ensemble: Ensemble, panel: Panel, rows: Rows) -> pd.DataFrame:
    """The contributions to the forecasts at `rows`, in the unit of the target, the level first:
    `unique_id, output, cutoff, step, ds, part, contribution`.
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
    """The contribution (S, H, O) of each part: for the level the forecast from it alone, for each
    of `names` its Shapley value. `forecast_with` is called once.
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
"""Most series whose forecasts are explained."""
N_ORIGINS = 10
"""Origins of the test block that are explained of each series."""


def explain_selected(
    results: Results, selected: str, frame: pd.DataFrame, task: Task
) -> pd.DataFrame:
    """The contributions to test forecasts of the selected model, as it serves, at origins spread
    over the test block: so the mean size of a contribution says how much a part matters. The
    largest series, whose last forecast is drawn, stands first.

    selected: the candidate of the selected model
    frame: the prepared rows

    In a hierarchy the forecasts before reconciliation are explained, as this mixes all series.
    """
    ensemble = load_without_calibration(results.folder(selected)).without_reconciliation()
    cutoffs = results.forecasts(selected, "test").groupby("unique_id")["cutoff"].unique()
    # of several targets the series keep their order, and are named with their targets elsewhere
    ordered = sorted(cutoffs.index) if len(task.target) > 1 else sort_by_size(results)
    names = ordered[:MOST_SERIES]
    panel = from_frame(frame[frame["unique_id"].isin(names)], results.name, task)
    panel = replace(panel, series=tuple(panel.by_id[name] for name in names))
    rows = {uid: np.searchsorted(panel.by_id[uid].ds, np.sort(cutoffs[uid])) for uid in names}
    tables = []
    for share in np.linspace(0, 1, N_ORIGINS):
        cutoff_rows = {
            uid: int(series_rows[round(share * (len(series_rows) - 1))])
            for uid, series_rows in rows.items()
        }
        tables.append(explain(ensemble, panel, cutoff_rows))
    return pd.concat(tables).drop_duplicates()
