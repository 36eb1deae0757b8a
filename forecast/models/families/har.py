"""Family `har`: the next value from the means of the last day, week and month, fed with its own
forecasts.

The usual bar of realised volatility (on its logarithm): a restricted autoregression whose three
terms stand for traders with three horizons, fitted by least squares on the train rows. It is left
out where a dataset has a season other than a trading week, and refuses a series below two months.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.models.series_fit import Array, RowNumbers, SeriesModel
from forecast.models.statistical import StatisticalSpec

SPANS = (1, 5, 22)
"""Rows of a day, a week and a month of trading days."""


@dataclass(frozen=True)
class Har:
    """`constant`, and one of `coefficients` for the mean over each of `SPANS`."""

    constant: float
    coefficients: tuple[float, ...]

    @classmethod
    def fit(cls, y: Array) -> Har:
        """Least squares over all rows that have a month before them."""
        means = _means(np.lib.stride_tricks.sliding_window_view(y, SPANS[-1])[:-1])
        design = np.column_stack([np.ones(len(means)), means])
        constant, *slopes = np.linalg.lstsq(design, y[SPANS[-1] :], rcond=None)[0]
        return cls(float(constant), tuple(float(slope) for slope in slopes))

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """(n_origins, horizon); before the first month the oldest value stands for what lacks."""
        padded = np.concatenate([np.full(SPANS[-1] - 1, y[0]), y])
        windows = np.lib.stride_tricks.sliding_window_view(padded, SPANS[-1])[origins]
        for _ in range(horizon):
            following = self.constant + _means(windows) @ np.array(self.coefficients)
            windows = np.column_stack([windows, following])[:, -max(SPANS[-1], horizon) :]
        return windows[:, -horizon:]


def _means(windows: Array) -> Array:
    """(n, spans): the means over the newest rows of `windows` (n, a month or more)."""
    return np.column_stack([windows[:, -span:].mean(axis=1) for span in SPANS])


class Spec(StatisticalSpec):
    """An entry of this family."""

    series_model = Har
    least_rows = 2 * SPANS[-1]
    summary = "Regression on the means of the last day, week and month, fed with its forecasts."
    equation = "y[t+1] = c + b_d y[t] + b_w mean(y[t-4..t]) + b_m mean(y[t-21..t]), iterated"
    source = "Corsi 2009"

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season (1: none); empty when it fits."""
        knows = season_length in (1, SPANS[1])
        return "" if knows else "it knows no season but trading weeks and months"

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> Har:
        """The regression, fitted anew every time; it has no season."""
        return Har.fit(y)
