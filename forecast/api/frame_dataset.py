"""A caller's frame and options as a dataset (`frame_dataset`): the checked long frame, and the
entry that configs/datasets.yaml would have.

What the caller leaves out is chosen by the calendar and the length of the series: season, lookback,
calendar features, how many values may be missing, and the blocks (`shares_before_test_block`). The
usual season and lookback of a calendar are those of `forecast add`
(`data.guesses.spans.guess_spans`); how few rows shorten them, and the blocks (`spans.block_shares`,
which chooses the test block, too), are decided there by code of its own.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from forecast.api.frames import (
    MAX_MISSING_SHARE,
    NAME,
    WHERE,
    Names,
    as_pandas,
    as_tuple,
    caller_words,
    clock_name,
    find_clock,
    long_frame,
    own_ids,
    require_whole,
    up_to_last_target,
    zone_of_times,
)
from forecast.api.installation import require_installed
from forecast.config.datasets import Dataset
from forecast.config.reading import Config, Entry, validate_config
from forecast.config.task import Calendar, Holidays, RegularCalendar, StaticColumn
from forecast.data.calendars import (
    count_steps_by_series,
    default_features,
    describe_own_steps,
    find_month_feature,
    fit_calendar,
    grids_by_series,
    shows_week,
    usual_length,
)
from forecast.data.columns import Lateness, guess_static, spread_over_horizon
from forecast.data.guesses.spans import SHORT_ROWS, guess_spans
from forecast.data.guesses.target import guess_minimum
from forecast.data.schema import KEY_COLUMNS
from forecast.data.splits import held_out_steps, longest_horizon, most_test_steps
from forecast.system.errors import InputError, quote_names

MAX_CALIBRATION_CUTOFFS = 1000


class FrequencyEntry(Config):
    """The option `freq` as an entry of a calendar."""

    freq: Calendar


class Inputs(Config):
    """The keys `holidays` and `static` of an entry of datasets.yaml."""

    holidays: Holidays | None
    static: tuple[StaticColumn, ...]


@dataclass(frozen=True)
class FrameDataset:
    """A checked frame, and its entry of datasets.yaml."""

    frame: pd.DataFrame
    """The long frame: `unique_id, ds` and number columns, ordered."""
    entry: Entry
    names: Names
    options: TaskOptions
    inputs: Inputs
    plan: pd.DataFrame | None = None
    """`unique_id, ds` and the columns known ahead, for the rows after the last observations."""

    @cached_property
    def settings(self) -> Dataset:
        """The checked entry; `InputError` for a faulty option."""
        return validate_config(Dataset, dict(self.entry), where="forecast")

    @property
    def n_steps(self) -> int:
        """The number of time steps that any series has."""
        return len(_time_steps(self.frame, self.settings.calendar))

    @property
    def longest_horizon(self) -> int:
        """The longest horizon for which a series of the usual length supports 80 % intervals."""
        task = self.settings.task
        lengths = count_steps_by_series(self.frame, task.calendar)
        return longest_horizon(usual_length(lengths), task.season_length)

    @property
    def least_test_steps(self) -> int:
        """The fewest steps of a test block in which every series has a whole horizon, also one that
        ends up to a horizon before the others; one that ends earlier is ignored.
        """
        task = self.settings.task
        steps = _time_steps(self.frame, task.calendar)
        lasts = self.frame.groupby("unique_id")["ds"].max()
        needed = len(steps) - 1 - np.searchsorted(steps, lasts) + task.horizon
        return int(needed[needed <= 2 * task.horizon].max())

    def choose_options(self, frame: pd.DataFrame, horizon: int) -> FrameDataset:
        """The dataset of the same call with another frame and horizon, without its `plan`; what the
        caller left out is chosen again.
        """
        options = replace(self.options, horizon=horizon)
        return _describe_frame(frame, self.names, options, self.inputs)

    def with_keys(self, **keys: Any) -> FrameDataset:
        """The dataset with other keys of its entry; `InputError` for a faulty one."""
        dataset = replace(self, entry={**self.entry, **keys})
        _ = dataset.settings  # checked before anything is computed
        return dataset

    def with_test_block(self, n_steps: int) -> FrameDataset:
        """The dataset with the last `n_steps` steps as test block, and at most
        `MAX_CALIBRATION_CUTOFFS` cutoffs in the calibration block.
        """
        task = self.settings.task
        splits = shares_before_test_block(
            self.frame, task.calendar, task.horizon, task.season_length, n_steps
        )
        step_size = round(splits["calibration"] * self.n_steps) // MAX_CALIBRATION_CUTOFFS
        return self.with_keys(splits=splits, calibration_step_size=max(1, step_size))


@dataclass(frozen=True)
class TaskOptions:
    """The options that `fit` and `compare` share; `forecast.fit` explains them.

    None means that `frame_dataset` chooses.
    """

    freq: str | int | Entry
    horizon: int
    lookback: int | None
    season_length: int | None
    past_exogenous: str | Sequence[str | Entry]
    future_exogenous: str | Sequence[str | Entry]
    calendar_features: Sequence[str] | None
    holidays: str | Entry | None
    static: str | Sequence[str | Entry]
    hierarchy: str | Sequence[str]
    transform: str
    minimum: float | None
    difference_inputs: bool
    point: str
    id_col: str
    time_col: str
    target_col: str | Sequence[str]

    @classmethod
    def of_call(cls, arguments: Mapping[str, Any]) -> TaskOptions:
        """The options among all `arguments` of a call, by name."""
        return cls(**{field.name: arguments[field.name] for field in fields(cls)})


def frame_dataset(df: Any, options: TaskOptions) -> FrameDataset:
    """The dataset of a call of `fit` or `compare`.

    Raises `InputError` for a faulty frame or option.
    """
    horizon = options.horizon
    require_whole(horizon=horizon, lookback=options.lookback, season_length=options.season_length)
    calendar = _calendar(options.freq)
    df = as_pandas(df)
    names = Names(
        options.id_col,
        options.time_col,
        as_tuple("target_col", options.target_col),
        clock=find_clock(df, options.time_col),
    )
    target = list(map(str, names.target_col))
    past, future = (
        [str(column.get("column")) for column in _column_entries(option, getattr(options, option))]
        for option in ("past_exogenous", "future_exogenous")
    )
    content = {"holidays": options.holidays, "static": _static_entries(df, options)}
    inputs = validate_config(Inputs, content, where="forecast")
    hierarchy = as_tuple("hierarchy", options.hierarchy)
    frame = long_frame(df, names, [*target, *past, *future], calendar, hierarchy, inputs.static)
    frame = up_to_last_target(frame, names, past, future, calendar, stacklevel=3)
    observed = frame.loc[frame[target].notna().any(axis=1), [*past, *future]]
    if flat := quote_names(observed.columns[observed.nunique() == 1]):
        warnings.warn(f"{WHERE}: one value in all rows with a target: {flat}", stacklevel=3)
    zone = zone_of_times(df, names.time_col)
    names = replace(names, time_zone=zone, ids=own_ids(df, names.id_col))
    if inputs.holidays and inputs.holidays.time_zone is None:
        local = inputs.holidays.model_copy(update={"time_zone": clock_name(zone)})
        inputs = inputs.model_copy(update={"holidays": local})
    plan = None
    if future or inputs.holidays:
        plan = frame[[*KEY_COLUMNS, *future]]
        measured = [*target, *past]
        lateness = Lateness(horizon - 1, plan_may_follow=True)
        with caller_words(names, calendar):
            frame = spread_over_horizon(
                frame, future, measured, horizon, calendar, inputs.holidays, lateness
            )
        plan = plan[plan["ds"] > plan["unique_id"].map(frame.groupby("unique_id")["ds"].last())]
    return replace(_describe_frame(frame, names, options, inputs), plan=plan)


def _describe_frame(
    frame: pd.DataFrame, names: Names, options: TaskOptions, inputs: Inputs
) -> FrameDataset:
    """The dataset of a checked frame, without `plan`; options that are None are chosen by its rows.
    `InputError` for a faulty option.
    """
    horizon = options.horizon
    calendar = _calendar(options.freq)
    zone = clock_name(names.time_zone)
    target: list[Entry] = [
        {
            "column": name,
            "transform": options.transform,
            "difference_inputs": options.difference_inputs,
            "minimum": _choose_minimum(options.minimum, frame[name]),
            "point": options.point,
        }
        for name in names.target_col
    ]
    past = _column_entries("past_exogenous", options.past_exogenous)
    future = [
        {"known_ahead": True, **column}
        for column in _column_entries("future_exogenous", options.future_exogenous)
    ]
    n_steps = usual_length(count_steps_by_series(frame, calendar))
    calendar_features = options.calendar_features
    if calendar_features is None:
        calendar_features = default_features(calendar, n_steps)
        if any(shows_week(frame, column, calendar) for column in names.target_col):
            calendar_features.append("day_of_week")
        if month_feature := find_month_feature(frame, names.target_col, calendar):
            calendar_features.append(month_feature)
    elif calendar_features and calendar.counts_rows:
        raise InputError(
            f"calendar_features={calendar_features!r}: counted rows have no calendar. Leave it out."
        )
    season = options.season_length or _usual_season(calendar, n_steps)
    entry: Entry = {
        "title": ", ".join(names.target_col),
        "source": {"kind": "file", "path": f"data/{NAME}.parquet", "time_zone": zone},
        "calendar": calendar.model_dump(mode="json"),
        "target": [_with_missing_allowed(column, frame, calendar, zone) for column in target],
        "past_exogenous": [_with_missing_allowed(column, frame, calendar, zone) for column in past],
        "future_exogenous": future,
        "calendar_features": list(as_tuple("calendar_features", calendar_features)),
        **inputs.model_dump(mode="json"),
        "hierarchy": list(as_tuple("hierarchy", options.hierarchy)),
        "horizon": int(horizon),
        "lookback": int(options.lookback or _usual_lookback(season, horizon, n_steps)),
        "season_length": int(season),
        "step_size": max(1, horizon // 4),
        "splits": {"train": 0.5, "validation": 0.2, "calibration": 0.1},
        "licence": {"name": "the caller's", "attribution": "handed in as a frame"},
    }
    return FrameDataset(frame, entry, names, options, inputs).with_keys()  # checks the entry


def _column_entries(option: str, columns: str | Sequence[str | Entry]) -> list[Entry]:
    """The entries of datasets.yaml for one or several columns, given by name or as entries."""
    return [
        {"column": column} if isinstance(column, str) else dict(column)
        for column in as_tuple(option, columns)
    ]


def _choose_minimum(minimum: float | None, values: pd.Series) -> float | None:
    """The key `minimum` of a target: the caller's; for None as `forecast add` guesses it, where the
    lowest value is 0 itself: a summer's temperatures have no bound that its winter keeps.
    """
    if minimum is None:
        return guess_minimum(values) if values.min() == 0 else None
    return None if minimum == -math.inf else minimum


def _static_entries(frame: pd.DataFrame, options: TaskOptions) -> list[Entry]:
    """The entries of the static columns; for a column given by name only, its categories or scale
    are taken from the frame.
    """
    entries = []
    for entry in _column_entries("static", options.static):
        if entry.keys() == {"column"} and entry["column"] in frame:
            entry = guess_static(frame[entry["column"]]).model_dump()
        entries.append(entry)
    return entries


def _calendar(freq: str | int | Entry) -> Calendar:
    """The calendar of `freq`: counted rows for 1, an entry of a calendar, or a fixed step as text,
    pandas offset or timedelta.

    Raises `InputError` for an unknown step, and for an offset with holidays or hours of its own.
    """
    if isinstance(freq, timedelta | np.timedelta64):  # `np.timedelta64(1, "h") == 1` is true
        with contextlib.suppress(ValueError, TypeError):  # months of NumPy and its NaT
            freq = to_offset(pd.Timedelta(freq)).freqstr
    elif freq == 1:
        freq = {"kind": "index"}
    if isinstance(freq, Mapping):
        try:
            return validate_config(FrequencyEntry, {"freq": dict(freq)}, where="forecast").freq
        except ModuleNotFoundError:
            require_installed("exchange_calendars", f"freq={dict(freq)}")
            raise
    step = str(getattr(freq, "freqstr", freq))
    try:
        calendar = validate_config(
            RegularCalendar, {"kind": "regular", "freq": step}, where=f"freq={freq!r}"
        )
    except InputError as error:
        raise InputError(str(error).replace("`{kind: index}`", "`freq=1`")) from None
    if hasattr(freq, "freqstr") and to_offset(step) != freq:
        raise InputError(
            f"freq={freq!r}: its holidays, days or hours are not in its name {step!r}. Pass them as"
            " a calendar, such as {'kind': 'weekdays', 'closures': ['2024-12-25']}, or an hour with"
            " {'first': '09:00', 'last': '16:00'} as `opening_hours`; for a week from any day '7D'."
        )
    return calendar


def _usual_season(calendar: Calendar, n_steps: int) -> int:
    """The season length in steps where the caller gave none; 1 means no season.

    It is the usual season of the calendar's step, if that has at most 1440 steps (the minutes of a
    day) and `n_steps` have four seasons, or two where there are fewer than `SHORT_ROWS` steps. For
    sessions and weekdays it is 1.
    """
    if calendar.keeps_wall_clock:
        return 1
    season = guess_spans(calendar).season
    n_seasons = 2 if n_steps < SHORT_ROWS else 4
    return season if season <= min(n_steps // n_seasons, 1440) else 1


def _usual_lookback(season: int, horizon: int, n_steps: int) -> int:
    """The lookback in steps where the caller gave none.

    It is the largest of seven seasons, two horizons and 32 steps, but at most an eighth of the
    series and half of the train block without a horizon; and at least a season, or two steps, where
    the train block is long enough for that.
    """
    n_rest = n_steps - most_test_steps(n_steps, horizon, season)
    n_past = n_rest - sum(held_out_steps(n_rest, horizon, season)) - horizon
    least = season if 1 < season < n_past else min(2, n_past)
    return max(min(max(7 * season, 2 * horizon, 32), n_steps // 8, n_past // 2), least, 1)


def _time_steps(frame: pd.DataFrame, calendar: Calendar) -> np.ndarray:
    """The steps of the calendar between the first and last row of any series, sorted, each once."""
    return np.unique(np.concatenate([steps for _, steps in grids_by_series(frame, calendar)]))


def _with_missing_allowed(
    column: Entry, frame: pd.DataFrame, calendar: Calendar, zone: str | None
) -> Entry:
    """The column's entry with a `max_missing` that allows its missing values, unless it has one.

    Raises `InputError` where most series miss more than `MAX_MISSING_SHARE`, and warns where single
    ones do.
    """
    if "max_missing" in column:
        return column
    n_steps = count_steps_by_series(frame, calendar)
    n_missing = n_steps - frame.groupby("unique_id")[str(column["column"])].count()
    shares = n_missing / n_steps
    if (shares > MAX_MISSING_SHARE).mean() > 0.5:
        unique_id = str(shares.idxmax())
        cure = "Fill them (by 0 where no row means none), or begin later."
        nearest = fit_calendar(frame["ds"], zone).calendar
        if own_steps := describe_own_steps(frame):
            cure = own_steps
        elif nearest != calendar and not calendar.counts_rows:
            entry = nearest.model_dump(mode="json", exclude_defaults=True)
            cure = f"Fill them, or pass the calendar that fits best: freq={entry}."
        raise InputError(
            f"{WHERE}, series {unique_id!r}: column {column['column']!r} has no value at"
            f" {n_missing[unique_id]} of {n_steps[unique_id]} time steps; wanted at most"
            f" {MAX_MISSING_SHARE:.0%}. {cure}"
        )
    shares = shares[shares < 1]  # a series without any value is left out
    most = shares.max()
    if most > MAX_MISSING_SHARE:
        sparse = quote_names(shares.index[shares > MAX_MISSING_SHARE])
        warnings.warn(
            f"{WHERE}: {column['column']!r} has no value at many time steps of {sparse}",
            stacklevel=5,
        )
    return {"max_missing": max(MAX_MISSING_SHARE, most) if most > 0 else 0.0, **column}


def shares_before_test_block(
    frame: pd.DataFrame, calendar: Calendar, horizon: int, season: int, n_test_steps: int
) -> dict[str, float]:
    """The shares of the train, validation and calibration block; the last `n_test_steps` are the
    test block.

    Of the other steps calibration gets a tenth, validation 15 %, for a series of the usual length.
    In short series calibration gets up to a quarter: 39 cutoffs support an interval of 97.5 %.
    """
    n_rest = max(usual_length(count_steps_by_series(frame, calendar)) - n_test_steps, 0)
    validation, calibration = held_out_steps(n_rest, horizon, season)
    n_steps = len(_time_steps(frame, calendar))
    n_train = n_steps - n_test_steps - validation - calibration
    n_steps = max(n_steps, 4)  # fewer have no blocks, as `borders_of` says
    shares = (np.maximum([n_train, validation, calibration], 1) / n_steps).tolist()
    return dict(zip(("train", "validation", "calibration"), shares, strict=True))
