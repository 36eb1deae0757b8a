"""`identify` beside what an outsider would try, on eight systems that decided nothing before.

    nice -n 5 .venv/bin/python -m bench.unseen_systems [--draw 0] [--only arm]

The systems are simulations in the manner of published benchmarks of nonlinear identification. They
and the rule in docs/research/identification-items.md were written before any of them was
identified. Beside `identify`: the linear ARX model whose order five folds choose, a polynomial by
`frols`, and a net of eight tanh units, trained in open and then in closed loop from three seeds. An
error is that of the free run over the test from row 20 on, against the output without noise, in
multiples of the noise of the record; of several outputs the mean.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from forecast.identification import (
    Experiment,
    Model,
    dividetrain,
    frols,
    identify,
    narxnet,
    random_steps,
    train,
    train_parallel,
)
from forecast.identification.experiment import split_fold
from forecast.system.errors import ForecastError

FIRST_ROW = 20  # of the test that counts: free runs begin with measured rows
ARX_ORDERS = (1, 2, 3, 4, 6, 8, 12, 16)
Response = tuple[np.ndarray, np.ndarray]
"""u (T, I) and y (T, O) without noise."""


@dataclass(frozen=True)
class System:
    """`run`: the response to a drive (T,) or (T, I); `drive`: that drive, of so many rows, for the
    record or the test, drawn with a generator; `noise`: in deviations of y; `drift`: of a slow
    disturbance of the record, in the same.
    """

    run: Callable[[np.ndarray], Response]
    drive: Callable[[int, bool, np.random.Generator], np.ndarray]
    rows: int
    test_rows: int
    noise: float = 0.01
    drift: float = 0.0


def random_multisine(rows: int, highest: float, rng: np.random.Generator) -> np.ndarray:
    """(rows,): cosines of random phase up to the frequency `highest` per row; deviation 1."""
    lines = np.arange(1, int(highest * rows))
    phases = rng.uniform(0, 2 * np.pi, len(lines))
    wave = np.cos(2 * np.pi * np.outer(np.arange(rows), lines) / rows + phases).sum(axis=1)
    return np.asarray(wave / wave.std())


def held_levels(
    hold: int, low: float, high: float, inputs: int = 1
) -> Callable[[int, bool, np.random.Generator], np.ndarray]:
    """Drives of random levels, each held for `hold` rows."""

    def drive(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
        seeds = rng.integers(1 << 30, size=inputs).tolist()
        levels = [random_steps(rows, low, high, hold=hold, seed=seed) for seed in seeds]
        return np.stack(levels, axis=1)

    return drive


def smooth_moves(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
    """Positions to reach, by moves of constant speed."""
    levels = held_levels(60, -1.0, 1.0)(rows + 30, is_test, rng)[:, 0]
    return np.convolve(levels, np.full(31, 1 / 31), mode="valid")[:rows]


def positioning_arm(reference: np.ndarray) -> Response:
    """Force to position of a cart with dry friction that a controller moves; it integrates."""
    place = speed = 0.0
    force, y = np.empty((2, len(reference)))
    for t, goal in enumerate(reference):
        y[t] = place
        force[t] = np.clip(12 * (goal - place) - 3 * speed, -3, 3)
        for _ in range(10):
            speed += 0.01 * (force[t] - 1.5 * speed - 0.4 * np.tanh(speed / 0.02) + 0.05)
            place += 0.01 * speed
    return force[:, None], y[:, None]


def loud_and_quiet(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
    """A multisine of four amplitudes; to test, of a growing one."""
    size = np.linspace(0, 1, rows) if is_test else np.repeat([0.4, 0.7, 1.0, 1.0], rows // 4)
    return size * random_multisine(rows, 0.15, rng)


def parallel_wiener_hammerstein(u: np.ndarray) -> Response:
    """Two branches of a filter, a bend and a filter, whose outputs add up."""
    first = np.tanh(1.5 * lfilter([0.0, 0.2, 0.1], [1.0, -1.3, 0.6], u))
    second = lfilter([0.0, 0.3, -0.2], [1.0, -1.6, 0.8], u)
    second = second + 0.6 * second**3
    y = lfilter([0.3], [1.0, -0.7], first) + lfilter([0.1, 0.05], [1.0, -1.2, 0.5], second)
    return u[:, None], y[:, None]


def electric_drives(u: np.ndarray) -> Response:
    """Voltage to the size of the speed of a pulley on a belt, through a lag of the sensor."""
    motor = pulley = stretch = sensed = 0.0
    y = np.empty((len(u), 1))
    for t, voltage in enumerate(u[:, 0]):
        y[t] = sensed
        for _ in range(5):
            motor += 0.06 * (2.0 * voltage - motor - 3.0 * stretch)
            stretch += 0.06 * (motor - pulley)
            pulley += 0.06 * (3.0 * stretch - 0.4 * pulley)
            sensed += 0.06 * 2.0 * (abs(pulley) - sensed)
    return u, y


def growing_multisine(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
    """A multisine of one amplitude; to test, growing to half as much again."""
    size = np.linspace(0, 1.5, rows) if is_test else np.ones(rows)
    return size * random_multisine(rows, 0.12, rng)


def duffing(u: np.ndarray) -> Response:
    """A mass on a hardening spring, weakly damped."""
    place = speed = 0.0
    y = np.empty((len(u), 1))
    for t, force in enumerate(u):
        y[t] = place
        for _ in range(5):
            speed += 0.1 * (force - 0.2 * speed - place - 0.12 * place**3)
            place += 0.1 * speed
    return u[:, None], y


def heat_exchanger(flow: np.ndarray) -> Response:
    """Flow of water to its temperature behind two cells heated by steam, two rows late."""
    heat = np.full(2, 0.5)
    late = np.concatenate([np.repeat(flow[:1], 2, axis=0), flow])[: len(flow)]
    y = np.empty((len(flow), 1))
    for t, now in enumerate(late[:, 0]):
        y[t] = heat[1]
        entering = np.array([0.0, heat[0]])
        heat = heat + 0.2 * (now * (entering - heat) + 0.6 * (1.0 - heat))
    return flow, y


def slow_pump(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
    return 0.75 + 0.35 * random_multisine(rows, 0.015, rng)


def overflowing_tanks(inflow: np.ndarray) -> Response:
    """A tank that empties into another; half of what overflows falls into the lower one, too."""
    upper, lower = 0.4, 0.4
    y = np.empty((len(inflow), 1))
    for t, pumped in enumerate(np.maximum(inflow, 0.0)):
        y[t] = lower
        out = 0.1 * np.sqrt(upper), 0.1 * np.sqrt(lower)
        upper += 0.1 * pumped - out[0]
        spilled = max(upper - 1.0, 0.0)
        upper = max(upper - spilled, 0.0)
        lower = min(max(lower + out[0] - out[1] + 0.5 * spilled, 0.0), 1.1)
    return inflow[:, None], y


def four_tanks(pumped: np.ndarray) -> Response:
    """Two pumps, each of which feeds a lower tank and the upper one across (Johansson 2000)."""
    level = np.full(4, 0.3)
    share = np.array([0.35, 0.3])
    y = np.empty_like(pumped)
    for t, now in enumerate(pumped):
        y[t] = level[:2]
        out = 0.08 * np.sqrt(level)
        upper = 0.08 * (1 - share[::-1]) * now[::-1]
        inflow = np.concatenate([0.08 * share * now + out[2:], upper])
        level = np.maximum(level + inflow - out, 0.0)
    return pumped, y


def joint_multisine(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
    """A multisine of four amplitudes; to test, of one in the middle."""
    size = np.full(rows, 0.7) if is_test else np.repeat([0.3, 0.6, 0.9, 1.2], rows // 4)
    return size * random_multisine(rows, 0.2, rng)


def friction_joint(u: np.ndarray) -> Response:
    """Force to acceleration of a wing whose payload hangs on a joint that slips."""
    places, speeds = np.zeros(2), np.zeros(2)
    grip = 0.0
    y = np.empty((len(u), 1))
    for t, force in enumerate(u):
        for inner in range(5):
            stretch, sliding = places[1] - places[0], speeds[1] - speeds[0]
            grip = float(np.clip(grip + 0.12 * sliding, -0.25, 0.25))
            pull = 0.8 * stretch + 0.3 * stretch**3 + 0.03 * sliding + grip
            push = np.array([force - 1.2 * places[0] - 0.08 * speeds[0] + pull, -2.0 * pull])
            if not inner:
                y[t] = push[0]
            speeds = speeds + 0.12 * push
            places = places + 0.12 * speeds
    return u[:, None], y


EIGHT: dict[str, System] = {
    "positioning arm": System(positioning_arm, smooth_moves, 2000, 1000, noise=0.005),
    "parallel Wiener-Hammerstein": System(parallel_wiener_hammerstein, loud_and_quiet, 4000, 1000),
    "electric drives": System(electric_drives, held_levels(10, -1.0, 1.5), 500, 500, noise=0.02),
    "growing Duffing": System(duffing, growing_multisine, 6000, 2000, noise=0.005),
    "drifting exchanger": System(
        heat_exchanger, held_levels(12, 0.3, 1.5), 2000, 1000, noise=0.02, drift=0.2
    ),
    "overflowing tanks": System(overflowing_tanks, slow_pump, 1024, 1024),
    "four tanks": System(four_tanks, held_levels(25, 0.3, 1.2, inputs=2), 2000, 1000),
    "friction joint": System(friction_joint, joint_multisine, 8000, 2000),
}


def simulate_records(name: str, draw: int) -> tuple[Experiment, Experiment, np.ndarray, np.ndarray]:
    """The record, the test with noise, the test's y without, and the noise of each output (O,)."""
    system = EIGHT[name]
    rng = np.random.default_rng([44, list(EIGHT).index(name), draw])
    u, y = system.run(system.drive(system.rows, False, rng))
    v, truth = system.run(system.drive(system.test_rows, True, rng))
    deviation = y.std(axis=0)
    slow = lfilter([1.0], [1.0, -0.998], rng.normal(size=(len(y) + 2000, y.shape[1])), axis=0)
    slow = system.drift * deviation * (slow / slow.std(axis=0))[2000:]
    noise = system.noise * deviation
    record = Experiment(u, y + slow + noise * rng.normal(size=y.shape))
    test = Experiment(v, truth + noise * rng.normal(size=truth.shape))
    return record, test, truth, noise


