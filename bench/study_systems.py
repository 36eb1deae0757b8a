"""The systems of bench/study.py: six simulated ones whose best forecast is known, and four real
ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

BURN_IN = 1000
HOURS_PER_MONTH = 730
STATIONS = ("Aotizhongxin", "Changping", "Gucheng", "Huairou", "Shunyi", "Wanliu")
"""Of Beijing's twelve, one of each group that shares its temperature in the newest year."""
Law = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Noise (T,) to the series and its conditional mean given all before, both (T,)."""


@dataclass(frozen=True)
class Observed:
    """Series (S, T); `mean`: the conditional mean of simulated ones, else empty."""

    values: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True)
class System:
    """How a system is read (folder, series, rows) and forecast, with its base cell."""

    observe: Callable[[Path, int, int], Observed]
    lookback: int
    horizon: int = 1
    series: int = 1
    months: int = 12
    file: str | None = None
    """Below the folder of the data; "" is in an installed package, None simulated."""
    season_length: int = 1
    freq: str = "1h"
    rows_per_month: int = HOURS_PER_MONTH
    calendar_features: tuple[str, ...] = ()


def linear(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, mean = np.zeros_like(noise), np.zeros_like(noise)
    for t in range(24, len(noise)):
        mean[t] = 0.5 * y[t - 1] + 0.4 * y[t - 24]
        y[t] = mean[t] + noise[t]
    return y, mean


def threshold(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, mean = np.zeros_like(noise), np.zeros_like(noise)
    for t in range(1, len(noise)):
        mean[t] = 0.8 * abs(y[t - 1]) - 1
        y[t] = mean[t] + noise[t]
    return y, mean


def fading(noise: np.ndarray, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """A mean over about `memory` rows decides whether the next one has the sign of the last."""
    y, mean = np.zeros_like(noise), np.zeros_like(noise)
    state = 0.0
    for t in range(1, len(noise)):
        state += (y[t - 1] - state) / memory
        mean[t] = 0.85 * math.tanh(math.sqrt(2 * memory) * state) * y[t - 1]
        y[t] = mean[t] + noise[t]
    return y, mean


def delay(noise: np.ndarray, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """The sign of the one row `memory` before decides it."""
    y, mean = np.zeros_like(noise), np.zeros_like(noise)
    for t in range(memory, len(noise)):
        mean[t] = 0.85 * math.tanh(3 * y[t - memory]) * y[t - 1]
        y[t] = mean[t] + noise[t]
    return y, mean


def simulate(law: Law, _: Path, series: int, rows: int) -> Observed:
    """Series k has the noise of seed k, its newest rows whatever the length."""
    drawn = [np.random.default_rng(seed).standard_normal(50_000)[::-1] for seed in range(series)]
    pairs = [law(noise[-rows - BURN_IN :]) for noise in drawn]
    return Observed(*(np.stack(each)[:, BURN_IN:] for each in zip(*pairs, strict=True)))


def read_volatility(_: Path, series: int, rows: int) -> Observed:
    """Log of the daily range of S&P 500 and NASDAQ Composite, 1999-2018."""
    from arch.data import nasdaq, sp500

    tables = [source.load() for source in (sp500, nasdaq)][:series]
    ranges = [np.log(np.log(table["High"] / table["Low"])).to_numpy() for table in tables]
    return newest(np.stack(ranges), rows)


def read_load(folder: Path, _: int, rows: int) -> Observed:
    table = pd.read_parquet(folder / SYSTEMS["load"].file)
    return newest(table.set_index("ds")["Demand"].resample("1h").sum().to_numpy(float)[None], rows)


def read_stations(folder: Path, series: int, rows: int) -> Observed:
    """A missing hour repeats the one before."""
    table = pd.read_parquet(folder / SYSTEMS["stations"].file)
    times = pd.to_datetime(table[["year", "month", "day", "hour"]])
    wide = table.assign(ds=times).pivot_table(
        index="ds", columns="station", values="TEMP", observed=True
    )
    temperature = wide.resample("1h").mean().ffill()[list(STATIONS[:series])]
    return newest(temperature.to_numpy(float).T, rows)


def read_counts(folder: Path, _: int, rows: int) -> Observed:
    """A missing hour is one in which nothing was hired."""
    table = pd.read_csv(folder / SYSTEMS["counts"].file, parse_dates=["ds"])
    return newest(table.set_index("ds")["cnt"].resample("1h").sum().to_numpy(float)[None], rows)


def newest(values: np.ndarray, rows: int) -> Observed:
    return Observed(values[:, -rows:], np.empty(0))


HOURLY = {"horizon": 24, "season_length": 24}
WORK = ("hour_of_day", "day_of_week", "day_of_year")
SYSTEMS = {
    "linear": System(partial(simulate, linear), 24),
    "threshold": System(partial(simulate, threshold), 24),
    "fading 5": System(partial(simulate, partial(fading, memory=5)), 24),
    "fading 40": System(partial(simulate, partial(fading, memory=40)), 168),
    "fading 150": System(partial(simulate, partial(fading, memory=150)), 672),
    "delay 40": System(partial(simulate, partial(delay, memory=40)), 168),
    "volatility": System(
        read_volatility, 24, 5, series=2, months=240, file="", freq="1D", rows_per_month=21
    ),
    "load": System(
        read_load, 168, file="panels/vic_elec_halfhourly.parquet", calendar_features=WORK, **HOURLY
    ),
    "stations": System(
        read_stations,
        168,
        file="weather/beijing_12stations_2013_2017.parquet",
        calendar_features=("hour_of_day", "day_of_year"),
        **HOURLY,
    ),
    "counts": System(
        read_counts,
        168,
        file="panels/uci_bike_sharing_hourly.csv",
        calendar_features=WORK,
        **HOURLY,
    ),
}
