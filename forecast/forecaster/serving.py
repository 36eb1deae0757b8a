"""One request to a served model: a history in, its forecast out; every fault of the request is an
`InputError`.

`Service` is what a model served by MLflow calls (`tracking.served`). A history is a long frame:
`unique_id`, `ds` and the columns of the task. It is cut to the rows that the model reads, and
refused where a series is not known, a step of the calendar is missing in a column without
`max_missing`, or a value is out of range; nothing is filled in or guessed. A series that the fit
has not seen has no scaling (`data.scaling.Scaling`), so no model can forecast it. The Python door
(`api.model`) and the command `predict` (`operations.predicting`) read their frames themselves, and
share the functions of this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.task import FutureStep, Task, future_frame_name
from forecast.config.transforms import TRANSFORMS
from forecast.data import calendars
from forecast.data.columns import encode_static, spread_over_horizon
from forecast.data.panel import Panel, Series, from_frame, future_features
from forecast.data.scaling import check_transforms
from forecast.data.schema import (
    EARLIEST_TIME,
    KEY_COLUMNS,
    LATEST_TIME,
    MAPPING_HINT,
    MAX_MAGNITUDE,
    check_frame,
    first_true,
    lie_outside,
)
from forecast.data.windows import find_hole_of_plan
from forecast.forecaster.ensemble import MANIFEST, Ensemble, forecast_latest, read_levels
from forecast.forecaster.forecaster import Forecaster
from forecast.forecaster.unseen import describe_unseen
from forecast.system.errors import (
    MOST_NAMES,
    InputError,
    list_first,
    plural,
    quote,
    quote_names,
    require_column,
)
from forecast.system.workers import limit_to_one_thread

REQUEST = "request"
ADVICE_BY_REMEDY = {
    MAPPING_HINT: "Send it under this name.",
    "Correct `static`.": "Send it under this name.",
    ", or correct `calendar.freq`": "",
    ", or correct `calendar.opening_hours`": "",
    ", or correct `calendar`": "",
    "Check its source and its date range.": "Send rows with values of every target.",
    ", or `minimum` and `maximum` of the target": "",
    "Use `none` or `diff`, or correct": "Correct",
}
"""Advice of error messages that fits files and configurations, and the advice that fits a request
instead.
"""
DEFAULT_LEVELS: tuple[float, ...] = ()
"""Levels (percent) of the intervals where a request names none."""
MAX_ROWS = 200_000
MAX_ROWS_OF_WHOLE_HISTORY = 10_000_000
"""The most rows of a request: to a model that reads its lookback alone, and to one that reads all
rows.
"""


@dataclass(frozen=True)
class Service:
    """A loaded ensemble that answers requests; stateless."""

    ensemble: Ensemble

    @classmethod
    def load(cls, folder: Path) -> Service:
        """Load `folder`, which has a saved ensemble, or one forecaster (then without intervals)."""
        if (folder / MANIFEST).exists():
            return cls(Ensemble.load(folder))
        return cls(Ensemble((Forecaster.load(folder),)))

    def answer(
        self, history: Any, horizon: int = 0, levels: Sequence[float] = DEFAULT_LEVELS
    ) -> pd.DataFrame:
        """The forecasts of every series in `history`: the table of `forecast_latest`, times as ISO
        text. horizon: 0 for the trained one; levels: in percent. A column `note` tells what is odd
        about a series (`describe_odd_series`); there is none where nothing is. `InputError` for a
        fault of the request, also where a forecast is not finite.
        """
        steps = horizon or self.ensemble.task.horizon
        levels = read_levels(levels)
        ensemble = self.ensemble.with_horizon(steps)
        panel = self._panel(history, ensemble)
        # one thread: on a busy machine the threads of BLAS wait for each other, up to a tenth of a
        # second for a small product
        with np.errstate(over="ignore", invalid="ignore"), limit_to_one_thread():
            table = forecast_latest(ensemble, panel, horizon=steps, levels=levels)
        if not np.isfinite(table["y_hat"]).all():
            largest = max(float(np.nanmax(np.abs(series.values))) for series in panel.series)
            raise InputError(
                f"{REQUEST}: the forecast from this history is no finite number; its largest value"
                f" is {largest:g}. Correct the values."
            )
        answer = pd.DataFrame(
            table
            | {name: np.datetime_as_string(table[name], unit="s") for name in ("cutoff", "ds")}
        )
        if notes := describe_odd_series(panel, ensemble):
            answer["note"] = answer["unique_id"].map(notes).fillna("")
        return answer

    def _panel(self, history: Any, ensemble: Ensemble) -> Panel:
        """The rows of `history` that the model reads, as a panel. A history that is in order is
        taken as it is, any other is checked and converted. `InputError` for unknown series and
        missing values.
        """
        given = _parse_times(_require_table(history, ensemble))
        panel = read_ordered_panel(given, KEY_COLUMNS, ensemble)
        if panel is None:
            checked = _check_rows(given, ensemble.task)
            check_transforms(checked, ensemble.task)
            panel = from_frame(
                ensemble.select_newest_rows(checked), ensemble.dataset_name, ensemble.task
            )
        require_known_series(panel.by_id, ensemble)
        require_observed(panel)
        return panel


def advise_caller(message: str) -> str:
    """`message` with advice on files and configurations replaced by advice on a request."""
    for remedy, advice in ADVICE_BY_REMEDY.items():
        message = message.replace(remedy, advice)
    return message


def read_ordered_panel(
    history: pd.DataFrame, keys: tuple[str, str], ensemble: Ensemble
) -> Panel | None:
    """The newest rows of a history that needs neither conversion nor sorting, as a panel: names are
    text, every step of the calendar occurs once, everything else is numbers. None for any other
    history. This saves nine tenths of the time of `check_frame`, which gives the same panel.

    keys: the columns of series names and of times.
    """
    task = ensemble.task
    values = _read_numbers(history, keys, task)
    if values is None:
        return None
    # a missing name has the code -1 and so breaks the order
    codes, series_ids = pd.factorize(history[keys[0]])
    ds = history[keys[1]].to_numpy()
    # false for a missing time
    is_in_range = (
        EARLIEST_TIME.to_datetime64() <= ds.min() and ds.max() < LATEST_TIME.to_datetime64()
    )
    is_ordered = (
        not codes[0] and (codes[1:] >= codes[:-1]).all() and [*series_ids] == sorted(series_ids)
    )
    if not is_in_range or not is_ordered:
        return None
    ds = ds.astype("datetime64[ns]")
    steps = calendars.grid(task.calendar, ds.min(), ds.max()).to_numpy()
    edges = [0, *np.flatnonzero(np.diff(codes)) + 1, len(codes)]
    newest = ensemble.count_rows_read(len(ds))
    series = []
    for unique_id, start, stop in zip(series_ids, edges, edges[1:], strict=False):
        first = np.searchsorted(steps, ds[start])
        if not np.array_equal(steps[first : first + stop - start], ds[start:stop]):
            return None
        rows = slice(max(start, stop - newest), stop)
        features = future_features(task, pd.DatetimeIndex(ds[rows]), np.empty(0))
        series.append(Series(unique_id, ds[rows], values[rows], features))
    return Panel(ensemble.dataset_name, task, tuple(series))


def _read_numbers(history: pd.DataFrame, keys: tuple[str, str], task: Task) -> np.ndarray | None:
    """The values (T, C) of a history whose columns are text, times, and numbers that the task
    allows; None for any other history.
    """
    columns = {*keys, *task.frame_names}
    is_complete = history.columns.is_unique and columns <= {*history.columns}
    if task.static or not len(history) or not is_complete:
        return None
    dtypes = [history[name].dtype for name in (keys[1], *task.frame_names)]
    kinds = [dtype.kind if isinstance(dtype, np.dtype) else "" for dtype in dtypes]
    is_plain = kinds[0] == "M" and {*kinds[1:]} <= {*"fiu"}
    if not is_plain or not pd.api.types.is_string_dtype(history[keys[0]]):
        return None
    values = np.column_stack([history[name].to_numpy(np.float64) for name in task.frame_names])
    lowest = np.nanmin(values, axis=0, initial=np.inf)
    highest = np.nanmax(values, axis=0, initial=-np.inf)
    low, high = np.transpose([column.limits for column in task.columns])
    transforms = [TRANSFORMS[column.transform] for column in task.columns]
    is_allowed = (
        (lowest <= highest)  # false for an empty column
        & (lowest > [transform.lower for transform in transforms])
        & (highest < [transform.upper for transform in transforms])
        & (lowest >= np.maximum(low, -MAX_MAGNITUDE))
        & (highest <= np.minimum(high, MAX_MAGNITUDE))
    )
    return values if is_allowed.all() else None


def _check_rows(given: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The checked columns of `task` in a request. An input known ahead is either one column, with
    the plan in rows after the last observation, or a column per step (`promo+1`, `promo+2`, ...). A
    static column is given by its values or by its indicator columns (`kind=bakery`).
    """
    plans = [name for name in task.plans if future_frame_name(name, 1) not in given]
    spread = [*plans, *(task.holidays.columns if task.holidays else ())]
    by_step = [c.frame_name for c in task.future_steps if c.name not in spread]
    observed = task.observed_names
    columns = [*observed, *plans, *by_step]
    if given.columns.is_unique:
        sent = list(map(str, given.columns))
        for name in (*KEY_COLUMNS, *columns):  # before `encode_static` adds columns
            require_column(name, sent, REQUEST, MAPPING_HINT)
        # rows may come in any order; their labels stay, because error messages name them
        given = given.sort_values("ds", kind="stable")
        static = [column for column in task.static if not {*column.frame_names} <= {*given}]
        given = encode_static(given, static, "unique_id", where=REQUEST)
    checked = check_frame(given, [*columns, *task.static_names], where=REQUEST)
    calendars.check_calendar(checked, task.calendar, where=REQUEST)
    if not spread:
        return checked
    reach = task.future_exogenous[0].steps
    return spread_over_horizon(checked, plans, observed, reach, task.calendar, task.holidays)


