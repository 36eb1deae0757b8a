"""Ways to widen an interval by what was seen before it, on short histories: the table in
docs/research/interval-widths.md.

    python -m bench.interval_widths FOLDER

FOLDER has the files of `WANTED`. Pieces of 60 % train, 13 % validation, 12 % calibration and 15 %
test; around a ridge on the lookback and the calendar (hours) or the last value (days). Nothing of
the default data's test blocks is read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.config.task import Task
from forecast.forecaster.intervals import (
    Difficulty,
    SplitConformal,
    root_mean,
    volatility,
    widths,
)

WANTED = (
    "weather/beijing_12stations_2013_2017.parquet",
    "benchmarks/ETTh1.csv",
    "benchmarks/exchange_rate.txt.gz",
    "stocks/cboe_vix_1990_2017.csv",
)
DUBLIN = Path("data/snapshots/weather")
ABOUT: dict[str, Any] = {
    "source": {"kind": "file", "path": "none.csv"},
    "calendar": {"kind": "regular", "freq": "1h"},
    "title": "piece",
    "target": {"column": "y"},
    "splits": {"train": 0.6, "validation": 0.13, "calibration": 0.12},
    "licence": {"name": "none", "attribution": "none"},
}
LEVELS = (0.8, 0.95)
Made = Callable[[np.ndarray], np.ndarray]
"""Rows -> widths (n,)."""


@dataclass(frozen=True)
class Piece:
    """One stretch of a series, how it is forecast, and the rows between two origins of the
    calibration block.
    """

    name: str
    y: np.ndarray
    task: Task
    calibration_step: int

    @property
    def borders(self) -> list[int]:
        return [int(len(self.y) * share) for share in (0.6, 0.73, 0.85)]

    def rows(self, start: int, stop: int, step: int) -> np.ndarray:
        return np.arange(max(start - 1, 2 * self.task.lookback), stop - self.task.horizon, step)

    def ahead(self, rows: np.ndarray) -> np.ndarray:
        return self.y[rows[:, None] + np.arange(1, self.task.horizon + 1)]


def hourly(name: str, y: np.ndarray) -> Piece:
    keys = {"horizon": 24, "lookback": 168, "season_length": 24, "step_size": 6}
    return Piece(name, y, validate_config(Dataset, {**ABOUT, **keys}, where=name).task, 2)


def daily(name: str, y: np.ndarray) -> Piece:
    keys = {"horizon": 5, "lookback": 64, "season_length": 1, "step_size": 1}
    return Piece(name, y, validate_config(Dataset, {**ABOUT, **keys}, where=name).task, 1)


def hours(folder: Path) -> Iterator[Piece]:
    """Of every station of Beijing three variables over one to three years; Dublin before its test
    year; ETTh1.
    """
    table = pd.read_parquet(folder / WANTED[0])
    rng = np.random.default_rng(0)
    for number, (station, rows) in enumerate(table.groupby("station")):
        for column in ("TEMP", "DEWP", "PRES"):
            y = rows[column].astype(float).interpolate().bfill().to_numpy()
            length = 8760 * (1 + (number + len(column)) % 3)
            start = int(rng.integers(0, len(y) - length))
            yield hourly(f"{station} {column}", y[start : start + length])
    dublin = pd.read_parquet(next(DUBLIN.rglob("*.parquet")))
    yield hourly("Dublin", dublin["temp"].astype(float).interpolate().to_numpy()[:12_700])
    electric = pd.read_csv(folder / WANTED[1])
    for column in ("OT", "HUFL", "LULL"):
        for start, length in ((0, 8760), (4000, 10_000)):
            yield hourly(column, electric[column].to_numpy(float)[start : start + length])


def days(folder: Path) -> Iterator[Piece]:
    """Both indices up to 2015, exchange rates and VIX, as logarithms."""
    from arch.data import nasdaq, sp500

    for name, index in (("sp500", sp500), ("nasdaq", nasdaq)):
        y = np.log(index.load()["Adj Close"]["1999":"2015"].to_numpy())
        yield from (daily(name, y[start : start + 2000]) for start in range(0, len(y) - 2000, 450))
    rates = np.log(pd.read_csv(folder / WANTED[2], header=None).to_numpy(float))
    for number, y in enumerate(rates.T):
        yield from (daily(f"rate {number}", y[start : start + 2500]) for start in (0, 2500, 5000))
    vix = np.log(pd.read_csv(folder / WANTED[3]).iloc[:, -1].to_numpy(float))
    yield from (daily("VIX", vix[start : start + 2500]) for start in (0, 2000, 4000))


def simulated(_folder: Path) -> Iterator[Piece]:
    """Errors of one size: there is nothing to widen for."""
    rng = np.random.default_rng(5)
    for number in range(12):
        noise = rng.normal(size=(1500, 3000)[number % 2])
        y = np.zeros(len(noise))
        for row in range(1, len(y)):
            y[row] = (0.5, 0.9, 1.0)[number % 3] * y[row - 1] + noise[row]
        cycle = 3 * np.sin(np.arange(len(y)) * 2 * np.pi / 24)
        yield hourly("cycle", y + cycle) if number >= 6 else daily("plain", y)


def forecaster(piece: Piece) -> Callable[[np.ndarray], np.ndarray]:
    """Rows -> forecasts (n, H), fitted on train and validation."""
    y, task = piece.y, piece.task
    if task.season_length == 1:
        return lambda rows: np.repeat(y[rows][:, None], task.horizon, axis=1)
    fitted = piece.rows(0, piece.borders[1], 3)
    centre, spread = (f(_inputs(piece, fitted), axis=0) for f in (np.mean, np.std))
    inputs, target = (
        (_inputs(piece, fitted) - centre) / (spread + 1e-9),
        piece.ahead(fitted) - y[fitted][:, None],
    )
    square = inputs.T @ inputs + len(inputs) * 1e-3 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(square, inputs.T @ (target - target.mean(axis=0)))
    return lambda rows: (
        (_inputs(piece, rows) - centre) / (spread + 1e-9) @ weights
        + target.mean(axis=0)
        + y[rows][:, None]
    )


def _inputs(piece: Piece, rows: np.ndarray) -> np.ndarray:
    lags = piece.y[rows[:, None] - np.arange(piece.task.lookback)]
    day, year = 2 * np.pi * rows / 24, 2 * np.pi * rows / 8766
    waves = [f(k * day) for k in (1, 2) for f in (np.sin, np.cos)] + [np.sin(year), np.cos(year)]
    return np.column_stack([lags - lags[:, :1], *waves, lags[:, 0]])


def ways(
    piece: Piece, errors: dict[str, np.ndarray], rows: dict[str, np.ndarray]
) -> dict[str, Made]:
    """The widths that are compared, by name."""

    def before(at: np.ndarray, season: int) -> np.ndarray:
        task = piece.task.model_copy(update={"season_length": season})
        return volatility(piece.y[:, None], at, task)[:, 0] + 1e-12

    seasonal, single = (partial(before, season=season) for season in (piece.task.season_length, 1))
    typical = root_mean(seasonal(rows["calibration"]) ** 2)
    known = np.concatenate([rows["validation"], rows["calibration"]])
    size = np.log(
        np.concatenate([errors["validation"].mean(axis=1), errors["calibration"].mean(axis=1)])
        + 1e-9
    )
    level = np.log(seasonal(known))
    slope = float(np.clip(np.cov(level, size)[0, 1] / max(level.var(), 1e-12), 0, 1))
    return {
        "1": lambda at: np.ones(len(at)),
        **{
            f"v^{power}": partial(lambda at, power: seasonal(at) ** power, power=power)
            for power in (0.5, 0.75, 1.0)
        },
        "differences of one row, ^0.75": lambda at: single(at) ** 0.75,
        "exponent by regression": lambda at: seasonal(at) ** slope,
        "as shipped": lambda at: widths(seasonal(at), typical, piece.task.lookback),
    }


def scores(piece: Piece) -> dict[str, list[float]]:
    """By way: coverage and interval score on the test block, at each level."""
    first, second, third = piece.borders
    rows = {
        "validation": piece.rows(first, second, piece.calibration_step),
        "calibration": piece.rows(second, third, piece.calibration_step),
        "test": piece.rows(third, len(piece.y), piece.task.step_size),
    }
    predict = forecaster(piece)
    errors = {
        block: np.abs(piece.ahead(origins) - predict(origins)) for block, origins in rows.items()
    }
    by_way = {}
    for name, width_at in ways(piece, errors, rows).items():
        calibration_width, test_width = (
            width_at(rows[block])[:, None] for block in ("calibration", "test")
        )
        weighted = errors["calibration"] / calibration_width
        calibration = SplitConformal.calibrate(weighted, np.zeros_like(weighted))
        centre = np.zeros_like(errors["test"])
        unknown = Difficulty(np.full(len(centre), np.nan))
        by_way[name] = []
        for level in LEVELS:
            bounds = calibration.bounds(centre, unknown, level)
            ends = (bounds.low * test_width, bounds.high * test_width)
            table = metrics.coverage_by_step(
                *(a[None] for a in (errors["test"], *ends)), nominal=level
            )
            by_way[name] += [float(table["coverage"][0, 0]), float(table["winkler"][0, 0])]
    return by_way


def main(folder: Path) -> None:
    missing = [name for name in WANTED if not (folder / name).exists()]
    if missing:
        raise SystemExit(f"{folder} has no {', '.join(missing)}.")
    for title, pieces in (("hours", hours), ("days", days), ("one size", simulated)):
        by_piece = [scores(piece) for piece in pieces(folder)]
        print(
            f"{title}: {len(by_piece)} pieces; points off at 80 and 95 %, ratio of interval scores"
            " at 80 and 95 %"
        )
        for name in by_piece[0]:
            of_way, plain = (
                np.array([way_scores[key] for way_scores in by_piece]) for key in (name, "1")
            )
            off = [100 * np.abs(of_way[:, 2 * k] - level).mean() for k, level in enumerate(LEVELS)]
            ratio = [np.exp(np.log(of_way[:, k] / plain[:, k]).mean()) for k in (1, 3)]
            print(f"  {name:30} {off[0]:5.1f} {off[1]:5.1f}   {ratio[0]:.3f} {ratio[1]:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
