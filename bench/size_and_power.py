"""Size and power of the tests of equal accuracy: the tables of docs/protocol.md.

python -m bench.size_and_power     # some five minutes on one core; seeded, so the tables come
                                   # out the same
"""

from __future__ import annotations

from dataclasses import dataclass

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


def differentials(
    phi: float, n: int, overlap: int, rng: np.random.Generator, runs: int = RUNS
) -> np.ndarray:
    """(runs, n) loss differentials of mean zero."""
    noise = rng.standard_normal((runs, n + 300))
    series = signal.lfilter([1], [1, -phi], noise, axis=1)
    return np.asarray(signal.lfilter(np.ones(overlap) / overlap, [1], series, axis=1)[:, 300:])


def rejection(samples: np.ndarray, horizon: int, shift: float = 0.0) -> float:
    zero = np.zeros(samples.shape[1])
    return float(
        np.mean(
            [
                diebold_mariano(d + shift, zero, horizon=horizon, season_length=1).p < 0.05
                for d in samples
            ]
        )
    )


@dataclass(frozen=True)
class Spacing:
    """How the origins of a dataset lie; all but `origins` in time steps."""

    origins: int
    horizon: int
    season_length: int
    step_size: int
    cycles: dict[str, float]

    def losses(self, phi: float, runs: int, rng: np.random.Generator) -> np.ndarray:
        """(runs, origins): means over the horizon of an AR(1) from step to step, what a loss
        difference is.
        """
        length = self.origins * self.step_size + self.horizon
        found = [differentials(phi, length, self.horizon, rng, 1)[0] for _ in range(runs)]
        return np.array(found)[:, self.horizon :: self.step_size][:, : self.origins]

    def seasons(self, depth: float, rng: np.random.Generator) -> np.ndarray:
        """(origins,): every cycle with the amplitude `depth` at a random phase."""
        time = self.step_size * np.arange(self.origins)
        waves = [
            np.sin(2 * np.pi * (time / period + rng.random())) for period in self.cycles.values()
        ]
        return np.asarray(depth * np.sum(waves, axis=0))

    def rejected(self, samples: np.ndarray) -> float:
        """In %."""
        zero = np.zeros(self.origins)
        tests = (
            diebold_mariano(
                sample,
                zero,
                horizon=self.horizon,
                season_length=self.season_length,
                step_size=self.step_size,
                cycles=self.cycles,
            )
            for sample in samples
        )
        return 100 * float(np.mean([test.p < 0.05 for test in tests]))


SPACINGS = {
    "weather": (
        Spacing(1460, 24, 24, 6, {"day": 24.0, "year": 8765.82}),
        (0.0, 0.5, 0.9, 0.95, 0.98),
    ),
    "stocks": (Spacing(755, 5, 1, 1, {"year": 251.6}), (0.0, 0.5, 0.8, 0.9)),
    "days, h = 1": (Spacing(1096, 1, 7, 1, {"week": 7.0, "year": 365.2425}), (0.0, 0.5, 0.8)),
}
"""The datasets as shipped (one year, and three years of sessions), and three years of days one step
ahead; and the dependence from one time step to the next. Stocks have no calendar features: their
year is here to be tried.
"""


def with_and_without_a_cycle(runs: int = RUNS) -> pd.DataFrame:
    """`power_and_size` of all of `SPACINGS`."""
    rows = [
        {"origins of": name, "AR(1)": f"{phi:g}", **power_and_size(spacing, phi, runs)}
        for name, (spacing, persistence) in SPACINGS.items()
        for phi in persistence
    ]
    return pd.DataFrame(rows)


def power_and_size(spacing: Spacing, phi: float, runs: int) -> dict[str, float]:
    """Rejection rate under the null and power at three standard errors, in %, without a cycle and
    with one whose amplitude is twice the standard deviation of the loss differences.
    """
    rng = np.random.default_rng([spacing.origins, round(100 * phi)])
    plain = spacing.losses(phi, runs, rng)
    cyclic = plain + np.array([spacing.seasons(2 * plain.std(), rng) for _ in range(runs)])
    shift = 3 * plain.mean(axis=1).std()
    return {
        "size": spacing.rejected(plain),
        "size with a cycle": spacing.rejected(cyclic),
        "power": spacing.rejected(plain + shift),
        "power with a cycle": spacing.rejected(cyclic + shift),
    }


def table() -> pd.DataFrame:
    """Rejection rate under the null at a nominal 5 % and power at three standard errors, in %."""
    rows = []
    for name, (phi, averaged) in PROCESSES.items():
        for horizon, n in (
            (1, 100),
            (1, 300),
            (1, 1000),
            (5, 250),
            (5, 750),
            (24, 300),
            (24, 1500),
        ):
            if averaged and horizon == 1:
                continue
            samples = differentials(
                phi, n, horizon if averaged else 1, np.random.default_rng([horizon, n])
            )
            shift = 3 * samples.mean(axis=1).std()
            rows.append(
                {
                    "loss differential": name,
                    "h": horizon,
                    "origins": n,
                    "rejection rate": round(100 * rejection(samples, horizon), 1),
                    "power": round(100 * rejection(samples[:500], horizon, shift)),
                }
            )
    return pd.DataFrame(rows)


def sets(runs: int = 150) -> pd.DataFrame:
    """How often the 95 % confidence set of equally good models lacks one of them, in %."""
    rows = []
    for phi in (0.0, 0.5, 0.8):
        for n, models in ((300, 6), (1000, 6), (750, 20)):
            lost = 0
            for run in range(runs):
                rng = np.random.default_rng([n, models, run])
                losses = signal.lfilter(
                    [1], [1, -phi], rng.standard_normal((n + 100, models)), axis=0
                )[100:]
                names = [f"m{i}" for i in range(models)]
                kept = model_confidence_set(
                    pd.DataFrame(losses, columns=names), horizon=1, season_length=1, reps=400
                )
                lost += len(kept) < models
            rows.append(
                {
                    "AR(1)": phi,
                    "origins": n,
                    "models": models,
                    "one or more lost": round(100 * lost / runs, 1),
                }
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(with_and_without_a_cycle().round(1).to_string(index=False))
    print(table().to_string(index=False))
    print(sets().to_string(index=False))
