"""How much the forecast at the origin changes with the input k rows before it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast.networks import inference
from forecast.networks.description import Network

STEP = 1e-5
DIRECTIONS = 4
LAGS = 12


def lags_of(lookback: int, count: int = LAGS) -> list[int]:
    """About `count` lags from 0 to the first row of the window, dense near the origin."""
    spread = np.geomspace(1, lookback, count) - 1
    return sorted({round(float(lag)) for lag in spread})


def gradient_by_lag(
    network: Network,
    weights: Mapping[str, np.ndarray],
    past: np.ndarray,
    future: np.ndarray | None,
    lags: list[int],
    *,
    seed: int = 0,
) -> np.ndarray:
    """The Frobenius norm of d forecast / d past[:, -1 - k] for k in `lags`, root mean square over windows.

    past (B, T, C), weights float64. The input is moved along `DIRECTIONS` random orthogonal directions: with at most
    that many channels the norm is exact, with more an estimate.
    """
    batch, _, channels = past.shape
    count = min(channels, DIRECTIONS)
    directions = np.linalg.qr(np.random.default_rng(seed).normal(size=(channels, count)))[0].T
    moved = np.broadcast_to(past.astype(np.float64), (2, len(lags), count, *past.shape)).copy()
    for place, lag in enumerate(lags):
        moved[0, place, :, :, -1 - lag] += STEP * directions[:, None]
        moved[1, place, :, :, -1 - lag] -= STEP * directions[:, None]
    ahead = None if future is None else np.tile(future, (2 * len(lags) * count, 1, 1))
    out = inference.last(network, weights, moved.reshape(-1, *past.shape[1:]), ahead)
    plus, minus = out.reshape(2, len(lags), count, batch, -1)
    slope = (plus - minus) / (2 * STEP)
    squared = (slope**2).sum(axis=(1, 3)) * channels / count
    return np.sqrt(squared.mean(axis=1))
