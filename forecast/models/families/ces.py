"""Complex exponential smoothing, its season chosen by AICc (statsforecast's AutoCES).

    l_t = l' - (1 - a1) c' + (a0 - a1) e_t,     c_t = l' + (1 - a0) c' + (a0 + a1) e_t,     e_t = y_t - l' - s'

' is the step before (N, P, F) or the season before (S); P adds a seasonal level s, F a seasonal pair of the same form.
The first fit compiles for about 20 s; numba keeps that beside statsforecast. The recursion goes on in float64 from
the fitted end state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast.models.statistical import Array, Rows, StatisticalSpec


@dataclass(frozen=True)
class Ces:
    """`form` N, S, P or F; `state` (season, components): its last season of states after the `rows` of the fit."""

    form: str
    season: int
    rows: int
    alpha: tuple[float, float]
    beta: tuple[float, float]
    state: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(cls, y: Array, season: int, options: dict[str, Any]) -> Ces:
        """`options`: `model` ("Z": the best of N, S, P and F)."""
        from statsforecast.ces import auto_ces

        found = auto_ces(y, m=season, **options)
        form, par = str(found["seasontype"]), found["par"]
        length = 1 if form == "N" else season
        end = found["states"][len(y) : len(y) + length]
        alpha, beta = ((_number(par[f"{name}_0"]), _number(par[f"{name}_1"])) for name in ("alpha", "beta"))
        return cls(form, length, len(y), alpha, beta, tuple(tuple(float(v) for v in row) for row in end))

    def forecasts(self, y: Array, origins: Rows, horizon: int) -> Array:
        """One pass from the end of the fit; each forecast then runs the recursion without errors."""
        new = y[self.rows : origins[-1] + 1]
        states = np.empty((self.season + len(new), len(self.state[0])))
        states[: self.season] = self.state
        for row, value in enumerate(new):
            now = states[row : row + self.season]
            states[row + self.season] = self._next(now[None], np.array([value]))[0]
        first = origins - self.rows + 1
        window = states[first[:, None] + np.arange(self.season)]
        out = np.empty((len(origins), horizon))
        for step in range(horizon):
            out[:, step] = self._expected(window)
            window = np.concatenate([window[:, 1:], self._next(window, out[:, step])[:, None]], axis=1)
        return out

    def _expected(self, window: Array) -> Array:
        """(B,) from the last season of states (B, season, components)."""
        level = window[:, 0, 0] if self.form == "S" else window[:, -1, 0]
        return level + window[:, 0, 2] if self.form in "PF" else level

    def _next(self, window: Array, y: Array) -> Array:
        """The states (B, components) after y (B,)."""
        error = y - self._expected(window)
        before = window[:, 0] if self.form == "S" else window[:, -1]
        parts = [_turn(before[:, 0], before[:, 1], self.alpha, error)]
        if self.form == "P":
            parts.append(window[:, 0, 2:3] + self.beta[0] * error[:, None])
        elif self.form == "F":
            parts.append(_turn(window[:, 0, 2], window[:, 0, 3], self.beta, error))
        return np.concatenate(parts, axis=1)


def _turn(level: Array, other: Array, gain: tuple[float, float], error: Array) -> Array:
    """The complex smoothing of one pair of states (B,), (B,) into (B, 2)."""
    real = level - (1 - gain[1]) * other + (gain[0] - gain[1]) * error
    return np.stack([real, level + (1 - gain[0]) * other + (gain[0] + gain[1]) * error], axis=1)


def _number(value: float) -> float:
    """0 for what the form does not use."""
    return 0.0 if np.isnan(value) else float(value)


class Spec(StatisticalSpec):
    fitted = Ces
    summary = "Complex exponential smoothing: level and a hidden second part, with or without a season."
    equation = "z[t] = [[1, alpha1 - 1], [1, 1 - alpha0]] z[t-1] + [alpha0 - alpha1, alpha0 + alpha1] e[t]"
    source = "Svetunkov, Kourentzes & Ord 2022"
