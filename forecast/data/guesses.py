"""The entry of configs/datasets.yaml that fits a file of the user's own, for `forecast add`.

`guess_entry` reads the file and writes the entry as a block of YAML, every guess with what it was
read from behind it, so that one look confirms or corrects it; `data.entries` puts the block into
configs/datasets.yaml. Rules: the first column of times is the time; text
(or whole numbers) that tell apart rows of one time name the series; a column with values behind
the end of another is a plan, known ahead; of the others the target goes by its name, else it is the
first number that is no switch; what leads the target is an input, and the other numbers are
offered in a comment. What may be times and cannot be read is refused, never counted. Nothing is
checked: `fetch` does that.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype
from pandas.api.typing import SeriesGroupBy

from forecast.config.datasets import Quality
from forecast.config.experiment import INTERMITTENT_GRID
from forecast.config.task import RegularCalendar
from forecast.config.transforms import TRANSFORMS
from forecast.data import own_files
from forecast.data.calendars import (
    DAY,
    GUESSED_ZONES,
    Calendar,
    CalendarFit,
    advise_without_calendar,
    calendar_yaml,
    count_day_steps,
    default_features,
    describe_own_steps,
    fit_calendar,
    series_lengths,
    shows_week,
    step_length,
    usual_length,
)
from forecast.data.columns import (
    MOST_LEVELS,
    guess_static,
    is_behind_last_value,
    trim_to_last_value,
)
from forecast.data.entries import entry_line, flow_yaml
from forecast.data.hierarchy import join_names
from forecast.data.holiday_effects import find_holiday_effects
from forecast.data.leading import FITTED_SHARE, Spans, find_leading
from forecast.data.leaks import find_leaks
from forecast.data.schema import describe_row, describe_text_cell, find_text_cell
from forecast.data.splits import (
    BLOCKS,
    MIN_CALIBRATION_CUTOFFS,
    TESTED_HORIZONS,
    held_out_steps,
    longest_horizon,
    most_test_steps,
)
from forecast.data.written_times import (
    ISO_8601,
    describe_wide,
    guess_time_format,
    read_times,
    refuse_rows,
    sort_oldest_first,
    to_utc,
)
from forecast.system.errors import InputError, plural, quote, quote_names

TIME_COLUMN_NAMES = (
    "ds",
    "date",
    "time",
    "datetime",
    "timestamp",
    "ts",
    "year",
    "month",
    "day",
    "hour",
    "datum",
    "zeit",
    "jahr",
)
"""Names of columns that hold times, if in a form that is not known."""
DATE_NAMES = ("date", "datum", "datetime", "timestamp")
COUNTED_ROWS = CalendarFit(RegularCalendar.model_validate({"kind": "index"}), 0, 0)
TARGET_COLUMN_NAMES = ("y", "target", "value", "values", "wert", "close", "ot")
TARGET_WORDS = (
    "sales",
    "sold",
    "revenue",
    "demand",
    "load",
    "consumption",
    "price",
    "visitors",
    "calls",
    "power",
    "umsatz",
    "absatz",
    "verbrauch",
    "preis",
    "temp",
    "temperature",
    "temperatur",
)
"""Words of a name that is rather the target than another number, such as `temp_c` or `daily sales`,
and not cloud cover beside it; in this order.
"""
WEATHER_NAME = re.compile(
    "temp|hum|feucht|wind|gust|rain|regen|precip|niederschlag|snow|schnee|cloud|wolke|dew|sun|sonne"
    "|press|druck|radiation|strahlung|visib|sicht",
    re.IGNORECASE,
)
"""What is in a name of a number beside which a temperature may be the target."""
MOST_CODES = 31
"""So many values or fewer may be codes, such as of a month or a day."""
FORECAST_WORDS = {"forecast", "fc", "fcst", "planned", "prognose", "vorhersage"}
"""Words of a name that tells of the target or an input what somebody else expects of it."""
SHARE_WORDS = {"percent", "pct", "share", "humidity", "prozent", "anteil"}
"""Words of a name, or %, whose values from 0 to 100 (or 1) are a share."""
TEMPERATURE_NAME = re.compile(
    "temp|°|celsius|degc|dew|^t(avg|min|max|mean|mk|mp|2m|_|$)", re.IGNORECASE
)
"""What is in a name whose values may fall below zero in another season."""
NUMBERS_FOR_TIMES = {
    r"(19|20)\d\d(0[1-9]|1[0-2])": " Months as 202401 are read by `time_format: '%Y%m'`.",
    r"(19|20)\d\d([0-4]\d|5[0-3])": " Write weeks as 2024W05.",
    r"1\d{9}": " Seconds since 1970 become times by `pandas.to_datetime(..., unit='s')`.",
    r"1\d{12}": " Milliseconds since 1970 become times by `pandas.to_datetime(..., unit='ms')`.",
    r"1\d{15}": " Microseconds since 1970 become times by `pandas.to_datetime(..., unit='us')`.",
}
"""Numbers that stand for times, by their digits, and what to do with them."""
CLOCK_WORDS = {
    *("hour", "hr", "he", "hhmm", "period", "interval", "minute"),
    *("heure", "hora", "stunde", "uhrzeit"),
}
CLOCK_TEXT = r"([01]?\d|2[0-4])(:[0-5]\d){1,2}( ?[AaPp][Mm])?"
"""Words of a column that holds the hour of a date in another column, and how it may be written."""
MIN_PRICE_DAYS = 100
"""With fewer the variance over ten days is as good as unknown."""
MIN_LATER_RATIO = 0.35
"""Of the variance over twenty days to twenty times that of one, at least: prices have .47 and more,
stocks of goods that last a month and less .3 (docs/research/quarter-hour.md).
"""
LONG_LAG = 52
"""Weeks, months or quarters after which a price has walked on, while a season or a level is back
(docs/research/quarter-hour.md).
"""
PLANNED_WORDS = {"price", "preis", "temp", "temperature", "temperatur"}
"""Of `TARGET_WORDS`: a list price and a forecast of the weather are known ahead."""
MAX_SHARE_TWICE = 0.01
"""Of the rows that share a time with another series, and of the times: so few may stand twice in
their own series, as the hour does that a clock passes again in autumn; two shops of one name stand
twice at every time.
"""
MIN_TOTAL_SHARE = 0.9
"""Of its rows: in so many a series is the sum of all others that is taken for their total."""
MIN_ROWS_OF_A_SERIES = 10
"""On average, for a text to tell series none of whose times are shared."""
MAX_PLAN_SHARE = 0.15
"""Of the times: a column that has been empty for longer is no longer measured."""
MIN_CODE_LENGTH, MIN_CODES = 5, 10
"""Digits of a number that may be a code, and of how many series: populations and areas of so many
have several lengths.
"""
MIN_STATIC_SERIES = 4
"""From so many series on a model can learn what a static column does."""
MAX_SEASON_SHARE = 0.4
"""Of the shortest series: so long a season is seen whole. The train rows, 60 %, then hold one and a
half of it.
"""
CUTOFFS_OF_95_PERCENT, MAX_CALIBRATION_SHARE = 19, 0.25
"""How many cutoffs an interval of 95 % takes, and how much of the rows they may."""
MIN_SEASONS = 7
MIN_LEVEL_SPREAD = 0.05
MIN_SLOPE = 0.8
"""From how many seasons, which deviation of their log means, and which slope of the log spread on
them on a target is modelled by its logarithm (docs/research/logarithm-of-a-target.md).
"""
MAX_ZERO_SHARE = 0.2
"""Of a target with a plan, such as solar power: its logarithm then bends what the plan tells of it
(docs/research/logarithm-of-a-target.md).
"""
SHORT_ROWS, FEW_SERIES = 100, 10
"""Of fewer series with fewer rows, without inputs, the mean of three simple forecasts is better
than what validation makes whose block holds no two usual horizons
(docs/research/short-histories.md).
"""
FEW_ROWS = 400
"""Of fewer a member that flattens growth lowers the mean (docs/research/quarter-hour.md)."""
MIN_SEASONS_OF_A_PLACE = 10
"""From so many on the median of the values at one place of the season says something."""
ROOM_FOR_GAPS = 0.05
"""Of the steps: so many more than the file lacks today may lack a value later, with a warning."""
SPANS_BY_STEP = {
    "D": (7, 7, 28),
    "B": (5, 5, 60),
    "W": (52, 4, 52),
    "M": (12, 12, 24),
    "Q": (4, 4, 8),
    "Y": (1, 1, 4),
}
"""Season, horizon and lookback by pandas' name of a step."""
YEARLY_SPANS = [SPANS_BY_STEP[name] for name in "MQY"]
"""Of steps whose season is a year: of `FEW_SERIES` and more with fewer than `SHORT_ROWS` the mean
of statistical forecasts is better than what validation makes
(docs/research/short-histories.md).
"""


