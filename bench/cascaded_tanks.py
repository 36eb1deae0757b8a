"""Cascaded tanks (Schoukens & Noël 2017): free-run error of NARX nets trained by
Levenberg-Marquardt and by Adam.

    .venv/bin/python bench/cascaded_tanks.py --data cascaded_tanks.csv
                                                      (or CASCADED_TANKS=... make bench)

The file has the columns uEst, yEst (train) and uVal, yVal (test), 1,024 rows every 4 s, in volts.
Everything is chosen on the train record; the test record gives its first 5 measured y, the rest is
free run and scored without those 5. The data are not part of this project: nonlinearbenchmark.org.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.identification import SearchSettings, identify
from forecast.identification.experiment import Experiment, Standardization, saturation
from forecast.identification.narx import Narx, initial_weights
from forecast.identification.problems import ClosedLoop, OpenLoop
from forecast.system.errors import ModelError
from forecast.training import levenberg_marquardt as lm

START = 5
HELD_OUT = 0.25  # of the train record, its end: where the single nets are stopped
ADAM_STEPS = (500, 3_000)  # open loop, closed loop
TARGET_VOLTS, TARGET_SECONDS = 0.45, 20.0  # median over the repetitions, slowest repetition
Arrays = tuple[np.ndarray, np.ndarray]


def read(path: Path) -> tuple[Arrays, Arrays]:
    """((u, y) train, (u, y) test), each (1024, 1) in volts."""
    frame = pd.read_csv(path)[["uEst", "yEst", "uVal", "yVal"]].dropna()
    u, y, v, z = (frame[[name]].to_numpy(np.float64) for name in frame.columns)
    return (u, y), (v, z)


def rmse(run: np.ndarray, truth: np.ndarray) -> float:
    """In volts, without the rows that start the run; infinity when it diverged."""
    error = float(np.sqrt(np.mean((run - truth)[START:] ** 2)))
    return error if np.isfinite(error) else np.inf


def procedure(train: Arrays, test: Arrays, seed: int) -> float:
    """The whole identification: folds, starts, delay orders, refit, ensemble; infinity when no net
    could be kept.
    """
    try:
        settings = SearchSettings(most_start=START)
        announce = print if seed == 0 else None
        model = identify(Experiment(*train), seed=seed, settings=settings, announce=announce)
    except ModelError:
        return np.inf
    return rmse(model.simulate(test[0], test[1][:START]).y, test[1])


def single_net(train: Arrays, test: Arrays, seed: int, *, adam: bool) -> float:
    """One NARX net, 3 + 4 taps and 6 tanh units beside the linear path: open loop, then on its free
    run.
    """
    experiment = Experiment(*train)
    scaling = Standardization.fit([experiment])
    scaled = scaling.scale(experiment)
    low, high = saturation([scaled])
    net = Narx(1, 1, (1, 2, 3), (0, 1, 2, 3), 6, True, tuple(low), tuple(high))
    cut = int(len(scaled) * (1 - HELD_OUT))
    parts = [scaled.part(slice(cut))], START
    held_out = ClosedLoop(net, [scaled.part(slice(cut, None))], START)
    weights = initial_weights(net, np.random.default_rng(seed))
    problems: list[OpenLoop | ClosedLoop] = [OpenLoop(net, *parts), ClosedLoop(net, *parts)]
    for problem, steps in zip(problems, ADAM_STEPS, strict=True):
        problem.validate = held_out.mean_square
        weights = (
            descend(problem, weights, steps)
            if adam
            else lm.minimise(problem, weights, options=lm.Options(patience=20)).weights
        )
    run = net.free_run(weights, scaling.scale_u(test[0]), scaling.scale_y(test[1][:START]))
    return rmse(scaling.unscale_y(net.bounded(run)), test[1])


def descend(
    problem: OpenLoop | ClosedLoop, weights: np.ndarray, steps: int, rate: float = 0.01
) -> np.ndarray:
    """Adam (Kingma & Ba 2015) on the same residuals, rate falling to zero; the best weights on the
    held-out block.
    """
    mean = square = np.zeros_like(weights)
    best, score = weights, np.inf
    for step in range(1, steps + 1):
        gradient = (
            sum(jacobian @ error for error, jacobian in problem.blocks(weights))
            / problem.n_residuals
        )
        if not np.isfinite(gradient).all():
            break
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        fall = rate * (1 - step / (steps + 1))
        weights = weights - fall * mean / (1 - 0.9**step) / (
            np.sqrt(square / (1 - 0.999**step)) + 1e-8
        )
        error = problem.validation(weights)
        if error is not None and error < score:
            best, score = weights, error
    return best


def repeat(
    name: str, run: Callable[..., float], train: Arrays, test: Arrays, count: int, **options: bool
) -> tuple[float, float]:
    """Print one line; (median error, slowest repetition in CPU seconds)."""
    errors, seconds = [], []
    for seed in range(count):
        began = time.process_time()
        errors.append(run(train, test, seed, **options))
        seconds.append(time.process_time() - began)
    listed = " ".join(f"{error:.2f}" for error in errors)
    print(
        f"{name:<34} median {np.median(errors):.3f} V  worst {max(errors):.3f}  CPU"
        f" {max(seconds):4.1f} s  [{listed}]"
    )
    return float(np.median(errors)), max(seconds)


def verdict(volts: float, seconds: float) -> str:
    met = volts <= TARGET_VOLTS and seconds <= TARGET_SECONDS
    return (
        f"Target, median {TARGET_VOLTS} V and {TARGET_SECONDS:.0f} s each:"
        f" {'met' if met else 'MISSED'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Cascaded tanks: free-run test RMSE of NARX nets.")
    parser.add_argument("--data", type=Path, default=os.environ.get("CASCADED_TANKS"))
    parser.add_argument("--repetitions", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.data is None:
        print(
            "Skipped: no data. Give the CSV of the benchmark as --data PATH or in CASCADED_TANKS."
        )
        return
    train, test = read(Path(arguments.data))
    print(
        f"Free-run RMSE on the test record in V, first {START} rows left out,"
        f" {arguments.repetitions} repetitions"
    )
    print(
        verdict(
            *repeat(
                "Levenberg-Marquardt, whole procedure",
                procedure,
                train,
                test,
                arguments.repetitions,
            )
        )
    )
    repeat(
        "one net, Levenberg-Marquardt", single_net, train, test, arguments.repetitions, adam=False
    )
    repeat("the same net, Adam", single_net, train, test, arguments.repetitions, adam=True)


if __name__ == "__main__":
    main()
