"""Columns that a source does not deliver as they are used: adjusted prices, computed and joined
columns.

Adjusted: later splits and dividends applied backwards from the last row, so that prices as traded
become one comparable history. Computed: from other columns of the same row. Joined from another
dataset: at each row the last value that was known when the row itself was.

Public holidays follow from the date alone, by the library `holidays`. A step of less than a day has
the value of its day by the clock of the rule; a longer one the number of such days it lasts. Half
days, school holidays and what was never law are not in it: those are columns of the data.

`adjust_prices`, `derive_and_select`, `add_joined` and `add_known_ahead` do it for
`data.preparation`; `spread_over_horizon` and `append_plan` for requests and frames of Python. A
column that is neither there nor computable is an `InputError`; a value that was not known is NaN,
never filled.
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
    has_number_type,
    name_row,
)
from forecast.system.errors import InputError, quote_names, require_column, require_known

ACTION_COLUMNS = ("split", "dividend")
SATURDAY = 5
PRICE_COLUMNS = ("open", "high", "low", "close")


def adjust_prices(frame: pd.DataFrame, how: Adjustment) -> pd.DataFrame:
    """A raw long frame without its action columns; a frame that has none comes back as it is.

    A price at t is divided by the product of all later split ratios and multiplied by Π (1 −
    dividend_k / close_{k−1}) over the later ex-dates k (the CRSP convention), so returns across an
    ex-date are those of a holder. Volume is multiplied by the split ratios. Only the scale of a
    series depends on where it ends, never a return.
    """
    if not set(ACTION_COLUMNS) <= set(frame.columns):
        return frame
    if how == "none":
        return frame.drop(columns=list(ACTION_COLUMNS))
    factors = pd.concat(
        [_adjustment_factors(rows, how) for _, rows in frame.groupby("unique_id", sort=False)]
    )
    factors = factors.reindex(frame.index)
    result = frame.drop(columns=list(ACTION_COLUMNS))
    prices = [name for name in PRICE_COLUMNS if name in frame]
    result[prices] = frame[prices].mul(factors["price"], axis=0)
    if "volume" in frame:
        result["volume"] = frame["volume"] * factors["shares"]
    return result


def _adjustment_factors(rows: pd.DataFrame, how: Adjustment) -> pd.DataFrame:
    """What volume (`shares`) and prices (`price`) are multiplied by, per row of one series in time
    order.
    """
    ratio = rows["split"].where(rows["split"] > 0, 1.0)
    shares = _product_of_later_rows(ratio)
    price = 1.0 / shares
    if how == "splits_and_dividends":
        # The dividend is per share after that day's split, the close before it per share before:
        # bring both together.
        before = rows["close"].ffill().shift() / ratio
        paid = rows["dividend"] / before
        paid = paid.where((paid > 0) & (paid < 1), 0.0)
        price = price * _product_of_later_rows(1.0 - paid)
    return pd.DataFrame({"shares": shares, "price": price})


def _product_of_later_rows(values: pd.Series) -> pd.Series:
    """At each row the product over all later rows."""
    return values[::-1].cumprod()[::-1].shift(-1, fill_value=1.0)


def _log_range(high: pd.Series, low: pd.Series) -> pd.Series:
    """ln(high / low); missing where one of them is not above zero."""
    ratio = high.where(high > 0) / low.where(low > 0)
    return pd.Series(np.log(ratio), index=ratio.index)


MOST_CATEGORIES = 10
"""Of a static column of text that is taken unasked: one with more rather names its series."""
DERIVED_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[..., pd.Series]]] = {
    "daily_range": (("high", "low"), _log_range)
}
"""Column → what it is computed from and how, where the source does not deliver a column of this
name itself.
"""


def inputs_of_column(column: str, available: Collection[str]) -> tuple[str, ...]:
    """The source columns that `column` needs: itself, or those it is computed from when it is not
    among `available`.
    """
    return (
        DERIVED_COLUMNS[column][0]
        if column in DERIVED_COLUMNS and column not in available
        else (column,)
    )


def require_columns(
    available: Collection[str], dataset: Dataset, *, where: str, mend: str = MAPPING_HINT
) -> None:
    """Raises `InputError`, which ends in `mend`, for the first column of the dataset neither there
    nor computable.
    """
    for column in dataset.source_columns:
        for name in inputs_of_column(column, available):
            require_column(name, available, where, mend)


def derive_and_select(raw: pd.DataFrame, dataset: Dataset, *, where: str) -> pd.DataFrame:
    """`unique_id, ds` and `Task.frame_names` of a raw frame; what the dataset does not use is
    dropped.
    """
    require_columns(raw.columns, dataset, where=where)
    columns = {name: raw[name] for name in KEY_COLUMNS}
    names = [*dataset.task.frame_names, *dataset.static_names]
    for name in names:
        if name in raw.columns:
            columns[name] = raw[name]
        else:
            inputs, compute = DERIVED_COLUMNS[name]
            columns[name] = compute(*(raw[name] for name in inputs))
    return check_frame(pd.DataFrame(columns), names, where=where)


def encode_static(
    table: pd.DataFrame, static: Iterable[StaticColumn], id_column: str, *, where: str
) -> pd.DataFrame:
    """`table` with the inputs of the `static` columns, the same number in every row of a series.

    `InputError` for a column that is missing, changes in a series, or holds what its entry does not
    allow.
    """
    inputs: dict[str, pd.Series] = {}
    for column in static:
        name = column.column
        require_column(name, table.columns, where, "Correct `static`.")
        values = table[name].astype("str").where(table[name].notna())
        if id_column in table:
            for row in np.flatnonzero(table[id_column].isna())[:1]:
                raise InputError(
                    f"{where}, {name_row(table.index, row)}: no name of its"
                    " series. Complete the row, or take it out where it is a total of others."
                )
            groups = values.groupby(table[id_column].astype("str"))
            counts = groups.nunique()
            for series in counts.index[counts == 0][:1]:
                raise InputError(
                    f"{where}: series {series!r} has no value of {name!r}, which is `static`."
                    " Take its rows out where it is a total of others, or fill the cells."
                )
            for series, count in counts[counts > 1][:1].items():
                raise InputError(
                    f"{where}: series {series!r} has {count} values of {name!r};"
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
    """How a column that never changes in a series becomes inputs: text by its categories, numbers
    by the mean and standard deviation of what it holds.
    """
    name = str(values.name)
    if not has_number_type(values):
        categories = values.dropna().astype("str").unique()
        return StaticColumn(column=name, categories=tuple(sorted(categories)))
    # a larger number, or none, is told where the frame is checked
    distinct = values[values.abs() <= MAX_MAGNITUDE].drop_duplicates()
    centre = float(f"{distinct.mean():.4g}")
    spread = float(f"{distinct.std(ddof=0):.4g}")
    return StaticColumn(column=name, centre=centre, scale=spread if spread > 0 else 1.0)


def add_known_ahead(frame: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """`frame` with every step of what is known ahead: the plans of the data, and holidays."""
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
    """`frame` with `horizon` columns `<name>+<step>` for each of `plans`, its columns, and for each
    column of `holidays`: at each row the value 1, 2, ... steps later.

    Rows after the last observation may hold plans alone, so that a forecast from there knows its
    horizon. A step without a row or a value gives NaN: a gap of the past, or, in the horizon of a
    forecast, a fault that `data.windows.require_rows` tells.
    """
    if not plans and holidays is None:
        return frame
    parts = []
    for _, rows in frame.groupby("unique_id", sort=False):
        steps = grid(calendar, rows["ds"].iloc[0], rows["ds"].iloc[-1])
        values = rows.set_index("ds")[list(plans)].reindex(steps)
        if holidays is not None:
            whole = steps.union(next_steps(calendar, steps[-1], horizon))
            values = values.reindex(whole).join(holiday_columns(holidays, calendar, whole))
        shifted = {}
        for name in values.columns:
            for step in range(1, horizon + 1):
                shifted[future_frame_name(name, step)] = values[name].shift(-step)
        parts.append(pd.DataFrame(shifted).reindex(rows["ds"]).set_axis(rows.index))
    ahead = pd.concat(parts)
    clashing = [name for name in ahead if name in frame]
    if clashing:
        raise InputError(
            f"Columns {quote_names(clashing)} have the names of steps ahead of what is known in"
            " advance. Rename them."
        )
    return frame.join(ahead)


def holiday_columns(rule: Holidays, calendar: Calendar, times: pd.DatetimeIndex) -> pd.DataFrame:
    """(T, columns of the rule) float64, indexed by `times`: rising steps of `calendar`, in UTC.

    A weekend day that is a holiday counts as one.
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
    """The columns of the rule for unbroken `days`; what lies outside of them is no holiday."""
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
    """(T,) of 1 where the country has a day off; of several states the share that has."""
    from holidays import country_holidays

    years = range(days[0].year, days[-1].year + 1)
    free_days = [
        days.isin(pd.DatetimeIndex(list(country_holidays(rule.country, subdiv=state, years=years))))
        for state in rule.states or (None,)
    ]
    return np.mean(free_days, axis=0)


