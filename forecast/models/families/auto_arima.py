"""Family `auto_arima`: ARIMA, its orders chosen by AICc (of a given list or by statsforecast's
AutoARIMA), the season by Fourier terms or not at all.

    phi(B) (1 - B)^d (y_t - c'x_t) = theta(B) e_t
    x_t: a constant or a drift, and Fourier terms if asked

Seasonal orders would take a minute or more per thousand hourly rows; `fourier` pairs of sine and
cosine take a second. Without these pairs the season is not modelled, so an entry without them is
left out of datasets with a season. Long series are best fitted on their `last` rows (10,000 take
over ten minutes, 2,000 a second or two). statsforecast fits; `Arima` holds the fitted numbers and
lets the Kalman filter go on over the rows after the fit, with fixed parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from forecast.models.series_fit import Array, RowNumbers, SeriesModel
from forecast.models.statistical import StatisticalSpec

STEADY_CHANGE = 1e-13
"""Change of the filter's covariance below which its gain is taken as constant."""
Order = tuple[int, int, int]
"""p, d, q: autoregressive terms, differences, moving-average terms."""


@dataclass(frozen=True)
class Arima:
    """Fitted on rows [first, rows); Harvey's form: `transition` (d, d), covariance of the `noise`
    (d, d) in units of sigma², `observe` (d,); state `a`, covariance `p` (d, d) after the last row;
    `regressors`: (name, coefficient).
    """

    first: int
    rows: int
    season: int
    transition: tuple[tuple[float, ...], ...]
    noise: tuple[tuple[float, ...], ...]
    observe: tuple[float, ...]
    regressors: tuple[tuple[str, float], ...]
    a: tuple[float, ...]
    p: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(
        cls,
        y: Array,
        season: int,
        *,
        pairs: int = 0,
        last: int | None = None,
        candidates: Sequence[Order] | None = None,
    ) -> Arima:
        """By statsforecast on the rows of y (T,).

        pairs: Fourier pairs of the season. last: rows used, counted from the end; None: all.
        candidates: orders, of which the one with the lowest AICc is taken; None: AutoARIMA
        searches.
        """
        first = 0 if last is None else max(len(y) - last, 0)
        terms = None
        if pairs:
            terms = fourier_terms(np.arange(first, len(y)), season, pairs).view(ThinSvdArray)
        fitted = _lowest_aicc(y[first:], terms, candidates)
        system = fitted["model"]
        arma = [int(order) for order in fitted["arma"]]
        coefficients = list(fitted["coef"].items())[sum(arma[:4]) :]
        return cls(
            first=first,
            rows=len(y),
            season=season,
            transition=_as_rows(system["T"]),
            noise=_as_rows(system["V"]),
            observe=tuple(system["Z"].tolist()),
            regressors=tuple((str(name), float(value)) for name, value in coefficients),
            a=tuple(system["a"].tolist()),
            p=_as_rows(system["P"]),
        )

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """One pass of the filter from the end of the fit; the state at each origin gives its
        forecasts.
        """
        transition, observe = np.array(self.transition), np.array(self.observe)
        states = self._filter_states(y[self.rows : origins[-1] + 1], transition, observe)
        state = states[origins - self.rows + 1].T
        out = np.empty((len(origins), horizon))
        for step in range(horizon):
            state = transition @ state
            out[:, step] = observe @ state + self._regression(origins + 1 + step)
        return out

    def _filter_states(self, y: Array, transition: Array, observe: Array) -> Array:
        """(len(y) + 1, d): the state after the fit and after each further row."""
        noise = np.array(self.noise)
        a = np.array(self.a)
        p = np.array(self.p)
        unexplained = y - self._regression(np.arange(self.rows, self.rows + len(y)))
        states = np.empty((len(y) + 1, len(a)))
        states[0] = a
        is_steady = False
        gain = a
        for row, value in enumerate(unexplained):
            if not is_steady:
                predicted = transition @ p @ transition.T + noise
                gain = predicted @ observe / (observe @ predicted @ observe)
                updated = predicted - np.outer(gain, observe @ predicted)
                is_steady = bool(np.abs(updated - p).max() < STEADY_CHANGE)
                p = updated
            a = transition @ a
            a = a + gain * (value - observe @ a)
            states[row + 1] = a
        return states

    def _regression(self, rows: RowNumbers) -> Array:
        """c'x_t (rows,) at the given row numbers, counted from the first row of the series: drift
        or intercept, and the Fourier terms times their coefficients.
        """
        total = np.zeros(len(rows))
        n_columns = sum(name.startswith("ex_") for name, _ in self.regressors)
        harmonic = fourier_terms(rows, self.season, n_columns // 2)
        for name, value in self.regressors:
            if name == "drift":
                total += value * (rows - self.first + 1.0)
            elif name == "intercept":
                total += value
            else:
                total += value * harmonic[:, int(name.removeprefix("ex_")) - 1]
        return total


def _lowest_aicc(y: Array, terms: Array | None, candidates: Sequence[Order] | None) -> Any:
    """statsforecast's fitted model (a dictionary) of y (T,) on `terms` (T, columns), of the order
    with the lowest AICc: of `candidates`, or of those that AutoARIMA tries.
    """
    from statsforecast.models import ARIMA, AutoARIMA

    if candidates is None:
        return AutoARIMA(season_length=1).fit(y, terms).model_
    fits = [ARIMA(order=order, season_length=1).fit(y, terms).model_ for order in candidates]
    # NaN where nothing is left to explain, as of a constant series: the first will do
    return fits[int(np.argmin(np.nan_to_num([fit["aicc"] for fit in fits], nan=np.inf)))]


def fourier_terms(rows: RowNumbers, season: int, pairs: int) -> Array:
    """(rows, 2 pairs): the sines, then the cosines, of the first harmonics of the season."""
    angle = 2 * np.pi * np.asarray(rows)[:, None] * np.arange(1, pairs + 1) / season
    return np.hstack([np.sin(angle), np.cos(angle)])


class ThinSvdArray(np.ndarray):
    """(rows, terms): an array whose SVD is the thin one. statsforecast asks for the full one, rows
    x rows (6 GB for 20,000 rows), and uses its right vectors alone.
    """

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Leave the unneeded columns of a singular value decomposition uncomputed."""
        svd_options = {"full_matrices": False} if func is np.linalg.svd else {}
        return super().__array_function__(func, types, args, {**kwargs, **svd_options})


def _as_rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def _require_same_differences(orders: tuple[Order, ...]) -> tuple[Order, ...]:
    """`orders`; ValueError where it is empty or the numbers of differences are not all equal."""
    if len({d for _, d, _ in orders}) != 1:
        raise ValueError(
            f"found {list(orders)}, wanted at least one order, all with one d: AICc compares no"
            " two d"
        )
    return orders


def _as_list(value: Any) -> Any:
    """A single order as a list of one; everything else as it is."""
    is_single = isinstance(value, list | tuple) and value and isinstance(value[0], int)
    return [value] if is_single else value


Orders = Annotated[
    tuple[Order, ...], BeforeValidator(_as_list), AfterValidator(_require_same_differences)
]


class Spec(StatisticalSpec):
    """Options of an entry of this family, and what they ask of the fit."""

    series_model = Arima
    summary = "ARIMA, orders given or chosen by AICc on the last rows of the train range."
    equation = "phi(B) (1-B)^d (y[t] - c'f[t]) = theta(B) e[t]; f: Fourier terms of the season"
    source = "Box & Jenkins 1970; Hyndman & Khandakar 2008"

    fourier: int = Field(
        0, ge=0, description="pairs of sine and cosine, at most as many as the season has"
    )
    order: Orders | None = Field(
        None, description="p, d, q, or a list of such with one d; else AICc searches"
    )
    last: int = Field(
        2000,
        ge=50,
        description="rows it is fitted on; choosing an order on ten thousand takes ten minutes",
    )

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season; empty when it fits."""
        if self.fourier and season_length < 3:
            return (
                f"Fourier terms need a season of at least 3 steps; this dataset has {season_length}"
            )
        if not self.fourier and season_length > 1:
            return f"an ARIMA without Fourier terms leaves out the season of {season_length} steps"
        return ""

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> Arima:
        """Orders and coefficients anew at every fit; the entry's Fourier pairs, at most
        those that the season has. ValueError for fewer rows than these have terms."""
        pairs = min(self.fourier, (season - 1) // 2)
        if min(len(y), self.last) < 2 * pairs:
            raise ValueError(
                f"its {pairs} Fourier pairs need {2 * pairs}; give a longer history, a larger"
                " `last` or fewer pairs"
            )
        return Arima.fit(y, season, pairs=pairs, last=self.last, candidates=self.order)
