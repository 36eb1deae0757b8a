"""Exponential smoothing, the form chosen by AICc (Hyndman, Koehler, Ord & Snyder 2008; statsforecast's AutoETS).

y_t = w(x_{t-1}) + r(x_{t-1}) e_t,    x_t = f(x_{t-1}) + g(x_{t-1}) e_t,    x = (level, trend, seasons)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ets:
    """`components` error, trend, season, damping (as "AADN"); `parameters` alpha, beta, gamma, phi, initial state."""

    components: str
    season: int
    parameters: tuple[float | None, ...]

    def forecasts(self, y: Array, origins: npt.NDArray[np.int64], horizon: int) -> Array:
        """The states of one pass over y, then statsforecast's own point forecast from the state at each origin."""
        from statsforecast.ets import etsforecast, switch

        states = self.states(y[: origins[-1] + 1])
        trend, season = switch(self.components[1]), switch(self.components[2])
        out = np.empty((len(origins), horizon))
        for row, state in zip(out, states[origins + 1], strict=True):
            etsforecast(state, self.season, trend, season, self._phi, horizon, row)
        return out

    def states(self, y: Array) -> Array:
        """(T + 1, states): row t is the state before y[t], by statsforecast's recursion with these parameters."""
        from statsforecast.ets import pegelsresid_C

        alpha, beta, gamma, phi, *initial = (np.nan if p is None else p for p in self.parameters)
        error, trend, season, damped = tuple(self.components)
        _, _, states, _ = pegelsresid_C(
            y, self.season, np.array(initial), error, trend, season, damped != "N", alpha, beta, gamma, phi, 1
        )
        return np.asarray(states)

    @property
    def _phi(self) -> float:
        return 1.0 if self.components[3] == "N" else float(self.parameters[3] or 0.0)


FITTED = Ets


def fit(y: Array, season: int, options: dict[str, Any]) -> Ets:
    """`options`: `model` ("ZZZ": error, trend, season; Z is chosen), `damped` (None: chosen)."""
    from statsforecast.models import AutoETS

    model = AutoETS(season_length=season, **options).fit(y).model_
    parameters = tuple(None if np.isnan(p) else float(p) for p in model["par"])
    return Ets(str(model["components"]), int(model["m"]), parameters)
