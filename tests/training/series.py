"""Tiny training problems: series with a known law, as chunks to train on and as an error to
validate with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from forecast.networks import inference
from forecast.networks.description import Block, Network, Shapes
from forecast.networks.losses import POINT_LOSSES
from forecast.training.chunks import TrainingSeries
from forecast.training.descent import Settings


def ar2(steps: int, seed: int, noise: float = 0.3) -> np.ndarray:
    """y[t] = 1.6 y[t-1] - 0.8 y[t-2] + e[t]: a damped wave kept alive by noise."""
    rng = np.random.default_rng(seed)
    y = np.zeros(steps + 50)
    for t in range(2, len(y)):
        y[t] = 1.6 * y[t - 1] - 0.8 * y[t - 2] + rng.normal(0, noise)
    return y[50:]


def sine(steps: int, phase: float = 0.0, period: float = 25.0) -> np.ndarray:
    return np.sin(2 * np.pi * np.arange(steps) / period + phase)


def training_series(y: np.ndarray, horizon: int = 1) -> TrainingSeries:
    """What a network without a skip has to learn: the next `horizon` values, from the present
    one.
    """
    ahead = np.arange(len(y))[:, None] + np.arange(1, horizon + 1)[None, :]
    is_known = ahead < len(y)
    target = np.where(is_known, y[np.minimum(ahead, len(y) - 1)], 0.0)[:, :, None]
    return TrainingSeries(
        past=y[:, None].astype(np.float32),
        future=np.zeros((len(y) + horizon, 0), np.float32),
        target=target.astype(np.float32),
        sample_weight=is_known[:, :, None].astype(np.float32),
    )


def network_of(*blocks: Block, horizon: int = 1, lookback: int = 30, **options: Any) -> Network:
    return Network(blocks, Shapes(1, 0, horizon, 1, lookback), **options)


def error_on(
    network: Network, y: np.ndarray, skipped: int = 30
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Weights → mean absolute error (1,) over the whole series but its first steps."""
    horizon = network.shapes.horizon
    expected = np.stack([y[t + 1 : t + 1 + horizon] for t in range(skipped, len(y) - horizon)])

    def error(weights: dict[str, np.ndarray]) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            y_hat = inference.forward(network, weights, y[None, :, None])[
                0, skipped : len(y) - horizon, :, 0, 0
            ]
            return np.array([np.abs(y_hat - expected).mean()])

    return error


def settings(**changes: Any) -> Settings:
    usual = {
        "steps": 6,
        "learning_rate": 0.01,
        "batch_size": 4,
        "weight_decay": 1e-4,
        "clip": 1.0,
        "loss": POINT_LOSSES["mse"],
    }
    return Settings(**{**usual, "evaluate_every": 2, **changes})
