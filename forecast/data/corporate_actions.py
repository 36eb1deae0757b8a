"""Prices as traded become one comparable history: later splits and dividends applied backwards from the last row."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

Adjustment = Literal["splits_and_dividends", "splits", "none"]

ACTIONS = ("split", "dividend")
PRICES = ("open", "high", "low", "close")


def adjusted(frame: pd.DataFrame, how: Adjustment) -> pd.DataFrame:
    """A raw long frame without its action columns; a frame that has none comes back as it is.

    A price at t is divided by the product of all later split ratios and multiplied by Π (1 − dividend_k / close_{k−1})
    over the later ex-dates k (the CRSP convention), so returns across an ex-date are those of a holder. Volume is
    multiplied by the split ratios. Only the scale of a series depends on where it ends, never a return.
    """
    if not set(ACTIONS) <= set(frame.columns):
        return frame
    if how == "none":
        return frame.drop(columns=list(ACTIONS))
    factors = pd.concat([_factors(rows, how) for _, rows in frame.groupby("unique_id", sort=False)])
    factors = factors.reindex(frame.index)
    result = frame.drop(columns=list(ACTIONS))
    prices = [name for name in PRICES if name in frame]
    result[prices] = frame[prices].mul(factors["price"], axis=0)
    if "volume" in frame:
        result["volume"] = frame["volume"] * factors["shares"]
    return result


def _factors(rows: pd.DataFrame, how: Adjustment) -> pd.DataFrame:
    """What volume (`shares`) and prices (`price`) are multiplied by, per row of one series in time order."""
    ratio = rows["split"].where(rows["split"] > 0, 1.0)
    shares = _later(ratio)
    price = 1.0 / shares
    if how == "splits_and_dividends":
        # The dividend is per share after that day's split, the close before it per share before: bring both together.
        before = rows["close"].ffill().shift() / ratio
        paid = (rows["dividend"] / before).where(lambda share: (share > 0) & (share < 1), 0.0)
        price = price * _later(1.0 - paid)
    return pd.DataFrame({"shares": shares, "price": price})


def _later(values: pd.Series) -> pd.Series:
    """At each row the product over all later rows."""
    onwards = np.cumprod(values.to_numpy()[::-1])[::-1]
    return pd.Series(np.append(onwards[1:], 1.0), index=values.index)
