"""Family `auto_theta`: the Theta method with its form chosen, standard, optimised or dynamic
(statsforecast's AutoTheta).

    mu_t = l_{t-1} + (1 - 1/theta) [(1 - alpha)^(t-1) A + (1 - (1 - alpha)^t) / alpha B]
    l_t  = alpha y_t + (1 - alpha) l_{t-1}

A + B t is the least-squares line through the (deseasonalised) series up to the origin.
statsforecast decomposes; the fit is its search (`find_lowest`) on errors that are worked out at
once (`squared_errors`), where its own copy the whole history at every row: of 11,664 rows .2
instead of 8 s. Its `forward` would decompose the whole history again at every origin (0.1 s each on
hourly data). Level, line and seasonal means are all linear in the observations, so here they come
from cumulative sums over the whole series, one channel per phase of the season: the same numbers at
every origin for the price of one pass. Parameters and the kind of decomposition stay as fitted;
level, line and seasonal means follow the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from forecast.models.series_fit import Array, RowNumbers, SeriesModel
from forecast.models.statistical import StatisticalSpec

FORMS = ("STM", "OTM", "DSTM", "DOTM")
"""Standard or optimised (O: theta is searched too), with one line or a dynamic one (D)."""
STANDARD_THETA = 2.0
FINE_UNIT = 2.0**5
"""Values are fitted times this. The search stops where its error changes by 1e-4 in the unit of the
values: of values with a deviation of 1 that is far from the optimum (passengers: 2.5 % more squared
error).
"""
LEAST = np.array([-1e10, 0.1, 1.0])
MOST = np.array([1e10, 0.99, 1e10])
"""Bounds of level, alpha and theta."""
MAX_ITERATIONS = 1000
SPREAD = 1e-4
"""Standard deviation of the corners' errors at which the search has ended."""


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
        """On all of y (T,). form: of `FORMS`; None: the best of them by squared error."""
        from statsforecast.theta import auto_theta

        values = FINE_UNIT * y
        # with all parameters given it only decomposes
        given = auto_theta(values, season, "STM", 0.0, 0.5, 2.0)
        decomposition = "none"
        if given.get("decompose"):
            decomposition = str(given["decomposition_type"])
            ahead = given["seas_forecast"]["mean"]
            pattern = ahead[(np.arange(len(y)) - len(y)) % season]
            values = values - pattern if decomposition == "additive" else values / pattern
        fits = []
        for each in FORMS if form is None else (form,):
            start = np.array([values[0] / 2, 0.5, STANDARD_THETA][: 3 if "O" in each else 2])
            fits.append((*find_lowest(squared_errors(values, each), start), each))
        _, parameters, best = min(fits, key=itemgetter(0))
        level, alpha, theta = map(float, (*parameters, STANDARD_THETA)[:3])
        return cls(best, season, alpha, theta, level / FINE_UNIT, decomposition)

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

    def _forecast_mix(
        self, channels: Array, mix: Array, origins: RowNumbers, horizon: int
    ) -> Array:
        """(n_origins, horizon): at each origin, the states of the channels with the weights `mix`
        (n_origins, channels) add up to that of one series, whose forecasts run through the
        recursion.
        """
        from scipy.signal import lfilter

        decay = 1.0 - self.alpha
        states = (lfilter([self.alpha], [1.0, -decay], channels, axis=0), *fit_lines(channels))
        level, mean, a, b = (np.einsum("oc,oc->o", mix, state[origins]) for state in states)
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


def fit_lines(channels: Array) -> tuple[Array, Array, Array]:
    """Mean, intercept and slope of the least-squares line through every channel (T, channels) up to
    each row: each (T, channels). The slope of the first row is 0.
    """
    count = np.arange(1.0, len(channels) + 1)[:, None]
    mean = np.cumsum(channels, axis=0) / count
    weighted = np.cumsum(count * channels, axis=0) / count
    with np.errstate(invalid="ignore"):  # of the first row
        slope = 6 * (2 * weighted - (count + 1) * mean) / (count**2 - 1)
    slope[0] = 0.0
    return mean, mean - slope * (count + 1) / 2, slope


