"""Size and power of the tests of equal accuracy: the tables of docs/protocol.md.

python -m bench.size_and_power          # about a minute on one core; seeded, so the tables come out the same
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import signal

from forecast.comparison.multiple_comparisons import model_confidence_set
from forecast.comparison.paired_tests import diebold_mariano

RUNS = 2000
PROCESSES: dict[str, tuple[float, bool]] = {
    "independent": (0.0, False),
    "AR(1), 0.5": (0.5, False),
    "AR(1), 0.8": (0.8, False),
    "AR(1), 0.9": (0.9, False),
    "AR(1), -0.3": (-0.3, False),
    "mean over the horizon of an AR(1), 0": (0.0, True),
    "mean over the horizon of an AR(1), 0.5": (0.5, True),
    "mean over the horizon of an AR(1), 0.9": (0.9, True),
}


def differentials(phi: float, n: int, overlap: int, rng: np.random.Generator, runs: int = RUNS) -> np.ndarray:
    """(runs, n) loss differentials of mean zero."""
    noise = rng.standard_normal((runs, n + 300))
    series = signal.lfilter([1], [1, -phi], noise, axis=1)
    return np.asarray(signal.lfilter(np.ones(overlap) / overlap, [1], series, axis=1)[:, 300:])


def rejection(samples: np.ndarray, horizon: int, shift: float = 0.0) -> float:
    zero = np.zeros(samples.shape[1])
    return float(
        np.mean([diebold_mariano(d + shift, zero, horizon=horizon, season_length=1).p < 0.05 for d in samples])
    )


def table() -> pd.DataFrame:
    """Rejection rate under the null at a nominal 5 % and power at three standard errors, in %."""
    rows = []
    for name, (phi, averaged) in PROCESSES.items():
        for horizon, n in ((1, 100), (1, 300), (1, 1000), (5, 250), (5, 750), (24, 300), (24, 1500)):
            if averaged and horizon == 1:
                continue
            samples = differentials(phi, n, horizon if averaged else 1, np.random.default_rng([horizon, n]))
            shift = 3 * samples.mean(axis=1).std()
            rows.append({
                "loss differential": name,
                "h": horizon,
                "origins": n,
                "rejection rate": round(100 * rejection(samples, horizon), 1),
                "power": round(100 * rejection(samples[:500], horizon, shift)),
            })  # fmt: skip
    return pd.DataFrame(rows)


def sets(runs: int = 150) -> pd.DataFrame:
    """How often the 95 % confidence set of equally good models lacks one of them, in %."""
    rows = []
    for phi in (0.0, 0.5, 0.8):
        for n, models in ((300, 6), (1000, 6), (750, 20)):
            lost = 0
            for run in range(runs):
                rng = np.random.default_rng([n, models, run])
                losses = signal.lfilter([1], [1, -phi], rng.standard_normal((n + 100, models)), axis=0)[100:]
                names = [f"m{i}" for i in range(models)]
                kept = model_confidence_set(pd.DataFrame(losses, columns=names), horizon=1, season_length=1, reps=400)
                lost += len(kept) < models
            rows.append(
                {"AR(1)": phi, "origins": n, "models": models, "one or more lost": round(100 * lost / runs, 1)}
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(table().to_string(index=False))
    print(sets().to_string(index=False))
