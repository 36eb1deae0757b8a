"""Twenty simulated systems that decide what the search of `identify` needs, and ten written later.

Written before any of them was identified (docs/research/identification-stages.md has the rules that
they decide by); the ten (`TEN_MORE`) decided nothing before. Each has a record to identify and
another input to simulate; the error of a simulation is against the output without noise, in
multiples of the noise of the record. Everything is seeded: `simulate_records` gives the same
numbers every time.
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
    after_play = np.empty(len(u))
    for t, place in enumerate(u):
        play = min(max(play, place - 0.3), place + 0.3)
        after_play[t] = play
    return lfilter([0.4], [1.0, -0.6], after_play)


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


def feedback_saturation(u: np.ndarray) -> np.ndarray:
    """A linear plant of second order whose output comes back through a saturation."""
    y = np.zeros(len(u))
    for t in range(2, len(u)):
        y[t] = 1.5 * y[t - 1] - 0.6 * y[t - 2] + 0.3 * (u[t - 1] - 0.8 * np.tanh(2 * y[t - 1]))
    return y


def dead_zone_behind(u: np.ndarray) -> np.ndarray:
    """Second order, then a sensor that shows nothing below a fifth."""
    inner = lfilter([0.15, 0.1], [1.0, -1.2, 0.45], u)
    return np.sign(inner) * np.maximum(np.abs(inner) - 0.2, 0.0)


def saturated_valve(u: np.ndarray) -> np.ndarray:
    """A valve that opens as a bent curve, before two lags and a swing."""
    opened = np.clip(u + 0.3 * u**3, -0.6, 0.9)
    return lfilter([0.05, 0.05], np.convolve([1.0, -1.4, 0.48], [1.0, -1.2, 0.72]), opened)


def driven_van_der_pol(u: np.ndarray) -> np.ndarray:
    """A swing damped the more the farther it goes."""
    place = speed = 0.0
    y = np.empty(len(u))
    for t, force in enumerate(u):
        for _ in range(5):
            speed += 0.06 * (2.0 * force - (0.3 + 1.2 * place**2) * speed - place)
            place += 0.06 * speed
        y[t] = place
    return y


def two_masses(u: np.ndarray) -> np.ndarray:
    """Two masses on springs, coupled by one that stiffens; the far one is seen."""
    places, speeds = np.zeros(2), np.zeros(2)
    y = np.empty(len(u))
    for t, force in enumerate(u):
        for _ in range(5):
            stretch = places[1] - places[0]
            coupling = stretch + 1.5 * stretch**3
            forces = np.array([force + coupling, -coupling]) - 0.6 * speeds - 0.5 * places
            speeds = speeds + 0.08 * forces
            places = places + 0.08 * speeds
        y[t] = places[1]
    return y


def stirred_reactor(u: np.ndarray) -> np.ndarray:
    """The temperature of a stirred tank in which a reaction gives heat."""
    share, heat = 0.5, 0.5
    y = np.empty(len(u))
    for t, cooling in enumerate(u):
        for _ in range(5):
            rate = share * np.exp(2.0 * (heat - 1.0))
            share += 0.03 * (1.0 - share - rate)
            heat += 0.03 * (1.5 * rate - 1.2 * heat - 0.6 * cooling)
        y[t] = heat
    return y


def overflowing_vessel(u: np.ndarray) -> np.ndarray:
    """A level that stops at the brim."""
    level = 0.3
    y = np.empty(len(u))
    for t, inflow in enumerate(u):
        level = min(max(level + 0.12 * (inflow - 0.8 * np.sqrt(max(level, 0.0))), 0.0), 0.9)
        y[t] = level
    return y


def ship_heading(u: np.ndarray) -> np.ndarray:
    """Rudder to heading, with a turn rate that resists by its third power: it integrates."""
    rate = heading = 0.0
    y = np.empty(len(u))
    for t, rudder in enumerate(u):
        rate += 0.15 * (0.5 * rudder - rate - 1.5 * rate**3)
        heading += 0.2 * rate
        y[t] = heading
    return y


def noisy_resonance(u: np.ndarray) -> np.ndarray:
    return lfilter([0.02, 0.03], np.convolve([1.0, -1.7, 0.81], [1.0, -0.9, 0.5]), u)


def coupled_heaters(drive: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two heaters beside each other, cooled the faster the more the fan of the second blows."""
    heat = np.zeros(2)
    y = np.empty_like(drive)
    for t, (power, fan) in enumerate(drive):
        flow = np.array([power, 0.5 * power]) + 0.3 * (heat[::-1] - heat)
        heat = heat + 0.15 * (flow - (0.6 + 0.4 * np.array([0.2, 1.0]) * (fan + 1.0)) * heat)
        y[t] = heat
    return drive, y


TEN_MORE: dict[str, System] = {
    "feedback saturation": System(open_loop(feedback_saturation), 400, 5, -1.5, 1.5),
    "dead zone behind": System(open_loop(dead_zone_behind), 400, 4, -1.5, 1.5),
    "saturated valve": System(open_loop(saturated_valve), 500, 6),
    "damped swing": System(open_loop(driven_van_der_pol), 400, 8),
    "two masses": System(open_loop(two_masses), 600, 8, -1.5, 1.5),
    "stirred reactor": System(open_loop(stirred_reactor), 500, 10),
    "overflowing vessel": System(open_loop(overflowing_vessel), 500, 15, 0.0, 1.0),
    "ship heading": System(open_loop(ship_heading), 500, 10),
    "noisy resonance": System(open_loop(noisy_resonance), 400, 4, noise=0.1),
    "coupled heaters": System(coupled_heaters, 400, 10, inputs=2),
}


def simulate_records(name: str, draw: int = 0) -> tuple[Experiment, Experiment, float]:
    """The record to identify, the test without noise, and the deviation of the noise; `draw`: of
    other inputs and noise.
    """
    systems = TWENTY | TEN_MORE
    system = systems[name]
    seed = list(systems).index(name) + 1000 * draw
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
