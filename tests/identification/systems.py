"""Simulated systems with a known law, u (T, 1) and y (T, 1), and nets with weights that are not
trained.
"""

from __future__ import annotations

import numpy as np

from forecast.identification.narx import Narx


def tank(
    rows: int, seed: int, *, full: float = np.inf, dead: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A tank that empties with the root of its level, in raw units (1,000 of level, 50 of inflow);
    it may overflow.
    """
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(0.2, 1.0, size=rows // 10 + 1), 10)[:rows]
    level = np.empty(rows)
    now = 0.5
    for t in range(rows):
        now = min(now + 0.2 * (u[max(t - dead, 0)] - np.sqrt(max(now, 0.0))), full)
        level[t] = now
    return 50 * u[:, None], 1_000 * level[:, None]


def remembering(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """y moves with the product of the input now and 9 rows ago, as in NARMA-10 (Atiya & Parlos
    2000).
    """
    u = np.random.default_rng(seed).uniform(0.0, 0.5, size=rows)
    y = np.zeros(rows)
    for t in range(9, rows - 1):
        y[t + 1] = 0.5 * y[t] + 1.5 * u[t] * u[t - 9] + 0.1
    return u[:, None], y[:, None]


def net_of(inputs: int, outputs: int, bound: float | None, hidden: int = 4) -> Narx:
    limit = None if bound is None else (bound,) * outputs
    low = None if limit is None else tuple(-value for value in limit)
    return Narx(inputs, outputs, (1, 2, 4), (0, 1, 3), hidden, True, low, limit)


def weights_of(net: Narx, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=net.n_weights) * 0.2
