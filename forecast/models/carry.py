"""What a closed loop takes for the past-only inputs after the cutoff: a forecast of each, fitted on the train rows.

    x[t + h] - x[t] = a_h (x[t + h - s] - x[t]) + b_h x[t] + c_h        s: the season, as often as it takes

A one-step map has learnt from measured inputs. Held constant for a day, an input with a daily cycle shows it what
training never showed, and so does a growing time since the last observation: the map extrapolates, and each step feeds
the next. Given the conditional mean instead, a linear map gives the conditional mean of its own forecast. A column
with `difference_inputs` has no level to return to: its b and c are zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from forecast.data.windows import Layout, filled

TERMS = 3
DAMPING = 1e-6
"""Of the mean square of a term: an input that never moves has no slope."""


@dataclass(frozen=True)
class Carry:
    """`coefficients` (H, inputs, 3): of the change since the season before, of the last value, and the constant."""

    coefficients: np.ndarray
    season_length: int

    def path(self, z: np.ndarray, horizon: int) -> np.ndarray:
        """(B, horizon, inputs) scaled inputs after windows of them, z (B, L, inputs) with NaN; as many steps as asked.

        Behind the horizon that it was fitted for, what was a season before is repeated.
        """
        seen = rows = filled(z)[0]
        season = min(self.season_length, seen.shape[1])
        for step in range(1, horizon + 1):
            if step <= len(self.coefficients):
                terms = _terms(seen, step, self.season_length)
                following = seen[:, -1] + (terms * self.coefficients[step - 1]).sum(axis=-1)
            else:
                following = rows[:, -season]
            rows = np.concatenate([rows, following[:, None]], axis=1)
        return rows[:, seen.shape[1] :]


def fit_carry(parts: Iterable[tuple[np.ndarray, np.ndarray]], channels: Layout, season_length: int) -> Carry:
    """Least squares over pairs of input windows (B, L, inputs) and what followed them (B, H, inputs), NaN allowed."""
    gram = cross = np.zeros(())
    for z, following in parts:
        seen = filled(z)[0]
        change = following - seen[:, -1:]
        for_step = [_terms(seen, step, season_length) for step in range(1, following.shape[1] + 1)]
        terms = np.stack(for_step, axis=1) * np.isfinite(change)[..., None]
        gram = gram + np.einsum("bhci,bhcj->hcij", terms, terms)
        cross = cross + np.einsum("bhci,bhc->hci", terms, np.nan_to_num(change))
    drifts = np.array(channels.difference_inputs[channels.outputs :])
    kept = np.ones((len(drifts), TERMS))
    kept[drifts, 1:] = 0.0
    gram = gram * kept[:, :, None] * kept[:, None, :]
    scale = np.trace(gram, axis1=-2, axis2=-1)[..., None, None] * DAMPING + np.finfo(float).tiny
    return Carry(np.linalg.solve(gram + scale * np.eye(TERMS), (cross * kept)[..., None])[..., 0], season_length)


def _terms(seen: np.ndarray, step: int, season_length: int) -> np.ndarray:
    """(B, inputs, 3); a window without the season has no first term."""
    back = season_length * -(-step // season_length) - step
    last = seen[:, -1]
    before = seen[:, -1 - back] if back < seen.shape[1] else last
    return np.stack([before - last, last, np.ones_like(last)], axis=-1)
