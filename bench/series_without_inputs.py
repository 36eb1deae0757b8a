"""`identify` on series without inputs, beside a linear model and the least error that can be had.

    nice -n 15 .venv/bin/python -m bench.series_without_inputs [--seeds 20 21 22] [--only season]

Each system is drawn anew for every seed: the first 400 of its 500 rows identify, from every later
row the next ten are forecast. The error is the RMSE of each step, mean over the steps, in times of
the `floor`: what the law of the system leaves unknown, computed and not fitted. The linear model
has up to 40 delays, as many as Schwarz's criterion says. What came of it:
docs/research/identification-stages.md.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import lfilter

from forecast import identification as narx

STEPS = 10
KNOWN, ROWS = 400, 500
Rng = np.random.Generator
Series = tuple[np.ndarray, float]
"""y (ROWS,), and the floor."""


def season(rng: Rng) -> Series:
    """Two harmonics of twelve rows, and noise of a quarter of their deviation."""
    angle = 2 * np.pi * (np.arange(ROWS) / 12 + rng.uniform())
    y = np.sin(angle) + rng.uniform(0.3, 0.8) * np.sin(2 * angle + rng.uniform(0, 6))
    noise = 0.25 * float(y.std())
    return y + noise * rng.normal(size=ROWS), noise


def autoregression(rng: Rng, *weights: float) -> Series:
    """y[t] = sum of weight times past y, and a shock of deviation 1."""
    poles = np.array([1.0, *(-weight for weight in weights)])
    impulse = lfilter([1.0], poles, np.eye(1, STEPS)[0])
    floor = float(np.sqrt(np.cumsum(impulse**2)).mean())
    return lfilter([1.0], poles, rng.normal(size=ROWS + 200))[200:], floor


def swing(rng: Rng) -> Series:
    """An autoregression of order two with a cycle of 7 to 21 rows."""
    radius, angle = rng.uniform(0.9, 0.98), rng.uniform(0.3, 0.9)
    return autoregression(rng, 2 * radius * np.cos(angle), -(radius**2))


def season_and_memory(rng: Rng) -> Series:
    """A sine of 24 rows, and an autoregression of order one a third as large."""
    y, floor = autoregression(rng, rng.uniform(0.7, 0.95))
    sine = np.sin(2 * np.pi * np.arange(ROWS) / 24 + rng.uniform(0, 6))
    return y + 3 * np.sqrt(2) * y.std() * sine, floor


def threshold(rng: Rng) -> Series:
    """A tent driven by shocks, of which no linear model sees much; the floor by its paths."""
    slope = rng.uniform(1.2, 1.6)

    def after(y: np.ndarray) -> np.ndarray:
        return 1.0 - slope * np.abs(y) + 0.05 * rng.normal(size=y.shape)

    y = np.zeros(ROWS)
    for t in range(1, ROWS):
        y[t] = after(y[t - 1 : t])[0]
    paths, variances = np.repeat(y[:, None], 400, axis=1), []
    for _ in range(STEPS):
        paths = after(paths)
        variances.append(paths.var(axis=1).mean())
    return y, float(np.sqrt(variances).mean())


def limit_cycle(rng: Rng) -> Series:
    """The Van der Pol oscillator, some 70 rows a cycle, with noise of 5 % of its deviation."""
    stiffness, place, speed = rng.uniform(0.5, 2.0), *rng.normal(size=2)
    y = np.empty(ROWS + 200)
    for t in range(len(y)):
        for _ in range(10):
            speed += 0.01 * (stiffness * (1 - place**2) * speed - place)
            place += 0.01 * speed
        y[t] = place
    noise = 0.05 * float(y.std())
    return y[200:] + noise * rng.normal(size=ROWS), noise


def fit_linear(record: narx.Experiment) -> narx.Model:
    net = narx.narnet(narx.choose_delays(record, longest=40)[1], ())
    return narx.train(net, record, divide=narx.dividetrain())


def forecast_error(model: narx.Model, y: np.ndarray) -> float:
    targets = sliding_window_view(y[KNOWN + 1 :], STEPS)
    forecasts = model.ahead(None, y, steps=STEPS)[KNOWN:]
    return float(np.sqrt(((forecasts - targets) ** 2).mean(axis=0)).mean())


def main() -> None:
    """A line for each system: by seed the errors of `identify`/the linear model over the floor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22])
    parser.add_argument("--only", default="", help="systems whose name contains this")
    arguments = parser.parse_args()
    for number, system in enumerate((season, swing, season_and_memory, threshold, limit_cycle)):
        if arguments.only not in system.__name__:
            continue
        listed, begin = [], time.process_time()
        for seed in arguments.seeds:
            y, floor = system(np.random.default_rng([44, number, seed]))
            record = narx.Experiment(None, y[:KNOWN])
            models = narx.identify(record, seed=seed), fit_linear(record)
            listed.append("/".join(f"{forecast_error(m, y) / floor:.2f}" for m in models))
        seconds = (time.process_time() - begin) / len(arguments.seeds)
        print(f"{system.__name__:<18} {'  '.join(listed)}  {seconds:.0f} s each", flush=True)


if __name__ == "__main__":
    main()
