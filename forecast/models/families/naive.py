"""Naive (random walk): y[t + h] = y[t]."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from forecast.data.windows import Layout, Windows
from forecast.models.base import BaselineSpec
from forecast.models.skip import Skip


class Spec(BaselineSpec):
    summary: ClassVar[str] = "Repeats the last observed value."
    equation: ClassVar[str] = "y[t+h] = y[t]"
    source: ClassVar[str] = "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2"

    family: Literal["naive"] = "naive"

    def forecast(self, windows: Windows, channels: Layout, *, horizon: int, season_length: int) -> np.ndarray:
        return Skip("last", horizon, channels.outputs).forecast(windows, channels)
