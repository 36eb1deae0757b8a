"""Columns that a source does not deliver as models use them: adjusted prices, computed columns,
joined columns, static inputs, holidays, and the steps of inputs that are known ahead.

`data.preparation` calls `adjust_prices` and `derive_and_select`, and as a fetch does `add_joined`
and `add_known_ahead`. `spread_over_horizon` takes the place of the last in requests and in Python;
`append_plan` is for plans that come with a forecast. A value that was not known at a row is NaN,
and none is filled in. A column that is neither delivered nor computable is an `InputError`.

Public holidays come from the library `holidays`. A step of less than a day has the value of its
day, by the time zone of the rule; a longer step has the number of its holidays. Half days, school
holidays and customs without a law are not included: they are columns of the data. Another column
about holidays is named in `config.task.Holidays.columns` and computed in `_daily_columns` in the
same order; an edit of `config.task` makes every fit of every dataset again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset, JoinedColumn, load_dataset
from forecast.config.paths import ProjectPaths
from forecast.config.sources import Adjustment
from forecast.config.task import (
    Calendar,
    Holidays,
    StaticColumn,
    future_frame_name,
)
from forecast.data import snapshots
from forecast.data.calendars import (
    DAY,
    format_times,
    grid,
    known_from,
    local_times,
    next_steps,
    read_until,
    step_days,
    step_length,
)
from forecast.data.schema import (
    KEY_COLUMNS,
    MAPPING_HINT,
    MAX_MAGNITUDE,
    check_frame,
    first_true,
    has_number_type,
    name_row,
)
from forecast.system.errors import InputError, quote_names, require_column, require_known

ACTION_COLUMNS = ("split", "dividend")
SATURDAY = 5
PRICE_COLUMNS = ("open", "high", "low", "close")


def adjust_prices(frame: pd.DataFrame, how: Adjustment) -> pd.DataFrame:
    """A raw long frame with adjusted prices and without the columns `split` and `dividend`; a frame
    without these columns is returned as it is.

    A price at t is divided by the product of all later split ratios and multiplied by Π (1 −
    dividend_k / close_{k−1}) over the later ex-dates k (the CRSP convention), so that the return
    over an ex-date is that of a shareholder. Volume is multiplied by the split ratios. Returns do
    not depend on where the series ends; the level does.
    """
    if not set(ACTION_COLUMNS) <= set(frame.columns):
        return frame
    if how == "none":
        return frame.drop(columns=list(ACTION_COLUMNS))
    series = frame["unique_id"]
    ratio = frame["split"].where(frame["split"] > 0, 1.0)
    later_splits = _product_of_later_rows(ratio, series)
    price_factor = 1.0 / later_splits
    if how == "splits_and_dividends":
        # the dividend is per share after that day's split, the close of the day before is not
        close_before = frame.groupby(series)["close"].ffill().groupby(series).shift() / ratio
        dividend_share = frame["dividend"] / close_before
        dividend_share = dividend_share.where((dividend_share > 0) & (dividend_share < 1), 0.0)
        price_factor *= _product_of_later_rows(1.0 - dividend_share, series)
    result = frame.drop(columns=list(ACTION_COLUMNS))
    prices = [name for name in PRICE_COLUMNS if name in frame]
    result[prices] = frame[prices].mul(price_factor, axis=0)
    if "volume" in frame:
        result["volume"] = frame["volume"] * later_splits
    return result


def _product_of_later_rows(values: pd.Series, series: pd.Series) -> pd.Series:
    """At each row the product of all later rows of its series."""
    with_own = values[::-1].groupby(series).cumprod()
    return with_own.groupby(series).shift(fill_value=1.0)[::-1]


def _log_range(high: pd.Series, low: pd.Series) -> pd.Series:
    """ln(high / low); missing where one of them is not positive."""
    ratio = high.where(high > 0) / low.where(low > 0)
    return pd.Series(np.log(ratio), index=ratio.index)


MOST_CATEGORIES = 10
"""The most categories of a text column that `add` takes as static; more are rather names of
series.
"""
DERIVED_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[..., pd.Series]]] = {
    "daily_range": (("high", "low"), _log_range)
}
"""By column, the columns that it is computed from and the function, where the source does not
deliver a column of this name.
"""


def needed_columns(columns: Iterable[str], available: Collection[str]) -> list[str]:
    """The source columns that `columns` need: themselves, or those that one is computed from where
    it is not among `available`.
    """
    names: list[str] = []
    for column in columns:
        is_computed = column in DERIVED_COLUMNS and column not in available
        names += DERIVED_COLUMNS[column][0] if is_computed else (column,)
    return names


def require_columns(
    available: Collection[str], dataset: Dataset, *, where: str, mend: str = MAPPING_HINT
) -> None:
    """`InputError`, with `mend` as its last sentence, for the first column of the dataset that is
    neither `available` nor computable.
    """
    for name in needed_columns(dataset.source_columns, available):
        require_column(name, available, where, mend)


def derive_and_select(raw: pd.DataFrame, dataset: Dataset, *, where: str) -> pd.DataFrame:
    """`unique_id, ds`, `Task.frame_names` and the static inputs of a raw frame; all else is
    dropped.
    """
    require_columns(raw.columns, dataset, where=where)
    names = [*dataset.task.frame_names, *dataset.static_names]
    frame = raw.copy(deep=False)
    for name in names:
        if name not in raw.columns:
            inputs, compute = DERIVED_COLUMNS[name]
            frame[name] = compute(*(raw[column] for column in inputs))
    return check_frame(frame, names, where=where)


def encode_static(
    table: pd.DataFrame, static: Iterable[StaticColumn], id_column: str, *, where: str
) -> pd.DataFrame:
    """`table` with the inputs of the `static` columns, constant within each series; without
    `id_column` all rows are one series, which is not checked.

    `InputError` for a column that is missing, changes within a series or has no value in one, or
    holds a value that its entry does not allow; and for a row without the name of its series.
    """
    inputs: dict[str, pd.Series] = {}
    for column in static:
        name = column.column
        require_column(name, table.columns, where, "Correct `static`.")
        values = table[name].astype("str").where(table[name].notna())
        if id_column in table:
            is_unnamed = table[id_column].isna()
            if is_unnamed.any():
                raise InputError(
                    f"{where}, {name_row(table.index, first_true(is_unnamed))}: no name of its"
                    " series. Complete the row, or take it out where it is a total of others."
                )
            groups = values.groupby(table[id_column].astype("str"))
            counts = groups.nunique()
            if (counts == 0).any():
                raise InputError(
                    f"{where}: series {counts.idxmin()!r} has no value of {name!r}, which is"
                    " `static`. Take its rows out where it is a total of others, or fill the cells."
                )
            if (counts > 1).any():
                raise InputError(
                    f"{where}: series {counts.idxmax()!r} has {counts.max()} values of {name!r};"
                    " wanted one, as it is `static`. Correct the rows, or make it `past_exogenous`."
                )
            values = groups.transform("first")
        if column.categories:
            encoded = [(values == category).astype(float) for category in column.categories]
            is_wrong = ~values.isin(column.categories)
            allowed = f"one of {quote_names(column.categories)}"
        else:
            numbers = (pd.to_numeric(values, errors="coerce") - column.centre) / column.scale
            encoded = [numbers]
            is_wrong = numbers.isna()
            examples = ", ".join(map(str, values.unique()[:MOST_CATEGORIES]))
            allowed = f"a number, or `categories: [{examples}]`"
        if is_wrong.any():
            cell = str(values[is_wrong].iloc[0])
            raise InputError(
                f"{where}: column {name!r} holds {cell!r}; wanted {allowed}. Correct the cell,"
                " or the column under `static`."
            )
        inputs |= dict(zip(column.frame_names, encoded, strict=True))
    return table.assign(**inputs)


def guess_static(values: pd.Series) -> StaticColumn:
    """The entry of a column that is constant within each series: text by its categories, numbers by
    mean and standard deviation of their distinct values.
    """
    name = str(values.name)
    if not has_number_type(values):
        categories = values.dropna().astype("str").unique()
        return StaticColumn(column=name, categories=tuple(sorted(categories)))
    # a number beyond the limit is refused by `check_frame`
    distinct = values[values.abs() <= MAX_MAGNITUDE].drop_duplicates()
    centre = float(f"{distinct.mean():.4g}")
    spread = float(f"{distinct.std(ddof=0):.4g}")
    return StaticColumn(column=name, centre=centre, scale=spread if spread > 0 else 1.0)


def add_known_ahead(frame: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """`frame` with a column for each step of what is known ahead: plans of the data, and
    holidays.
    """
    task = dataset.task
    return add_future_steps(
        frame, dataset.known_ahead, dataset.horizon, dataset.calendar, task.holidays
    )


def add_future_steps(
    frame: pd.DataFrame,
    plans: Sequence[str],
    horizon: int,
    calendar: Calendar,
    holidays: Holidays | None = None,
) -> pd.DataFrame:
    """`frame` with `horizon` columns `<name>+<step>` for each column of `plans` and of `holidays`:
    at each row, the value 1, 2, ... steps later.

    Rows after the last observation may hold plans alone. Where the later step has no row or no
    value, the result is NaN: an ordinary gap in the past, or a fault in the horizon of a forecast,
    which `data.windows.require_rows` reports. `InputError` where a column has such a name already.
    """
    if not plans and holidays is None:
        return frame
    tables = []
    for _, rows in frame.groupby("unique_id", sort=False):
        steps = grid(calendar, rows["ds"].iloc[0], rows["ds"].iloc[-1])
        values = rows.set_index("ds")[list(plans)].reindex(steps)
        if holidays is not None:
            with_horizon = steps.union(next_steps(calendar, steps[-1], horizon))
            values = values.reindex(with_horizon).join(
                holiday_columns(holidays, calendar, with_horizon)
            )
        shifted = {}
        for name in values.columns:
            for step in range(1, horizon + 1):
                shifted[future_frame_name(name, step)] = values[name].shift(-step)
        tables.append(pd.DataFrame(shifted).reindex(rows["ds"]).set_axis(rows.index))
    future_columns = pd.concat(tables)
    clashing = [name for name in future_columns if name in frame]
    if clashing:
        raise InputError(
            f"Columns {quote_names(clashing)} have the names of steps ahead of what is known in"
            " advance. Rename them."
        )
    return frame.join(future_columns)


def holiday_columns(rule: Holidays, calendar: Calendar, times: pd.DatetimeIndex) -> pd.DataFrame:
    """(T, columns of the rule) float64, indexed by `times` (T,): rising steps of `calendar`, in
    UTC. A row tells of its own step: of one shorter than a day that day in the rule's time zone, of
    a longer one the sum over its days. A holiday on a weekend counts as well.
    """
    step = step_length(calendar)
    if step is not None and step < DAY:
        first_days = last_days = local_times(times, rule.time_zone or "UTC").normalize()
    else:
        first_days, last_days = step_days(calendar, times)
    margin = max(rule.days_before, rule.days_after, 1) + 1
    days = pd.date_range(first_days[0] - margin * DAY, last_days[-1] + margin * DAY)
    by_day = _daily_columns(rule, days)
    totals = by_day.cumsum()
    counts = totals.loc[last_days].to_numpy() - totals.loc[first_days - DAY].to_numpy()
    return pd.DataFrame(counts.round(9), index=times, columns=by_day.columns)


def _daily_columns(rule: Holidays, days: pd.DatetimeIndex) -> pd.DataFrame:
    """The columns of the rule for consecutive `days`; no day outside of them counts as a
    holiday.
    """
    holiday = pd.Series(_holiday_shares(rule, days), index=days)
    days_ago = [-n_days for n_days in range(1, rule.days_before + 1)]
    days_ago += range(1, rule.days_after + 1)
    columns = [holiday, *(holiday.shift(n_days, fill_value=0.0) for n_days in days_ago)]
    if rule.bridge_days:
        is_free = (holiday > 0) | (days.day_of_week >= SATURDAY)
        is_between = is_free.shift(1, fill_value=False) & is_free.shift(-1, fill_value=False)
        columns.append((is_between & ~is_free).astype(float))
    return pd.concat(columns, axis=1, keys=rule.columns)


def _holiday_shares(rule: Holidays, days: pd.DatetimeIndex) -> np.ndarray:
    """(T,): 1 for a holiday of the country, 0 else; for several states the share that has the day
    off.
    """
    from holidays import country_holidays

    years = range(days[0].year, days[-1].year + 1)
    free_days = [
        days.isin(pd.DatetimeIndex(list(country_holidays(rule.country, subdiv=state, years=years))))
        for state in rule.states or (None,)
    ]
    return np.mean(free_days, axis=0)


@dataclass(frozen=True)
class Lateness:
    """most_steps: how many steps a series' last value may be behind the newest value of all series,
    for the series to keep its rows up to the newest. plan_may_follow: also without a plan there,
    where the plan comes with the forecast.
    """

    most_steps: int = 0
    plan_may_follow: bool = False


NO_LATENESS = Lateness()


def spread_over_horizon(
    frame: pd.DataFrame,
    plans: Sequence[str],
    observed: Iterable[str],
    horizon: int,
    calendar: Calendar,
    holidays: Holidays | None = None,
    lateness: Lateness = NO_LATENESS,
) -> pd.DataFrame:
    """The rows of a history and of the plan after it, as a model reads them: up to the last value
    of an `observed` column in each series, with the columns of `add_future_steps`.

    A series that is late by at most `lateness` keeps its rows, without values, up to the newest
    value of all series where its plan reaches beyond it: an article that is sold out ends with the
    others.
    """
    with_steps = add_future_steps(frame, plans, horizon, calendar, holidays)
    return _trim_to_ends(with_steps, observed, plans, horizon, lateness)


def _trim_to_ends(
    frame: pd.DataFrame,
    observed: Iterable[str],
    plans: Sequence[str],
    horizon: int,
    lateness: Lateness,
) -> pd.DataFrame:
    """`frame` up to the last observation of each series. A late series is kept up to the newest
    observation of all, where its columns `<plan>+<step>` hold the whole horizon there (see
    `Lateness`).
    """
    series, times = frame["unique_id"], frame["ds"]
    ends = last_value_times(frame, observed)
    planned = [future_frame_name(name, step) for name in plans for step in range(1, horizon + 1)]
    if lateness.most_steps and len(ends) and {*planned} <= {*frame.columns}:
        newest = ends.max()
        n_planned = frame[planned].notna().sum(axis=1)
        at_newest = n_planned[times == newest].groupby(series).max().reindex(ends.index)
        may_go_on = at_newest == len(planned)
        if lateness.plan_may_follow:
            at_end = n_planned[times == series.map(ends)].groupby(series).max()
            may_go_on |= (at_newest == 0) & (at_end < len(planned))
        has_value = frame[list(observed)].notna().any(axis=1)
        earliest = np.unique(times[has_value])[-1 - lateness.most_steps :][0]
        ends = ends.mask(may_go_on & (ends >= earliest), newest)
    return _rows_until(frame, ends)


def append_plan(
    history: pd.DataFrame,
    plan: pd.DataFrame,
    observed: Iterable[str],
    horizon: int,
    calendar: Calendar,
    *,
    where: str,
) -> pd.DataFrame:
    """A long `history` in which the rows of `plan` (`unique_id, ds` and columns known ahead)
    replace all rows from the plan's first time after each series' last value of an `observed`
    column on. Earlier rows of the plan are ignored.

    `InputError` for a plan of such rows alone, and for a series whose rows are all outside of the
    horizon, where `history` has a plan of its own that would be used in their place.
    """
    last_times = last_value_times(history, observed)
    last_planned, newest = plan["ds"].max(), last_times.max()
    if last_planned <= newest:
        raise InputError(
            f"{where}: found rows up to {format_times([last_planned], calendar)}, none after the"
            f" last observation ({format_times([newest], calendar)}); wanted the horizon. Correct"
            " the dates."
        )
    future_rows = plan[plan["ds"] > last_times.reindex(plan["unique_id"]).to_numpy()]
    is_planned = history["ds"] > last_times.reindex(history["unique_id"]).to_numpy()
    if is_planned.any():
        ends = next_steps(calendar, newest, horizon)[[0, -1]]
        used = future_rows["unique_id"][future_rows["ds"] <= ends[1]]
        has_own_plan = plan["unique_id"].isin(history["unique_id"][is_planned])
        _refuse_unused(plan[has_own_plan & ~plan["unique_id"].isin(used)], ends, calendar, where)
    first_planned = future_rows.groupby("unique_id")["ds"].min()
    is_replaced = history["ds"] >= first_planned.reindex(history["unique_id"]).to_numpy()
    rows = pd.concat([history[~is_replaced], future_rows])
    return rows.sort_values(list(KEY_COLUMNS), kind="stable", ignore_index=True)


def _refuse_unused(
    plan: pd.DataFrame, ends: pd.DatetimeIndex, calendar: Calendar, where: str
) -> None:
    """`InputError` for the first series of a `plan` of which no row is between `ends`, the first
    and last step of the horizon; nothing for an empty plan.
    """
    if plan.empty:
        return
    name = plan["unique_id"].iloc[0]
    times = plan["ds"][plan["unique_id"] == name].agg(["min", "max"])
    planned_span, horizon_span = (
        " to ".join(format_times([end], calendar) for end in pair) for pair in (times, ends)
    )
    raise InputError(
        f"{where}, series {name!r}: found rows from {planned_span}, wanted some from"
        f" {horizon_span}, which are forecast. Correct the dates, or leave the series out:"
        " then the plan of the data is used."
    )


def trim_to_observed(frame: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """`frame` up to the last row of each series with an observation; plans and looked-up values are
    none. Unchanged where the dataset has no plans. Where all columns may have gaps, a series that
    is less than a horizon late keeps its rows up to the end of the others, as in
    `spread_over_horizon`.
    """
    if not dataset.known_ahead:
        return frame
    may_be_missing = all(column.max_missing > 0 for column in dataset.columns)
    lateness = Lateness(dataset.horizon - 1 if may_be_missing else 0, plan_may_follow=True)
    observed = measured_columns(frame, dataset)
    return _trim_to_ends(frame, observed, dataset.known_ahead, dataset.horizon, lateness)


def measured_columns(frame: pd.DataFrame, dataset: Dataset) -> list[str]:
    """The columns of a raw frame that the dataset reads as observations, without plans and static
    columns; for a computed column those it is computed from.
    """
    unmeasured = [*dataset.known_ahead, *dataset.static_names]
    measured = [column for column in dataset.source_columns if column not in unmeasured]
    return [name for name in needed_columns(measured, frame.columns) if name in frame]


def trim_to_last_value(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """`frame` up to the last row of each series with a value in one of the columns."""
    return _rows_until(frame, last_value_times(frame, columns))


def _rows_until(frame: pd.DataFrame, ends: pd.Series) -> pd.DataFrame:
    """The rows up to the time in `ends` of their series; none of a series without one."""
    # not by `map`, which refuses times where there are none
    return frame[frame["ds"] <= ends.reindex(frame["unique_id"]).to_numpy()].reset_index(drop=True)


def last_value_times(frame: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """By `unique_id`, the last time with a value in one of the columns, for series that
    have one.
    """
    has_value = frame[list(columns)].notna().any(axis=1)
    return frame.loc[has_value, ["unique_id", "ds"]].groupby("unique_id")["ds"].max()


def is_behind_last_value(frame: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """(n,): whether each row is later than the last value, in any series, of one of the columns. A
    series that ended before the others has no such rows.
    """
    return frame["ds"] > last_value_times(frame, columns).max()


def joined_datasets(dataset: Dataset) -> list[str]:
    """The datasets whose snapshots this one reads; stage `fetch` depends on their pointers too."""
    return sorted(
        {column.joined.dataset for column in dataset.columns if column.joined is not None} - {""}
    )


def with_joined_datasets(names: Iterable[str], configs: Path) -> list[str]:
    """`names` and all datasets that they join, directly or not, each after those it joins;
    `InputError` for an unknown name.
    """
    order: dict[str, None] = {}

    def append_after_joined(name: str, above: tuple[str, ...]) -> None:
        for other in joined_datasets(load_dataset(name, configs)):
            if other not in (*order, *above, name):
                append_after_joined(other, (*above, name))
        order[name] = None

    for name in names:
        append_after_joined(name, ())
    return list(order)


def add_joined(frame: pd.DataFrame, dataset: Dataset, *, root: Path, where: str) -> pd.DataFrame:
    """`frame` with its `joined` columns: at each row the last value known then, NaN where there is
    none or it is older than `max_age_days`. `InputError` for a column or series that the other
    dataset does not have.
    """
    lookups = {c.column: c.joined for c in dataset.columns if c.joined is not None}
    others = {}
    for name in sorted({lookup.dataset for lookup in lookups.values()}):
        # an empty name means this dataset
        other = load_dataset(name, ProjectPaths.of(root).configs) if name else dataset
        rows = snapshots.read_pointed(root, name) if name else frame
        others[name] = other, adjust_prices(rows, other.source.adjustment)
    result = frame.copy(deep=False)
    for column, lookup in lookups.items():
        result[column] = _joined_values(frame, dataset, lookup, *others[lookup.dataset], where)
    return result


def _joined_values(
    frame: pd.DataFrame,
    dataset: Dataset,
    lookup: JoinedColumn,
    other: Dataset,
    values: pd.DataFrame,
    where: str,
) -> pd.Series:
    """One joined column for the rows of `frame`, see `add_joined`. other, values: the dataset that
    `lookup` names, and its rows with adjusted prices.
    """
    subject = f"dataset {lookup.dataset!r}" if lookup.dataset else "the dataset itself"
    where = f"{where}, `joined`: {subject}"
    require_known(lookup.column, list(values.columns), f"{where} has no column")
    require_known(lookup.series, list(values["unique_id"].unique()), f"{where} has no series")
    series = values[values["unique_id"] == lookup.series].dropna(subset=[lookup.column])
    lookup_rows = pd.DataFrame(
        {
            "known": known_from(other.calendar, series["ds"]),
            "value": series[lookup.column].to_numpy(),
        }
    )
    # a week may be labelled by its first or its last day; within a dataset all labels are alike
    request_times = (read_until if lookup.dataset else known_from)(dataset.calendar, frame["ds"])
    requests = pd.DataFrame({"known": request_times, "row": frame.index})
    matched = pd.merge_asof(
        requests.sort_values("known", kind="stable"),
        lookup_rows.sort_values("known", kind="stable"),
        on="known",
        tolerance=pd.Timedelta(lookup.max_age_days, "D"),
    )
    return matched.set_index("row")["value"].reindex(frame.index)
