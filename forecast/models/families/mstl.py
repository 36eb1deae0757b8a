"""Family `mstl`: season and trend by LOESS, exponential smoothing on what is left (statsforecast's
MSTL with AutoETS).

LOESS is local: a row's seasonal part settles once half a window of later rows is there. So the
adjusted series is kept block by block as it settles, the ETS state runs over it once, and an origin
decomposes only its last rows and goes on from the state before them. (statsmodels' STL drops the
slope of its trend on series beyond some 4,000 rows, a rule made for irregular points; short
stretches avoid that, too.) A series below two seasons is refused; a dataset without a season leaves
it out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.models.families.auto_ets import Ets
from forecast.models.series_fit import Array, RowNumbers, SeriesModel
from forecast.models.statistical import StatisticalSpec

SEASONAL = 11  # width of the seasonal LOESS in seasons, statsforecast's choice for one season
BLOCK = 6  # seasons that settle at a time: a little more than half that width


@dataclass(frozen=True)
class Mstl:
    """The ETS form of the seasonally adjusted series and its parameters, initial state included."""

    season: int
    components: str
    parameters: tuple[float | None, ...]

    @classmethod
    def fit(cls, y: Array, season: int) -> Mstl:
        """On all of y (T,); error and trend of the ETS are chosen, it has no season left.
        ValueError below two seasons.
        """
        if len(y) < 2 * season:
            raise ValueError("it needs two seasons; give a longer history")
        _, tail, _ = split_last_blocks(y, season)
        ets = Ets.fit(np.concatenate([remove_season(y, season), tail]), 1, form="ZZN")
        return cls(season, ets.components, ets.parameters)

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """(n_origins, horizon): row k sees y[: origins[k] + 1] and nothing after it."""
        ets = Ets(self.components, 1, self.parameters)
        states = ets.states(remove_season(y[: origins[-1] + 1], self.season))
        out = np.empty((len(origins), horizon))
        phase = np.arange(horizon) % self.season
        for row, origin in zip(out, origins, strict=True):
            begin, adjusted, seasonal = split_last_blocks(y[: origin + 1], self.season)
            adjusted_model = Ets(self.components, 1, self.parameters[:4] + tuple(states[begin]))
            row[:] = adjusted_model.forecasts(adjusted, np.array([len(adjusted) - 1]), horizon)[0]
            row += seasonal[-self.season :][phase]
        return out


def remove_season(y: Array, season: int) -> Array:
    """(begin,): y without its seasonal part, up to where `split_last_blocks` begins; each value
    uses one later block of y.
    """
    block = BLOCK * season
    parts = [np.empty(0)]
    for first in range(0, _begin(len(y), season), block):
        low = max(first - block, 0)
        stretch = y[low : first + 2 * block]
        parts.append((stretch - seasonal_part(stretch, season))[first - low : first - low + block])
    return np.concatenate(parts)


def split_last_blocks(y: Array, season: int) -> tuple[int, Array, Array]:
    """Row number from which on at least two whole blocks are left; the rows from there on without
    their seasonal part; and that part.
    """
    begin = _begin(len(y), season)
    low = max(begin - BLOCK * season, 0)
    seasonal = seasonal_part(y[low:], season)
    return begin, (y[low:] - seasonal)[begin - low :], seasonal[begin - low :]


def seasonal_part(y: Array, season: int) -> Array:
    """(T,): STL's seasonal component."""
    from statsmodels.tsa.seasonal import STL  # type: ignore[import-untyped]

    return np.asarray(STL(y, period=season, seasonal=SEASONAL, seasonal_deg=0).fit().seasonal)


def _begin(rows: int, season: int) -> int:
    """The last beginning of a block from which two whole blocks follow; 0 where none does."""
    block = BLOCK * season
    return max(rows // block - 2, 0) * block


class Spec(StatisticalSpec):
    """Options of an entry of this family, and what they ask of the fit."""

    series_model = Mstl
    summary = (
        "The last season repeated, on exponential smoothing of the seasonally adjusted series."
    )
    equation = "y[t+h] = ETS(y - s)[t+h] + s[t + h - m ceil(h/m)], s: seasonal part by STL"
    source = "Cleveland, Cleveland, McRae & Terpenning 1990; Bandara, Hyndman & Bergmeir 2021"

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season; empty when it fits."""
        return "a decomposition needs a season" if season_length == 1 else ""

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> Mstl:
        """Decomposition and ETS form anew at every fit."""
        return Mstl.fit(y, season)
