"""Family `drift`: the straight line through the first and the last value of the lookback,
continued.

Nothing is fitted. Where the lookback begins with a gap, its first observed value is the first; with
a single observed value it is `naive`.

`Spec` (a `BaselineSpec`) is what an entry of configs/models.yaml with this family is read as.
`forecast` takes `Windows`, past rows (B, T, C) in scaled units, and gives (B, H, O) in the same; it
reads no row after the cutoff. The horizon may be longer than the one of the task, since nothing is
fitted to it.
"""

from __future__ import annotations

import numpy as np

from forecast.data.windows import Layout, Windows, fill_gaps
from forecast.models.base import BaselineSpec


class Spec(BaselineSpec):
    """An entry of this family: a rule on the rows of the window."""

    summary = "Continues the average change of the lookback."
    equation = "y[t+h] = y[t] + h (y[t] - y[t-L+1]) / (L - 1)"
    source = "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2"

    def forecast(
        self, windows: Windows, channels: Layout, *, horizon: int, season_length: int
    ) -> np.ndarray:
        """(B, H, O) in scaled units: the last value, and the slope of the window once more for
        every step.
        """
        z = windows.z[:, :, : channels.outputs]
        # of all missing: row 0, where `filled` has the same value as at the end
        first = np.isfinite(z).argmax(axis=1)
        start = np.take_along_axis(fill_gaps(z)[0], first[:, None], axis=1)[:, 0]
        slope = (windows.last - start) / np.maximum(z.shape[1] - 1 - first, 1)
        return (
            windows.last[:, None, :] + np.arange(1, horizon + 1)[None, :, None] * slope[:, None, :]
        )
