"""Family `auto_ets`: exponential smoothing with automatic choice of error, trend and season
(statsforecast's AutoETS).

    y_t = w(x_{t-1}) + r(x_{t-1}) e_t
    x_t = f(x_{t-1}) + g(x_{t-1}) e_t,    x = (level, trend, seasons)

AICc looks one step ahead only: on hourly data it drops the day for a random walk, which is far
worse at every longer horizon. `seasonal: kept` keeps the additive season and has the rest chosen:
the stronger bar there. `Ets` holds the fitted numbers; a refit on more than `MAX_CHOICE_ROWS` rows
keeps the form that the first fit chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecast.models.series_fit import Array, RowNumbers, SeriesModel
from forecast.models.statistical import StatisticalSpec
from forecast.system import files

MAX_CHOICE_ROWS = 1000
"""A refit on at most so many rows chooses its form anew: on average its error is then lower, and
a choice takes at most 1.2 s (docs/research/short-histories.md).
"""


@dataclass(frozen=True)
class Ets:
    """`components` error, trend, season, damping (as "AADN"); `parameters` alpha, beta, gamma, phi,
    initial state.
    """

    components: str
    season: int
    parameters: tuple[float | None, ...]

    @classmethod
    def fit(cls, y: Array, season: int, *, form: str = "ZZZ", is_damped: bool | None = None) -> Ets:
        """By AutoETS on all of y (T,).

        form: of error, trend and season, each A, M or N, or Z to have it chosen by AICc.
        is_damped: of the trend; None: chosen.
        """
        from statsforecast.models import AutoETS

        model = AutoETS(season_length=season, model=form, damped=is_damped).fit(y).model_
        parameters = files.json_number(model["par"])
        return cls(str(model["components"]), int(model["m"]), tuple(parameters))

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """The states of one pass over y, then statsforecast's own point forecast from the state at
        each origin.
        """
        from statsforecast.ets import etsforecast, switch

        states = self.states(y[: origins[-1] + 1])
        trend = switch(self.components[1])
        season = switch(self.components[2])
        damping = self.parameters[3] or 1.0  # None without damping
        out = np.empty((len(origins), horizon))
        for row, state in zip(out, states[origins + 1], strict=True):
            etsforecast(state, self.season, trend, season, damping, horizon, row)
        return out

    def states(self, y: Array) -> Array:
        """(T + 1, states): row t is the state before y[t], by statsforecast's recursion with these
        parameters.
        """
        from statsforecast.ets import pegelsresid_C

        alpha, beta, gamma, phi, *initial = np.array(self.parameters, dtype=float)
        error, trend, season, damped = tuple(self.components)
        _, _, states, _ = pegelsresid_C(
            y,
            self.season,
            np.array(initial),
            error,
            trend,
            season,
            damped != "N",
            alpha,
            beta,
            gamma,
            phi,
            1,
        )
        return np.asarray(states)


class Spec(StatisticalSpec):
    """Options of an entry of this family, and what they ask of the fit."""

    series_model = Ets
    least_rows = 7
    summary = "Exponential smoothing, form chosen by AICc on the train range."
    equation = "l[t] = l[t-1] + b[t-1] + alpha e[t], ... (innovations state space)"
    source = "Hyndman, Koehler, Snyder & Grose 2002"

    seasonal: Literal["chosen", "kept"] = "chosen"

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season; empty when it fits."""
        if self.seasonal == "kept" and season_length == 1:
            return "there is no season to keep"
        return ""

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> Ets:
        """A form chosen by AICc; of a second fit on many rows that of the first, as to choose takes
        fifteen fits. A season is kept where the rows are more than its numbers.
        """
        if isinstance(before, Ets) and len(y) > MAX_CHOICE_ROWS:
            form = before.components
            return Ets.fit(y, season, form=form[:3], is_damped=form[3] != "N")
        is_kept = self.seasonal == "kept" and len(y) >= max(season + 5, 9)
        return Ets.fit(y, season, form="ZZA" if is_kept else "ZZZ")
