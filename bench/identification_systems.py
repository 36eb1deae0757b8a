"""Twenty simulated systems that decide what the search of `identify` needs.

Written before any of them was identified (docs/research/identification-stages.md has the rule that
they decide by). Each has a record to identify and another input to simulate; the error of a
simulation is against the output without noise, in multiples of the noise of the record. Everything
is seeded: `simulate_records` gives the same numbers every time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from bench.simulated_systems import bouc_wen, friction, oversampled, two_time_constants
from forecast.identification import Experiment, random_steps

TEST_ROWS = 400
Drive = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""u (T, I) and y (T, O) without noise, of a drive (T, I) and the noise (T, O) that a controller
would see."""


@dataclass(frozen=True)
class System:
    """`rows` of the record; levels of each input are held for `hold` rows in [`low`, `high`].

    `reach`: how many times farther from the middle the inputs of the test go; `noise`: in
    deviations of y, of one pole where `coloured`.
    """

    run: Drive
    rows: int
    hold: int
    low: float = -1.0
    high: float = 1.0
    inputs: int = 1
    reach: float = 1.0
    noise: float = 0.02
    coloured: bool = False


def open_loop(system: Callable[[np.ndarray], np.ndarray]) -> Drive:
    """A system of one input and output that is driven as it is."""

    def run(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return drive, system(drive[:, 0])[:, None]

    return run


def delay(u: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([np.repeat(u[:1], rows), u])[: len(u)]


def slow_wiener(u: np.ndarray) -> np.ndarray:
    return np.tanh(2.0 * lfilter([1 / 150], [1.0, -149 / 150], u))


def bilinear(u: np.ndarray) -> np.ndarray:
    y = np.zeros(len(u))
    for t in range(1, len(u)):
        y[t] = 0.6 * y[t - 1] + 0.5 * u[t - 1] + 0.4 * y[t - 1] * u[t - 1]
    return y


def polynomial(u: np.ndarray) -> np.ndarray:
    y = np.zeros(len(u))
    for t in range(2, len(u)):
        y[t] = 0.7 * y[t - 1] - 0.2 * y[t - 2] + 0.3 * u[t - 1] + 0.2 * u[t - 2] ** 2
        y[t] -= 0.1 * y[t - 1] * u[t - 2] + 0.05 * y[t - 2] ** 3
    return y


def quadratic_drag(u: np.ndarray) -> np.ndarray:
    speed = 0.0
    y = np.empty(len(u))
    for t, force in enumerate(u):
        for _ in range(5):
            speed += 0.05 * (2.0 * force - speed * abs(speed))
        y[t] = speed
    return y


def sticking(u: np.ndarray) -> np.ndarray:
    """A speed that rests until the force is more than a third."""
    speed = 0.0
    y = np.empty(len(u))
    for t, force in enumerate(u):
        for _ in range(5):
            speed += 0.04 * (force - 0.6 * speed - 0.3 * np.tanh(30 * speed))
        y[t] = speed
    return y


def backlash(u: np.ndarray) -> np.ndarray:
    """A play of .3 to each side, then a lag."""
    play = 0.0
    behind = np.empty(len(u))
    for t, place in enumerate(u):
        play = min(max(play, place - 0.3), place + 0.3)
        behind[t] = play
    return lfilter([0.4], [1.0, -0.6], behind)


def hammerstein(u: np.ndarray) -> np.ndarray:
    return lfilter([0.4, 0.2], [1.0, -0.9, 0.3], u + 0.6 * u**2)


def late_hammerstein(u: np.ndarray) -> np.ndarray:
    return hammerstein(delay(u, 12))


def late_linear(u: np.ndarray) -> np.ndarray:
    return lfilter([0.02, 0.01], [1.0, -2.3, 1.78, -0.465], delay(u, 30))


def late_wiener(u: np.ndarray) -> np.ndarray:
    linear = lfilter([0.1, 0.05], [1.0, -1.5, 0.6], delay(u, 55))
    return linear + 0.3 * linear * np.abs(linear)


def tank_level(u: np.ndarray) -> np.ndarray:
    level = 0.3
    y = np.empty(len(u))
    for t, inflow in enumerate(u):
        level = max(level + 0.15 * (inflow - np.sqrt(max(level, 0.0))), 0.0)
        y[t] = level
    return y


def late_tank(u: np.ndarray) -> np.ndarray:
    return tank_level(delay(u, 80))


def saturating(u: np.ndarray) -> np.ndarray:
    return 2.0 * np.tanh(0.8 * lfilter([0.2], [1.0, -0.8], u))


def coloured_linear(u: np.ndarray) -> np.ndarray:
    return lfilter([0.05, 0.04], [1.0, -2.1, 1.6, -0.44], u)


def controlled(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A plant near the edge of stability whose input is the controller's answer to its measured
    output.
    """
    u = np.zeros_like(drive)
    y = np.zeros_like(drive)
    for t in range(1, len(drive)):
        y[t] = 0.99 * y[t - 1] + 0.25 * np.tanh(u[t - 1])
        u[t] = 1.5 * (drive[t] - y[t] - noise[t])
    return u, y


def product_of_inputs(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = drive.T
    return drive, lfilter([0.0, 0.3], [1.0, -0.7], first * second + 0.3 * first)[:, None]


def two_tanks(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two levels, of which the first empties into the second."""
    levels = np.full(2, 0.3)
    y = np.empty_like(drive)
    for t, inflow in enumerate(drive):
        outflow = np.sqrt(np.maximum(levels, 0.0))
        levels = levels + 0.15 * (inflow + np.array([0.0, outflow[0]]) - outflow)
        y[t] = levels
    return drive, y


TWENTY: dict[str, System] = {
    "slow Wiener": System(open_loop(slow_wiener), 520, 100),
    "two time constants": System(open_loop(two_time_constants), 520, 40),
    "bilinear": System(open_loop(bilinear), 300, 2, -0.7, 0.7),
    "polynomial": System(open_loop(polynomial), 300, 2),
    "quadratic drag": System(open_loop(quadratic_drag), 300, 6),
    "friction": System(open_loop(friction), 520, 8, noise=0.01),
    "sticking": System(open_loop(sticking), 300, 8),
    "hysteresis": System(open_loop(bouc_wen), 520, 4, -1.5, 1.5),
    "backlash": System(open_loop(backlash), 300, 4),
    "Hammerstein": System(open_loop(hammerstein), 300, 2),
    "Hammerstein, dead time 12": System(open_loop(late_hammerstein), 520, 3),
    "linear, dead time 30": System(open_loop(late_linear), 520, 6),
    "Wiener, dead time 55": System(open_loop(late_wiener), 520, 4),
    "tank, dead time 80": System(open_loop(late_tank), 520, 12, 0.1, 1.0),
    "under control": System(controlled, 300, 15),
    "product of inputs": System(product_of_inputs, 300, 4, inputs=2),
    "two tanks": System(two_tanks, 300, 12, 0.2, 1.0, inputs=2),
    "saturating, beyond its range": System(open_loop(saturating), 300, 12, reach=1.6),
    "hardening spring": System(open_loop(oversampled), 520, 60, noise=0.01),
    "linear, coloured noise": System(open_loop(coloured_linear), 300, 6, noise=0.2, coloured=True),
}


def simulate_records(name: str) -> tuple[Experiment, Experiment, float]:
    """The record to identify, the test without noise, and the deviation of the noise."""
    system = TWENTY[name]
    seed = list(TWENTY).index(name)
    rng = np.random.default_rng([38, seed])
    middle = (system.low + system.high) / 2
    drives = []
    for part, (rows, reach) in enumerate([(system.rows, 1.0), (TEST_ROWS, system.reach)]):
        levels = [
            random_steps(rows, system.low, system.high, hold=system.hold, seed=1000 * part + number)
            for number in range(10 * seed, 10 * seed + system.inputs)
        ]
        drives.append(middle + reach * (np.stack(levels, axis=1) - middle))
    silent = np.zeros((system.rows, system.inputs))
    deviation = float(np.mean(system.run(drives[0], silent)[1].std(axis=0)))
    size = system.noise * deviation
    noise = rng.normal(size=(system.rows, system.run(drives[0], silent)[1].shape[1]))
    if system.coloured:
        noise = lfilter([np.sqrt(1 - 0.8**2)], [1.0, -0.8], noise, axis=0)
    u, y = system.run(drives[0], size * noise)
    v, truth = system.run(drives[1], np.zeros((TEST_ROWS, noise.shape[1])))
    return Experiment(u, y + size * noise), Experiment(v, truth), size
