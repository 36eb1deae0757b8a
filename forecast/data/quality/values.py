"""Checks of single columns: spikes, repeats, units, missing values, columns shared between series."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset
from forecast.data.quality.finding import Finding, times
from forecast.data.schema import KEYS

SAMPLE = 1000

# Quantity → unit → (lowest and highest possible value, lowest and highest usual median of a year on land).
UNITS: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "temperature": {
        "°C": (-90, 60, -30, 33),
        "°F": (-130, 140, 33.5, 92),
        "K": (180, 335, 240, 307),
    },
    "wind speed": {
        "m/s": (0, 75, 0.7, 8.5),
        "km/h": (0, 270, 8.6, 31),
        "mph": (0, 170, 5.5, 19),
    },
    "pressure": {"hPa": (850, 1090, 950, 1035), "Pa": (85_000, 109_000, 95_000, 103_500)},
    "relative humidity": {"%": (0, 100.5, 10, 100)},
    "precipitation": {"mm": (0, 310, 0, 10)},
}


def spikes(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """A value far from both neighbours on the same side: the smaller step over the 99th percentile of all steps."""
    for series, column, when, values in _columns(frame, _numbers(frame)):
        step = np.diff(values)
        if len(step) < 20 or np.mean(values == 0) > 0.5:  # what is zero most of the time comes in bursts, as rain does
            continue
        usual = np.quantile(np.abs(step), 0.99)
        there, back = step[:-1], -step[1:]
        lonely = np.where(there * back > 0, np.minimum(np.abs(there), np.abs(back)), 0.0)
        found = np.flatnonzero(lonely > limit * usual) + 1 if usual > 0 else np.array([], dtype=int)
        if found.size:
            worst = values[found[np.argmax(lonely[found - 1])]]
            text = f"{found.size} values stand alone ({times(when[found])}; the worst is {worst:g})."
            yield Finding("spikes", series, column, int(found.size), f"{text} Correct them, or leave the cells empty.")


def stale_repeats(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """The same value, not zero, for more than `limit` rows in a row: a stuck sensor or a filled gap."""
    for series, column, when, values in _columns(frame, _targets(frame, dataset)):
        starts = np.flatnonzero(np.append(True, np.diff(values) != 0))
        lengths = np.diff(np.append(starts, len(values)))
        found = (lengths > limit) & (values[starts] != 0)
        if found.any():
            text = f"{found.sum()} runs of equal values, the longest of {lengths[found].max()} rows"
            count = int(lengths[found].sum())
            yield Finding("stale_repeats", series, column, count, f"{text} ({times(when[starts[found]])}).")


def units(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Values outside of what the stated unit allows, or a median that another unit of the quantity explains."""
    for stated in dataset.columns:
        quantity = next((known for known in UNITS.values() if stated.unit in known), None)
        if quantity is None or stated.column not in frame.columns:
            continue
        low, high, *_ = quantity[stated.unit]
        for series, name, when, values in _columns(frame, [stated.column]):
            outside = (values < low) | (values > high)
            if outside.sum() > limit:
                text = f"{outside.sum()} are no {stated.unit} ({times(when[outside])}), wanted {low:g} to {high:g}."
                yield Finding("units", series, name, int(outside.sum()), text)
            yield from _other_unit(series, name, stated.unit, quantity, float(np.median(values)))


def missing_share(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Empty cells as a share of a series' rows."""
    shares = frame[_numbers(frame)].isna().groupby(frame["unique_id"], sort=True).mean()
    for series, column in np.argwhere(shares.to_numpy() > limit):
        share, name = shares.iloc[series, column], str(shares.columns[column])
        count = round(share * (frame["unique_id"] == shares.index[series]).sum())
        yield Finding(
            "missing_share", str(shares.index[series]), name, count, f"{share:.1%} of the rows have no value."
        )


def missing_cells(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Rows where a column has no value, named by their times; a larger share is `missing_share`'s to tell."""
    rows_of = frame["unique_id"].value_counts()
    for column in _numbers(frame):
        empty = frame[frame[column].isna()]
        for series, rows in empty.groupby("unique_id", sort=True):
            if limit < len(rows) <= dataset.quality.missing_share.limit * rows_of[series]:
                yield Finding(
                    "missing_cells",
                    str(series),
                    column,
                    len(rows),
                    f"{len(rows)} cells are empty ({times(rows['ds'])}).",
                )


def shared_columns(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Series with the same values in a column: a split by series would leak. A column common to all is no finding.

    Pairs are compared on a sample of times, and only those equal there on all of them.
    """
    if frame["unique_id"].nunique() < 3:
        return
    moments = frame["ds"].drop_duplicates().to_numpy()
    sample = frame[frame["ds"].isin(moments[:: max(1, len(moments) // SAMPLE)])]
    for column in _numbers(frame):
        groups = _equal_groups(sample.pivot(index="ds", columns="unique_id", values=column), limit)
        for group in groups:
            rows = frame[frame["unique_id"].isin(group)].pivot(index="ds", columns="unique_id", values=column)
            if len(group) < frame["unique_id"].nunique() and _equal_groups(rows, limit) == [group]:
                text = f"{', '.join(group)} have the same values; as separate series they leak into each other."
                yield Finding("shared_columns", group[0], column, len(group), text)


def _other_unit(
    series: str, column: str, unit: str, quantity: dict[str, tuple[float, float, float, float]], median: float
) -> Iterator[Finding]:
    *_, low, high = quantity[unit]
    if low <= median <= high:
        return
    fitting = [other for other, (*_, least, most) in quantity.items() if other != unit and least <= median <= most]
    if fitting:
        text = f"the median is {median:.3g} {unit}, usual for {' or '.join(fitting)}; is the unit right?"
        yield Finding("units", series, column, 1, text)


def _equal_groups(wide: pd.DataFrame, limit: float) -> list[list[str]]:
    """Groups of two or more columns that differ on at most a share `limit` of the steps both have."""
    groups: list[list[str]] = []
    values = wide.to_numpy()
    known = ~np.isnan(values)
    left = [i for i in range(values.shape[1]) if known[:, i].any() and np.ptp(values[known[:, i], i]) > 0]
    while left:
        first, *others = left
        both = known[:, others] & known[:, [first]]
        differ = ((values[:, others] != values[:, [first]]) & both).sum(axis=0)
        equal = differ <= limit * both.sum(axis=0)
        same = [first, *(i for i, is_equal in zip(others, equal & both.any(axis=0), strict=True) if is_equal)]
        left = [i for i in others if i not in same]
        if len(same) > 1:
            groups.append([str(wide.columns[i]) for i in same])
    return groups


def _columns(frame: pd.DataFrame, names: list[str]) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(series, column, times, values) without the empty cells; the rows of a series stand together."""
    codes, series = pd.factorize(frame["unique_id"])
    borders = np.append(np.flatnonzero(np.append(True, np.diff(codes) != 0)), len(codes))
    when = frame["ds"].to_numpy()
    for name in names:
        values = frame[name].to_numpy()
        for start, stop in itertools.pairwise(borders):
            known = ~np.isnan(values[start:stop])
            if known.any():
                yield str(series[codes[start]]), name, when[start:stop][known], values[start:stop][known]


def _numbers(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns if name not in KEYS]


def _targets(frame: pd.DataFrame, dataset: Dataset) -> list[str]:
    return [column.column for column in dataset.target if column.column in frame.columns]
