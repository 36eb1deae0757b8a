"""What was asked of identification, item by item, as an engineer would try it: figures in a minute.

    python -m bench.identification_items

docs/research/identification-items.md has the table, and the tests and scripts of what takes longer.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.io import savemat
from scipy.signal import lfilter

from bench.identification_systems import delay, simulate_records, slow_wiener
from forecast.identification import (
    Experiment,
    Model,
    SearchSettings,
    choose_delays,
    export,
    formula,
    identify,
    narnet,
    narxnet,
    perform,
    ploterrcorr,
    random_steps,
    read_record,
    stability,
    train,
)
from forecast.identification.delays import find_held_back_rows
from forecast.system.errors import ForecastError
from forecast.training.network_problem import restart_seeds

SMALL = SearchSettings(folds=2, fold_iterations=5, refit_iterations=(5, 5))


def show(item: int, text: object) -> None:
    print(f"{item:>2}  {text}", flush=True)


def refusal(call: object, *arguments: object, **options: object) -> str:
    """The sentence with which a call is refused."""
    try:
        call(*arguments, **options)  # type: ignore[operator]
    except ForecastError as error:
        return str(error)
    return "NOT REFUSED"


def noisy(y: np.ndarray, share: float = 0.02, seed: int = 0) -> np.ndarray:
    return y + share * y.std() * np.random.default_rng(seed).normal(size=len(y))


def long_record() -> None:
    u = random_steps(26_000, -1.0, 1.0, hold=400, seed=1)
    y = slow_wiener(u)
    begin = time.process_time()
    model = identify(Experiment(u[:25_000], noisy(y[:25_000])), settings=SMALL)
    run = model.simulate(u[25_000:], y[25_000:][: model.start]).y
    fit = perform(y[25_000:], run, measure="fit")
    show(1, f"26,000 rows of a slow tanh-Wiener system, held input: fit {fit:.1f} % on 1,000 more")
    show(1, f"  {time.process_time() - begin:.1f} CPU s with two folds of 5 iterations")


def bilinear() -> None:
    record, test, size = simulate_records("bilinear")
    model = identify(record)
    run = model.simulate(test.u, test.y[: model.start]).y
    error = perform(test.y[20:], run[20:], measure="rmse") / size
    polynomial = next(m for m in model.members if m.net.kind == "polynomial")
    show(3, f"bilinear, 300 rows: {error:.3f} of the noise; {formula(polynomial, digits=3)}")


def small_nets() -> tuple[Model, Experiment]:
    """A net of four units on a tank-like record given as vectors."""
    u = random_steps(500, 0.0, 1.0, hold=8, seed=2)
    y = noisy(np.sqrt(lfilter([0.2], [1.0, -0.8], u)))
    record = Experiment(u, y)
    model = train(narxnet((0, 1), (1, 2), 4), record, iterations=40)
    return model, record


def chaotic() -> None:
    series = [0.3]
    for _ in range(399):
        series.append(3.9 * series[-1] * (1 - series[-1]))
    model = train(narnet((1, 2), 6), Experiment(None, series), iterations=60)
    show(5, f"logistic map: {model.notes[-1]}")


def main() -> None:
    """Print the figures, an item a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    long_record()
    bilinear()
    model, record = small_nets()
    wide = np.vstack([record.u[:100], 1.5 * record.u[100:200]])
    show(4, f"{model.simulate(wide, record.y[:2]).notes}; {stability(model, record)}")
    chaotic()
    shared = set(restart_seeds(0, 5)) & set(restart_seeds(1, 5))
    show(6, f"starts that seeds 0 and 1 share of five restarts: {len(shared)}")
    free = model.simulate(record.u[:, 0], record.y[:2, 0]).y
    show(
        7, f"y (500,) gives a free run {free.shape}; {refusal(Experiment, record.u.T, record.y.T)}"
    )
    square = record.y[:, 0] - model.predict(record.u, record.y[:, :1]).y
    show(7, refusal(ploterrcorr, square[2:, 2:] if square.ndim == 2 else square))
    for late in (12, 60, 95, 120):
        u = random_steps(900, -1.0, 1.0, hold=5, seed=late)
        e = Experiment(u, noisy(lfilter([0.3], [1.0, -0.7], delay(u, late))))
        dead_time = find_held_back_rows([e], 150)[0][0] + 1
        first = choose_delays(e, longest=4, longest_dead_time=150)[0][0]
        show(
            8,
            f"dead time {late}: {dead_time} by `identify`, first delay by `choose_delays` {first}",
        )
    few = Experiment(record.u[:30], record.y[:30])
    show(8, refusal(identify, few, settings=SearchSettings(start=8)))
    show(8, train(narxnet((0, 1), (1, 2), 10), few, iterations=5).notes[-2])
    with TemporaryDirectory() as folder:
        export(model, f"{folder}/simulator.py")
        text = Path(folder, "simulator.py").read_text()
        savemat(f"{folder}/run.mat", {"u": record.u, "y": record.y})
        read = read_record(f"{folder}/run.mat", inputs=["u"], outputs=["y"])
        show(10, f"{read[0]}; in an export: {[n for n in NAMES if f'def {n}(' in text]}; {model}")
    measures = {
        m: round(perform(record.y[:, 0], free, measure=m), 4) for m in ("fit", "nmse", "vaf")
    }
    same = Model.series_parallel is Model.predict and Model.parallel is Model.simulate
    show(10, f"{measures}; MATLAB's names are the same functions: {same}")


NAMES = ("simulate", "predict", "prepare", "step")

if __name__ == "__main__":
    main()