def squared_errors(y: Array, form: str) -> Callable[[Array], float]:
    """What a fit of `form` to y (T,) makes smallest: (level before the first row, alpha, theta
    where it is searched) -> the squared errors one step ahead from the fourth row on, summed, over
    the mean size of y.
    """
    from scipy.signal import lfilter

    # of the rows so far, or the one line of all rows
    rows = slice(-1) if form.startswith("D") else slice(-1, None)
    _, intercept, slope = (line[rows, 0] for line in fit_lines(y[:, None]))
    row = np.arange(1.0, len(y))
    size = max(np.abs(y).mean(), 1e-10)

    def sum_errors(parameters: Array) -> float:
        level, alpha, theta = (*parameters, STANDARD_THETA)[:3]
        decay = 1.0 - alpha
        levels, _ = lfilter([alpha], [1.0, -decay], y[:-1], zi=[decay * level])
        power = decay**row
        drift = intercept * power + slope * (1.0 - power * decay) / alpha
        errors = (y[1:] - levels - (1.0 - 1.0 / theta) * drift)[2:]
        return float(errors @ errors) / size

    return sum_errors


def find_lowest(error: Callable[[Array], float], start: Array) -> tuple[float, Array]:
    """The lowest error that Nelder and Mead's search finds from `start` (n,), the first n of level,
    alpha and theta, and its parameters (n,): statsforecast's search, step by step.
    """
    n = len(start)
    steps = np.diag(np.where(start == 0, 1e-4, 0.05 * start))
    corners = np.clip(np.vstack([start + steps, start]), LEAST[:n], MOST[:n])
    errors = np.array([error(corner) for corner in corners])

    def try_at(point: Array) -> tuple[float, Array]:
        point = np.clip(point, LEAST[:n], MOST[:n])
        return error(point), point

    for _ in range(MAX_ITERATIONS):
        if errors.std() < SPREAD:
            break
        best, second, worst = np.argsort(errors)[[0, -2, -1]]
        centre = (corners.sum(axis=0) - corners[worst]) / n
        trial = try_at(2 * centre - corners[worst])
        step = trial[1] - centre
        if trial[0] < errors[best]:
            trial = min(trial, try_at(centre + (1 + 2 / n) * step), key=itemgetter(0))
        elif trial[0] >= errors[second]:
            side = 1 if trial[0] < errors[worst] else -1
            limit = min(trial[0], errors[worst])
            trial = try_at(centre + side * (0.75 - 0.5 / n) * step)
            if trial[0] >= limit:  # the simplex shrinks towards its best corner
                for corner in range(1, n + 1):
                    shrunk = corners[best] + (1 - 1 / n) * (corners[corner] - corners[best])
                    errors[corner], corners[corner] = try_at(shrunk)
                continue
        errors[worst], corners[worst] = trial
    lowest = np.argmin(errors)
    return errors[lowest], corners[lowest]


def seasonal_means(y: Array, origins: RowNumbers, season: int, decomposition: str) -> Array:
    """(n_origins, season): the classical decomposition's seasonal pattern of y[: origin + 1], phase
    0 being row 0.

    Rows within half a season of the first row and of the origin have no centred moving average and
    take no part. Every origin is at least season - 1 + 2 * (season // 2), so that each phase has a
    row with one.
    """
    half = season // 2
    weights = np.ones(season + 1 - season % 2) / season
    if season % 2 == 0:
        weights[[0, -1]] /= 2
    trend = np.convolve(y, weights, mode="valid")
    with_trend = y[half : half + len(trend)]
    detrended = with_trend - trend if decomposition == "additive" else with_trend / trend
    phase = (np.arange(len(trend)) + half) % season
    indicator = phase[:, None] == np.arange(season)
    newest = origins - 2 * half  # the index in `trend` of its newest value at each origin
    total = np.cumsum(indicator * detrended[:, None], axis=0)[newest]
    means = total / np.cumsum(indicator, axis=0)[newest]
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
