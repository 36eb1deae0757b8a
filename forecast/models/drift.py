"""Drift: the straight line through the first and the last value of the lookback, continued."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from forecast.models.base import BaselineSpec
from forecast.windows import Layout, Windows, filled


class Spec(BaselineSpec):
    summary: ClassVar[str] = "Continues the average change of the lookback."
    equation: ClassVar[str] = "y[t+h] = y[t] + h (y[t] - y[t-L+1]) / (L - 1)"
    source: ClassVar[str] = "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2"

    family: Literal["drift"] = "drift"

    def forecast(self, windows: Windows, channels: Layout, *, horizon: int, season: int) -> np.ndarray:
        values = filled(windows.z[:, :, : channels.outputs])[0]
        slope = (values[:, -1] - values[:, 0]) / max(values.shape[1] - 1, 1)
        return windows.last[:, None, :] + np.arange(1, horizon + 1)[None, :, None] * slope[:, None, :]
