"""The fitted model that `forecast.fit` and `forecast.load` return.

A `Model` is an ensemble of forecasters with the caller's column names. Loading and forecasting need
no TensorFlow and no stages; `cross_validation` imports them when it is called. Histories are
checked like the frame of the fit (`forecast.api.frames`).

`cross_validation` has two ways. Without `refit` in the entry, `stages.forecast_windows` asks one
fit, whose `Ensemble.predict` averages the seeds: forecasts of single seeds are nowhere, and its
rows have seed 0. With `refit`, the windows are the test block of `stages.fit_ensemble`, with a row
for each seed, as in `Results.forecasts`; `tabulate_windows` averages them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecast.api import frames
from forecast.api.frames import MAX_MISSING_SHARE, NAME, ONLY_SERIES, WHERE, Names, require_whole
from forecast.api.installation import require_installed
from forecast.data.calendars import row_numbers
from forecast.data.columns import Lateness, spread_over_horizon
from forecast.data.hierarchy import add_sums
from forecast.data.panel import Panel, add_series_names, from_frame
from forecast.data.quality.checks import clock_change
from forecast.data.scaling import check_transforms
from forecast.data.schema import KEY_COLUMNS
from forecast.data.windows import require_rows
from forecast.forecaster.ensemble import Ensemble, block_errors, forecast_latest, read_levels
from forecast.forecaster.intervals import Bounds
from forecast.forecaster.serving import (
    describe_odd_rows,
    keep_forecastable,
    read_ordered_panel,
    require_known_series,
    require_observed,
)
from forecast.forecaster.watching import watch
from forecast.system import files
from forecast.system.errors import InputError, ModelError, plural, quote_names

if TYPE_CHECKING:
    from forecast.api.frame_dataset import FrameDataset
    from forecast.api.stages import FitSettings

MODEL_SCHEMA = 1
"""Format number of the file `DESCRIPTION`; another number is refused."""
DESCRIPTION = "model.json"
"""The file of a saved model with its name and its column names."""
SPLITS_ADVICE = r" [^.]*`splits`[^.]*\."
"""The advice to change `splits` in messages about short blocks; `cross_validation` removes it."""


@dataclass(frozen=True)
class Model:
    """A fitted model. Its `name` is the name of the columns of its forecasts.

    A loaded model has no data and no recipe, so `predict` needs a frame then.

    >>> model = forecast.fit(df, "ridge", freq="1h", horizon=3)
    >>> model.predict(levels=80).columns.tolist()
    ['unique_id', 'ds', 'ridge', 'ridge-lo-80', 'ridge-hi-80']
    >>> model.cross_validation(step_size=6, n_windows=4).shape
    (12, 5)
    >>> model.explain().columns.tolist()
    ['unique_id', 'ds', 'part', 'contribution']
    >>> model.watch(df, newest=5).columns.tolist()
    ['unique_id', 'ds', 'y', 'ridge', 'p', 'alarm_level', 'alarm']
    >>> model.save("ridge")
    """

    name: str
    ensemble: Ensemble
    names: Names
    dataset: FrameDataset | None = None
    recipe: FitSettings | None = None

    def __repr__(self) -> str:
        """Name, horizon, lookback, number of series, and whether a network did not train."""
        task = self.ensemble.task
        untrained = ""
        if all(forecaster.steps == 0 for forecaster in self.ensemble.forecasters):
            untrained = ", did not train"
        return (
            f"Model({self.name!r}, horizon={task.horizon}, lookback={task.lookback},"
            f" series={len(self.ensemble.scaling.centre)}{untrained})"
        )

    def predict(
        self,
        df: Any = None,
        *,
        future_df: Any = None,
        levels: float | Sequence[float] = (),
        horizon: int | None = None,
    ) -> pd.DataFrame:
        """Forecast the steps after the last row of every series: `unique_id, ds, <name>,
        <name>-lo-80, <name>-hi-80, …`; with several targets also `output`, the target.

        df: a history with the series and columns of the fit; None means the data of the fit.
        future_df: `unique_id, ds` and the columns of `future_exogenous` at every step of the
        horizon, where the history has no rows with them after its last observation. levels: of the
        intervals, in percent. horizon: may be longer than fitted, where the model can go on (closed
        loops, rules, statistical models).
        """
        require_whole(horizon=horizon)
        n_steps = horizon or self.ensemble.task.horizon
        levels = read_levels(levels)
        ensemble = self.ensemble.with_horizon(n_steps)
        panel = self._panel(df, future_df, ensemble)
        for sentence in describe_odd_rows(panel, ensemble):
            warnings.warn(sentence, stacklevel=2)
        table = forecast_latest(ensemble, panel, horizon=n_steps, levels=levels)
        columns = {"y_hat": self.name}
        for level in levels:
            for end in ("lo", "hi"):
                columns[f"{end}_{level:g}"] = f"{self.name}-{end}-{level:g}"
        return self._with_caller_names(table, columns, df)

    def cross_validation(
        self, *, step_size: int = 1, n_windows: int = 1, levels: float | Sequence[float] = ()
    ) -> pd.DataFrame:
        """Forecasts at the last `n_windows` origins, `step_size` rows apart: `unique_id, ds,
        cutoff, y, <name>, …` by the caller's names (of several targets `y`), of several seeds the
        mean. They are not made by this model, which has seen those rows, but by new fits:

        The recipe is fitted again on the rows before the first origin, and that fit forecasts all
        windows. With `refit: monthly` or a number in its entry it is fitted as often as that says,
        on all rows before, and its intervals follow the errors of earlier windows; where late
        series allow fewer windows, a warning says how many.

        Raises `InputError` for a loaded model, which has no data, and where the rows before the
        first window are too few.
        """
        if self.dataset is None or self.recipe is None:
            raise InputError(
                f"Model {self.name!r} was loaded without its data. Ask the model of"
                " `forecast.fit(df, ...)`."
            )
        require_whole(step_size=step_size, n_windows=n_windows)
        horizon = self.ensemble.task.horizon
        n_test_steps = horizon + (n_windows - 1) * step_size
        dataset = self.dataset.with_keys(step_size=int(step_size)).with_test_block(n_test_steps)
        # imports all that training needs
        from forecast.api.stages import fit_ensemble, forecast_windows

        is_refitted = self.recipe.entry.get("refit", "never") != "never"
        try:
            if is_refitted:
                ensemble, forecasts = fit_ensemble(self.name, dataset, self.recipe, rows="scored")
            else:
                ensemble, forecasts = forecast_windows(
                    self.name, dataset, self.recipe, n_test_steps=n_test_steps
                )
        except (InputError, ModelError) as error:
            n_left = max(dataset.n_steps - n_test_steps, 0)
            reason = re.sub(SPLITS_ADVICE, "", str(error))
            if n_left == 0:  # `reason` would name blocks of at least one row, which is not there
                reason = f"the windows take {n_test_steps}."
            advice = "To leave more, lower `n_windows` or `step_size`."
            if n_windows == 1:
                advice = "One window needs a fit with a shorter `horizon`, or with more rows."
            raise type(error)(
                f"Fitted on {n_left} of {dataset.n_steps} rows, those before the first window:"
                f" {reason} {advice}"
            ) from None
        model = replace(self, ensemble=ensemble)
        table = windows_of(model, forecasts, levels, learn_on_the_way=is_refitted)
        n_found = table["cutoff"].nunique()
        if n_found < n_windows:
            warnings.warn(
                f"{WHERE}: {n_found} of {plural(n_windows, 'window')}: with `refit` they share the"
                " steps since late series began. Ask for more, leave late series out, or do without"
                " `refit`.",
                stacklevel=2,
            )
        return table

    def explain(self, df: Any = None, *, future_df: Any = None) -> pd.DataFrame:
        """The contribution of each part of the history to the forecast: `unique_id, ds, part,
        contribution`; the contributions of a time sum to the forecast of `predict`.

        Parts are the level of the target, its season, its newest rows and every input
        (`forecast.comparison.explaining`). df, future_df: as for `predict`.
        """
        from forecast.comparison.explaining import explain  # imports the statistical tests

        panel = self._panel(df, future_df, self.ensemble)
        rows = {series.unique_id: len(series) - 1 for series in panel.series}
        table = explain(self.ensemble, panel, rows)
        return self._with_caller_names(table, {"part": "part", "contribution": "contribution"}, df)

    def watch(
        self, df: Any, *, newest: int, rate: float = 10, pooled: bool = False
    ) -> pd.DataFrame:
        """A row for each of the `newest` observations of each series: `unique_id, ds, y, <name>, p,
        alarm_level, alarm`, by the caller's names; `alarm` is true where a one-step forecast cannot
        explain it.

        df: a history whose newest rows are later than the data of the fit; errors on fitted rows
        are too small. rate: the percentage of alarms that may be false; in addition, one
        observation in n + 1 is a false alarm, with n calibration errors.
        pooled: one alarm level for all series, by the errors of all
        (`forecast.forecaster.watching`). Raises `InputError` for rows without a whole lookback, and
        where there are too few calibration errors for the rate.
        """
        require_whole(newest=newest)
        history = frames.as_pandas(df)
        names = self._names_of(history)
        with frames.caller_words(names, self.ensemble.task.calendar):
            panel = self._checked_panel(history, None, self.ensemble, names)
        require_known_series(panel.by_id, self.ensemble, where=WHERE)
        rows = {s.unique_id: np.arange(len(s) - newest, len(s)) - 1 for s in panel.series}
        table = watch(self.ensemble, panel, rows, rate=rate, pooled=pooled).table
        columns = {
            "y": "y",
            "y_hat": self.name,
            "p": "p",
            "alarm_level": "alarm_level",
            "alarm": "alarm",
        }
        return self._with_caller_names(table, columns, df)

    def save(self, folder: str | Path) -> None:
        """Save the model without its data, as JSON and arrays, for `forecast.load(folder)`.

        A saved model that is there is replaced whole. Raises `InputError` for a file, and for a
        folder with something else in it.
        """
        target = Path(folder)
        is_other_folder = (
            target.is_dir() and any(target.iterdir()) and not (target / DESCRIPTION).exists()
        )
        if target.is_file() or is_other_folder:
            raise InputError(
                f"{folder}: found something else there, wanted a new folder or a saved model."
                " Rename it."
            )
        with files.atomic_directory(target) as temporary:
            self.ensemble.save(temporary)
            description = {
                "schema": MODEL_SCHEMA,
                "name": self.name,
                "id_col": self.names.id_col,
                "time_col": self.names.time_col,
                "clock": self.names.clock,
            }
            files.write_json(temporary / DESCRIPTION, description)

    def export(self, path: str | Path, *, seed: int = 0) -> None:
        """Write the network of one seed, by default the first, as a .py file that needs NumPy
        alone, and a .json beside it with the input channels and the scaling.

        Raises `InputError` for a model that is not a single network with a linear skip.

        >>> forecast.fit(df, "gru", freq="1h", horizon=3).export("gru.py")
        """
        from forecast.api.network_file import write_network

        write_network(self.ensemble, Path(path), seed=seed)

    def _panel(self, df: Any, future_df: Any, ensemble: Ensemble) -> Panel:
        """The panel to forecast from, of `df` or of the fit's data; series that are unknown or too
        short are left out with a warning.

        A history that needs no conversion is read quickly (`_ready_panel`), others are checked and
        converted (`_checked_panel`). Raises `InputError` where no series is left, and where `df`
        lacks a value that the forecast needs.
        """
        history = df if df is None else frames.as_pandas(df)
        names = self._names_of(history)
        panel = None
        if history is not None and future_df is None and not ensemble.task.hierarchy:
            panel = self._ready_panel(history, ensemble)
        calendar = ensemble.task.calendar
        with frames.caller_words(names, calendar):
            if panel is None:
                panel = self._checked_panel(history, future_df, ensemble, names)
            if df is None:  # the fit has warned of the series that it left out
                fitted = ensemble.scaling.centre
                fitted_series = tuple(s for s in panel.series if s.unique_id in fitted)
                panel = replace(panel, series=fitted_series)
            panel, left_out = keep_forecastable(panel, ensemble)
            if left_out:
                words = frames.in_caller_words(left_out, names, calendar)
                warnings.warn(f"{WHERE}: {words}", stacklevel=3)
            for series in panel.series:
                require_rows(panel.task, series, np.array([len(series) - 1]))
            if df is not None:
                require_known_series(panel.by_id, ensemble, where=WHERE)
                filled = require_observed(panel, where=WHERE, most_filled=MAX_MISSING_SHARE)
                if filled:
                    warnings.warn(filled, stacklevel=3)
        return panel

    def _ready_panel(self, history: pd.DataFrame, ensemble: Ensemble) -> Panel | None:
        """The panel of a history that needs no conversion; None where it does, or where its times
        may be in another time zone.
        """
        if self.names.clock not in ("", "UTC"):
            return None
        id_col = self.names.id_col
        if id_col == "unique_id" and id_col not in [*history, *history.index.names]:
            history = history.assign(unique_id=ONLY_SERIES)
        panel = read_ordered_panel(history, (id_col, self.names.time_col), ensemble)
        n_targets = len(ensemble.task.target)
        if panel and any(np.isnan(s.values[-1, :n_targets]).all() for s in panel.series):
            return None
        return panel

    def _names_of(self, history: pd.DataFrame | None) -> Names:
        """The caller's names with the clock of a history; None: with that of the fit's data."""
        if history is None:
            return self.names
        return replace(self.names, clock=frames.find_clock(history, self.names.time_col))

    def _checked_panel(
        self, df: pd.DataFrame | None, future_df: Any, ensemble: Ensemble, names: Names
    ) -> Panel:
        """The panel of a history (None: of the fit's data), checked and converted, with the inputs
        known ahead. names: `_names_of` the history.

        Raises `InputError` for a fault of the frames, and where there is no history.
        """
        task = ensemble.task
        observed = task.observed_names
        plans = task.plans
        most_unobserved = task.horizon - 1  # and below, at most what `require_observed` allows
        if df is not None:
            frames.require_zones_in_both_or_none(
                names.clock,
                self.names.clock,
                task.calendar,
                where=WHERE,
                known_where="the fit",
            )
            if not all(column.may_be_missing for column in task.columns[: len(observed)]):
                most_unobserved = min(most_unobserved, int(MAX_MISSING_SHARE * task.lookback))
            frame = frames.long_frame(
                df, names, [*observed, *plans], task.calendar, task.hierarchy, task.static
            )
            past = [name for name in observed if name not in names.target_col]
            frame = frames.up_to_last_target(frame, names, past, plans, task.calendar, stacklevel=4)
        elif self.dataset is not None:
            frame = self.dataset.frame
            if future_df is not None:
                frame = pd.concat([frame, self.dataset.plan]).sort_values([*KEY_COLUMNS])
        else:
            raise InputError(
                f"Model {self.name!r} was loaded without its data. Pass a history:"
                " `model.predict(df)`."
            )
        if future_df is not None:
            frame = frame[[*KEY_COLUMNS, *observed, *plans, *task.static_names]]
            frame = frames.with_future(frame, future_df, names, plans, observed, task)
        if task.future_exogenous and (df is not None or future_df is not None):
            frame = spread_over_horizon(
                frame,
                plans,
                observed,
                task.future_exogenous[0].steps,
                task.calendar,
                task.holidays,
                Lateness(most_unobserved),
            )
        if df is not None:
            check_transforms(frame, task)
            frames.warn_of(list(clock_change(frame, task, 0)), names, task.calendar)
        return from_frame(add_sums(frame, task), NAME, task)

    def _with_caller_names(
        self, table: Any, columns: Mapping[str, str], df: Any = None
    ) -> pd.DataFrame:
        """The key columns and `columns` (column → new name) of a table of forecasts, with the
        caller's column names, times and series names.

        Times have the time zone of `df` (None: of the fit's data), or are row numbers where the
        caller counts rows. Series of a hierarchy keep their names. Raises `InputError` where two
        columns would have the same name.
        """
        task = self.ensemble.task
        caller = self.names
        keys = {"unique_id": caller.id_col}
        if len(task.target) > 1:
            keys["output"] = "output"
        keys["ds"] = caller.time_col
        names = {**keys, **columns}
        if len(task.target) == 1 and "y" in names:
            names["y"] = task.targets[0]
        contents = {name: table[column] for column, name in names.items()}
        if len(contents) < len(names):
            raise InputError(
                f"Two columns would have one name; wanted different ones, found"
                f" {quote_names(names.values())}. Fit with another `id_col`, `time_col`,"
                " `target_col` or name of the model."
            )
        zone = caller.time_zone
        ids = caller.ids
        if df is not None:
            zone = frames.zone_of_times(df, caller.time_col)
            ids = frames.own_ids(df, caller.id_col)
        for column in {"ds", "cutoff"} & names.keys():
            if task.calendar.counts_rows:
                contents[names[column]] = row_numbers(table[column])
            elif zone is not None:
                contents[names[column]] = frames.in_zone(table[column], zone, task.calendar)
        answer = pd.DataFrame(contents, copy=False)
        if ids is None or task.hierarchy:
            return answer
        return frames.with_own_ids(answer, caller.id_col, ids)


def windows_of(
    model: Model,
    forecasts: pd.DataFrame,
    levels: float | Sequence[float],
    *,
    learn_on_the_way: bool = True,
) -> pd.DataFrame:
    """The test block of a candidate's forecasts as `unique_id, ds, cutoff, y, <name>,
    <name>-lo-80, …`, with the caller's names; learn_on_the_way: as for `tabulate_windows`.
    """
    rows = forecasts[forecasts["block"] == "test"]
    table, columns = tabulate_windows(
        rows, model.ensemble, model.name, levels, learn_on_the_way=learn_on_the_way
    )
    return model._with_caller_names(table, {name: name for name in columns if name != "ds"})


def tabulate_windows(
    rows: pd.DataFrame,
    ensemble: Ensemble,
    name: str,
    levels: float | Sequence[float],
    *,
    learn_on_the_way: bool = True,
) -> tuple[pd.DataFrame, list[str]]:
    """The mean over the seeds of forecasts, with the ends of their intervals, and the names of the
    columns to show.

    rows: `unique_id, output, cutoff, step, ds, seed, y, y_hat, volatility`, in the order of time;
    those of a refitted entry have a row for each seed, others the mean of the seeds as seed 0.
    ensemble: its calibration gives the intervals. name: that of the column of forecasts.
    learn_on_the_way: whether the errors of earlier windows change the intervals of later ones.
    `InputError` where a calibrated series has too few errors for a level.
    """
    keys = ["unique_id", "output", "cutoff", "step", "ds"]
    means = rows.groupby(keys, sort=False)[["y", "y_hat", "volatility"]].mean()
    mean = add_series_names(means.reset_index())
    columns = ["ds", "cutoff", "y", name]
    levels = read_levels(levels)
    if levels:
        coverages = [level / 100 for level in levels]
        ends = [f"{name}-{end}-{level:g}" for level in levels for end in ("lo", "hi")]
        mean[ends] = np.nan
        for series, rows_of_series in mean.groupby("series", sort=False):
            if ensemble.calibrated and series not in ensemble.calibrated:
                continue
            _, y_hat, difficulty = block_errors(rows_of_series, ensemble.task)
            margins = ensemble.calibration(str(series))
            if learn_on_the_way:
                bounds = margins.bounds_in_turn(y_hat, difficulty, coverages)
            else:
                newest = margins.newest
                by_level = [newest.bounds(y_hat, difficulty, coverage) for coverage in coverages]
                bounds = Bounds(*np.stack(by_level, axis=1))
            by_target = np.transpose(bounds, (2, 3, 1, 0))  # (m, H, L, 2)
            mean.loc[rows_of_series.index, ends] = by_target.reshape(-1, len(ends))
        columns += ends
    return mean.rename(columns={"y_hat": name}), columns


def load(folder: str | Path) -> Model:
    """Load a model that `Model.save` wrote.

    Raises `InputError` for another folder or format, `DamagedError` for a damaged file.

    >>> forecast.load("ridge").predict(df).shape
    (3, 3)
    """
    if not (Path(folder) / DESCRIPTION).exists():
        raise InputError(
            f"{folder}: found no {DESCRIPTION}, wanted a folder that `model.save` made. Correct"
            " the path."
        )
    description = files.read_saved(Path(folder) / DESCRIPTION, MODEL_SCHEMA)
    try:
        ensemble = Ensemble.load(Path(folder))
    except ModuleNotFoundError as missing:  # the calendar of an exchange
        require_installed(str(missing.name), description["name"])
        raise
    targets = tuple(column.name for column in ensemble.task.target)
    names = Names(
        description["id_col"], description["time_col"], targets, clock=description["clock"]
    )
    return Model(description["name"], ensemble, names)