def _require_table(history: Any, ensemble: Ensemble) -> pd.DataFrame:
    """`history` as it is; `InputError` where it is no table, or has more rows than one request may
    have.
    """
    if not isinstance(history, pd.DataFrame):
        raise InputError(
            f"{REQUEST}: found {type(history).__name__}, wanted a table with one row per series and"
            " time. Send `dataframe_split` or `dataframe_records`."
        )
    most = MAX_ROWS
    remedy = "Send the newest ones"
    if ensemble.needs_whole_history:
        most = MAX_ROWS_OF_WHOLE_HISTORY
        remedy = "Serve a model that reads its lookback alone"
    if len(history) > most:
        raise InputError(f"{REQUEST}: found {len(history)} rows, wanted at most {most}. {remedy}.")
    return history


def _parse_times(history: pd.DataFrame) -> pd.DataFrame:
    """`history` with the ISO 8601 text of `ds` (JSON has no times) read as times in UTC without a
    zone. A history whose `ds` is missing or already holds times stays as it is. `InputError` names
    the first row whose text is not a time.
    """
    if not history.columns.is_unique or "ds" not in history or history["ds"].dtype.kind == "M":
        return history
    text = history["ds"].astype("str")
    times = pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce").dt.tz_localize(None)
    # pandas would read a number as a year
    is_other = text.to_numpy(object, na_value="") != history["ds"].to_numpy(object, na_value="")
    is_wrong = times.isna() | is_other | lie_outside(times)
    if is_wrong.any():
        position = first_true(is_wrong)
        raise InputError(
            f"{REQUEST}, row {position}: column 'ds' holds {quote(history['ds'].iloc[position])},"
            " wanted ISO 8601 times such as 2026-06-30T23:00, between 1678 and 2199. Correct the"
            " row."
        )
    return history.assign(ds=times.astype("datetime64[ns]"))


