"""Rate of false promotions of a gate asked on 250 days, and how soon it finds a real gain:
docs/operations.md.

    python -m bench.gate_asked_daily     # about two minutes on one core; seeded, so the tables
                                         # come out the same
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import signal

from bench.beside_tests import p_of_lower_loss
from forecast.comparison.longrun import Spacing
from forecast.comparison.paired_tests import diebold_mariano
from forecast.operations.gate import PairEvidence, pair_alpha, sequential_test

LOOKS, ALPHA = 250, 0.05
SETTINGS = {
    "stocks": (Spacing(horizon=5, step_size=1), 60, 1),
    "weather": (Spacing(horizon=24, step_size=6), 112, 4),
}
"""Steps, fresh origins at the first look, new origins a day."""
WORLDS = (
    "independent",
    "overlapping horizons",
    "heavy tails",
    "changing variance",
    "AR(1), 0.5",
    "AR(1), 0.9",
)


def differences(
    world: str, overlap: int, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """(worlds, origins) loss differences of two equal recipes: mean zero, standard deviation one.

    All but the first and the AR(1) worlds average over `overlap` neighbours, as losses of
    overlapping horizons do.
    """
    runs, n = shape
    noise = rng.standard_normal((runs, n + 300))
    if world == "heavy tails":
        noise = rng.standard_t(3, size=noise.shape)
    if world == "changing variance":
        noise = _garch(noise)
    if world.startswith("AR"):
        noise = signal.lfilter([1], [1, -float(world.split()[-1])], noise, axis=1)
    elif world != "independent":
        noise = signal.lfilter(np.ones(overlap), [1], noise, axis=1)
    values = noise[:, 300:]
    return np.asarray(values / values.std())


def find_promotions(
    differences: np.ndarray, steps: Spacing, first: int, per_look: int, *, looks: int = LOOKS
) -> np.ndarray:
    """Of each world the first of the daily looks (from 0) at which the gate says "better"; -1 where
    it never does. One look at all worlds before the next: what it needs depends on the number of
    origins alone.
    """
    first_look = np.full(len(differences), -1)
    for look in range(looks):
        n = first + look * per_look
        zero = np.zeros(n)
        for world in np.flatnonzero(first_look < 0):
            evidence = PairEvidence(differences[world, :n], zero, pair_number=1, n_first=first)
            if sequential_test(evidence, steps, alpha=pair_alpha(ALPHA, 1)).is_better:
                first_look[world] = look
    return first_look


def tested_daily(
    difference: np.ndarray, steps: Spacing, first: int, per_look: int, *, every: int = 5
) -> bool:
    """Whether a Diebold-Mariano test at 5 % over the newest `first` origins says "better" on any of
    the days.
    """
    for look in range(0, LOOKS, every):
        window = difference[look * per_look : first + look * per_look]
        newest_test = diebold_mariano(np.zeros_like(window), window, **steps)
        if p_of_lower_loss(newest_test) < ALPHA:
            return True
    return False


def null_worlds(runs: int = 1000) -> pd.DataFrame:
    """Per world of equal recipes the share of years, in %, with a false promotion: this gate, and a
    daily test.
    """
    rows = []
    for name, (steps, first, per_look) in SETTINGS.items():
        overlap = -(-steps["horizon"] // steps["step_size"])
        for number, world in enumerate(WORLDS):
            shape = (runs, first + LOOKS * per_look)
            samples = differences(world, overlap, shape, np.random.default_rng([number, first]))
            false_promotions = np.mean(find_promotions(samples, steps, first, per_look) >= 0)
            tested = np.mean(
                [tested_daily(d, steps, first, per_look) for d in samples[: runs // 4]]
            )
            row = {"like": name, "loss difference": world, "gate": round(100 * false_promotions, 1)}
            rows.append({**row, "test at 5 % every fifth day": round(100 * tested)})
    return pd.DataFrame(rows)


def power(runs: int = 200) -> pd.DataFrame:
    """Mean gain in standard deviations of an origin's difference → share found in a year (%),
    median day.
    """
    rows = []
    for name, (steps, first, per_look) in SETTINGS.items():
        overlap = -(-steps["horizon"] // steps["step_size"])
        samples = differences(
            "overlapping horizons",
            overlap,
            (runs, first + LOOKS * per_look),
            np.random.default_rng([9, first]),
        )
        for gain in (0.1, 0.2, 0.4, 0.8):
            days = find_promotions(samples + gain, steps, first, per_look)
            days_of_promotion = days[days >= 0]
            rows.append(
                {
                    "like": name,
                    "gain": gain,
                    "found": round(100 * len(days_of_promotion) / runs),
                    "median day": int(np.median(days_of_promotion))
                    if len(days_of_promotion)
                    else None,
                }
            )
    return pd.DataFrame(rows)


def _garch(noise: np.ndarray) -> np.ndarray:
    """GARCH(1, 1) with coefficients 0.15 and 0.8: calm and volatile periods."""
    variance, values = np.ones(len(noise)), np.empty_like(noise)
    for step in range(noise.shape[1]):
        values[:, step] = np.sqrt(variance) * noise[:, step]
        variance = 0.05 + 0.15 * values[:, step] ** 2 + 0.8 * variance
    return values


if __name__ == "__main__":
    print(null_worlds().to_markdown(index=False))
    print(power().to_markdown(index=False))
