"""Checks of daily bars: their order, signs, splits, flat sessions and missing dividends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset
from forecast.data.quality.finding import Finding, times

BARS = ("open", "high", "low", "close")
RATIOS = np.array([1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50, 100])
JUMP = 0.3  # a smaller return is no candidate for a split


def ohlc_order(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Low ≤ Open, Close ≤ High."""
    if not set(BARS) <= set(frame.columns):
        return
    body = frame[["open", "close"]]
    wrong = (frame["low"] > body.min(axis=1)) | (frame["high"] < body.max(axis=1)) | (frame["high"] < frame["low"])
    for series, rows in frame[wrong].groupby("unique_id", sort=True):
        if len(rows) > limit:
            text = f"{len(rows)} sessions break low ≤ open, close ≤ high ({times(rows['ds'])}); correct or drop them."
            yield Finding("ohlc_order", str(series), "", len(rows), text)


def positive_prices(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Above zero, in every bar column."""
    for column in (name for name in BARS if name in frame.columns):
        for series, rows in frame[frame[column] <= 0].groupby("unique_id", sort=True):
            if len(rows) > limit:
                text = f"{len(rows)} prices are not above zero ({times(rows['ds'])}); a log is impossible there."
                yield Finding("positive_prices", str(series), column, len(rows), text)


def unadjusted_split(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """A close that falls to 1/2, 1/3, … of the last one, or rises as much, and does not come back at once."""
    if "close" not in frame.columns or "open" not in frame.columns:
        return
    for series, rows in frame.groupby("unique_id", sort=True):
        close = rows["close"].to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.where((close[1:] > 0) & (close[:-1] > 0), np.log(close[1:] / close[:-1]), 0.0)
        distance = np.abs(np.abs(change)[:, None] - np.log(RATIOS)[None, :]).min(axis=1)
        back = np.append(np.abs(change[1:] + change[:-1]) < JUMP / 2, False)
        found = (np.abs(change) > JUMP) & (distance < limit) & ~back
        if found.any():
            when = rows["ds"].iloc[1:][found]
            text = f"{found.sum()} jumps look like splits that were not undone ({times(when)}); adjust the prices."
            yield Finding("unadjusted_split", str(series), "close", int(found.sum()), text)


def flat_bars(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Open = high = low = close: no trade, or only one price a day was kept."""
    if not set(BARS) <= set(frame.columns):
        return
    flat = (frame["high"] == frame["low"]) & (frame["open"] == frame["close"]) & (frame["high"] == frame["open"])
    for series, rows in frame[flat].groupby("unique_id", sort=True):
        if len(rows) > limit:
            text = f"{len(rows)} sessions have one price for open, high, low and close ({times(rows['ds'])})."
            yield Finding("flat_bars", str(series), "", len(rows), f"{text} Their daily range says nothing.")


def dividends(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Bars from a file come without dividends: at best they are adjusted for splits."""
    if dataset.source.kind == "file" and set(BARS) <= set(frame.columns) and "dividend" not in frame.columns:
        text = (
            "the file has no column `dividend`: returns leave dividends out unless its prices are adjusted for them."
        )
        yield Finding("dividends", "", "close", int(frame["unique_id"].nunique()), text)
