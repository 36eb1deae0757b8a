"""Made-up systems to try a net on, in place of MATLAB's *_dataset functions: no file, no download."""

from __future__ import annotations

import numpy as np

from forecast.identification.experiment import Experiment


def tank(rows: int = 400, *, seed: int = 0, dead_time: int = 1, noise: float = 0.0) -> Experiment:
    """Inflow u and level y of a tank that empties with the root of its level: y[t] = f(y[t-1], u[t-dead_time])."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(0.0, 1.0, rows // 8 + 1), 8)[:rows]
    y = np.full(rows, 0.5)
    for t in range(1, rows):
        inflow = u[max(t - dead_time, 0)]
        y[t] = max(y[t - 1] + 0.2 * inflow - 0.15 * np.sqrt(max(y[t - 1], 0.0)), 0.0)
    return Experiment(u, y + noise * rng.normal(size=rows))


def narma10(rows: int = 400, *, seed: int = 0) -> Experiment:
    """NARMA-10 (Atiya & Parlos 2000): ten steps of memory, multiplied; no linear model follows it."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(0.0, 0.5, rows)
    y = np.zeros(rows)
    for t in range(10, rows):
        y[t] = 0.3 * y[t - 1] + 0.05 * y[t - 1] * y[t - 10 : t].sum() + 1.5 * u[t - 10] * u[t - 1] + 0.1
    return Experiment(u, y)


def sunspots_like(rows: int = 300, *, seed: int = 0) -> Experiment:
    """A series without inputs that swings with a period of about eleven rows."""
    rng = np.random.default_rng(seed)
    y = np.zeros(rows + 50)
    for t in range(2, len(y)):
        y[t] = 1.6 * y[t - 1] - 0.97 * y[t - 2] + 0.3 * rng.normal()
    return Experiment(None, y[50:])
