"""`identify` on slow plants, searched on means of rows and on the rows themselves.

    nice -n 10 .venv/bin/python -m bench.slow_plants --draw 9310 [--only PRBS] [--default]

Each draw has two lags of its own, of tens and of hundreds of rows, a curve behind the first of them
or before it or none, and a share of u that acts at once or none; 10,000 rows with noise of 6 % of
y. The error is that of the free run over 6,000 other rows, against y without noise, in multiples of
the noise. Two candidates in two folds, with `--default` all. Rule and result:
docs/research/identification-stages.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import numpy as np
from scipy.signal import lfilter

from bench.unseen_systems import free_run_error, random_multisine
from forecast.identification import (
    Experiment,
    SearchSettings,
    identify,
    prbs,
    random_steps,
    search,
)
from forecast.identification.search_settings import Candidate

NOISE = 0.06  # of the deviation of y
ROWS, TEST_ROWS = 10_000, 6_000
SMALL = SearchSettings(
    candidates=(Candidate("linear states", 3), Candidate("states", 2, 4)), folds=2
)


@dataclass(frozen=True)
class Plant:
    """Two lags in rows, where a curve lies ("none", "before", "between") and the share of u that
    acts at once.
    """

    lags: tuple[float, float]
    curve: str
    at_once: float

    def run(self, u: np.ndarray) -> np.ndarray:
        signal = np.tanh(1.5 * u) + 0.3 * u**2 if self.curve == "before" else u
        for number, lag in enumerate(self.lags):
            signal = lfilter([1 / lag], [1.0, 1 / lag - 1.0], signal)
            if self.curve == "between" and not number:
                signal = np.tanh(2 * signal / max(np.abs(signal).max(), 1e-9))
        return np.asarray(signal + self.at_once * np.std(signal) / np.std(u) * u)


def steps(rows: int, seed: int) -> np.ndarray:
    return random_steps(rows, -1.0, 1.0, hold=500, seed=seed)


def two_levels(rows: int, seed: int) -> np.ndarray:
    return prbs(rows, -1.0, 1.0, hold=3, seed=seed)


def smooth(rows: int, seed: int) -> np.ndarray:
    return random_multisine(rows, 1 / 150, np.random.default_rng(seed))


INPUTS: dict[str, Callable[[int, int], np.ndarray]] = {
    "steps": steps,
    "PRBS": two_levels,
    "smooth": smooth,
}


def draw_plant(rng: np.random.Generator) -> Plant:
    lags = float(rng.uniform(30, 90)), float(rng.uniform(200, 600))
    return Plant(lags, str(rng.choice(["none", "before", "between"])), rng.choice([0.0, 0.1]))


def main() -> None:
    """A line for each input: rows in a mean, and error and CPU seconds with means and without."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", type=int, default=9310)
    parser.add_argument("--only", default="", help="inputs whose name has this")
    parser.add_argument("--default", action="store_true", help="the search as a user has it")
    parser.add_argument("--means", type=int, help="rows in a mean, instead of those that it finds")
    parser.add_argument("--count", action="store_true", help="only tell the rows in a mean")
    arguments = parser.parse_args()
    for number, (name, make) in enumerate(INPUTS.items()):
        rng = np.random.default_rng([arguments.draw, number])
        plant = draw_plant(rng)
        if arguments.only not in name:
            continue
        u, v = (make(n, int(rng.integers(1 << 20))) for n in (ROWS, TEST_ROWS))
        y, truth = plant.run(u), plant.run(v)
        unit = NOISE * y.std(keepdims=True)
        record = Experiment(u, y + unit * rng.normal(size=ROWS))
        test = Experiment(v, truth + unit * rng.normal(size=TEST_ROWS))
        per_mean = arguments.means or search.count_rows_per_mean([record], SMALL.start)
        print(f"{arguments.draw} {name:<7} {plant}: {per_mean} rows in a mean", flush=True)
        if arguments.count:
            continue
        for rows in sorted({per_mean, 1}):
            begin = time.process_time()
            with mock.patch.object(search, "count_rows_per_mean", lambda *_, n=rows: n):
                model = identify(record, settings=None if arguments.default else SMALL)
            seconds = time.process_time() - begin
            error = free_run_error(model, test, truth[:, None], unit)
            print(f"    means of {rows:<3} {error:8.3f} x noise {seconds:6.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
