"""Writes the entry of a file as a block of YAML (`guess_entry`), most guesses with their reason in
a comment, for the user to check. `data.entries` inserts the block into configs/datasets.yaml.

Numbers with values after the last target of all series are a plan, which is known ahead. Columns
that lead the target are inputs; the other numbers, but for leaks, are offered in a comment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.datasets import Quality
from forecast.config.models import INTERMITTENT_GRID
from forecast.config.transforms import TRANSFORMS
from forecast.data import own_files
from forecast.data.calendars import (
    GUESSED_ZONES,
    Calendar,
    CalendarFit,
    calendar_entry,
    count_steps_by_series,
    default_features,
    find_month_feature,
    shows_week,
    usual_length,
)
from forecast.data.columns import (
    MOST_CATEGORIES,
    guess_static,
    trim_to_last_value,
)
from forecast.data.entries import entry_line, flow_yaml
from forecast.data.guesses.cells import (
    blank_placeholders,
    describe_unread_columns,
    number_columns,
    read_and_find_missing,
    read_flags,
    read_padded_numbers,
)
from forecast.data.guesses.series import (
    find_name_parts,
    find_number_names,
    find_series_column,
)
from forecast.data.guesses.spans import (
    FEW_ROWS,
    FEW_SERIES,
    SHORT_ROWS,
    YEARLY_SPANS,
    Spans,
    block_shares,
    blocks_hold,
    choose_lookback,
    choose_season,
    describe_horizon,
    fit_horizon_to_plan,
    guess_spans,
    step_lines,
    without_new_series,
)
from forecast.data.guesses.target import (
    WEATHER_NAME,
    guess_target_fields,
    is_intermittent,
    pick_target,
)
from forecast.data.guesses.times import (
    COUNTED_ROWS,
    TIME_COLUMN_NAMES,
    GuessedTimes,
    find_column_format,
    find_time_column,
    find_time_parts,
    guess_times,
    join_time_parts,
    refuse_split_time,
)
from forecast.data.leading import find_leading_columns
from forecast.data.leaks import find_leaks
from forecast.data.schema import describe_row, join_texts
from forecast.data.splits import longest_horizon
from forecast.data.written_times import PART_NAME, describe_wide, read_times, refuse_rows
from forecast.system.errors import InputError, plural, quote, quote_names

MIN_CODE_LENGTH, MIN_CODES = 5, 10
"""The least digits of a code, and the least series with codes of one length: the populations or
areas of that many series differ in length.
"""
MIN_STATIC_SERIES = 4
"""With fewer series no model can learn what a static column does."""
MAX_ZERO_SHARE = 0.2
"""A target with a plan and more zeros, such as solar power, has no log transform, which would
distort the effect of the plan (docs/research/logarithm-of-a-target.md).
"""
MAX_EMPTY_SHARE = 0.5
"""A plan with more empty cells since its first one has nothing where it should have 0: models learn
it from rows that have a value (docs/research/unseen-files.md).
"""
PARTS_OF_A_DAY = (24, 25, 48, 50, 96, 100)
"""The columns of hours, half hours or quarter hours of a date, with an hour more for the autumn.
Other numbers of such names are meters.
"""
ROOM_FOR_GAPS = 0.05
"""The share of the steps that may be missing in future beyond those that are missing now."""


@np.errstate(invalid="ignore", over="ignore")  # `fetch` reports infinite numbers
def guess_entry(
    path: Path, where: str, name: str, *, target: str = "", horizon: int | None = None
) -> str:
    """The entry `name` of the file at `path` as a block of YAML; most lines have the reason of
    their guess in a comment. where: the name of the file in messages and in the entry. `target` and
    `horizon` are guessed unless given. Without a column of times the rows are counted.

    `InputError` where a column may hold times that cannot be read (rising numbers, distinct texts,
    a name of times), no calendar has its times, no column holds numbers, columns are named by
    times, or `target` is no column of numbers.
    """
    table, file_format = read_and_find_missing(path, where, own_files.guess_format(path, where))
    time, time_format = find_time_column(table)
    _refuse_times_for_names(table, time, time_format, where)
    series = find_series_column(table, time, time_format)
    parts = find_time_parts(table, time, series)
    if parts:
        texts = own_files.read_table(path, where, file_format, texts=parts)
        parts, joined = join_time_parts(texts[parts])
    if parts:
        table = table.drop(columns=parts).assign(ds=joined)
        time, time_format = find_time_column(table[["ds"]])
        series = find_series_column(table, time, time_format)
    ids = [] if series is None else [series]
    if time is not None:
        refuse_split_time(table, time, series, where, parts=parts)
        ids = ids or find_name_parts(table, time) or find_number_names(table, time)
    names = [c for c in ids if table[c].isna().any() or table[c].dtype.kind == "f"]
    if names:  # `NA` may be Namibia, and 1e5 is 100000 in no name
        with_names = own_files.read_table(path, where, file_format, texts=names)
        table[names] = with_names[names]
    rows = table.copy()  # defragmented, since columns are added
    rows["unique_id"] = join_texts(table, ids, "/") if ids else name
    advice = f", wanted a name in every row of {quote_names(ids)}. Fill in the empty cells."
    refuse_rows(rows["unique_id"], rows["unique_id"].isna(), where, advice)
    rows[ids] = table[ids].astype("str")
    rows = read_padded_numbers(rows, time)
    guess = replace(guess_times(rows, time, time_format, target, where), parts=parts)
    series = ids[0] if len(ids) == 1 else None
    columns = table.columns.drop([guess.column, series], errors="ignore")
    others = [
        column
        for column in columns
        if column.lower() not in TIME_COLUMN_NAMES and find_column_format(table[column]) is None
    ]
    rows = read_flags(rows, others)
    may_be_numbers = [column for column in others if column not in ids]
    numbers = number_columns(rows, may_be_numbers, target, where)
    rows[numbers], file_format = blank_placeholders(rows[numbers], file_format)
    chosen = pick_target(rows, guess.times, numbers, target, where)
    rows[chosen] = rows[chosen].astype(float)
    rows = rows.assign(ds=guess.times).sort_values(["unique_id", "ds"], kind="stable")
    up_to_last_value = trim_to_last_value(rows, [chosen])
    # a series that has ended has no plan
    is_planned = rows["ds"] > up_to_last_value["ds"].max()
    planned = rows[is_planned]
    roles = _guess_roles(up_to_last_value, planned, numbers, chosen, others, where)
    observed = up_to_last_value if roles.plans else rows[~is_planned]
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
        text.append(f"    # not read: {plural(len(planned), 'row')} after the last {chosen}")
    if roles.unread_plans:
        text.append(
            f"    # not read: {', '.join(roles.unread_plans)} (a plan in words: to read it, write"
            " numbers, such as 1 for yes and 0 for no)"
        )
    if roles.constant:
        text.append(
            f"    # constant in every series: {', '.join(roles.constant)} (inputs: `static`,"
            " groups: `hierarchy`)"
        )
    doubts = (
        own_files.describe_doubtful_number(path, file_format),
        own_files.describe_cut_line(path, file_format),
    )
    text += [f"    # {doubt}" for doubt in doubts if doubt]
    text += describe_unread_columns(rows, may_be_numbers)
    return "\n".join(text) + "\n"


def _refuse_times_for_names(
    table: pd.DataFrame, time: str | None, time_format: str | None, where: str
) -> None:
    """Raises `InputError` where the names of columns are times: those of a wide table, or the first
    row of a file without a line of names, which may be numbers too.
    """
    n_parts = table.columns.str.fullmatch(PART_NAME).sum()
    wide = ""
    if time is None or time_format == "%Y":
        wide = describe_wide(table.columns, has_parts=time is not None and n_parts >= 12)
    elif n_parts in PARTS_OF_A_DAY:  # not only months, which name the columns of contracts
        has_hours = read_times(table[time][:10], time_format).dt.hour.any()
        wide = "" if has_hours else describe_wide(table.columns, has_parts=True)
    if wide:
        raise InputError(f"{where}: {wide}, write that to a file, and name it here.")
    is_time = (
        time and not time.isalpha() and read_times(pd.Series([time]), time_format).notna().all()
    )
    if is_time or table.columns.str.fullmatch(r"-?\d+[.,]\d+").all():
        raise own_files.make_names_error([*table.columns], where)


@dataclass(frozen=True)
class GuessedRoles:
    """The roles of the columns beside the target.

    plans: numbers with values after the last target of all series. unread_plans: texts that change
    and have such values too. static: numbers or text, constant within each series. constant: also
    constant, but useless as an input: the series are too few, the values one or too many, or the
    column repeats the series' names. past: all other numbers.
    """

    plans: list[str]
    unread_plans: list[str]
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
    """The roles of `columns`, of which `numbers` are numbers. observed: the rows up to each series'
    last target; planned: the rows after the last target of all. `InputError` where these hold text
    alone, or numbers that lack values before.
    """
    other_columns = [column for column in columns if column != target]
    by_series = observed.groupby("unique_id")[other_columns]
    planned_columns = [c for c in other_columns if planned[c].notna().any()]
    incomplete = [c for c in planned_columns if _lacks_values(observed[c], observed["unique_id"])]
    is_constant = by_series.nunique().eq(1).all() & (len(by_series) > 1)
    constant = [c for c in is_constant.index[is_constant] if c not in incomplete]
    first_rows = by_series.first()
    n_values = first_rows.nunique()
    static = []
    for column in constant:
        if column in numbers and _is_part_of_names(first_rows[column]):
            continue
        n_series = len(by_series)
        max_values = n_series if column in numbers else min(n_series // 2, MOST_CATEGORIES)
        if n_series >= MIN_STATIC_SERIES and 1 < n_values[column] <= max_values:
            static.append(column)
    planned_columns = [c for c in planned_columns if c not in constant]
    plans = [c for c in planned_columns if c in numbers]
    # a text that never changes is a name
    text = [
        c
        for c in planned_columns
        if c not in numbers and (c in incomplete or observed[c].nunique() != 1)
    ]
    columns_by_fault = {
        "text": [] if plans else text,
        "empty cells": [c for c in plans if c in incomplete],
        "no value before it": [c for c in plans if observed[c].isna().all()],
    }
    faults = [f"{name} in {quote_names(of)}" for name, of in columns_by_fault.items() if of]
    if faults:
        raise InputError(
            f"{where}, {describe_row(planned, 0)}: a plan begins after the last {target}, with"
            f" {', '.join(faults)}. Write what is known ahead as numbers (1 for yes, 0 for no) in"
            " all rows, those of the past too, or drop these rows or columns."
        )
    past = [c for c in other_columns if c in numbers and c not in {*constant, *plans}]
    return GuessedRoles(
        plans=plans,
        unread_plans=text,
        static=static,
        constant=[column for column in constant if column not in static],
        past=past,
    )


def _lacks_values(plan: pd.Series, series: pd.Series) -> bool:
    """Whether too many cells of a column are empty from its first value in each series on: a
    forecast that is known since lately has none before. In a column of one value, empty cells stand
    for another one.
    """
    is_since_first = plan.groupby(series).ffill().notna()
    limit = MAX_EMPTY_SHARE if plan.nunique() > 1 else ROOM_FOR_GAPS
    return plan[is_since_first].isna().mean() > limit


def _is_part_of_names(values: pd.Series) -> bool:
    """Whether numbers, one per series and indexed by its name, are part of these names or are
    codes: distinct and all of one length.
    """
    digits = values.dropna().map("{:.12g}".format)
    if all(text in str(name) for name, text in digits.items()):
        return True
    are_long = digits.str.fullmatch(rf"\d{{{MIN_CODE_LENGTH},}}").all()
    are_many = len(digits) >= MIN_CODES and digits.is_unique
    return bool(are_long and are_many and digits.str.len().nunique() == 1)


def _source_entry(
    where: str, file_format: own_files.FileFormat, guess: GuessedTimes, ids: list[str]
) -> dict[str, Any]:
    """The value of `source`; `ids`: the columns that name a series."""
    columns = {"ds": guess.column, "unique_id": ids[0] if len(ids) == 1 else None}
    settings = {
        "kind": "file",
        "path": where,
        "columns": {ours: theirs for ours, theirs in columns.items() if theirs not in (None, ours)},
        "id_columns": ids if len(ids) > 1 else [],
        "time_columns": guess.parts,
        "time_zone": guess.zone,
        "time_format": guess.format,
    }
    set_keys = {key: value for key, value in settings.items() if value}
    return set_keys | file_format.model_dump(exclude_defaults=True)


def _source_note(guess: GuessedTimes, ids: list[str], file_format: own_files.FileFormat) -> str:
    """The comment of `source`: how times, series and numbers were read."""
    if guess.fit is COUNTED_ROWS:
        note = "rows counted"
    elif guess.zone:
        note = f"times as {guess.zone} (name yours, if its clocks change alike)"
    else:
        note = "times as UTC"
    if guess.column:
        note += f" from {' and '.join(map(quote, guess.parts or [guess.column]))}"
    if ids:
        note += f", series from {' and '.join(map(quote, ids))}"
    if len(ids) > 1:
        note += f" (sums too: `hierarchy: [{', '.join(ids)}]`, the largest group first)"
    if file_format.skip_lines:
        note += f"; without the {plural(file_format.skip_lines, 'line')} above the names of columns"
    if file_format.skip_below:
        note += f"; without the {plural(file_format.skip_below, 'line')} below the names"
    for unit in file_format.units:
        note += f"; numbers as written beside {unit}"
    if file_format.missing:
        note += (
            f"; {quote_names(file_format.missing)} read as no value (write 0 where one means zero)"
        )
    return note


def _entry_lines(
    observed: pd.DataFrame,
    planned: pd.DataFrame,
    guess: GuessedTimes,
    target: str,
    roles: GuessedRoles,
    asked_horizon: int | None,
) -> list[str]:
    """The lines of the entry but title and source.

    observed: the rows up to each series' last target; planned: those after the last target of all.
    asked_horizon: None to guess it.
    """
    calendar = guess.fit.calendar
    rows_by_series = count_steps_by_series(observed, calendar)  # missing steps included
    n_rows = usual_length(without_new_series(rows_by_series))
    usual_spans = guess_spans(calendar)
    season, season_note = choose_season(usual_spans.season, n_rows)
    is_panel = len(rows_by_series) >= FEW_SERIES
    reads_inputs = bool(roles.plans or roles.static)
    may_be_short = (
        n_rows < SHORT_ROWS
        and (not is_panel or usual_spans in YEARLY_SPANS)
        and calendar.kind != "sessions"
        and not reads_inputs
    )
    longest = (
        longest_horizon(n_rows, usual_spans.season)
        if usual_spans.season > 1
        else max(n_rows // 20, 1)
    )
    wanted_horizon = asked_horizon or usual_spans.horizon
    horizon = min(wanted_horizon, longest)
    horizon_note = ""
    if asked_horizon:
        horizon = asked_horizon
        if may_be_short and not blocks_hold(n_rows, asked_horizon, season):
            # simple models forecast beyond the horizon that they can be tested on
            horizon = min(asked_horizon, longest_horizon(n_rows, season))
        if horizon < asked_horizon:
            horizon_note = f"; {asked_horizon} are more than the blocks hold"
    elif roles.plans:
        planned_steps = int(planned.groupby("unique_id").size().min())
        horizon, horizon_note = fit_horizon_to_plan(
            horizon, planned_steps, usual_spans.horizon, n_rows
        )
    column = _column_entries(observed, rows_by_series, [target])[0]
    column |= guess_target_fields(observed, calendar, target, season)
    if roles.plans and (observed[target] == 0).mean() > MAX_ZERO_SHARE:
        column.pop("transform", None)
    shares = block_shares(n_rows, horizon, season)
    lookback = choose_lookback(usual_spans, n_rows, round(shares["train"] * n_rows) - horizon)
    past_lines = _past_lines(
        observed,
        rows_by_series,
        target,
        column.get("transform", "none"),
        roles.past,
        Spans(season, horizon, lookback),
    )
    reads_inputs |= any(line.startswith("    past_exogenous:") for line in past_lines)
    is_untested = is_panel or round(shares["validation"] * n_rows) < 2 * wanted_horizon
    grid_lines = []
    if is_intermittent(observed, target, season):
        grid_lines = [_zeros_line(observed[target])]
    elif may_be_short and is_untested and not reads_inputs:
        grid_lines = [
            entry_line(
                "grid",
                "short",
                "few rows: simple models and their mean; without this line all are compared",
            )
        ]
        if horizon < wanted_horizon:
            horizon_note += f"; `forecast predict --horizon {wanted_horizon}` goes on, untested"
    elif n_rows < FEW_ROWS:
        is_yearly = usual_spans in YEARLY_SPANS and not (is_panel or reads_inputs)
        grid_lines = [_few_line(is_yearly=is_yearly)]
    return [
        *grid_lines,
        entry_line(
            "calendar",
            calendar_entry(calendar),
            _calendar_note(observed, guess.fit),
        ),
        entry_line("horizon", horizon, describe_horizon(rows_by_series, n_rows) + horizon_note),
        entry_line("lookback", lookback),
        entry_line("season_length", season, season_note),
        *step_lines(n_rows, horizon, shares["calibration"]),
        entry_line("target", column, _target_note(observed[target], column["max_missing"])),
        *_input_lines(observed, target, roles),
        *_calendar_lines(observed, calendar, target, guess.zone, int(rows_by_series.max())),
        entry_line("splits", shares, "shares of the rows; the rest is the test"),
        entry_line("licence", {"name": "mine", "attribution": "my own data"}),
        *past_lines,
    ]


def _few_line(*, is_yearly: bool) -> str:
    """The line of the grid of a few hundred rows."""
    if is_yearly:
        note = "a few hundred rows: statistical models have a third of the weight, and more"
        return entry_line("grid", "yearly", note)
    return entry_line("grid", "few", "a few hundred rows: theta and ARIMA join the mean of models")


def _past_lines(
    observed: pd.DataFrame,
    rows_by_series: pd.Series,
    target: str,
    transform: str,
    names: list[str],
    spans: Spans,
) -> list[str]:
    """The line of the numbers that lead the target, and comments about leaks and the other
    numbers.
    """
    if not names:
        return []
    to_model_units = TRANSFORMS[transform].to_model_units
    leaks = find_leaks(observed, target, names, spans.horizon, Quality().leaks.limit)
    leaking = dict.fromkeys(leak.column for leak in leaks)
    names = [name for name in names if name not in leaking]
    leading = find_leading_columns(observed, target, names, spans, to_model_units)
    entries = _column_entries(observed, rows_by_series, names)
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
    """The lines of inputs that are known ahead, and of static columns."""
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


def _zeros_line(values: pd.Series) -> str:
    """The line of the grid for counts that are mostly zero."""
    share = (values.dropna() == 0).mean()
    note = (
        f"{100 * share:.0f} % of the values are zero: the absolute error rewards the median, which"
        " is zero; for the mean add `transform: log1p, point: mean` to the target and see RMSSE,"
        " for a stock the quantiles"
    )
    return entry_line("grid", INTERMITTENT_GRID, note)


def _target_note(values: pd.Series, max_missing: float) -> str:
    """The comment of the target; where it is never zero and often missing, as in a file of the days
    with a sale, with how to write zeros.
    """
    if values.min() > 0 and max_missing > 2 * ROOM_FOR_GAPS:
        return (
            "what is forecast, at every step; steps without a value are no zeros: where they mean"
            " 0, write 0"
        )
    return "what is forecast"


def _calendar_note(observed: pd.DataFrame, fit: CalendarFit) -> str:
    """The comment of the calendar: the rows it was guessed from, and what does not fit it."""
    note = f"from {len(observed)} rows of {observed['unique_id'].nunique()} series"
    if fit.count_misfits():
        note += (
            f"; {plural(fit.off_calendar, 'time')} off it,"
            f" {plural(fit.without_row, 'step')} without a row; every step gets forecasts"
        )
    if fit.without_row > len(observed):
        note += "; to count rows alone: `{kind: index}`, and no `ds` in `columns`"
    return note


def _calendar_lines(
    observed: pd.DataFrame, calendar: Calendar, target: str, zone: str | None, steps: int
) -> list[str]:
    """The line of the calendar features; where the target depends on the day of the week, also that
    of public holidays, as a comment. steps: those of the longest series.
    """
    features: list[str] = [*default_features(calendar, steps)]
    holidays = []
    if shows_week(observed, target, calendar):
        features.append("day_of_week")
        country = GUESSED_ZONES.get(zone or "", "XX")
        note = "public holidays as inputs, by the code of your country"
        holidays = [entry_line("# holidays", country, note)]
    if month_feature := find_month_feature(observed, [target], calendar):
        features.append(month_feature)
    return [entry_line("calendar_features", features, "known in advance"), *holidays]


def _column_entries(
    observed: pd.DataFrame, rows_by_series: pd.Series, names: list[str]
) -> list[dict[str, Any]]:
    """The entries of columns with `max_missing`: the largest missing share of a series, and
    `ROOM_FOR_GAPS`.
    """
    counts = observed.groupby("unique_id")[names].count()
    shares = 1 - counts.div(rows_by_series, axis=0).min()
    allowed = (shares.clip(0, 0.94) + ROOM_FOR_GAPS).round(2).to_dict()
    return [{"column": name, "max_missing": share} for name, share in allowed.items()]