@dataclass(frozen=True)
class Lateness:
    """How many steps behind the newest value of all the last one of a series may be to end with it;
    `plan_may_follow`: also without a plan, which comes with the forecast.
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
    """Rows of a history and of the plan after it as a model reads them: up to each series' last
    value of an `observed` column, with the columns of `add_future_steps`.

    A series that is late by no more than `lateness` keeps its rows up to the newest value of all,
    without values, where the plan allows: what is sold out ends with the others.
    """
    whole = add_future_steps(frame, plans, horizon, calendar, holidays)
    return _trim_to_ends(whole, observed, plans, horizon, lateness)


def _trim_to_ends(
    frame: pd.DataFrame,
    observed: Iterable[str],
    plans: Sequence[str],
    horizon: int,
    lateness: Lateness,
) -> pd.DataFrame:
    """`frame` up to each series' last row with an observation; of one that is late up to its row at
    the newest of all, if the columns `<plan>+<step>` there have the horizon after it.
    """
    has_value = frame[list(observed)].notna().any(axis=1)
    times = np.unique(frame["ds"][has_value])
    if not len(times):
        return frame[has_value].reset_index(drop=True)
    series = frame["unique_id"]
    ends = frame["ds"][has_value].groupby(series).max()
    planned = [future_frame_name(name, step) for name in plans for step in range(1, horizon + 1)]
    if lateness.most_steps and {*planned} <= {*frame.columns}:
        n_planned = frame[planned].notna().sum(axis=1)
        at_newest = n_planned[frame["ds"] == times[-1]].groupby(series).max().reindex(ends.index)
        may_go_on = at_newest == len(planned)
        if lateness.plan_may_follow:
            at_end = n_planned[frame["ds"] == series.map(ends)].groupby(series).max()
            may_go_on |= (at_newest == 0) & (at_end < len(planned))
        is_close = ends >= times[-1 - lateness.most_steps :][0]
        ends = ends.mask(may_go_on & is_close, times[-1])
    return frame[frame["ds"] <= series.map(ends)].reset_index(drop=True)


def append_plan(history: pd.DataFrame, plan: pd.DataFrame, observed: Iterable[str]) -> pd.DataFrame:
    """A long `history` with the rows of `plan` (`unique_id, ds` and columns known ahead) after
    each series' last value of an `observed` column. From its first row there the plan stands for
    what the history planned; its times that are past say nothing new.
    """
    last_times = trim_to_last_value(history, observed).groupby("unique_id")["ds"].last()
    ahead = plan[plan["ds"] > plan["unique_id"].map(last_times)]
    first_times = history["unique_id"].map(ahead.groupby("unique_id")["ds"].min())
    is_replaced = history["ds"] >= first_times
    joined = pd.concat([history[~is_replaced], ahead])
    return joined.sort_values(list(KEY_COLUMNS), kind="stable", ignore_index=True)


def trim_to_observed(frame: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """`frame` up to each series' last row with an observation. What is planned or looked up for
    later rows is not an observation. Where values may be missing, a series that is less than a
    horizon late keeps its rows up to the end of the others, as in `spread_over_horizon`.
    """
    if not dataset.known_ahead:
        return frame
    may_be_missing = all(column.max_missing > 0 for column in dataset.columns)
    lateness = Lateness(dataset.horizon - 1 if may_be_missing else 0, plan_may_follow=True)
    observed = measured_columns(frame, dataset)
    return _trim_to_ends(frame, observed, dataset.known_ahead, dataset.horizon, lateness)


def measured_columns(frame: pd.DataFrame, dataset: Dataset) -> list[str]:
    """The columns of a raw frame that the dataset reads as observations, of a computed column those
    it is made of; no plan and no static column among them.
    """
    names: list[str] = []
    others = [*dataset.known_ahead, *dataset.static_names]
    for column in dataset.source_columns:
        if column not in others:
            names += [name for name in inputs_of_column(column, frame.columns) if name in frame]
    return names


def trim_to_last_value(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """`frame` up to each series' last row with a value in one of the columns."""
    return frame[precedes_last_value(frame, columns)].reset_index(drop=True)


