"""`identify` beside three scripts, on six plants whose test has another kind of input.

    nice -n 10 .venv/bin/python -m bench.six_plants [--draw 9301] [--only motor]

The plants were written before any of them was identified: a heat exchanger behind a pipe whose flow
sets the delay, a rotorcraft that a controller holds at heights, Preisach hysteresis, a tank of hot
and cold water, a neutralisation to pH, a motor that moves a load through friction and a loose gear.
Beside `identify`: a linear model (ARX of the order that five folds choose, then on its free run), a
polynomial by `frols`, and a net of six tanh units on two delays, in open and then in closed loop.
An error is that of the free run over the test from row 20 on, against the output without noise, in
multiples of the noise of the record; of several outputs the mean. Rule and result:
docs/research/identification-stages.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from bench.unseen_systems import (
    Response,
    System,
    error_on_record,
    fit_best_arx,
    fit_polynomial,
    held_levels,
    print_error,
    random_multisine,
)
from forecast.identification import (
    Experiment,
    Model,
    choose_delays,
    identify,
    narxnet,
    train,
    train_parallel,
)
from forecast.system.errors import ForecastError

Drive = Callable[[int, bool, np.random.Generator], np.ndarray]


def waves_then_steps(
    highest: float, hold: int, middle: float, reach: float, larger: float = 1.0
) -> Drive:
    """A multisine within about `reach` of `middle`; to test, levels within `larger` times that."""

    def drive(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
        if is_test:
            reached = larger * reach
            return held_levels(hold, middle - reached, middle + reached)(rows, True, rng)[:, 0]
        return middle + reach * np.clip(random_multisine(rows, highest, rng) / 2, -1, 1)

    return drive


def piped_exchanger(flow: np.ndarray) -> Response:
    """Flow of water to its temperature at the end of a pipe behind two steam-heated cells; water
    leaves the pipe once its volume of 6 has followed.
    """
    heat = np.full(2, 0.5)
    pumped = np.concatenate([np.arange(-40.0, 0.0) * flow[0], np.cumsum(flow)])
    entered = np.full(len(pumped), 0.5)
    y = np.empty((len(flow), 1))
    for t, now in enumerate(flow):
        y[t] = np.interp(pumped[40 + t] - 6.0, pumped[: 41 + t], entered[: 41 + t])
        heat = heat + 0.15 * (now * (np.array([0.0, heat[0]]) - heat) + 0.5 * (1.0 - heat))
        entered[40 + t] = heat[1]
    return flow[:, None], y


def rotorcraft(target_heights: np.ndarray) -> Response:
    """Thrust beside the weight to height, with drag; a controller asks for thrusts that the rotor
    cannot always give. It integrates.
    """
    height = speed = thrust = 0.0
    thrust_demand, y = np.empty((2, len(target_heights)))
    for t, target in enumerate(target_heights):
        y[t] = height
        thrust_demand[t] = 1.5 * (target - height) - 2.0 * speed
        for _ in range(5):
            thrust += 0.1 * (np.clip(thrust_demand[t], -0.6, 0.9) - thrust)
            speed += 0.02 * (thrust - 0.3 * speed * abs(speed) - 0.1 * speed)
            height += 0.02 * speed
    return thrust_demand[:, None], y[:, None]


def preisach(u: np.ndarray) -> Response:
    """The share of 465 relays that are on, then a lag: each switches on above its upper level and
    off below its lower one.
    """
    levels = np.linspace(-1.2, 1.2, 31)
    lower, upper = (levels[index] for index in np.triu_indices(31, 1))
    weight = np.exp(-(((upper + lower) / 1.2) ** 2) - ((upper - lower) / 0.8) ** 2)
    relays = -np.ones(len(weight))
    y = np.empty((len(u), 1))
    for t, now in enumerate(u):
        relays[now > upper] = 1.0
        relays[now < lower] = -1.0
        y[t] = weight @ relays / weight.sum()
    return u[:, None], lfilter([0.3], [1.0, -0.7], y, axis=0)


def mixing_tank(inflows: np.ndarray) -> Response:
    """Valves of hot and cold water to the level and the temperature of a tank."""
    level, heat = 0.5, 0.5
    y = np.empty_like(inflows)
    for t, (hot, cold) in enumerate(np.maximum(inflows, 0.0)):
        y[t] = level, heat
        for _ in range(4):
            outflow = 1.4 * np.sqrt(level)
            heat += 0.02 * (hot * (1.0 - heat) + cold * (0.1 - heat)) / max(level, 0.05)
            level = max(level + 0.02 * (hot + cold - outflow), 0.02)
    return inflows, y


def steps_then_waves(rows: int, is_test: bool, rng: np.random.Generator) -> np.ndarray:
    """Levels of two valves; to test, multisines."""
    if not is_test:
        return held_levels(30, 0.1, 1.0, inputs=2)(rows, False, rng)
    waves = [random_multisine(rows, 0.02, rng) for _ in range(2)]
    return np.clip(0.55 + 0.22 * np.stack(waves, axis=1), 0.1, 1.0)


def neutralisation(base: np.ndarray) -> Response:
    """Flow of a base into a stirred acid stream with a weak buffer, to the pH that an electrode
    with a lag shows.
    """
    excess, reading = 0.0, 7.0
    y = np.empty((len(base), 1))
    for t, flow in enumerate(base):
        y[t] = reading
        for _ in range(3):
            excess += 0.03 * (flow - 1.0 - excess)
            acidity = 7.0 + 1.6 * np.arcsinh(60.0 * excess) / np.log(10) + 1.5 * excess
            reading += 0.15 * (acidity - reading)
    return base[:, None], y


def geared_motor(voltage: np.ndarray) -> Response:
    """Voltage to the speed of a load behind a gear with play; dry friction on both shafts."""
    motor = load = twist = 0.0
    y = np.empty((len(voltage), 1))
    for t, now in enumerate(voltage.tolist()):
        y[t] = load
        for _ in range(10):
            pull = 0.0
            if abs(twist) > 0.05:
                pull = 20.0 * (twist - math.copysign(0.05, twist)) + 0.6 * (motor - load)
            push = now - pull - 0.5 * motor - 0.15 * math.tanh(motor / 0.02)
            pushed = pull - 0.3 * load - 0.1 * math.tanh(load / 0.02)
            motor += 0.02 * push
            load += 0.02 * pushed
            twist += 0.02 * (motor - load)
    return voltage[:, None], y


SIX: dict[str, System] = {
    "piped exchanger": System(
        piped_exchanger, waves_then_steps(0.03, 25, 0.9, 0.5), 1500, 1000, noise=0.02
    ),
    "rotorcraft": System(
        rotorcraft, waves_then_steps(0.03, 70, 0.0, 1.5, larger=1.3), 4000, 1500, noise=0.005
    ),
    "Preisach": System(preisach, waves_then_steps(0.05, 12, 0.0, 1.0), 6000, 1500),
    "mixing tank": System(mixing_tank, steps_then_waves, 2000, 1500, noise=0.02),
    "pH": System(
        neutralisation, waves_then_steps(0.04, 20, 1.0, 0.25, larger=1.3), 800, 1000, noise=0.02
    ),
    "geared motor": System(
        geared_motor, waves_then_steps(0.05, 30, 0.0, 2.0, larger=1.3), 30000, 3000
    ),
}


def simulate_records(name: str, draw: int) -> tuple[Experiment, Experiment, np.ndarray, np.ndarray]:
    """The record, the test with noise, the test's y without, and the noise of each output (O,)."""
    plant = SIX[name]
    rng = np.random.default_rng([draw, list(SIX).index(name)])
    u, y = plant.run(plant.drive(plant.rows, False, rng))
    v, truth = plant.run(plant.drive(plant.test_rows, True, rng))
    noise = plant.noise * y.std(axis=0)
    record = Experiment(u, y + noise * rng.normal(size=y.shape))
    test = Experiment(v, truth + noise * rng.normal(size=truth.shape))
    return record, test, truth, noise


