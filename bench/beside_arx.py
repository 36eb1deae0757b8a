"""`identify` beside an ARX model on ten short or odd records, where a search has little to go by.

    nice -n 15 .venv/bin/python -m bench.beside_arx [--seeds 0 1 2] [--only relay]

Each system is simulated anew for every seed: a record to identify, and another input of 200 rows to
simulate without noise. Errors are in deviations of the test; the ARX model is that of
`forecast identify`. The rule that they decide by: docs/research/identification-stages.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from forecast.identification import Experiment, Model, identify, random_steps
from forecast.identification.contest import FIT_BY_CONTESTANT
from forecast.system.errors import ForecastError

TEST_ROWS = 200
FIRST_ROW = 10  # of the test that counts: a free run begins with measured rows


@dataclass(frozen=True)
class System:
    """`run`: y (T, O) without noise under u (T, I), whose levels are held for `hold` of its `rows`;
    `noise`: in deviations of y.
    """

    run: Callable[[np.ndarray], np.ndarray]
    rows: int
    hold: int = 3
    noise: float = 0.02
    inputs: int = 1


def second_order(u: np.ndarray) -> np.ndarray:
    return lfilter([0.0, 0.3, 0.15], [1.0, -1.2, 0.45], u, axis=0)


def resonant(u: np.ndarray) -> np.ndarray:
    return lfilter([0.0, 0.2, 0.1], [1.0, -1.6, 0.9], u, axis=0)


def lag(u: np.ndarray) -> np.ndarray:
    return lfilter([0.0, 0.4], [1.0, -0.6], u, axis=0)


def relay(u: np.ndarray) -> np.ndarray:
    """On above .3, off below -.3, else as before; then a lag."""
    state = -1.0
    switched = np.empty_like(u)
    for t, value in enumerate(u[:, 0]):
        if abs(value) > 0.3:
            state = float(np.sign(value))
        switched[t] = state
    return lag(switched)


def dead_zone(u: np.ndarray) -> np.ndarray:
    return lag(np.sign(u) * np.maximum(np.abs(u) - 0.3, 0.0))


def saturated(u: np.ndarray) -> np.ndarray:
    return np.clip(second_order(u), -0.4, 0.4)


def drifting(u: np.ndarray) -> np.ndarray:
    return second_order(u) + np.linspace(0.0, 0.3, len(u))[:, None]


def integrator(u: np.ndarray) -> np.ndarray:
    return 0.2 * np.cumsum(np.concatenate([np.zeros((1, 1)), u[:-1]]), axis=0)


def coupled(u: np.ndarray) -> np.ndarray:
    first, second = lag(u).T
    return np.stack([first + 0.3 * second, second - 0.4 * first], axis=1)


TEN: dict[str, System] = {
    "linear, 40 rows": System(second_order, 40),
    "linear, no noise": System(second_order, 60, noise=0.0),
    "linear, much noise": System(second_order, 60, noise=0.3),
    "resonant": System(resonant, 60),
    "relay": System(relay, 300, hold=5),
    "dead zone": System(dead_zone, 60),
    "saturated": System(saturated, 50),
    "drifting": System(drifting, 60),
    "integrator": System(integrator, 60),
    "two outputs": System(coupled, 60, inputs=2),
}


def simulate_records(system: System, seed: int) -> tuple[Experiment, Experiment]:
    """The record with noise, and the test without."""
    rng = np.random.default_rng([41, seed])
    parts = []
    for part, rows in enumerate((system.rows, TEST_ROWS)):
        levels = [
            random_steps(rows, -1.0, 1.0, hold=system.hold, seed=100 * seed + 10 * part + column)
            for column in range(system.inputs)
        ]
        u = np.stack(levels, axis=1)
        parts.append((u, system.run(u)))
    (u, y), test = parts
    noise = system.noise * y.std(axis=0) * rng.normal(size=y.shape)
    return Experiment(u, y + noise), Experiment(*test)


def free_run_errors(fit: Callable[[], Model], test: Experiment, n_measured: int = 0) -> np.ndarray:
    """(O,): of the model over the test, in deviations of each output, after `n_measured` rows or as
    many as it needs; infinite where there is none.
    """
    try:
        model = fit()
        run = model.simulate(test.u, test.y[: max(n_measured, model.start)]).y
    except ForecastError:
        return np.full(test.y.shape[1], np.inf)
    first = max(FIRST_ROW, model.start)
    rmse = np.sqrt(np.mean((run - test.y)[first:] ** 2, axis=0))
    return np.asarray(rmse / test.y.std(axis=0))


def free_run_error(fit: Callable[[], Model], test: Experiment) -> float:
    """The root mean square of these errors over the outputs."""
    return float(np.sqrt(np.mean(free_run_errors(fit, test) ** 2)))


def main() -> None:
    """A line for each system: the median errors over the seeds, their ratio, and the seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="systems whose name has this")
    arguments = parser.parse_args()
    for name, system in TEN.items():
        if arguments.only not in name:
            continue
        errors, seconds = [], 0.0
        for seed in arguments.seeds:
            record, test = simulate_records(system, seed)
            begin = time.process_time()
            nonlinear = free_run_error(lambda e=record, s=seed: identify(e, seed=s), test)
            seconds += time.process_time() - begin
            linear = free_run_error(lambda e=record: FIT_BY_CONTESTANT["arx"]([e], 0), test)
            errors.append((nonlinear, linear))
        nonlinear, linear = np.median(errors, axis=0)
        listed = "  ".join(f"{a:.3g}/{b:.3g}" for a, b in errors)
        print(
            f"{name:<20} identify {nonlinear:9.4g}  ARX {linear:9.4g}"
            f"  ratio {nonlinear / linear:7.3g}  {seconds / len(errors):5.1f} s  [{listed}]",
            flush=True,
        )


if __name__ == "__main__":
    main()
