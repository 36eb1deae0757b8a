"""Family `auto_theta`: the Theta method with its form chosen, standard, optimised or dynamic
(statsforecast's AutoTheta).

    mu_t = l_{t-1} + (1 - 1/theta) [(1 - alpha)^(t-1) A + (1 - (1 - alpha)^t) / alpha B]
    l_t  = alpha y_t + (1 - alpha) l_{t-1}

A + B t is the least-squares line through the (deseasonalised) series up to the origin.
statsforecast fits; its `forward` would decompose the whole history again at every origin (0.1 s
each on hourly data). Level, line and seasonal means are all linear in the observations, so here
they come from cumulative sums over the whole series, one channel per phase of the season: the same
numbers at every origin for the price of one pass. Parameters and the kind of decomposition stay as
fitted; level, line and seasonal means follow the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.models.series_fit import Array, RowNumbers, SeriesModel
from forecast.models.statistical import StatisticalSpec

FINE_UNIT = 2.0**5
"""Values are fitted times this. statsforecast's search stops where its error changes by 1e-4 in the
unit of the values: of values with a deviation of 1 that is far from the optimum (passengers: 2.5 %
more squared error).
"""


@dataclass(frozen=True)
class Theta:
    """`form` STM, OTM, DSTM or DOTM; `level` before the first row; `decomposition` none, additive,
    multiplicative.
    """

    form: str
    season: int
    alpha: float
    theta: float
    level: float
    decomposition: str

    @classmethod
    def fit(cls, y: Array, season: int, *, form: str | None = None) -> Theta:
        """On all of y (T,). form: STM, OTM, DSTM or DOTM; None: the best of them by squared
        error.
        """
        from statsforecast.theta import auto_theta

        model = auto_theta(FINE_UNIT * y, m=season, model=form)
        decomposition = str(model["decomposition_type"]) if model.get("decompose") else "none"
        values = model["par"]
        return cls(
            str(model["modeltype"]),
            season,
            float(values["alpha"]),
            float(values["theta"]),
            float(values["initial_smoothed"]) / FINE_UNIT,
            decomposition,
        )

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """(n_origins, horizon).

        The choice of decomposition stays as fitted; its seasonal means follow the data.
        """
        y = y[: origins[-1] + 1]
        if self.decomposition == "none":
            return self._forecast_mix(y[:, None], np.ones((len(origins), 1)), origins, horizon)
        pattern = seasonal_means(y, origins, self.season, self.decomposition)
        phase = np.arange(len(y)) % self.season
        indicator = (phase[:, None] == np.arange(self.season)).astype(np.float64)
        if self.decomposition == "additive":
            channels = np.column_stack([y, indicator])
            mix = np.column_stack([np.ones(len(origins)), -pattern])
        else:
            channels = indicator * y[:, None]
            mix = 1.0 / pattern
        smooth = self._forecast_mix(channels, mix, origins, horizon)
        ahead = (origins[:, None] + 1 + np.arange(horizon)) % self.season
        seasonal = np.take_along_axis(pattern, ahead, axis=1)
        return smooth + seasonal if self.decomposition == "additive" else smooth * seasonal

    def _states(self, channels: Array, origins: RowNumbers) -> tuple[Array, Array, Array, Array]:
        """Level (without its start), mean, intercept, slope of every channel at the origins:
        (n_origins, channels).
        """
        from scipy.signal import lfilter

        level = lfilter([self.alpha], [1.0, self.alpha - 1.0], channels, axis=0)[origins]
        count = np.arange(1.0, len(channels) + 1)[:, None]
        mean = np.cumsum(channels, axis=0) / count
        # their slope starts at 0 in the second row and leans on the running mean
        with np.errstate(invalid="ignore"):  # of the first row
            if self.form.startswith("D"):
                before = np.vstack([channels[:1], mean[:-1]])
                t = count - 1
                slope = np.cumsum(6 * t * (channels - before), axis=0) / (t * (t + 1) * (t + 2))
                slope[0] = 0.0
            else:
                weighted = np.cumsum(count * channels, axis=0) / count
                slope = 6 * (2 * weighted - (count + 1) * mean) / (count**2 - 1)
        intercept = mean - slope * (count + 1) / 2
        return level, mean[origins], intercept[origins], slope[origins]

    def _forecast_mix(
        self, channels: Array, mix: Array, origins: RowNumbers, horizon: int
    ) -> Array:
        """(n_origins, horizon): `mix` (n_origins, channels) the channels of each origin into one
        series' state, then run its own forecasts through the recursion.
        """
        states = self._states(channels, origins)
        level, mean, a, b = (np.einsum("oc,oc->o", mix, state) for state in states)
        decay = 1.0 - self.alpha
        level = level + decay ** (origins + 1.0) * self.level
        out = np.empty((len(origins), horizon))
        for step in range(horizon):
            i = origins + 1.0 + step
            drift = a * decay**i + b * (1.0 - decay ** (i + 1)) / self.alpha
            out[:, step] = level + (1.0 - 1.0 / self.theta) * drift
            level = self.alpha * out[:, step] + decay * level
            if self.form.startswith("D"):
                b = ((i - 1) * b + 6 * (out[:, step] - mean) / (i + 1)) / (i + 2)
                mean = (i * mean + out[:, step]) / (i + 1)
                a = mean - b * (i + 2) / 2
        return out


def seasonal_means(y: Array, origins: RowNumbers, season: int, decomposition: str) -> Array:
    """(n_origins, season): the classical decomposition's seasonal pattern of y[: origin + 1], phase
    0 being row 0.

    Rows within half a season of the origin have no centred moving average yet and take no part.
    """
    half = season // 2
    weights = np.ones(season + 1 - season % 2) / season
    if season % 2 == 0:
        weights[[0, -1]] /= 2
    trend = np.convolve(y, weights, mode="valid")
    centre = y[half : half + len(trend)]
    detrended = centre - trend if decomposition == "additive" else centre / trend
    phase = (np.arange(len(trend)) + half) % season
    indicator = phase[:, None] == np.arange(season)
    last = origins - 2 * half
    total = np.cumsum(indicator * detrended[:, None], axis=0)[last]
    means = total / np.cumsum(indicator, axis=0)[last]
    overall = means.mean(axis=1, keepdims=True)
    return means - overall if decomposition == "additive" else means / overall


class Spec(StatisticalSpec):
    """Options of an entry of this family, and what they ask of the fit."""

    series_model = Theta
    least_rows = 4
    summary = (
        "The Theta form with the lowest squared error on the train range, after removing the"
        " season."
    )
    equation = "mean of a trend line and a theta line, smoothed; theta and alpha optimised"
    source = "Fiorucci, Pellegrini, Louzada, Petropoulos & Koehler 2016"

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> Theta:
        """The form chosen anew at every fit."""
        return Theta.fit(y, season)