def free_run_error(model: Model, test: Experiment, truth: np.ndarray, unit: np.ndarray) -> float:
    """Mean over the outputs of the RMSE of the free run, in `unit`s; infinite where it is lost."""
    try:
        run = model.simulate(test.u, test.y[: model.start]).y
    except ForecastError:
        return np.inf
    first = max(FIRST_ROW, model.start)
    return float(np.mean(np.sqrt(np.mean((run - truth)[first:] ** 2, axis=0)) / unit))


def error_on_record(model: Model, record: Experiment) -> float:
    """The error of the free run over the whole record, in deviations of y."""
    return free_run_error(model, record, record.y, record.y.std(axis=0))


def fit_arx(record: Experiment, order: int) -> Model:
    net = narxnet(range(order + 1), range(1, order + 1), ())
    return train(net, record, divide=dividetrain())


def fit_best_arx(record: Experiment) -> Model:
    """The ARX model of the order whose free runs follow the blocks of five folds best."""
    errors = dict.fromkeys(ARX_ORDERS, 0.0)
    for order in ARX_ORDERS:
        for fold in range(5):
            (training,), (held_out,) = split_fold([record], fold, 5, order)
            try:
                run = fit_arx(training, order).simulate(record.u, record.y[:order]).y
                errors[order] += float(np.nanmean((run - held_out.y)[order:] ** 2))
            except ForecastError:  # the run diverges
                errors[order] = np.inf
    return fit_arx(record, min(errors, key=errors.__getitem__))


