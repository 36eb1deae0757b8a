"""Systems that integrate, and slow ones whose short record hardly tells them from these.

    nice -n 10 .venv/bin/python -m bench.integrating_systems [--draw 9801] [--only level]
                                       [--variants "whole;nets stay beside linear models"]

Every record has two tests without noise: "alike", another draw of the record's kind of input, and
"held", an input that stays at one end for 150 rows and then at the other, so that y leaves the
range of its record. An error is that of the free run from row 20 on, in multiples of the noise of
the record. What was decided by them: docs/research/identification-smallest-search.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from bench.identification_stages import VARIANTS, Variant
from bench.identification_systems import Drive, delay, open_loop
from bench.simulated_systems import two_time_constants
from forecast.identification import Experiment, Model, identify, random_steps
from forecast.system.errors import ForecastError

TEST_ROWS = 300
FIRST_ROW = 20  # of the tests that counts
NOISE = 0.02  # of the deviation of y


@dataclass(frozen=True)
class System:
    """`rows` of the record; levels of each input are held for `hold` rows, or reached by `ramps`;
    `slope`: by which y drifts over the record, in its deviations.
    """

    run: Drive
    rows: int
    hold: int
    inputs: int = 1
    ramps: bool = False
    slope: float = 0.0


def motor(u: np.ndarray) -> np.ndarray:
    """Voltage to position: a lag and an integral."""
    return np.cumsum(lfilter([0.0, 0.02], [1.0, -0.8], u))


def late_level(u: np.ndarray) -> np.ndarray:
    return 0.05 * np.cumsum(delay(u, 12))


def heading(u: np.ndarray) -> np.ndarray:
    """The integral of a turn rate that resists by its third power."""
    rate = place = 0.0
    y = np.empty(len(u))
    for t, rudder in enumerate(u):
        rate += 0.15 * (0.5 * rudder - rate - 1.5 * rate**3)
        place += 0.2 * rate
        y[t] = place
    return y


def valve_before_vessel(u: np.ndarray) -> np.ndarray:
    """A curve and a limit before an integral."""
    return 0.05 * np.cumsum(np.clip(u + 0.4 * u**3, -0.6, 0.9))


def controlled_level(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A vessel whose inflow is the answer to its measured level."""
    u, y = np.zeros_like(drive), np.zeros_like(drive)
    for t in range(1, len(drive)):
        y[t] = y[t - 1] + 0.1 * u[t - 1]
        u[t] = 1.5 * (drive[t] - y[t] - noise[t])
    return u, y