def is_behind_last_value(frame: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """Whether each row is later than the last time at which any series has a value in one of the
    columns: a series that ended earlier stays as it is.
    """
    has_value = frame[list(columns)].notna().any(axis=1)
    return frame["ds"] > frame["ds"][has_value].max()


def precedes_last_value(frame: pd.DataFrame, columns: Iterable[str]) -> pd.Series:
    """Whether each row is its series' last with a value in one of the columns, or precedes it; the
    rows of a series stand in order of time.
    """
    has_value = frame[list(columns)].notna().any(axis=1)
    later_values = has_value[::-1].groupby(frame["unique_id"][::-1], sort=False).cummax()
    return later_values[::-1].astype(bool)


def joined_datasets(dataset: Dataset) -> list[str]:
    """The datasets whose snapshots this one reads; the stage that fetches it depends on their
    pointers too.
    """
    return sorted(
        {column.joined.dataset for column in dataset.columns if column.joined is not None} - {""}
    )


def with_joined_datasets(names: Iterable[str], configs: Path) -> list[str]:
    """`names` and every dataset they join, those that are joined first; `InputError` for an unknown
    name.
    """
    order: dict[str, None] = {}

    def add_behind_joined(name: str, above: tuple[str, ...]) -> None:
        for other in joined_datasets(load_dataset(name, configs)):
            if other not in (*order, *above, name):
                add_behind_joined(other, (*above, name))
        order[name] = None

    for name in names:
        add_behind_joined(name, ())
    return list(order)


def add_joined(frame: pd.DataFrame, dataset: Dataset, *, root: Path, where: str) -> pd.DataFrame:
    """`frame` with a column for each `joined` one; NaN where no value was known, or only one older
    than `max_age_days`. `InputError` for a column or series that the other dataset does not have.
    """
    lookups = {c.column: c.joined for c in dataset.columns if c.joined is not None}
    others: dict[str, Dataset] = {}
    values: dict[str, pd.DataFrame] = {}
    for name in sorted({lookup.dataset for lookup in lookups.values()}):
        others[name], rows = dataset, frame
        if name:  # an empty name means this dataset
            others[name] = load_dataset(name, ProjectPaths.of(root).configs)
            rows = snapshots.read_pointed(root, name)
        values[name] = adjust_prices(rows, others[name].source.adjustment)
    result = frame.copy(deep=False)
    for column, lookup in lookups.items():
        other, rows = others[lookup.dataset], values[lookup.dataset]
        result[column] = _joined_values(frame, dataset, lookup, other, rows, where)
    return result


def _joined_values(
    frame: pd.DataFrame,
    dataset: Dataset,
    lookup: JoinedColumn,
    other: Dataset,
    values: pd.DataFrame,
    where: str,
) -> pd.Series:
    """The values of one joined column for the rows of `frame`: the last one known when each row is;
    NaN where none was, or only one older than `max_age_days`.

    `other`, `values`: the dataset that `lookup` names, and its rows. `InputError` for a
    column or series that it does not have.
    """
    subject = f"dataset {lookup.dataset!r}" if lookup.dataset else "the dataset itself"
    where = f"{where}, `joined`: {subject}"
    require_known(lookup.column, list(values.columns), f"{where} has no column")
    require_known(lookup.series, list(values["unique_id"].unique()), f"{where} has no series")
    series = values[values["unique_id"] == lookup.series].dropna(subset=[lookup.column])
    known = pd.DataFrame(
        {
            "known": known_from(other.calendar, series["ds"]),
            "value": series[lookup.column].to_numpy(),
        }
    )
    # a week may be named by its first day or its last: within a dataset all are by the same one
    moments = (read_until if lookup.dataset else known_from)(dataset.calendar, frame["ds"])
    rows = pd.DataFrame({"known": moments, "row": frame.index})
    rows, known = (table.sort_values("known", kind="stable") for table in (rows, known))
    matched = pd.merge_asof(
        rows, known, on="known", tolerance=pd.Timedelta(lookup.max_age_days, "D")
    )
    return matched.set_index("row")["value"].reindex(frame.index)