def require_known_series(
    series_ids: Iterable[str], ensemble: Ensemble, *, where: str = REQUEST
) -> None:
    """`InputError` for series that are not in the fit."""
    known = ensemble.scaling.centre
    unknown = set(series_ids) - known.keys()
    if unknown:
        raise InputError(
            f"{where}: series {quote_names(unknown)} not known; wanted {quote_names(known)}."
            " One that came after the fit, or had too few rows, was left out of it: fit again once"
            " it has the rows, or with a shorter `lookback` or `horizon`."
        )


def keep_forecastable(panel: Panel, ensemble: Ensemble) -> tuple[Panel, str]:
    """The series of `panel` that can be forecast, and a sentence that names the others with the
    reason (empty without any). Where none can be forecast the panel stays as it is, and forecasting
    it raises the error.
    """
    newest = panel.newest
    left_out: dict[str, list[str]] = {}
    for series in panel.series:
        reason = _find_obstacle(series, ensemble, newest)
        left_out.setdefault(reason, []).append(series.unique_id)
    usable = left_out.pop("", [])
    if not usable or not left_out:
        return panel, ""
    faults = "; ".join(
        f"{quote_names(series_ids)} ({reason})" for reason, series_ids in left_out.items()
    )
    return (
        replace(panel, series=tuple(panel.by_id[name] for name in usable)),
        f"No forecast of series {faults}.",
    )