@dataclass(frozen=True)
class GuessedTimes:
    """What a file's rows say of their times.

    column: of the file, None where it has none and the rows are counted. format: None for ISO 8601.
    zone: the clock they are written in, None for UTC. times: in UTC, one per row. fit: the calendar
    and what does not fit it.
    """

    column: str | None
    format: str | None
    zone: str | None
    times: pd.Series
    fit: CalendarFit


@np.errstate(invalid="ignore", over="ignore")  # an infinite number is told by `fetch`
def guess_entry(
    path: Path, where: str, name: str, *, target: str = "", horizon: int | None = None
) -> str:
    """The entry `name` as a block of the file, each guess with what it was guessed from behind it;
    `target` and `horizon` are guessed unless given.

    `InputError` where no column holds times or numbers, or `target` is none of the number columns.
    """
    table, file_format = _read_rows(path, where, own_files.guess_format(path, where))
    time, time_format = _find_time_column(table)
    if (time_format == "%Y" or time is None) and (wide := describe_wide(table.columns)):
        raise InputError(f"{where}: {wide}, write that to a file, and name it here.")
    series = _find_series_column(table, time, time_format)
    if series is not None and table[series].isna().any():  # `NA` may be Namibia
        with_names = own_files.read_table(path, where, file_format, texts=[series])
        table[series] = with_names[series]
    ids = [] if series is None else [series]
    if time is not None:
        _refuse_parted_time(table, time, series, where)
        ids = ids or _find_name_parts(table, time)
    rows = table.copy()  # a wide table lies in many pieces
    rows["unique_id"] = join_names(table, ids) if ids else name
    rows[ids] = table[ids].astype("str")
    rows = _read_padded_numbers(rows, time)
    guess = _guess_times(rows, time, time_format, target, where)
    columns = table.columns.drop([guess.column, series], errors="ignore")
    others = [column for column in columns if column.lower() not in TIME_COLUMN_NAMES]
    rows = _read_flags(rows, others)
    may_be_numbers = [column for column in others if column not in ids]
    numbers = _number_columns(rows, may_be_numbers, target, where)
    rows[numbers], file_format = _blank_placeholders(rows[numbers], file_format)
    chosen = _pick_target(rows, guess.times, numbers, target, where)
    rows[chosen] = rows[chosen].astype(float)
    rows = rows.assign(ds=guess.times).sort_values(["unique_id", "ds"], kind="stable")
    observed = trim_to_last_value(rows, [chosen])
    is_planned = is_behind_last_value(rows, [chosen])  # a series that has ended has no plan
    planned = rows[is_planned]
    roles = _guess_roles(observed, planned, numbers, chosen, others, where)
    if not roles.plans:
        observed = rows[~is_planned]
    text = [
        f"  {flow_yaml(name)}:",
        entry_line("title", path.name.partition(".")[0]),
        entry_line(
            "source",
            _source_entry(where, file_format, guess, ids),
            _source_note(guess, ids, file_format),
        ),
        *_entry_lines(observed, planned, guess, chosen, roles, horizon),
    ]
    if not roles.plans and len(planned):
        text.append(f"    # not read: {plural(len(planned), 'row')} behind the last {chosen}")
    text += _describe_series(observed, chosen, roles.constant)
    text += _describe_doubtful_number(path, file_format)
    for column in _cells_of_text(rows[may_be_numbers]):
        if own_files.is_mostly_numbers(rows[column]):
            text.append(f"    # not read{describe_text_cell(rows, column)}")
    return "\n".join(text) + "\n"


def _read_rows(
    path: Path, where: str, form: own_files.FileFormat
) -> tuple[pd.DataFrame, own_files.FileFormat]:
    """The rows, and the format with the texts that stand for no value in columns of numbers.

    `InputError` for a table of names alone, and for two lines of names.
    """
    lines = own_files.first_lines(path, where, form.encoding)
    if {line.partition(form.separator)[0] for line in lines[:2]} == {"Price", "Ticker"}:
        raise InputError(
            f"{where}: two lines name its columns, as yfinance writes them, wanted one. Read it by"
            " pandas with `header=[0, 1], index_col=0` and write `stack('Ticker').reset_index()` of"
            " it."
        )
    texts = ["unique_id", *own_files.find_codes(lines, form)]
    table = own_files.read_table(path, where, form, texts=texts)
    if table.empty:
        raise InputError(
            f"{where}: found no rows below the names of the columns. Check what wrote the file."
        )
    for code in texts[1:]:
        numbers = table[code].mask(table[code].isin(own_files.MISSING_TEXTS))
        if own_files.is_code(numbers):
            table[code] = numbers
    marks = {column: own_files.find_missing_marks(table[column]) for column in table}
    every = tuple(itertools.chain.from_iterable(marks.values()))
    if not every:
        return table, form
    missing: list[str] = []
    marked = own_files.read_table(
        path, where, form.model_copy(update={"missing": every}), texts=texts
    )
    for column, values in marked.items():
        if is_numeric_dtype(values) and values.notna().any():
            table[column] = values
            missing += marks[column]
    return table, form.model_copy(update={"missing": tuple(dict.fromkeys(missing))})


def _read_padded_numbers(rows: pd.DataFrame, time: str | None) -> pd.DataFrame:
    """`rows`, with numbers for the codes that change in a series, but for the column `time`: these
    are quantities that a program wrote with leading zeros.
    """
    codes = [c for c in rows if c != time and own_files.is_code(rows[c])]
    changes = rows.groupby("unique_id")[codes].nunique().gt(1).any()
    return rows.assign(**rows[changes.index[changes]].apply(pd.to_numeric))


