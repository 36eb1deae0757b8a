"""Family `seasonal_naive`: the last observed value of the same place in the season.

Nothing is fitted. It is left out where the dataset has no season, as it is `naive` there.

`Spec` (a `BaselineSpec`) is what an entry of configs/models.yaml with this family is read as.
`forecast` takes `Windows`, past rows (B, T, C) in scaled units, and gives (B, H, O) in the same; it
reads no row after the cutoff. A lookback shorter than a season is lengthened to it; where the rows
before the cutoff are fewer, that is a `ModelError`. The rule itself is the seasonal skip
(`forecast.models.skip`).
"""

from __future__ import annotations

import numpy as np

from forecast.data.windows import Layout, Windows
from forecast.models.base import BaselineSpec
from forecast.models.skip import Skip
from forecast.system.errors import ModelError


class Spec(BaselineSpec):
    """An entry of this family: a rule on the rows of the window."""

    summary = "Repeats the value one season earlier."
    equation = "y[t+h] = y[t + h - m ceil(h/m)]"
    source = "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2"
    needs_whole_season = True

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season; empty when it fits."""
        return "without a season it is naive" if season_length == 1 else ""

    def forecast(
        self, windows: Windows, channels: Layout, *, horizon: int, season_length: int
    ) -> np.ndarray:
        """(B, H, O) in scaled units; `ModelError` for windows without a whole season."""
        n_rows = windows.past.shape[1]
        if n_rows < season_length:
            raise ModelError(
                f"Its season of {season_length} steps is longer than lookback={n_rows}, and the"
                " first cutoff has no more rows before it, so no value is a season old. Wait for"
                " more rows, or shorten `season_length`."
            )
        return Skip("seasonal", horizon, channels.outputs, season_length).forecast(
            windows, channels
        )