def _find_obstacle(series: Series, ensemble: Ensemble, newest: np.datetime64) -> str:
    """Why a series cannot be forecast; empty where it can. newest: the last time of any series.

    A series whose whole horizon, or whose first step without a plan, is not after `newest` (such
    as a closed shop) lacks rows rather than a plan.
    """
    task = ensemble.task
    if series.unique_id not in ensemble.scaling.centre:
        return "not in the fit: it came later, or had too few rows"
    if len(series) < task.lookback:
        return f"fewer rows than lookback={task.lookback}"
    if np.isnan(series.values[-task.lookback :, : len(task.target)]).all(axis=0).any():
        return f"no target in {task.lookback} rows"
    last = calendars.next_steps(task.calendar, series.ds[-1], task.horizon)[-1]
    hole = find_hole_of_plan(task, series)
    if (task.plans and last <= newest) or (hole and hole[0] <= newest):
        return (
            f"ended at {calendars.format_times([series.ds[-1]], task.calendar)}, before the others,"
            " and lacks rows since"
        )
    return ""


def describe_odd_rows(
    panel: Panel, ensemble: Ensemble, newest: np.datetime64 | None = None
) -> list[str]:
    """Sentences on what is odd about the newest rows of `panel`: unequal ends, missing values,
    values unlike those of the fit. newest: the last time of any series of the request; None: that
    of the panel.
    """
    if newest is None:
        newest = panel.newest
    sentences = [
        describe_unequal_ends(panel, newest),
        describe_missing_values(panel),
        describe_unseen(panel, ensemble.scaling),
    ]
    return [*filter(None, sentences)]


def describe_odd_series(panel: Panel, ensemble: Ensemble) -> dict[str, str]:
    """As `describe_odd_rows`, for each series apart; without those that have nothing odd."""
    notes = {}
    for series in panel.series:
        alone = replace(panel, series=(series,))
        if sentences := describe_odd_rows(alone, ensemble, panel.newest):
            notes[series.unique_id] = " ".join(sentences)
    return notes


def describe_unequal_ends(panel: Panel, newest: np.datetime64) -> str:
    """A sentence that names the series that end before `newest`, with their last times; empty where
    none does.
    """
    shorter = [series for series in panel.series if series.ds[-1] < newest]
    if not shorter:
        return ""

    def name_end(series: Series) -> str:
        end = calendars.format_times([series.ds[-1]], panel.task.calendar)
        return f"{quote(series.unique_id)} (to {end})"

    return (
        "Without the newest rows of the others: series"
        f" {list_first(shorter, MOST_NAMES, name_end)}. The forecast of each begins after its own"
        " last row."
    )


def describe_missing_values(panel: Panel) -> str:
    """A sentence on the columns without a value in the last row of a series, targets too, each
    counted once per series; empty where there are none.
    """
    missing_values = []
    for series in panel.series:
        for column in np.flatnonzero(np.isnan(series.values[-1])):
            name = panel.task.frame_names[column]
            missing_values.append(f"{quote(name)} of {quote(series.unique_id)}")
    if not missing_values:
        return ""
    return (
        f"Missing in the last row: {plural(len(missing_values), 'value')}, such as"
        f" {missing_values[0]}. Where the model reads one, it uses an older value."
    )


def require_observed(panel: Panel, *, where: str = REQUEST, most_filled: float = 0.0) -> str:
    """Check the last lookback of every series: a column with `max_missing` needs at least one
    value, any other may miss at most the share `most_filled` of the rows. `InputError` otherwise.

    Returns a sentence on the gaps of columns without `max_missing`, which are filled with the value
    before them although the data of the fit had no gaps; empty where there are none.
    """
    task = panel.task
    filled = []
    for series in panel.series:
        is_observed = np.isfinite(series.values[-task.lookback :])
        for column, observed in zip(task.columns, is_observed.T, strict=True):
            if isinstance(column, FutureStep) and not column.may_be_missing:
                continue  # past rows may lack a known-future input; `require_rows` checks it
            missing = int((~observed).sum())
            allowed = most_filled * len(observed)
            wanted_values = f"at most {most_filled:.0%}" if most_filled else "none"
            if column.may_be_missing:
                allowed = len(observed) - 1
                wanted_values = "some value"
            what = (
                f"series {series.unique_id!r}: column {column.frame_name!r} misses {missing} of the"
                f" last {len(observed)} steps"
            )
            if missing > allowed:
                raise InputError(
                    f"{where}, {what} (a row left out counts), wanted {wanted_values}. Complete the"
                    " history."
                )
            if missing and not column.may_be_missing:
                filled.append(what)
    if not filled:
        return ""
    return (
        f"{where}, {filled[0]}{' (and others do)' if filled[1:] else ''}, and the data of the fit"
        " had none missing. The value before a gap stands for it."
    )