def fit_on_free_run(model: Model, record: Experiment) -> Model:
    """The model trained on its free run, or as it was where that follows the record better."""
    try:
        closed = train_parallel(model, record, iterations=30)
    except ForecastError:
        return model
    return min(model, closed, key=lambda tried: error_on_record(tried, record))


def fit_linear(record: Experiment) -> Model:
    return fit_on_free_run(fit_best_arx(record), record)


def fit_small_net(record: Experiment) -> Model:
    """Of two seeds the net that follows the record better; its delays begin at the dead time."""
    first = choose_delays(record, longest=2)[0][0]
    net = narxnet(range(first, first + 3), (1, 2), 6)
    models = [fit_on_free_run(train(net, record, seed=seed), record) for seed in range(2)]
    return min(models, key=lambda model: error_on_record(model, record))


CONTESTANTS: dict[str, Callable[[Experiment], Model]] = {
    "linear": fit_linear,
    "polynomial": fit_polynomial,
    "small net": fit_small_net,
}


def identify_aloud(record: Experiment) -> Model:
    """The model of `identify`; prints what it says, after how many seconds of the clock and of the
    processor, and the notes.
    """
    begin = time.perf_counter()

    begin_of_work = time.process_time()

    def show(sentence: str) -> None:
        clock, processor = time.perf_counter() - begin, time.process_time() - begin_of_work
        print(f"    {clock:7.1f} s ({processor:.1f} CPU s): {sentence}", flush=True)

    model = identify(record, announce=show)
    show("done")
    print("\n".join(f"    {note}" for note in model.notes), flush=True)
    return model


def main() -> None:
    """A line for each plant and contestant: the error and CPU seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", type=int, default=9301)
    parser.add_argument("--only", default="", help="plants whose name has this")
    parser.add_argument("--rows", type=int, help="of the record, instead of all")
    contestants = {"identify": identify_aloud, **CONTESTANTS}
    parser.add_argument("--contestants", nargs="+", default=list(contestants))
    arguments = parser.parse_args()
    for name in SIX:
        if arguments.only not in name:
            continue
        record, test, truth, noise = simulate_records(name, arguments.draw)
        records = (record.part(slice(0, arguments.rows)), test, truth, noise)
        for contestant in arguments.contestants:
            print_error(name, contestant, contestants[contestant], records)


if __name__ == "__main__":
    main()
