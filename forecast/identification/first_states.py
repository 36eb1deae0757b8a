"""The first states of a net with states, fitted to the first measured rows.

From wrong first states a free run is wrong until the net has forgotten them, which may take many
rows. `fit_first_states` finds the states from which one-step forecasts are nearest to the measured
rows, as MATLAB's findstates does, for `narx.Narx.absorb`. `export` copies its source into the
exported file, so it needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FITTED_ROWS = 40  # measured rows that the first states are fitted to, at most


def fit_first_states(errors_of: Callable[[np.ndarray], np.ndarray], n_states: int) -> np.ndarray:
    """The states (n_states,) with the least sum of squared errors and, weighted, of their own
    squares: states have deviation 1, errors are taken to have noise of 3 %.

    `errors_of(states)`: the one-step errors (n,) from these states, in deviations of y.
    Gauss-Newton from 0 by finite differences, four steps at most, each shortened until the sum
    falls.
    """
    noise_variance, small = 1e-3, 1e-6
    states = np.zeros(n_states)
    errors = errors_of(states)
    cost = errors @ errors
    for _ in range(4):
        moved = [errors_of(states + small * unit) for unit in np.eye(n_states)]
        slopes = (np.array(moved) - errors) / small
        normal = slopes @ slopes.T + noise_variance * np.eye(n_states)
        step = -np.linalg.solve(normal, slopes @ errors + noise_variance * states)
        before = cost
        for share in (1.0, 0.25, 0.0625):
            tried = states + share * step
            tried_errors = errors_of(tried)
            tried_cost = tried_errors @ tried_errors + noise_variance * tried @ tried
            if tried_cost < cost:
                states, errors, cost = tried, tried_errors, tried_cost
                break
        if cost >= 0.999 * before:
            break
    return states