def attitude(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two integrals under a controller of place and speed."""
    u, y = np.zeros_like(drive), np.zeros_like(drive)
    speed = 0.0
    for t in range(1, len(drive)):
        speed += 0.1 * u[t - 1, 0]
        y[t] = y[t - 1] + 0.1 * speed
        u[t] = 2.0 * (drive[t] - y[t] - noise[t]) - 2.0 * speed
    return u, y


def inflow_and_outflow(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return drive, motor(drive[:, 0] - 0.7 * drive[:, 1])[:, None]


def slow_lag(pole: float) -> Callable[[np.ndarray], np.ndarray]:
    """A lag of one row in five behind one with this pole."""

    def run(u: np.ndarray) -> np.ndarray:
        return lfilter([0.2], [1.0, -0.8], lfilter([0.0, 0.05], [1.0, -pole], u))

    return run


def slow_wiener(u: np.ndarray) -> np.ndarray:
    return np.tanh(2.0 * lfilter([1 / 500], [1.0, -499 / 500], u))


def slow_tank(u: np.ndarray) -> np.ndarray:
    """A level whose outflow goes by its root."""
    level = 0.5
    y = np.empty(len(u))
    for t, inflow in enumerate(u):
        level = max(level + 0.004 * (inflow + 1.0 - 1.4 * np.sqrt(max(level, 0.0))), 0.0)
        y[t] = level
    return y


def slow_hammerstein(u: np.ndarray) -> np.ndarray:
    return lfilter([0.0, 0.003], [1.0, -0.997], u + 0.6 * u**2)


def radiating_body(u: np.ndarray) -> np.ndarray:
    heat = 1.0
    y = np.empty(len(u))
    for t, power in enumerate(u):
        heat += 0.004 * (1.0 + 0.8 * power - 0.5 * heat - 0.125 * heat**4)
        y[t] = heat
    return y


def slow_bilinear(u: np.ndarray) -> np.ndarray:
    y = np.zeros(len(u))
    for t in range(1, len(u)):
        y[t] = 0.998 * y[t - 1] + 0.02 * u[t - 1] + 0.01 * y[t - 1] * u[t - 1]
    return y


def two_slow_lags(u: np.ndarray) -> np.ndarray:
    """Poles of .995 and .95, and a tanh before them."""
    return lfilter([0.0, 0.002], np.convolve([1.0, -0.995], [1.0, -0.95]), np.tanh(1.5 * u))


INTEGRATING: dict[str, System] = {
    "motor": System(open_loop(motor), 300, 5),
    "motor, 80 rows": System(open_loop(motor), 80, 5),
    "motor under ramps": System(open_loop(motor), 400, 25, ramps=True),
    "motor, drifting": System(open_loop(motor), 400, 6, slope=1.0),
    "level, dead time 12": System(open_loop(late_level), 400, 8),
    "level under control": System(controlled_level, 400, 15),
    "attitude": System(attitude, 300, 20),
    "inflow and outflow": System(inflow_and_outflow, 400, 6, inputs=2),
    "heading": System(open_loop(heading), 400, 10),
    "valve before vessel": System(open_loop(valve_before_vessel), 400, 10),
}
SLOW: dict[str, System] = {
    "lag, pole .99": System(open_loop(slow_lag(0.99)), 300, 12),
    "lag, pole .998": System(open_loop(slow_lag(0.998)), 400, 20),
    "lag, pole .9995": System(open_loop(slow_lag(0.9995)), 300, 15),
    "two time constants": System(open_loop(two_time_constants), 520, 40),
    "slow Wiener": System(open_loop(slow_wiener), 500, 60),
    "slow tank": System(open_loop(slow_tank), 500, 30),
    "slow Hammerstein": System(open_loop(slow_hammerstein), 400, 10),
    "radiating body": System(open_loop(radiating_body), 500, 30),
    "slow bilinear": System(open_loop(slow_bilinear), 400, 10),
    "two slow lags": System(open_loop(two_slow_lags), 400, 10),
}
SYSTEMS = INTEGRATING | SLOW


def simulate_records(name: str, draw: int) -> tuple[Experiment, dict[str, Experiment], float]:
    """The record, the two tests, and the deviation of the noise."""
    system = SYSTEMS[name]
    seed = 100 * draw + list(SYSTEMS).index(name)
    rng = np.random.default_rng([47, seed])
    drives = []
    for part, rows in enumerate((system.rows, TEST_ROWS)):
        columns = []
        for column in range(system.inputs):
            levels = random_steps(
                rows, -1.0, 1.0, hold=system.hold, seed=10 * seed + 5 * part + column
            )
            if system.ramps:
                levels = np.interp(
                    np.arange(rows), np.arange(0, rows, system.hold), levels[:: system.hold]
                )
            columns.append(levels)
        drives.append(np.stack(columns, axis=1))
    held_input = np.repeat([[1.0], [-1.0]], TEST_ROWS // 2, axis=0) * np.eye(1, system.inputs)
    first, alike = drives
    silent = np.zeros((system.rows, 1))
    truth = system.run(first, silent)[1]
    size = NOISE * float(truth.std())
    noise = size * rng.normal(size=(system.rows, 1))
    u, y = system.run(first, noise)
    line = system.slope * truth.std() * np.linspace(0.0, 1.0, system.rows)[:, None]
    tests = {}
    for kind, drive in {"alike": alike, "held": held_input}.items():
        tests[kind] = Experiment(*system.run(drive, np.zeros((TEST_ROWS, 1))))
    return Experiment(u, y + line + noise), tests, size


def free_run_error(model: Model, test: Experiment, unit: float) -> float:
    """In units; infinite where the run is lost."""
    try:
        run = model.simulate(test.u, test.y[: model.start]).y
    except ForecastError:
        return float("inf")
    error = float(np.sqrt(np.mean((run - test.y)[FIRST_ROW:] ** 2)))
    return error / unit if np.isfinite(error) else float("inf")


def print_errors(name: str, draw: int, variants: dict[str, Variant]) -> None:
    """A line for each variant: the errors over both tests, and the CPU seconds."""
    record, tests, unit = simulate_records(name, draw)
    for variant, make in variants.items():
        begin = time.process_time()
        with ExitStack() as stack:
            model = identify(record, settings=make(stack))
        seconds = time.process_time() - begin
        errors = [free_run_error(model, test, unit) for test in tests.values()]
        errors_text = "  ".join(f"{error:9.4g}" for error in errors)
        print(f"{name:<22} {variant:<36} {errors_text}  {seconds:5.1f} s", flush=True)


def main() -> None:
    """Print a line for each system and variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", type=int, default=9801)
    parser.add_argument("--only", default="", help="systems whose name has this")
    parser.add_argument(
        "--variants", default="whole", help="of `identification_stages`, separated by ;"
    )
    arguments = parser.parse_args()
    variants = {name: VARIANTS[name] for name in arguments.variants.split(";")}
    for name in SYSTEMS:
        if arguments.only in name:
            print_errors(name, arguments.draw, variants)


if __name__ == "__main__":
    main()
