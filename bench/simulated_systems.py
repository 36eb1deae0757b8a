"""Free run on simulated systems of known noise, and on the gas furnace: ARX, one net, and the
automatic procedure.

    .venv/bin/python bench/simulated_systems.py [--gas darts_gasrate_co2.csv] [--only friction]

Each system is simulated twice, 1,500 rows to identify it on and 800 to test, with noise of 2 % on
both: the error of a free run is at best that noise. Those that integrate or are stiff have 800 rows
each and noise of 1 %. All choices are made on the first record. The gas furnace (Box & Jenkins
1970) is cut after 200 of its 296 rows; its file has two columns, gas rate and CO2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from forecast.identification import (
    Experiment,
    Model,
    SearchSettings,
    identify,
    multisine,
    narxnet,
    perform,
    random_steps,
    train,
)
from forecast.system.errors import ModelError

NOISE = 0.02  # of the deviation of y


def wiener_hammerstein(u: np.ndarray) -> np.ndarray:
    """A second-order filter, a one-sided saturation, a second-order filter."""
    inner = lfilter([0.1, 0.15], [1.0, -1.3, 0.5], u)
    return np.asarray(
        lfilter(
            [0.2, 0.1], [1.0, -1.2, 0.45], np.where(inner > 0.4, 0.4 + 0.2 * (inner - 0.4), inner)
        )
    )


def coupled_drives(u: np.ndarray) -> np.ndarray:
    """Two motors on a belt whose sensor sees the size of the speed, not its sign (Wigren &
    Schoukens 2017).
    """
    linear = lfilter([0.0, 0.06, 0.05], [1.0, -2.2, 1.75, -0.5], u)
    return np.abs(linear)


def bouc_wen(u: np.ndarray) -> np.ndarray:
    """A mass on a spring with hysteresis, 20 inner steps per row (Noël & Schoukens 2016,
    softened).
    """
    place = speed = force = 0.0
    y = np.empty(len(u))
    for t, push in enumerate(u):
        for _ in range(20):
            force += 0.005 * (
                5.0 * speed - 3.0 * (0.8 * abs(speed) * force - 0.3 * speed * abs(force))
            )
            speed += 0.005 * (4.0 * push - 0.8 * speed - 3.0 * place - force)
            place += 0.005 * speed
        y[t] = place
    return y


def friction(u: np.ndarray) -> np.ndarray:
    """Force to position, with viscous and dry friction, 5 inner steps per row: it integrates."""
    speed = place = 0.0
    y = np.empty(len(u))
    for t, force in enumerate(u):
        for _ in range(5):
            speed += 0.02 * (force - 0.5 * speed - 0.3 * np.tanh(20 * speed))
            place += 0.02 * speed
        y[t] = place
    return y


def oversampled(u: np.ndarray) -> np.ndarray:
    """A mass on a hardening spring, some 200 rows a period."""
    speed = place = 0.0
    y = np.empty(len(u))
    for t, force in enumerate(u):
        speed += 0.03 * (force - 0.6 * speed - place - 0.5 * place**3)
        place += 0.03 * speed
        y[t] = place
    return y


def two_time_constants(u: np.ndarray) -> np.ndarray:
    """Of 2 and 200 rows."""
    fast = slow = 0.0
    y = np.empty(len(u))
    for t, now in enumerate(u):
        fast += (now - fast) / 2
        slow += (np.tanh(fast) - slow) / 200
        y[t] = 0.3 * fast + slow
    return y


SLOW: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "friction": (friction, 8),
    "oversampled": (oversampled, 60),
    "two time constants": (two_time_constants, 40),
}
"""The system, and the rows for which each level of its input is held."""

SYSTEMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {
    "Wiener-Hammerstein": (wiener_hammerstein, -1.0, 1.5),
    "coupled drives": (coupled_drives, -1.0, 1.5),
    "Bouc-Wen": (bouc_wen, -1.5, 1.5),
}


def simulated(name: str) -> tuple[Experiment, Experiment, float]:
    """(to identify, to test, noise in the units of y)."""
    system, low, high = SYSTEMS[name]
    rng = np.random.default_rng(0)
    inputs = [
        random_steps(1500, low, high, hold=4, seed=1),
        0.8 * multisine(800, low, high, band=(0.0, 0.1)),
    ]
    outputs = [system(u) for u in inputs]
    size = NOISE * float(outputs[0].std())
    first, last = (
        Experiment(u, y + size * rng.normal(size=len(y)))
        for u, y in zip(inputs, outputs, strict=True)
    )
    return first, last, size


def slow(name: str) -> tuple[Experiment, Experiment, float]:
    """The same of a system that integrates or is stiff, under steps without a mean."""
    system, hold = SLOW[name]
    rng = np.random.default_rng(5)
    inputs = [u - u.mean() for u in (random_steps(800, hold=hold, seed=seed) for seed in (1, 2))]
    outputs = [system(u) for u in inputs]
    size = 0.01 * float(outputs[0].std())
    first, last = (
        Experiment(u, y + size * rng.normal(size=len(y)))
        for u, y in zip(inputs, outputs, strict=True)
    )
    return first, last, size


def gas_furnace(path: str) -> tuple[Experiment, Experiment, float]:
    """Its noise is not known."""
    table = pd.read_csv(path).select_dtypes("number").to_numpy()[:, -2:]
    whole = Experiment(table[:, 0], table[:, 1])
    return whole.part(slice(0, 200)), whole.part(slice(200, None)), np.nan


def rows() -> Iterator[tuple[str, Callable[[Experiment], Model]]]:
    yield "ARX", lambda e: train(narxnet(range(6), range(1, 5), ()), e)
    yield "one net, open loop", lambda e: train(narxnet(range(4), range(1, 4), 8), e, restarts=3)
    yield "one net, 3 units", lambda e: train(narxnet((0, 1, 2), (1, 2), 3), e, restarts=3)
    yield "identify", identify


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gas", help="the CSV of the gas furnace")
    parser.add_argument("--only", default="", help="systems whose name contains this")
    arguments = parser.parse_args()
    makers = dict.fromkeys(SYSTEMS, simulated) | dict.fromkeys(SLOW, slow)
    records = {name: make(name) for name, make in makers.items() if arguments.only in name}
    if arguments.gas:
        records["gas furnace"] = gas_furnace(arguments.gas)
    for name, (first, last, noise) in records.items():
        print(f"{name}: deviation of y {last.y.std():.4g}, noise {noise:.4g}", flush=True)
        if name in makers:
            system = (SYSTEMS | SLOW)[name][0]
            rows_of_identify = slice(SearchSettings.most_start, None)
            clean = system(last.u[:, 0])
            error = perform(last.y[rows_of_identify], clean[rows_of_identify], measure="rmse")
            print(f"  the system itself    free-run RMSE {error:.4g}, {error / noise:.3f} x noise")
        for row, fit in rows():
            began = time.process_time()
            model = fit(first)
            try:
                run = model.simulate(last.u, last.y[: model.start]).y
                error = perform(last.y[10:], run[10:], measure="rmse")
            except ModelError as failure:
                error, row = np.inf, f"{row} ({failure})"
            seconds = time.process_time() - began
            print(
                f"  {row:<20} free-run RMSE {error:.4g}, {error / noise:.3f} x noise, CPU"
                f" {seconds:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
