"""`identify` beside an ARX model on arms that swing: two or three resonances, a smooth input.

    nice -n 15 .venv/bin/python -m bench.resonant_systems [--seeds 0 1 2]

Each arm is drawn anew for every seed: 512 rows identify, the 512 after them are simulated from ten
measured rows. Errors are in deviations of y. What was decided by them:
docs/research/identification-stages.md.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.signal import lfilter

from bench.beside_arx import FIRST_ROW, free_run_errors
from forecast.identification import Experiment, identify, multisine
from forecast.identification.contest import FIT_BY_CONTESTANT

ARMS: dict[str, tuple[int, float, float]] = {
    "two modes": (2, 0.002, 0.0),
    "three modes": (3, 0.005, 0.0),
    "two modes, bent": (2, 0.002, 0.15),
}
"""Resonances, noise in deviations of y, and how far the torque bends by tanh."""


def simulate_halves(name: str, seed: int) -> tuple[Experiment, Experiment]:
    """The half that identifies, and the half to simulate."""
    modes, noise, bend = ARMS[name]
    rng = np.random.default_rng([41, 8 + list(ARMS).index(name), seed])
    u = np.tile(multisine(512, -1.0, 1.0, band=(0.0, 0.2)), 2)
    torque = u + bend * np.tanh(3 * u)
    y = np.zeros(len(u))
    for _ in range(modes):
        angle, radius = rng.uniform(0.15, 1.2), rng.uniform(0.97, 0.99)
        gains = rng.normal(size=2) * (1 - radius)
        y += lfilter([0.0, *gains], [1.0, -2 * radius * np.cos(angle), radius**2], torque)
    y = y / y.std() + noise * rng.normal(size=len(y))
    return Experiment(u[:512], y[:512]), Experiment(u[512:], y[512:])


def main() -> None:
    """A line for each arm: the errors of `identify` and of ARX by seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for name in ARMS:
        errors = []
        for seed in parser.parse_args().seeds:
            record, test = simulate_halves(name, seed)
            fits = (
                lambda e=record, s=seed: identify(e, seed=s),
                lambda e=record: FIT_BY_CONTESTANT["arx"]([e], 0),
            )
            errors.append([free_run_errors(fit, test, FIRST_ROW)[0] for fit in fits])
        print(f"{name:<18}", "  ".join(f"{a:.3g}/{b:.3g}" for a, b in errors), flush=True)


if __name__ == "__main__":
    main()
