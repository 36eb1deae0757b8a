"""A recursive model left to its own forecasts, far beyond the horizon: does it stay within bounds?

Two runs, one with its newest observation moved a little, are closed over `STEPS` rows. What is known ahead goes on by
repeating the window's own rows.

    reach       the farthest forecast from the last observation, in scaled units (train standard deviations)
    exponent    ln of how the distance between the two runs changes, per step: below 0 the loop forgets, above 0 it
                amplifies, 0 is a loop that keeps a level as a random walk does
    verdict     "stable"; "marginal" (keeps disturbances); "sensitive" (amplifies them within bounds, as chaos does);
                "drifting" (leaves the bounds and amplifies nothing, like a straight line); "unstable" (leaves the
                bounds and amplifies, or is no longer finite)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecast.data.windows import Layout, Windows
from forecast.forecaster.loops import Choice, Loop, added
from forecast.models.skip import Skip
from forecast.networks.description import Network

STEPS = 96
BOUND = 25.0
"""Scaled units: no series of the train range comes near, and an exponential growth soon does."""
MOVED = 1e-6
STILL = 0.01
"""Exponents closer to 0 than this cannot be told from 0 over `STEPS` rows."""


@dataclass(frozen=True)
class FreeRun:
    """`path (STEPS, O)`: the distance from the last observation, the largest over the windows."""

    verdict: str
    reach: float | None
    exponent: float | None
    path: np.ndarray

    def to_json(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "reach": self.reach, "exponent": self.exponent}


def free_run(
    network: Network | None,
    weights: dict[str, np.ndarray],
    skip: Skip,
    windows: Windows,
    channels: Layout,
    choice: Choice = added,
) -> FreeRun:
    """`skip + network`, both one-step, closed over `STEPS` rows; weights in float64."""
    runs = []
    with np.errstate(over="ignore", invalid="ignore"):
        for moved in (0.0, MOVED):
            start = _moved(_prolonged(windows), channels, moved)
            runs.append(Loop(network, weights, skip, start, channels, horizon=STEPS).run(choice))
        away = np.abs(runs[0] - windows.last[:, None]).max(axis=0)
        apart = np.abs(runs[1] - runs[0]).max(axis=2)
    if not all(np.isfinite(run).all() for run in runs):
        return FreeRun("unstable", None, None, away)
    exponent = _exponent(apart)
    return FreeRun(_verdict(float(away.max()), exponent), float(away.max()), exponent, away)


def _prolonged(windows: Windows) -> Windows:
    lookback = windows.past.shape[1]
    rows = np.arange(lookback + STEPS)
    rows[lookback:] = (rows[lookback:] - lookback) % lookback
    seen = min(windows.future.shape[1], len(rows))
    rows[:seen] = np.arange(seen)
    return replace(windows, past=windows.past.astype(np.float64), future=windows.future[:, rows])


def _moved(windows: Windows, channels: Layout, by: float) -> Windows:
    """The newest observation of every target larger by `by`."""
    z, past = windows.z.copy(), windows.past.copy()
    z[:, -1, : channels.outputs] += by
    past[:, -1, list(channels.target_channels)] += by
    return replace(windows, z=z, past=past, last=windows.last + by)


def _exponent(apart: np.ndarray) -> float | None:
    """The slope of ln distance (B, STEPS) over the second half, averaged over windows; None once the runs have met."""
    half = apart[:, STEPS // 2 :]
    met = (half <= MOVED * 1e-7).any(axis=1)  # what is left there is rounding
    if met.all():
        return None
    logs = np.log(half[~met])
    steps = np.arange(half.shape[1]) - (half.shape[1] - 1) / 2
    return float((logs @ steps / (steps @ steps)).mean())


def _verdict(reach: float, exponent: float | None) -> str:
    amplifies = exponent is not None and exponent >= STILL
    if reach > BOUND:
        return "unstable" if amplifies else "drifting"
    if amplifies:
        return "sensitive"
    return "stable" if exponent is None or exponent < -STILL else "marginal"
