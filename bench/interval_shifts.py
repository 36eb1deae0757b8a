"""Intervals on series whose level, noise or trend changes near the end: the refused bounds of the
ratio v / t in docs/research/interval-widths.md.

    python -m bench.interval_shifts SEED [SEED ...]

Each kind of series is drawn for each frequency and length and forecast by the product's ridge, from
the entry that `add` writes. For each largest ratio of volatilities in `RATIOS`, of which the first
is the bar, it prints by kind and level the coverage in percent, pooled over series, and the change
of the interval score, the geometric mean over series.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.signal import lfilter

from bench.interval_margins import LEVELS, Scored, score_intervals
from bench.quarter_hour import Row, calibrate_series, fit_row, problem_from, written_entry
from forecast.forecaster import Problem, intervals
from forecast.forecaster.intervals import Bounds

Draw = np.random.Generator
RATIOS = (math.inf, 2.0, 2.5, 3.0, 4.0)
shipped_widths = intervals.widths
SIZES = (("D", 350), ("D", 1000), ("D", 3000), ("h", 800), ("h", 2000), ("MS", 150), ("MS", 300))
SEASONS = {"D": 7, "h": 24, "MS": 12}
EVENT = (0.7, 0.97)
"""Between these shares of the rows something changes."""


class Base(NamedTuple):
    """A series before anything happens: its season and noise, each (T,), and which rows are after
    the event.
    """

    season: np.ndarray
    noise: np.ndarray
    is_after: np.ndarray


def calm(draw: Draw, base: Base) -> np.ndarray:
    return 100 + base.season + base.noise


def level_shift(draw: Draw, base: Base) -> np.ndarray:
    size = draw.choice([-1, 1]) * draw.uniform(3, 10) * base.noise.std()
    return calm(draw, base) + size * base.is_after


def large_level_shift(draw: Draw, base: Base) -> np.ndarray:
    return calm(draw, base) + draw.uniform(10, 60) * base.noise.std() * base.is_after


def variance_shift(draw: Draw, base: Base) -> np.ndarray:
    return calm(draw, base) + draw.uniform(2, 4) * base.noise * base.is_after


def trend_break(draw: Draw, base: Base) -> np.ndarray:
    rise = draw.choice([-1, 1]) * draw.uniform(5, 15) * base.noise.std()
    return calm(draw, base) + rise * base.is_after.cumsum() / base.is_after.sum()


def outlier_bursts(draw: Draw, base: Base) -> np.ndarray:
    y = calm(draw, base)
    for _ in range(draw.integers(3, 7)):
        first = int(len(y) * draw.uniform(0.6, 1))
        length = draw.integers(2, max(3, len(y) // 60))
        y[first : first + length] += draw.choice([-1, 1]) * draw.uniform(5, 10) * base.noise.std()
    return y


def quiet_then_busy(draw: Draw, base: Base) -> np.ndarray:
    activity = np.where(base.is_after, draw.uniform(0.7, 1), draw.uniform(0.1, 0.3))
    return calm(draw, base) * activity


def zero_inflated(draw: Draw, base: Base) -> np.ndarray:
    share = np.where(base.is_after, draw.uniform(0.3, 0.9), draw.uniform(0.1, 0.4))
    is_sold = draw.random(len(share)) < share
    mean = np.exp(1.5 + base.season / 30 + base.is_after * draw.uniform(0, 1))
    return np.where(is_sold, draw.poisson(mean), 0).astype(float)


def bounded(draw: Draw, base: Base) -> np.ndarray:
    latent = (base.season + base.noise) / 10 + draw.uniform(-1, 1)
    latent += base.is_after * draw.choice([-1, 1]) * draw.uniform(1, 4)
    return 100 / (1 + np.exp(-latent))


def lasting_volatility(draw: Draw, base: Base) -> np.ndarray:
    """No event: noise whose size wanders, which widths are for."""
    pushes = draw.normal(0, 0.15, len(base.noise))
    return 100 + base.season + base.noise * np.exp(lfilter([1.0], [1.0, -0.97], pushes))


KINDS: dict[str, Callable[[Draw, Base], np.ndarray]] = {
    each.__name__: each
    for each in (
        level_shift,
        large_level_shift,
        variance_shift,
        trend_break,
        outlier_bursts,
        quiet_then_busy,
        zero_inflated,
        bounded,
        calm,
        lasting_volatility,
    )
}


def simulate(kind: str, freq: str, n_rows: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng([seed, zlib.crc32(f"{kind} {freq} {n_rows}".encode())])
    numbers = np.arange(n_rows)
    season = draw.uniform(5, 20) * np.sin(2 * np.pi * numbers / SEASONS[freq])
    noise = lfilter([1.0], [1.0, -draw.uniform(0, 0.7)], draw.normal(0, 5, n_rows))
    base = Base(season, noise, numbers >= int(n_rows * draw.uniform(*EVENT)))
    ds = pd.date_range("2012-01-01", periods=n_rows, freq=freq)
    return pd.DataFrame({"unique_id": "one", "ds": ds, "y": KINDS[kind](draw, base)})


def bounded_widths(
    volatility: np.ndarray, typical: np.ndarray, lookback: int, *, ratio: float
) -> np.ndarray:
    """The product's widths after a volatility of at most `ratio` times the typical one."""
    return shipped_widths(np.minimum(volatility, ratio * typical), typical, lookback)


def score_ratio(problem: Problem, row: Row, ratio: float) -> dict[float, Scored]:
    """By level, the intervals of the only series where widths follow volatility up to `ratio`."""
    intervals.widths = partial(bounded_widths, ratio=ratio)
    ((uid, calibrated),) = calibrate_series(problem, row).items()
    forecast, target = row.test.forecasts[uid], row.test.targets[uid]
    low, high = calibrated.newest.bounds_in_turn(forecast, calibrated.difficulty, LEVELS)
    return {
        level: score_intervals(Bounds(low[number], high[number]), target, level)
        for number, level in enumerate(LEVELS)
    }


def print_kinds(scored: dict[tuple[str, float, float], list[Scored]]) -> None:
    """One line for each kind and level. scored: by kind, level and ratio, of each series."""
    print("| kind | level |" + " |".join(f" at most {ratio:g} | score" for ratio in RATIOS) + " |")
    print("|---" * (2 + 2 * len(RATIOS)) + "|")
    for kind, level in dict.fromkeys(key[:2] for key in scored):
        bar = np.array([each.score.mean() for each in scored[kind, level, RATIOS[0]]])
        cells = []
        for ratio in RATIOS:
            of_ratio = scored[kind, level, ratio]
            score = np.array([each.score.mean() for each in of_ratio])
            change = np.exp(np.log(score / bar).mean()) - 1
            coverage = np.mean([each.is_covered.mean() for each in of_ratio])
            cells.append(f"{100 * coverage:.1f} | {100 * change:+.1f} %")
        print(f"| {kind} | {100 * level:.0f} % | {' | '.join(cells)} |")


def main() -> None:
    scored: dict[tuple[str, float, float], list[Scored]] = defaultdict(list)
    for seed in map(int, sys.argv[1:]):
        for freq, n_rows in SIZES:
            for kind in KINDS:
                frame = simulate(kind, freq, n_rows, seed)
                problem = problem_from(frame, yaml.safe_load(written_entry(frame))["panel"])
                row = fit_row(problem, "ridge")
                for ratio in RATIOS:
                    for level, of_level in score_ratio(problem, row, ratio).items():
                        scored[kind, level, ratio].append(of_level)
    print_kinds(scored)


if __name__ == "__main__":
    main()
