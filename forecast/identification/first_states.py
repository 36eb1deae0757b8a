"""The first states of a net that has states of its own, from the first measured rows.

A net that begins with other states than the system needs as many rows to forget them as its slowest
pole asks for, and a free run is wrong until then. `fit_first_states` finds those under which the
forecasts one step ahead come nearest to the first measured rows, as MATLAB's findstates does.
`narx.Narx.absorb` calls it. It stands alone, since `export` copies its source, NumPy and nothing
else, into the file it writes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FITTED_ROWS = 40  # measured rows that the first states are fitted to, at most


def fit_first_states(errors_of: Callable[[np.ndarray], np.ndarray], n_states: int) -> np.ndarray:
    """The states (n_states,), of deviation 1, with the least squared errors and own squares.

    `errors_of(states)`: the one-step errors (n,) that follow, in deviations of y; their noise is
    taken as 3 % of one. Gauss-Newton from zero by finite differences, at most four steps, each
    shortened until the sum falls.
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