def fit_polynomial(record: Experiment) -> Model:
    """That of degree 2 or 3 which follows the record better."""
    models = [
        frols(record, input_delays=range(4), feedback_delays=(1, 2, 3), degree=degree)
        for degree in (2, 3)
    ]
    return min(models, key=lambda model: error_on_record(model, record))


def fit_net(record: Experiment) -> Model:
    """Of three seeds the net that follows the record best after both trainings."""
    models = []
    for seed in range(3):
        net = narxnet(range(5), (1, 2, 3, 4), 8)
        models.append(train(net, record, seed=seed))
        try:
            models.append(train_parallel(models[-1], record))
        except ForecastError:
            continue
    return min(models, key=lambda model: error_on_record(model, record))


CONTESTANTS: dict[str, Callable[[Experiment], Model]] = {
    "identify": identify,
    "ARX": fit_best_arx,
    "polynomial": fit_polynomial,
    "net": fit_net,
}


def print_error(
    name: str,
    contestant: str,
    fit: Callable[[Experiment], Model],
    records: tuple[Experiment, Experiment, np.ndarray, np.ndarray],
) -> Model | None:
    """The model that `fit` makes of the record, after a line with its error and CPU seconds; None
    where it makes none, after a line with the reason. records: as `simulate_records` makes them.
    """
    record, test, truth, unit = records
    begin = time.process_time()
    try:
        model = fit(record)
        error = free_run_error(model, test, truth, unit)
    except ForecastError as failure:
        print(f"{name}, {contestant}: {failure}", flush=True)
        return None
    seconds = time.process_time() - begin
    print(
        f"{name:<28} {contestant:<11} {error:8.3f} x noise {seconds:7.1f} CPU s"
        f"  ({error * np.mean(unit / truth.std(axis=0)):.3f} deviations)",
        flush=True,
    )
    return model


def main() -> None:
    """A line for each system and contestant: the error and CPU seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--only", default="", help="systems whose name has this")
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS))
    arguments = parser.parse_args()
    for name in EIGHT:
        if arguments.only not in name:
            continue
        records = simulate_records(name, arguments.draw)
        for contestant in arguments.contestants:
            model = print_error(name, contestant, CONTESTANTS[contestant], records)
            if model is not None and contestant == "identify":
                print("\n".join(f"    {note}" for note in model.notes), flush=True)


if __name__ == "__main__":
    main()