def _read_flags(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The rows with 1 and 0 in those of the columns that say yes and no, both: one text alone may
    be a name, as `NO` of Norway.
    """
    flags = rows[columns].apply(own_files.parse_flags)
    return rows.assign(**flags.loc[:, flags.nunique() == 2])


def _blank_placeholders(
    numbers: pd.DataFrame, form: own_files.FileFormat
) -> tuple[pd.DataFrame, own_files.FileFormat]:
    """The columns without the numbers that stand for no value, and the format that names them."""
    columns = numbers.select_dtypes("number")
    placeholders = sorted({n for c in columns for n in own_files.find_placeholders(numbers[c])})
    missing = (*form.missing, *map("{:.12g}".format, placeholders))
    return numbers.mask(numbers.isin(placeholders)), form.model_copy(update={"missing": missing})


def _describe_doubtful_number(path: Path, form: own_files.FileFormat) -> list[str]:
    """A comment where a mark was read as decimal that may part thousands, with the settings."""
    number = own_files.find_doubtful_number(path, form)
    if not number:
        return []
    whole = re.sub("[.,]", "", number)
    decimal = "," if form.decimal == "." else "."
    return [
        f"    # {number} is read with a decimal mark; if {whole} is meant: `thousands:"
        f' "{form.decimal}", decimal: "{decimal}"` in `source`'
    ]


def _describe_series(observed: pd.DataFrame, target: str, constant: list[str]) -> Iterator[str]:
    """A comment for a series that is the sum of all others, for each that goes on under a name
    written otherwise, and for the columns `constant` in every series.
    """
    values, names = observed[target], observed["unique_id"]
    if names.nunique() > 2:
        half = values.groupby(observed["ds"]).transform("sum") / 2
        is_half = pd.Series(np.isclose(values, half) & (values != 0), index=values.index)
        shares = is_half.groupby(names).mean()
        for name in shares.index[shares > MIN_TOTAL_SHARE]:
            yield (
                f"    # {name!r} is the sum of the other series: take its rows out; `hierarchy`"
                " forecasts sums that agree with their parts"
            )
    spans = observed.groupby("unique_id")["ds"].agg(["min", "max"]).sort_values("min")
    written_alike = spans.index.to_series().str.casefold().str.split().str.join(" ")
    for _, alike in spans[written_alike.duplicated(keep=False)].groupby(written_alike):
        for (name, before), (other, after) in itertools.pairwise(alike.iterrows()):
            if before["max"] < after["min"]:
                yield (
                    f"    # {other!r} begins behind the end of {name!r}: if they are one series,"
                    " write one name"
                )
    if constant:
        columns = ", ".join(constant)
        yield f"    # constant in every series: {columns} (inputs: `static`, groups: `hierarchy`)"


@dataclass(frozen=True)
class GuessedRoles:
    """The columns beside the target.

    plans: numbers with values behind the last observation of all series. static: one value in
    every series, which several have. constant: one value in every series, but too few series to
    learn from it. past: all other numbers.
    """

    plans: list[str]
    static: list[str]
    constant: list[str]
    past: list[str]


def _guess_roles(
    observed: pd.DataFrame,
    planned: pd.DataFrame,
    numbers: list[str],
    target: str,
    columns: list[str],
    where: str,
) -> GuessedRoles:
    """The roles of `columns`, some of them `numbers`, from the rows up to each series' last target
    and those behind. `InputError` where a plan is written in words, which no model reads.
    """
    others = [column for column in columns if column != target]
    by_series = observed.groupby("unique_id")[others]
    is_constant = by_series.nunique().eq(1).all() & (len(by_series) > 1)
    constant = [*is_constant.index[is_constant]]
    first_rows = by_series.first()
    n_values = first_rows.nunique()
    static = []
    for column in constant:
        if column in numbers and _is_part_of_names(first_rows[column]):
            continue
        most = len(by_series) if column in numbers else min(len(by_series) // 2, MOST_LEVELS)
        if len(by_series) >= MIN_STATIC_SERIES and 1 < n_values[column] <= most:
            static.append(column)
    changing = [*is_constant.index[~is_constant]]
    planned_columns = [column for column in changing if planned[column].notna().any()]
    plans = [column for column in planned_columns if column in numbers]
    if planned_columns and not plans:
        raise InputError(
            f"{where}, {describe_row(planned, 0)}: has text in {quote_names(planned_columns)}"
            " behind the last number. Write what is known ahead as numbers (1 for yes, 0 for no) in"
            " all rows, or drop these rows."
        )
    past = [c for c in changing if c in numbers and c not in plans]
    return GuessedRoles(plans, static, [c for c in constant if c not in static], past)


def _is_part_of_names(values: pd.Series) -> bool:
    """Whether numbers, one a series and indexed by its name, stand in these names, or are as many
    as the series and all of one length, as numbers of articles are: no quantities.
    """
    digits = values.dropna().map("{:.12g}".format)
    if all(text in str(name) for name, text in digits.items()):
        return True
    are_long = digits.str.fullmatch(rf"\d{{{MIN_CODE_LENGTH},}}").all()
    are_many = len(digits) >= MIN_CODES and digits.is_unique
    return bool(are_long and are_many and digits.str.len().nunique() == 1)


def _guess_times(
    rows: pd.DataFrame, time: str | None, time_format: str | None, target: str, where: str
) -> GuessedTimes:
    """The times of `rows`, which have a `unique_id`, from their column `time`; counts without."""
    if time is None:
        column, times = _find_count_column(rows, target, where)
        return GuessedTimes(column, time_format, None, times, COUNTED_ROWS)
    ordered = sort_oldest_first(rows.assign(ds=rows[time]), time_format)
    zone, times = _guess_zone(ordered, time_format, where)
    if own_steps := describe_own_steps(ordered.assign(ds=times)):
        raise InputError(f"{where}: no calendar fits. {own_steps}")
    fit = fit_calendar(times, zone)
    if 2 * fit.off_calendar > times.nunique():
        advice = advise_without_calendar(times)
        raise InputError(f"{where}: {time!r} holds times that no calendar has. {advice}")
    return GuessedTimes(time, time_format, zone, times, fit)


def _number_columns(rows: pd.DataFrame, columns: list[str], target: str, where: str) -> list[str]:
    """Those of `columns` that hold numbers alone, if only a few. `InputError` where the target
    holds text, and where no column of numbers is left: with the row and the text, or the columns.
    """
    numbers = [c for c in columns if not _is_text(rows[c]) and rows[c].notna().any()]
    text = _cells_of_text(rows[columns])
    if text and not numbers:
        cells = rows[text].astype("str")
        target = target or cells.apply(lambda column: column.str.contains(r"\d").mean()).idxmax()
    for column in text:
        if column == target:
            raise InputError(where + describe_text_cell(rows, column))
    return numbers


def _source_entry(
    where: str, file_format: own_files.FileFormat, guess: GuessedTimes, ids: list[str]
) -> dict[str, Any]:
    """The key `source` of the entry; `ids`: the columns that name a series."""
    columns = {"ds": guess.column}
    if len(ids) == 1:
        columns["unique_id"] = ids[0]
    settings = {
        "kind": "file",
        "path": where,
        "columns": {ours: theirs for ours, theirs in columns.items() if theirs not in (None, ours)},
        "id_columns": ids if len(ids) > 1 else [],
        "time_zone": guess.zone,
        "time_format": guess.format,
    }
    set_keys = {key: value for key, value in settings.items() if value}
    return set_keys | file_format.model_dump(exclude_defaults=True)


def _source_note(guess: GuessedTimes, ids: list[str], form: own_files.FileFormat) -> str:
    """What times, series and numbers were read from."""
    if guess.fit is COUNTED_ROWS:
        note = "rows counted"
    elif guess.zone:
        note = f"times as {guess.zone} (name yours, if its clocks change alike)"
    else:
        note = "times as UTC"
    if guess.column:
        note += f" from {guess.column!r}"
    if ids:
        note += f", series from {' and '.join(map(quote, ids))}"
    if len(ids) > 1:
        note += f" (sums too: `hierarchy: [{', '.join(ids)}]`, the largest group first)"
    for unit in form.units:
        note += f"; numbers as written beside {unit}"
    if form.missing:
        note += f"; {quote_names(form.missing)} read as no value (write 0 where one means zero)"
    return note


def _entry_lines(
    observed: pd.DataFrame,
    planned: pd.DataFrame,
    guess: GuessedTimes,
    target: str,
    roles: GuessedRoles,
    asked_horizon: int | None,
) -> list[str]:
    """All keys of the entry but title and source.

    `observed`: the rows up to each series' last target; `planned`: those behind the last of all.
    `asked_horizon`: None where it is to be guessed.
    """
    calendar = guess.fit.calendar
    rows_by_series = series_lengths(observed, calendar)  # a month that is missing shortens none
    n_rows = usual_length(_without_new_series(rows_by_series))
    spans = guess_spans(calendar)
    usual_season, usual_horizon, lookback = spans
    season, season_note = _choose_season(usual_season, n_rows)
    is_panel = len(rows_by_series) >= FEW_SERIES
    may_be_short = (
        n_rows < SHORT_ROWS
        and (not is_panel or spans in YEARLY_SPANS)
        and calendar.kind != "sessions"
        and not roles.plans
        and not roles.static
    )
    most = longest_horizon(n_rows, usual_season) if usual_season > 1 else max(n_rows // 20, 1)
    reach = asked_horizon or usual_horizon
    horizon, horizon_note = min(reach, most), ""
    if asked_horizon:
        is_shortened = may_be_short and not _blocks_hold(n_rows, asked_horizon, season)
        # what simple models cannot be tested on they go on to
        most = longest_horizon(n_rows, season) if is_shortened else asked_horizon
        horizon = min(asked_horizon, most)
        if horizon < asked_horizon:
            horizon_note = f"; {asked_horizon} are more than the blocks hold"
    elif roles.plans:
        planned_steps = int(planned.groupby("unique_id").size().min())
        horizon, horizon_note = _fit_horizon_to_plan(horizon, planned_steps, usual_horizon, n_rows)
    column = _column_entries(observed, calendar, [target])[0]
    column |= _guess_scale(observed, calendar, target, season)
    if roles.plans and (observed[target] == 0).mean() > MAX_ZERO_SHARE:
        column.pop("transform", None)
    shares = _block_shares(n_rows, horizon, season)
    lookback = min(lookback, 4 * max(n_rows // 20, 1))
    if usual_season <= MAX_SEASON_SHARE * n_rows:
        lookback = max(lookback, season)
    lookback = max(min(lookback, round(shares["train"] * n_rows) - horizon - 1), 1)
    past_lines = _past_lines(
        observed,
        calendar,
        target,
        column.get("transform", "none"),
        roles.past,
        Spans(horizon, lookback, season),
    )
    has_inputs = any(line.startswith("    past_exogenous:") for line in past_lines)
    is_untested = is_panel or round(shares["validation"] * n_rows) < 2 * reach
    if is_intermittent(observed, target, season):
        grid_lines = [_zeros_line(observed[target])]
    elif may_be_short and is_untested and not has_inputs:
        note = "few rows: simple models and their mean; without this line all are compared"
        grid_lines = [entry_line("grid", "short_panel" if is_panel else "short", note)]
        if horizon < reach:
            horizon_note += f"; `forecast predict --horizon {reach}` goes on, untested"
    elif n_rows < FEW_ROWS:
        note = "a few hundred rows: theta joins the mean of models"
        grid_lines = [entry_line("grid", "few", note)]
    else:
        grid_lines = []
    return [
        *grid_lines,
        entry_line(
            "calendar",
            yaml.safe_load(calendar_yaml(calendar)),
            _calendar_note(observed, guess),
        ),
        entry_line("horizon", horizon, _describe_horizon(rows_by_series, n_rows) + horizon_note),
        entry_line("lookback", lookback),
        entry_line("season_length", season, season_note),
        *_step_lines(n_rows, horizon, shares["calibration"]),
        entry_line("target", column, "what is forecast"),
        *_input_lines(observed, target, roles),
        *_calendar_lines(observed, calendar, target, guess.zone),
        entry_line("splits", shares, "shares of the rows; the rest is the test"),
        entry_line("licence", {"name": "mine", "attribution": "my own data"}),
        *past_lines,
    ]


def _choose_season(usual: int, n_rows: int) -> tuple[int, str]:
    """The season of series of `n_rows`, and its note."""
    note = "steps of a season; 1 for none"
    if 2 * usual <= n_rows:  # errors are scaled by seasonal differences of the train rows
        return usual, note
    return 1, f"{note}: {usual} would be more than half of the series"


def _fit_horizon_to_plan(
    horizon: int, planned_steps: int, usual_horizon: int, n_rows: int
) -> tuple[int, str]:
    """The horizon of a file that has a plan, and what its note adds: as far as the plan where all
    blocks, and intervals of 95 %, still have their cutoffs.
    """
    with_intervals = int(MAX_CALIBRATION_SHARE * n_rows) - CUTOFFS_OF_95_PERCENT
    farthest = min(usual_horizon, with_intervals, n_rows // 10)
    horizon = min(planned_steps, max(horizon, farthest))
    note = f"; the plan has {planned_steps}"
    if horizon < planned_steps:
        note += (
            ", more than is usual or than the rows bear with intervals of 95 %"
            f" (`--horizon {planned_steps}` for all)"
        )
    return horizon, note


def _describe_horizon(rows_by_series: pd.Series, shortest: int) -> str:
    """What the horizon was chosen for: series of `shortest` rows and more."""
    shorter = rows_by_series.index[rows_by_series < shortest]
    if not len(shorter):
        return f"steps ahead; the shortest series has {rows_by_series.min()}"
    return (
        f"steps ahead; series have {rows_by_series.min()} to {rows_by_series.max()} rows; chosen"
        f" for those of {shortest} and more; shorter ones: {quote_names(shorter)}"
    )


def _past_lines(
    observed: pd.DataFrame,
    calendar: Calendar,
    target: str,
    transform: str,
    names: list[str],
    spans: Spans,
) -> list[str]:
    """The key of the numbers that lead the target, and a comment that offers all of them."""
    to_units = TRANSFORMS[transform].to_units
    leaks = find_leaks(observed, target, names, spans.horizon, Quality().leaks.limit)
    leaking = dict.fromkeys(leak.column for leak in leaks)
    names = [name for name in names if name not in leaking]
    leading = find_leading(observed, target, names, spans, to_units)
    entries = _column_entries(observed, calendar, names)
    lines = []
    if leaking:
        lines.append(
            f"    # no input: {', '.join(leaking)} (looks like a leak: tells a later {target}"
            " nearly exactly; where it is known by then, add it to `past_exogenous`)"
        )
    if leading:
        inputs = [entry for name, entry in zip(names, entries, strict=True) if name in leading]
        note = f"lead {target}: what they were tells what it will be"
        lines.append(entry_line("past_exogenous", inputs, note))
    if len(leading) < len(names):
        note = (
            "instead: all"
            if leading
            else "the other numbers, known up to the forecast; for one that a second file tells"
            " ahead `future_exogenous: [{column: ..., known_ahead: true}]` and `predict --future`;"
            " to forecast them too, one column of names and one of values (`melt` of pandas)"
        )
        lines.append(entry_line("# past_exogenous", entries, note))
    return lines


def _input_lines(observed: pd.DataFrame, target: str, roles: GuessedRoles) -> list[str]:
    """The keys of what is known ahead and of what never changes in a series."""
    lines = []
    if roles.plans:
        plans = [{"column": name, "known_ahead": True} for name in roles.plans]
        note = f"have values after the last {target}: a plan, which every forecast needs"
        weather = [name for name in roles.plans if WEATHER_NAME.search(name)]
        if weather:
            note += (
                f"; if the past of {quote_names(weather)} was measured, errors assume a perfect"
                " forecast of it: give those of then (`issued_path`)"
            )
        lines.append(entry_line("future_exogenous", plans, note))
    if roles.static:
        static = [
            guess_static(observed[name]).model_dump(mode="json", exclude_defaults=True)
            for name in roles.static
        ]
        lines.append(
            entry_line(
                "static", static, "never change in a series; ridge, trees and networks read them"
            )
        )
    return lines


def _without_new_series(lengths: pd.Series) -> pd.Series:
    """`lengths` but those below a quarter of the median, where they are a third or fewer: two new
    shops among twelve shorten no horizon; they are left out until they have grown.
    """
    is_new = lengths < lengths.median() / 4
    return lengths[~is_new] if is_new.mean() <= 1 / 3 else lengths


def _block_shares(n_rows: int, horizon: int, season: int) -> dict[str, float]:
    """The blocks of a series of `n_rows`, as shares: those of a short one by steps. The test block
    has 15 %, or `TESTED_HORIZONS` if half of the rows are left to train on.
    """
    calibration = _calibration_share(n_rows, horizon)
    # blocks end at rounded rows, so one step fewer is counted on
    n_calibrated = int(calibration * n_rows) - MIN_CALIBRATION_CUTOFFS
    if min(n_calibrated, int(0.15 * n_rows) - 1) >= horizon or n_rows < 4 * horizon:
        # blocks end at rounded rows, so one more is counted on
        test = max(0.15, min((TESTED_HORIZONS * horizon + 1) / n_rows, 0.35 - calibration))
        return {
            "train": math.floor(100 * (0.85 - test - calibration) + 1e-6) / 100,
            "validation": 0.15,
            "calibration": calibration,
        }
    n_rest = n_rows - most_test_steps(n_rows, horizon, season)
    held_out = held_out_steps(n_rest, horizon, season)
    steps = (n_rest - sum(held_out), *held_out)
    return {
        block: round(n_steps / n_rows, 4) for block, n_steps in zip(BLOCKS, steps, strict=False)
    }


def _blocks_hold(n_rows: int, horizon: int, season: int) -> bool:
    """Whether validation and test have an origin, and calibration those of an interval of 80 %."""
    shares = _block_shares(n_rows, horizon, season)
    steps = {block: round(share * n_rows) for block, share in shares.items()}
    shortest_tested = min(steps["validation"], n_rows - sum(steps.values()))
    n_calibrated = steps["calibration"] - (MIN_CALIBRATION_CUTOFFS - 1)
    return min(shortest_tested, n_calibrated) >= horizon


def _step_lines(n_rows: int, horizon: int, calibration: float) -> list[str]:
    """The keys of the steps from one cutoff to the next; `calibration`: its share."""
    step_size = max(1, horizon // 4)
    steps_between = int(calibration * n_rows) - 1 - horizon
    calibration_step = max(1, steps_between // (CUTOFFS_OF_95_PERCENT - 1))
    lines = [entry_line("step_size", step_size, "steps from one forecast of a block to the next")]
    if calibration_step < step_size:
        note = f"an interval of 95 % takes {CUTOFFS_OF_95_PERCENT} cutoffs"
        n_cutoffs = max(round(calibration * n_rows) - horizon, 0) // calibration_step + 1
        if n_cutoffs < CUTOFFS_OF_95_PERCENT:
            level = 100 * n_cutoffs // (n_cutoffs + 1)
            note += f"; the calibration block has {n_cutoffs}, for {level} %"
        lines.append(entry_line("calibration_step_size", calibration_step, note))
    return lines


def _calibration_share(n_rows: int, horizon: int) -> float:
    """Of the rows: a tenth, or what has the cutoffs of an interval of 95 %, if that is no more than
    a quarter.
    """
    needed = np.ceil(100 * (horizon + CUTOFFS_OF_95_PERCENT) / n_rows) / 100
    return max(0.1, float(needed)) if needed <= MAX_CALIBRATION_SHARE else 0.1


def _zeros_line(values: pd.Series) -> str:
    """Names the grid of counts that are mostly zero."""
    share = (values.dropna() == 0).mean()
    note = (
        f"{share:.0%} of the values are zero: the absolute error rewards the median, which is zero;"
        " for the mean add `transform: log1p, point: mean` to the target and see RMSSE, for a stock"
        " the quantiles"
    )
    return entry_line("grid", INTERMITTENT_GRID, note)


def is_intermittent(observed: pd.DataFrame, target: str, season: int) -> bool:
    """Whether in most series half of the values and more are zero and none is below, at every place
    of the season, if there are enough seasons: nights without sun and closed days are at places of
    their own. In the rows that are fitted and validated on.
    """
    by_series = observed.groupby("unique_id")[target]
    number = by_series.cumcount()
    has_sold = by_series.cummax() > 0  # zeros before the first sale are not observations of sales
    fitted = observed[_is_fitted(by_series) & has_sold]
    if by_series.size().median() < MIN_SEASONS_OF_A_PLACE * season:
        season = 1
    medians = fitted.groupby(["unique_id", number[fitted.index] % season])[target].median()
    largest = medians.groupby("unique_id").max()
    is_zero = (largest == 0) & (by_series.min()[largest.index] == 0)
    return bool(is_zero.mean() > 0.5)


def _is_fitted(by_series: SeriesGroupBy) -> pd.Series:
    """Which rows of a column, grouped by series, the entry's models are fitted and validated on."""
    return by_series.cumcount() < FITTED_SHARE * by_series.transform("size")


def _calendar_note(observed: pd.DataFrame, guess: GuessedTimes) -> str:
    """How many rows the calendar was read from, and what does not fit it."""
    note = f"from {len(observed)} rows of {observed['unique_id'].nunique()} series"
    if guess.fit.count_misfits():
        note += (
            f"; {plural(guess.fit.off_calendar, 'time')} off it,"
            f" {plural(guess.fit.without_row, 'step')} without a row"
        )
    if guess.fit.without_row > len(observed):
        note += "; to count rows alone: `{kind: index}`, and no `ds` in `columns`"
    return note


def _calendar_lines(
    observed: pd.DataFrame, calendar: Calendar, target: str, zone: str | None
) -> list[str]:
    """The key of the features that are taken unasked, and of the day of the week where the target
    shows it; then the public holidays that move it, or a comment that offers them.
    """
    features: list[str] = [
        *default_features(calendar, int(series_lengths(observed, calendar).max()))
    ]
    if not shows_week(observed, target, calendar):
        return [entry_line("calendar_features", features, "known in advance")]
    key, country = "# holidays", GUESSED_ZONES.get(zone or "", "XX")
    note = "public holidays as inputs, by the code of your country"
    step = step_length(calendar) or DAY  # of weekdays alone
    if moving := find_holiday_effects(observed, target, step, zone):
        is_known_day = step == DAY or zone is not None  # half of a far holiday is UTC's day before
        key, country = "holidays" if is_known_day else "# holidays", moving.country
        note = (
            f"{moving.n_unusual} of the {moving.n_days} public holidays on working days depart from"
            " their weekday"
        )
        if moving.same_days:
            note += f"; the same days: {', '.join(moving.same_days)}"
    return [
        entry_line("calendar_features", [*features, "day_of_week"], "known in advance"),
        entry_line(key, country, note),
    ]


def guess_spans(calendar: Calendar) -> tuple[int, int, int]:
    """Season (1 where it is not whole), horizon and lookback in steps: a day of a step below one,
    else by its name.
    """
    if calendar.counts_rows:
        return 1, 10, 100
    if calendar.kind == "year_weeks":
        return calendar.weeks, *SPANS_BY_STEP["W"][1:]
    if calendar.kind == "weekdays":
        return len(calendar.days), len(calendar.days), 12 * len(calendar.days)
    if calendar.kind == "sessions":
        return SPANS_BY_STEP["B"]
    if calendar.open:
        day = count_day_steps(calendar)
        return day, min(day, 96), min(2 * len(calendar.open.days) * day, 672)
    offset = pd.tseries.frequencies.to_offset(calendar.freq)
    if isinstance(offset, pd.offsets.Tick) and (steps := DAY / pd.Timedelta(offset)) > 1:
        day = round(steps)
        return day if day == steps else 1, min(day, 96), min(7 * day, 672)
    name = offset.freqstr.lstrip("0123456789").split("-")[0].rstrip("SE")
    usual = 1, *SPANS_BY_STEP["D"][1:]
    # a month of working days is a month
    season, horizon, lookback = SPANS_BY_STEP.get(name[-2:].removeprefix("B") or "B", usual)
    return season // offset.n if season % offset.n == 0 else 1, horizon, lookback


def _column_entries(
    observed: pd.DataFrame, calendar: Calendar, names: list[str]
) -> list[dict[str, Any]]:
    """The columns `names` with their `max_missing`: what the series lacks that lacks most, and
    `ROOM_FOR_GAPS`.
    """
    lengths = series_lengths(observed[["unique_id", "ds"]], calendar)
    counts = observed.groupby("unique_id")[names].count()
    shares = 1 - counts.div(lengths, axis=0).min()
    allowed = (shares.clip(0, 0.94) + ROOM_FOR_GAPS).round(2).to_dict()
    return [{"column": name, "max_missing": share} for name, share in allowed.items()]


def _find_time_column(table: pd.DataFrame) -> tuple[str | None, str | None]:
    """The first column that holds times, and its format where that is not ISO 8601; one that counts
    months or years where none does.

    None where no column holds times.
    """
    for name in table.columns:
        values = table[name].dropna()
        if values.dtype.kind == "M":
            return name, None
        if values.empty:
            continue
        if not is_numeric_dtype(values):
            form = guess_time_format(values)
            if form is not None:
                return name, None if form == ISO_8601 else form
        elif values.astype("str").str.fullmatch(r"[12]\d{7}(\d\d){0,2}").all():
            # a number is read by a format alone: 20240131, 2024013113, 202401311330
            form = "%Y%m%d%H%M"[: len(str(values.iloc[0])) - 2]
            if read_times(values, form).notna().all():
                return name, form
    return _find_years(table)


def _find_years(table: pd.DataFrame) -> tuple[str | None, str | None]:
    """The first column of whole numbers that counts months (202401) or years, and its format."""
    whole = table.select_dtypes("integer")
    for form, steps in (("%Y%m", (1, 89)), ("%Y", (1,))):
        for name, values in whole.items():
            is_year = read_times(values, form).dt.year.between(1678, 2199)
            if is_year.all() and values.diff().abs().isin(steps).mean() > 0.5:
                return str(name), form
    return None, None


def _find_count_column(
    table: pd.DataFrame, target: str, where: str
) -> tuple[str | None, pd.Series]:
    """The column that counts the rows of each series, None where none does; and the counts as
    times.

    `InputError` where a column may hold times in a form that is not known.
    """
    steps = (
        table.select_dtypes("number")
        .drop(columns=target, errors="ignore")
        .groupby(table["unique_id"])
        .diff()
    )
    counts = [
        c
        for c in steps.columns
        if (steps[c].dropna() == 1).all()
        and table[c].min() >= 0
        and c.lower() not in DATE_NAMES  # the days of a spreadsheet: 45000
    ]
    file_columns = table.columns.drop("unique_id")
    rising = [c for c in steps if len(file_columns) > 1 and (steps[c].dropna() > 0).all()]
    text = [c for c in _text_columns(table[file_columns]) if table[c].is_unique]
    unread = [c for c in file_columns if c in (*rising, *text) or c.lower() in TIME_COLUMN_NAMES]
    in_parts = {"year", "month"} <= {c.lower() for c in file_columns}
    texts = [table[column].dropna().astype("str").str.strip() for column in unread]
    for cells in texts:
        _refuse_odd_time(cells, where)
    if unread and (in_parts or not counts):
        hints = (
            hint
            for digits, hint in NUMBERS_FOR_TIMES.items()
            if any(cells.str.fullmatch(digits).all() for cells in texts)
        )
        raise InputError(
            f"{where}: no column holds times that are known; {quote_names(unread)} may be some."
            f"{next(hints, '')} Name the columns in the first line, with a comma, semicolon, tab or"
            " | between them, and write times in one as 2024-01-31 or 2024-01-31T13:00; or write"
            " the entry by hand with `time_format`, or with `calendar: {kind: index}` where the"
            " rows have no dates (docs/data.md)."
        )
    number = table[counts[0]] if counts else table.groupby("unique_id", sort=False).cumcount()
    return counts[0] if counts else None, pd.to_datetime(60 * number, unit="s")


def _refuse_odd_time(text: pd.Series, where: str) -> None:
    """`InputError` about the first row that is no time where the first or the second one is."""
    for place, example in (("first row", text[:1]), ("row below", text[1:2])):
        form = guess_time_format(example)
        if form is not None:
            is_none = read_times(text, form).isna()
            advice = f", wanted a time as in the {place}. Correct or drop the row."
            if text[is_none].str.contains(r"\b24[:.]?00").any():
                advice += " What is 24:00 of a day, write as 00:00 of the next one."
            refuse_rows(text, is_none, where, advice)


def _refuse_parted_time(table: pd.DataFrame, time: str, series: str | None, where: str) -> None:
    """`InputError` where a column of its own holds the hours of the dates in `time`: `series`,
    which was taken for the name of a series since it tells the rows of a day apart, or, where most
    days stand twice, any other.
    """
    keys = [time] if series is None else [time, series]
    candidates = keys[1:]
    if table.duplicated(keys).mean() > 0.5:
        candidates += [column for column in table.columns if column not in keys]
    for column in candidates:
        if _is_clock(table[column]):
            raise InputError(
                f"{where}: {time!r} and {column!r} are parts of one time. Write one column of both,"
                " such as 2024-01-31T13:00; of hours from 1 to 24 the first begins at 00:00."
            )


def _find_name_parts(table: pd.DataFrame, time: str) -> list[str]:
    """The columns that together, and none alone, tell apart rows of one time: two of text or whole
    numbers, else the fewest of text. Empty where there are none.
    """
    if table[time].duplicated().mean() <= 0.5:
        return []
    may_name = (table.nunique() <= len(table) / 10) & (table.dtypes.astype("str") != "float64")
    names = sorted(may_name.index[may_name], key=lambda name: table[name].dtype.kind == "i")[:10]
    texts = _text_columns(table[names])
    sets: list[tuple[str, ...]] = [*itertools.combinations(names, 2)]
    if not table.duplicated([*texts, time]).any():
        for size in range(3, len(texts) + 1):
            sets += itertools.combinations(texts, size)
    return next((list(parts) for parts in sets if not table.duplicated([*parts, time]).any()), [])


def _text_columns(table: pd.DataFrame) -> list[str]:
    """The columns that `_is_text`."""
    return [name for name in table.columns if _is_text(table[name])]


def _is_text(values: pd.Series) -> bool:
    """Whether a column holds something else than quantities: text, or leading zeros."""
    return find_text_cell(values) is not None or own_files.is_code(values)


def _cells_of_text(table: pd.DataFrame) -> list[str]:
    """The columns with a cell that is no number."""
    return [name for name in table.columns if find_text_cell(table[name]) is not None]


def _is_clock(values: pd.Series) -> bool:
    """Whether a column tells hours: by its name, as text (13:00) or as numbers (1300)."""
    name: Any = values.name
    text = values.dropna().astype("str").str.strip()
    if name.lower() in TIME_COLUMN_NAMES or not CLOCK_WORDS.isdisjoint(_words_of(name)):
        return bool(text.str.contains(r"\d").all())
    if own_files.is_code(values):
        values = pd.to_numeric(values)
    if values.dtype.kind == "i":
        is_quarter = values.between(0, 2400) & values.mod(100).isin([0, 15, 30, 45])
        return bool(is_quarter.all() and values.max() >= 2300 and values.nunique() >= 24)
    return bool(text.str.fullmatch(CLOCK_TEXT).all())


def _find_series_column(
    table: pd.DataFrame, time: str | None, time_format: str | None
) -> Any | None:
    """`unique_id`, or the column with the fewest values that tells apart rows of the same time, or
    nearly all where none tells all: of text, else of whole numbers. Where no two rows share a time
    the text whose values have steps of their own; without times the text that changes the
    seldomest, each value in one stretch of rows. None where only hours of autumn stand twice: what
    tells these apart is a clock's name or the end of a step.
    """
    if "unique_id" in table.columns:
        return "unique_id"
    others = [c for c in table.columns if c != time]
    n_values = table.nunique()
    # but for numbers with a note among them
    text = [
        c
        for c in _text_columns(table[others])
        if n_values[c] <= len(table) / 2 or not own_files.is_mostly_numbers(table[c])
    ]
    if time is None:
        n_stretches = (table[text] != table[text].shift()).sum()
        telling = [c for c in text if n_stretches[c] == n_values[c] < len(table)]
    else:
        sizes = table[time].value_counts()
        if sizes.max() == 2 and _stand_twice_in_autumn(table[time], time_format):
            return None
        # but for the hour that stands twice in autumn
        most = sizes.quantile(1 - MAX_SHARE_TWICE)
        is_twice = table[time].duplicated()
        # numbers name series only where another one is left to forecast, and more than an hour of
        # autumn stands twice
        may_be_whole = others if len(others) > 1 and is_twice.mean() > 0.1 else []
        whole = [
            c
            for c in may_be_whole
            if table[c].dtype.kind == "i" and most <= n_values[c] <= 2 * most
        ]
        repeats = {c: table[time][table.duplicated([c, time])] for c in [*text, *whole]}
        most_repeats = MAX_SHARE_TWICE * is_twice.sum()
        most_times = MAX_SHARE_TWICE * n_values[time]
        kinds: list[list[str]] = [
            [c for c in kind if len(repeats[c]) <= limit and repeats[c].nunique() <= most_times]
            for limit in (0, most_repeats)
            for kind in (text, whole)
        ]
        if sizes.max() > 1:
            telling = next(filter(None, kinds), [])
        else:
            times = read_times(table[time], time_format)
            telling = [c for c in text if _has_own_steps(times, table[c])]
    return n_values[telling].idxmin() if telling else None


def _stand_twice_in_autumn(written: pd.Series, time_format: str | None) -> bool:
    """Whether the times that stand twice are all of hours that one of the clocks passes twice."""
    times = read_times(written[written.duplicated()], time_format).dt.tz_localize(None)
    if times.isna().any():
        return False
    summer = np.ones(len(times), dtype=bool)
    for zone in GUESSED_ZONES:
        first, second = (
            times.dt.tz_localize(zone, ambiguous=is_summer, nonexistent="shift_forward")
            for is_summer in (summer, ~summer)
        )
        if (first != second).all():
            return True
    return False


def _has_own_steps(times: pd.Series, names: pd.Series) -> bool:
    """Whether `names` tells series whose times overlap, though none is shared: each stands in rows
    of its own, where time begins anew, or has even steps that all rows together have not, as of
    weeks that begin on other days.
    """
    if not 2 <= names.nunique() <= len(names) / MIN_ROWS_OF_A_SERIES:
        return False
    spans = times.groupby(names).agg(["min", "max"]).sort_values("min")
    if (spans["min"].iloc[1:].to_numpy() > spans["max"].cummax().iloc[:-1].to_numpy()).all():
        return False
    if (names != names.shift()).sum() == names.nunique():
        by_name = times.groupby(names)
        return bool((by_name.is_monotonic_increasing | by_name.is_monotonic_decreasing).all())
    ordered = times.sort_values()
    alone = ordered.groupby(names[ordered.index]).diff()
    usual = alone.groupby(names[ordered.index]).transform("median")
    steps = ordered.diff()
    return _share_of_even_steps(alone, usual) > 0.9 and _share_of_even_steps(steps) < 0.6


def _share_of_even_steps(steps: pd.Series, usual: pd.Series | None = None) -> float:
    """How many of them are as long as `usual` (None: their median), up to a fifth: months are."""
    ratios = (steps / (steps.median() if usual is None else usual)).dropna()
    return float(ratios.between(0.8, 1.2).mean())


def _drop_plans(values: pd.DataFrame, times: pd.Series) -> list[str]:
    """The columns of numbers but those with a value behind the end of another, as a plan has.

    A gap of a usual length is no end, nor one of more than `MAX_PLAN_SHARE` of the times; weather
    (beside other numbers) and switches end where their delivery is late.
    """
    has_value = values.notna().groupby(times).any().to_numpy()
    n_behind = has_value[::-1].argmax(axis=0)
    longest_gaps = [np.diff(np.flatnonzero(column)).max(initial=1) - 1 for column in has_value.T]
    is_end = (n_behind > longest_gaps) & (n_behind <= MAX_PLAN_SHARE * len(has_value))
    is_weather = values.columns.str.contains(WEATHER_NAME)
    is_end &= (is_weather.all() | ~is_weather) & (values.nunique() > 2)
    return list(values.columns[n_behind >= n_behind[is_end].max(initial=0)])


def _pick_target(
    rows: pd.DataFrame, times: pd.Series, numbers: list[str], target: str, where: str
) -> Any:
    """The column that `target` names; else, of those that change in a series and are no plan, by
    name, else the first number that is neither a forecast nor a switch; `InputError` where there is
    none. A temperature behind a number that is no weather, as of arrivals, is rather its input.
    """
    if not numbers:
        raise InputError(
            f"{where}: no number in {quote_names(rows.columns)} beside times and series. Add a"
            " column with what is to be forecast."
        )
    if target and target not in numbers:
        raise InputError(
            f"{where}: no column of numbers called {target!r}; found {quote_names(numbers)}. Name"
            " one of them with --target."
        )
    if target:
        return target
    changes = rows.groupby("unique_id")[numbers].nunique().gt(1).any()
    numbers = [*changes.index[changes]] or numbers
    numbers = [c for c in numbers if FORECAST_WORDS.isdisjoint(_words_of(c))] or numbers
    unplanned = _drop_plans(rows[numbers], times)
    numbers = [c for c in numbers if c in unplanned or _is_measured(c)]
    surest = min(numbers, key=_target_rank)
    if _target_rank(surest) == NO_TARGET:
        return next((c for c in numbers if rows[c].nunique() > 2), numbers[0])
    before = numbers[: numbers.index(surest)] if TEMPERATURE_NAME.search(surest) else []
    return next((c for c in before if _may_be_target(rows[c])), surest)


def _is_measured(column: str) -> bool:
    """Whether its name tells a target that nobody knows ahead, as sales are and a list price is
    not.
    """
    return _target_rank(column) != NO_TARGET and PLANNED_WORDS.isdisjoint(_words_of(column))


def _may_be_target(values: pd.Series) -> bool:
    """Whether numbers are neither weather nor codes nor a counter."""
    is_weather = WEATHER_NAME.search(str(values.name))
    return not is_weather and values.nunique() > MOST_CODES and not values.is_monotonic_increasing


NO_TARGET = math.inf
"""The rank of a column whose name says nothing of a target."""


def _target_rank(column: str) -> float:
    """How surely the name of a column tells the target, the surest lowest."""
    if column.lower() in TARGET_COLUMN_NAMES:
        return -1
    words = _words_of(column)
    if set(words) in ({"adj", "close"}, {"adjusted", "close"}):
        return -2  # the close itself jumps at a split
    return next((rank for rank, word in enumerate(TARGET_WORDS) if word in words), NO_TARGET)


def _words_of(column: str) -> list[str]:
    """`DailySales_EUR` → daily, sales, eur."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", column)
    return re.findall(r"[^\W\d_]+", parted.lower())


def _guess_scale(
    observed: pd.DataFrame, calendar: Calendar, target: str, season: int
) -> dict[str, Any]:
    """Of the target: a price is modelled by its returns, and what varies in proportion to its level
    by its logarithm; what was never negative has no negative forecast, and a share none above its
    end.
    """
    values = observed[target].dropna()
    if values.empty or values.min() < 0 or TEMPERATURE_NAME.search(target):
        return {}
    if values.min() > 0 and (
        calendar.kind == "sessions" or _moves_like_price(observed, calendar, target, season)
    ):
        return {"transform": "log", "difference_inputs": True}
    if "%" in target or SHARE_WORDS.intersection(_words_of(target)):
        maximum = 1 if values.max() <= 1 else 100
        if values.max() <= maximum:
            return {"minimum": 0, "maximum": maximum}
    elif varies_with_level(observed, target, season):
        return {"transform": "log1p", "minimum": 0}
    return {"minimum": 0}


def varies_with_level(observed: pd.DataFrame, target: str, season: int) -> bool:
    """Whether the spread within a season grows in proportion to its level, in the rows that are
    fitted and validated on.
    """
    known = observed.dropna(subset=[target])
    rows = known.groupby("unique_id")[target]
    n_fitted = (FITTED_SHARE * rows.transform("size")).astype(int) // season * season
    fitted = known[rows.cumcount() < n_fitted]  # whole seasons of each series
    seasons = fitted[target].to_numpy(float).reshape(-1, season)
    moments = pd.DataFrame({"level": seasons.mean(axis=1), "spread": seasons.std(axis=1)})
    is_positive = (moments > 0).all(axis=1)
    logs = moments[is_positive].apply(np.log)
    series = fitted["unique_id"].to_numpy()[::season][is_positive]
    level, spread = (logs - logs.groupby(series).transform("mean")).to_numpy().T
    if len(level) < MIN_SEASONS or level.std() < MIN_LEVEL_SPREAD:
        return False
    return bool(level @ spread >= MIN_SLOPE * (level @ level))


def _moves_like_price(observed: pd.DataFrame, calendar: Calendar, target: str, season: int) -> bool:
    """Whether the logarithms of positive days walk at random in the middle series: over ten days
    they vary about ten times as much as over one (variance ratio, Lo and MacKinlay 1988). Over
    twenty days a stock that is refilled is back where it was, and varies no more. Of weeks and
    longer steps so do ten and twenty of them, and `LONG_LAG`.
    """
    is_long = (step_length(calendar) or 2 * DAY) > DAY and not count_day_steps(calendar)
    day_steps = 1 if is_long else count_day_steps(calendar)
    if series_lengths(observed, calendar).median() < MIN_PRICE_DAYS * (day_steps or np.inf):
        return False
    by_series = observed.groupby("unique_id")[target]
    fitted = observed[_is_fitted(by_series)]
    logs = np.log(fitted[target]).groupby(fitted["unique_id"])
    lags = (1, 10, 20, *([max(LONG_LAG // season, 1) * season] if is_long else []))
    day, *longer = (
        logs.diff(days * day_steps).groupby(fitted["unique_id"]).var() / days for days in lags
    )
    ten_days, *later_ratios = ((variance / day).median() for variance in longer)
    walks_on = all(ratio >= MIN_LATER_RATIO for ratio in later_ratios)
    return bool(0.5 <= ten_days <= 2 and walks_on)


def _guess_zone(table: pd.DataFrame, form: str | None, where: str) -> tuple[str | None, pd.Series]:
    """The clock that explains an hour that stands twice, or offsets that change, and the times in
    UTC; None where none does, and the times are taken to be UTC.
    """
    twice = table.duplicated(["unique_id", "ds"]).any()
    for zone in GUESSED_ZONES if twice else (None, *GUESSED_ZONES):
        try:
            utc = to_utc(table, form, time_zone=zone, where=where)
        except InputError:
            continue
        if not table.assign(ds=utc).duplicated(["unique_id", "ds"]).any():
            return zone, utc
    return None, to_utc(table, form, time_zone=None, where=where)
