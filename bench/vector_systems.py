"""`identify` beside an ARX model on ten simulated plants with several outputs or little damping.

    nice -n 15 .venv/bin/python -m bench.vector_systems [--seeds 0 1] [--only furnace]

Each plant is drawn anew for every seed and simulated with its disturbance in one piece: the first
half identifies, the second is simulated from its first rows, as measured records are. Errors are in
deviations of y in the second half, mean over the outputs: the mean of y leaves 1. The ARX model is
that of `forecast identify`. The rule that they decide by: docs/research/identification-stages.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from bench.beside_arx import free_run_errors
from forecast.identification import Experiment, Model, identify
from forecast.identification.contest import FIT_BY_CONTESTANT

ROWS = 600  # of each half


@dataclass(frozen=True)
class Plant:
    """`states` of linear dynamics whose slowest pole is `pole`, at an angle of `angle` radians a
    row; `bend`: how far each state saturates, 0 for a linear plant. `disturbance`, in deviations of
    each output, of one pole `colour`; `noisy`: outputs that are hardly anything else.
    """

    inputs: int
    outputs: int
    states: int
    pole: float
    angle: float = 0.0
    bend: float = 0.0
    disturbance: float = 0.3
    colour: float = 0.9
    noisy: int = 0
    hold: int = 8


PLANTS: dict[str, Plant] = {
    "furnace": Plant(3, 6, 4, 0.97, disturbance=0.5, colour=0.97),
    "redundant furnace": Plant(3, 6, 2, 0.95, disturbance=0.3, colour=0.95),
    "bent furnace": Plant(3, 6, 4, 0.95, bend=0.5, disturbance=0.3),
    "two of six outputs noise": Plant(2, 6, 3, 0.9, disturbance=0.2, noisy=2),
    "drifting column": Plant(2, 4, 3, 0.97, disturbance=0.4, colour=0.995),
    "restless column": Plant(2, 4, 3, 0.97, disturbance=1.0, colour=0.98),
    "held column": Plant(2, 4, 3, 0.97, disturbance=0.7, colour=0.99, hold=60),
    "bent column": Plant(2, 3, 3, 0.9, bend=1.0, disturbance=0.1, colour=0.0),
    "arm": Plant(1, 1, 4, 0.985, angle=0.25, disturbance=0.01, colour=0.0, hold=1),
    "bent arm": Plant(1, 1, 4, 0.97, angle=0.25, bend=0.3, disturbance=0.03, colour=0.5, hold=2),
}


def simulate_halves(plant: Plant, seed: int) -> tuple[Experiment, Experiment]:
    """The record, and what comes after it."""
    rng = np.random.default_rng([43, seed, list(PLANTS.values()).index(plant)])
    rows = 2 * ROWS
    levels = rng.uniform(-1.0, 1.0, (rows // plant.hold + 1, plant.inputs))
    u = np.repeat(levels, plant.hold, axis=0)[:rows]
    transition = draw_transition(plant, rng)
    entry = rng.normal(size=(plant.inputs, plant.states))
    state = np.zeros(plant.states)
    states = np.empty((rows, plant.states))
    scale = 1.0
    for first in (True, False):  # once to learn how far the states move, then bent by that
        for t in range(rows):
            states[t] = state
            bent = np.tanh(plant.bend * state / scale) * scale / plant.bend if plant.bend else state
            state = transition @ bent + u[t] @ entry
        if first:
            scale = states.std(axis=0).mean()
            state = np.zeros(plant.states)
    y = states @ rng.normal(size=(plant.states, plant.outputs))
    y /= y.std(axis=0)
    sizes = np.full(plant.outputs, plant.disturbance)
    sizes[: plant.noisy] = 3.0
    noise = lfilter(
        [1.0], [1.0, -plant.colour], rng.normal(size=(rows + 200, plant.outputs)), axis=0
    )
    y = y + sizes * (noise / noise.std(axis=0))[200:]
    return Experiment(u[:ROWS], y[:ROWS]), Experiment(u[ROWS:], y[ROWS:])


def draw_transition(plant: Plant, rng: np.random.Generator) -> np.ndarray:
    """(states, states): poles from a third of the slowest one's distance to it, in pairs where they
    swing, mixed by a random basis.
    """
    matrix = np.diag(np.linspace(plant.pole / 3, plant.pole, plant.states))
    if plant.angle:
        for k in range(0, plant.states, 2):
            radius = plant.pole - 0.05 * k / plant.states
            angle = plant.angle * (1 + k)
            turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            matrix[k : k + 2] = 0.0
            matrix[k : k + 2, k : k + 2] = radius * np.array(turn)
    basis, _ = np.linalg.qr(rng.normal(size=(plant.states, plant.states)))
    return np.asarray(basis @ matrix @ basis.T)


def mean_error(fit: Callable[[], Model], test: Experiment) -> float:
    """Of the free run over the test, mean over the outputs."""
    return float(np.mean(free_run_errors(fit, test)))


def main() -> None:
    """A line for each plant: the errors by seed, the geometric mean of their ratio, seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", default="", help="plants whose name has this")
    arguments = parser.parse_args()
    for name, plant in PLANTS.items():
        if arguments.only not in name:
            continue
        errors, seconds = [], 0.0
        for seed in arguments.seeds:
            record, test = simulate_halves(plant, seed)
            begin = time.process_time()
            by_search = mean_error(lambda e=record, s=seed: identify(e, seed=s), test)
            seconds += time.process_time() - begin
            by_arx = mean_error(lambda e=record: FIT_BY_CONTESTANT["arx"]([e], 0), test)
            errors.append((by_search, by_arx))
        ratio = np.exp(np.mean([np.log(a / b) for a, b in errors]))
        listed = "  ".join(f"{a:.3g}/{b:.3g}" for a, b in errors)
        print(
            f"{name:<26} ratio {ratio:7.3g}  {seconds / len(errors):6.1f} s  [{listed}]", flush=True
        )


if __name__ == "__main__":
    main()
