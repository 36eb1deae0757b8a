"""The month of the year in linear maps and trees, and how many waves of it: the served error.

    python -m bench.month_waves SEED FORM[,FORM ...] [NAME ...]
    python -m bench.month_waves FOLDER FORM[,FORM ...] [NAME ...]

For each kind of `KINDS`, drawn with SEED, or each deciding record of months or quarters of FOLDER,
from the entry that `forecast add` writes: over all cutoffs behind validation the mean absolute
error, in units of the last season's change, of the mean that the grid `few` serves, without
networks; where FORM is `short`, the change of it in percent by the mean that the grid `short`
serves; where FORM is `now`, how much above each of `YARDSTICKS` it is in percent; and for each
other FORM of `FORMS` the change of it in percent, then that of each row of `WITH_CALENDAR`. Models
and weights are fitted again as a run has them. Rule and result: docs/research/quarter-hour.md,
Months by waves.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import yaml

from bench.ablation import RULE, Forecasts, combine, scale_of
from bench.growing import fit_rows
from bench.quarter_hour import PANELS, problem_from, written_entry
from bench.short_rows import by_step
from bench.simulated_kinds import KINDS as SIMULATED
from bench.simulated_kinds import Draw, autoregression, poisson, rows, simulate
from forecast.data.guesses import entry as entries
from forecast.forecaster import Problem
from forecast.models import skip
from forecast.models.families import window_linear

WITHOUT_CALENDAR = ("nlinear", "theta", "arima_fourier")
WITH_CALENDAR = ("ridge", "climatology_ar", "boosting", "boosting_last")
SHORT = ("ets_chosen", "ets_short", "theta_short")
YARDSTICKS = ("auto_ets", "ets_seasonal", "seasonal_mean", "seasonal_naive")


class Form(NamedTuple):
    """Sine pairs of the month in the profile, in the products of the ridge, in the climatology."""

    profile: int
    products: int
    climatology: int


FORMS = {
    "one": Form(0, 1, 1),
    "profile": Form(6, 0, 1),
    "three": Form(3, 1, 3),
    "six": Form(6, 1, 6),
    "six_plain": Form(6, 0, 6),
    "climatology": Form(0, 0, 6),
}


def month_times(count: int, freq: str = "MS") -> pd.DatetimeIndex:
    return pd.date_range("2005-01-01", periods=count, freq=freq)


def retail(draw: Draw) -> pd.DataFrame:
    """Sales by the month that grow, with a peak in December and a hole in January."""
    ds = month_times(int(draw.integers(110, 200)))
    log_level = draw.uniform(0.001, 0.004) * np.arange(len(ds)) + 6
    log_level += draw.uniform(0.3, 0.7) * (ds.month == 12) + 0.12 * (ds.month == 11)
    log_level += -draw.uniform(0.05, 0.2) * (ds.month == 1)
    return rows(ds, np.exp(log_level + autoregression(draw, len(ds), 0.7, 0.06)).round(1))


def electricity(draw: Draw) -> pd.DataFrame:
    """Power by the month with two peaks a year, of winter and of summer, whose weather varies."""
    ds = month_times(int(draw.integers(130, 280)))
    angle = 2 * np.pi * (ds.month - 1) / 12
    season = draw.uniform(5, 12) * np.cos(angle) + draw.uniform(8, 15) * np.cos(2 * angle)
    level = 100 + draw.uniform(-0.05, 0.15) * np.arange(len(ds))
    noise = autoregression(draw, len(ds), 0.5, 5) + np.cumsum(draw.normal(0, 0.4, len(ds)))
    return rows(ds, (level + season + noise).round(2))


def tourism_of_august(draw: Draw) -> pd.DataFrame:
    """Nights by the month: growth, a summer and a sharp August."""
    ds = month_times(int(draw.integers(105, 170)))
    log_level = 8 + draw.uniform(0, 0.005) * np.arange(len(ds))
    log_level += 0.3 * np.sin(2 * np.pi * (ds.month - 4) / 12)
    log_level += draw.uniform(0.4, 0.9) * (ds.month == 8) + 0.2 * (ds.month == 7)
    return rows(ds, np.exp(log_level + autoregression(draw, len(ds), 0.8, 0.1)).round())


def births(draw: Draw) -> pd.DataFrame:
    """Births by the month, nearly flat: the days of a month, a small summer, a slow level."""
    ds = month_times(int(draw.integers(180, 300)))
    level = 1000 * np.exp(np.cumsum(draw.normal(0, 0.006, len(ds))))
    season = 1 + 0.025 * np.cos(2 * np.pi * (ds.month - 8) / 12)
    return rows(ds, poisson(draw, level * season * ds.days_in_month / 30.4))


def harvest(draw: Draw) -> pd.DataFrame:
    """Deliveries by the month: nearly all in one month, whose size varies from year to year."""
    ds = month_times(int(draw.integers(105, 190)))
    size = np.exp(autoregression(draw, len(ds) // 12 + 1, 0.3, 0.2))[np.arange(len(ds)) // 12]
    shape = np.array([0.05, 0.05, 0.05, 0.05, 0.06, 0.1, 0.3, 1.0, 0.25, 0.1, 0.06, 0.05])
    shape = np.roll(shape, int(draw.integers(12)))
    mean = 400 * shape[ds.month - 1] * size
    return rows(ds, poisson(draw, mean * np.exp(draw.normal(0, 0.15, len(ds)))))


def heating(draw: Draw) -> pd.DataFrame:
    """Heat by the month: degrees below 15, whose weather lasts a month, and warm water."""
    ds = month_times(int(draw.integers(105, 170)))
    temperature = 10 - 9.5 * np.cos(2 * np.pi * (ds.month - 1) / 12)
    temperature = temperature + autoregression(draw, len(ds), 0.3, 1.5)
    need = 30 + 12 * np.maximum(15 - temperature, 0)
    return rows(ds, (need + autoregression(draw, len(ds), 0.8, 5)).round(1))


def slow_level(draw: Draw) -> pd.DataFrame:
    """A slow AR(1) by the month without a season."""
    count = int(draw.integers(105, 280))
    return rows(month_times(count), 50 + autoregression(draw, count, 0.95, 8))


def walk_of_months(draw: Draw) -> pd.DataFrame:
    """A level by the month that walks with a small drift, measured with noise."""
    count = int(draw.integers(105, 200))
    walk = np.cumsum(draw.normal(draw.uniform(-0.3, 0.3), 2, count))
    return rows(month_times(count), 300 + walk + draw.normal(0, 2, count))


def wandering_season(draw: Draw) -> pd.DataFrame:
    """A year of any shape that changes from year to year."""
    count = int(draw.integers(120, 240))
    shape, y = draw.normal(0, 8, 12), np.empty(count)
    for t in range(count):
        shape[t % 12] += draw.normal(0, 3)
        y[t] = shape[t % 12]
    return rows(month_times(count), 100 + y + autoregression(draw, count, 0.6, 3))


def rain(draw: Draw) -> pd.DataFrame:
    """Rain by the month: a weak season below much noise."""
    ds = month_times(300)
    mean = 60 * np.exp(0.25 * np.cos(2 * np.pi * (ds.month - 11) / 12))
    return rows(ds, (mean * draw.gamma(3, 1 / 3, len(ds))).round(1))


def flights(draw: Draw) -> pd.DataFrame:
    """Passengers by the month: growth that pauses, a summer, Christmas and a dip in February."""
    count = int(draw.integers(120, 220))
    ds = month_times(count)
    shape = np.array([-9, -12, 1, 0, 1, 11, 20, 20, 7, -6, -19, -4]) / 100
    shape = shape + draw.normal(0, 0.03, 12)
    pace = 0.008 * (autoregression(draw, count, 0.95, 1) > -0.7)
    log_level = 5 + np.cumsum(pace) + shape[ds.month - 1]
    return rows(ds, np.exp(log_level + autoregression(draw, count, 0.8, 0.03)).round())


def sales_of_quarters(draw: Draw) -> pd.DataFrame:
    """Sales by the quarter of 25 to 45 years: growth, a strong last quarter."""
    count = int(draw.integers(101, 180))
    ds = month_times(count, "QS")
    shape = np.array([-0.1, 0.0, -0.05, draw.uniform(0.15, 0.4)])
    log_level = 5 + 0.01 * np.arange(count) + shape[ds.quarter - 1]
    return rows(ds, np.exp(log_level + autoregression(draw, count, 0.85, 0.06)).round(1))


class MonthKind(NamedTuple):
    """What draws the rows, the newest that are kept (0: all), and the horizon that a user asks for
    (0: that of `add`).
    """

    draw: Callable[[Draw], pd.DataFrame]
    newest: int = 0
    horizon: int = 0


OWN = {
    "retail": MonthKind(retail),
    "electricity": MonthKind(electricity),
    "august": MonthKind(tourism_of_august),
    "births": MonthKind(births),
    "harvest": MonthKind(harvest),
    "heating": MonthKind(heating),
    "slow_level": MonthKind(slow_level),
    "walk_of_months": MonthKind(walk_of_months),
    "wandering_season": MonthKind(wandering_season),
    "rain": MonthKind(rain),
    "flights": MonthKind(flights),
    "sales_of_quarters": MonthKind(sales_of_quarters),
    "retail_72": MonthKind(retail, 72, 3),
    "heating_60": MonthKind(heating, 60, 2),
    "slow_level_72": MonthKind(slow_level, 72, 3),
}
OWN |= {
    f"{name}_{rows}": MonthKind(OWN[name].draw, rows, horizon)
    for rows, horizon, names in (
        (60, 2, ("electricity", "births", "wandering_season", "flights", "walk_of_months")),
        (84, 3, ("electricity", "august", "harvest", "heating", "flights", "walk_of_months")),
        (48, 1, ("sales_of_quarters",)),
    )
    for name in names
}
FEW_ROWS = [name for name, kind in OWN.items() if kind.horizon]
OF_THE_BENCHES = ["passengers", "adoption", "quarters", "price_index", "enrolment", "plateau"]
OF_THE_BENCHES += ["fading"]
KINDS = (*[name for name in OWN if name not in FEW_ROWS], *OF_THE_BENCHES)
KINDS += ("retail_72", "heating_60", "slow_level_72")


def problem_of_rows(frame: pd.DataFrame, horizon: int = 0) -> Problem:
    """Of the entry that `add` writes, for a horizon that is asked for (0: none)."""
    entry = yaml.safe_load(written_entry(frame, horizon or None))["panel"]
    return problem_from(frame, entry)


def frame_of_kind(name: str, seed: int) -> pd.DataFrame:
    if name in SIMULATED:
        return simulate(name, seed)
    draw = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return OWN[name].draw(draw)[-OWN[name].newest :].assign(unique_id="one")


def records_of(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Deciding records of months and quarters that have rows enough."""
    regions = pd.read_parquet(folder / PANELS["tourism"].file)
    regions = regions.rename(columns={"Trips": "y"})
    yield "regions", regions[["unique_id", "ds", "y"]]
    dengue = pd.read_csv(folder / PANELS["dengue"].file, parse_dates=["ds"])
    for town, cases in dengue.groupby("unique_id"):
        months = cases.set_index("ds")["total_cases"].resample("MS").sum().iloc[1:-1]
        yield f"dengue_{town}", months.rename("y").reset_index().assign(unique_id="one")
    spy = by_step(PANELS["spy"].file, PANELS["spy"].target, "MS", "mean")
    yield "variance", spy.assign(unique_id="one")
    air = pd.read_csv(folder.parent / "benchmarks/darts_AirPassengers.csv")
    air.columns = ["ds", "y"]
    yield "air", air.assign(ds=pd.to_datetime(air["ds"]), unique_id="one")


def newest_records_of(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The newest 60 and 84 months of the deciding records of months."""
    for name, frame in records_of(folder):
        if name != "regions":
            yield from ((f"{name}_{rows}", frame.tail(rows)) for rows in (60, 84))


def error_behind_validation(problem: Problem, table: pd.DataFrame) -> float:
    """Mean over series of the scaled absolute error on calibration and test."""
    later_rows = table[table["block"].isin(["calibration", "test"])]
    missed = (later_rows["y"] - later_rows["y_hat"]).abs().groupby(later_rows["unique_id"]).mean()
    scale = pd.Series(scale_of(problem))
    scale = scale[scale > 0]
    return float((missed.reindex(scale.index) / scale).mean())


def served(problem: Problem, rows_by_name: Forecasts) -> pd.DataFrame:
    members = tuple(rows_by_name)
    return combine(problem, rows_by_name, RULE.model_copy(update={"members": members}))


@contextmanager
def written_as(form: Form) -> Iterator[None]:
    """The entry has the month of the year, read by the waves of `form`, as long as this lasts."""
    with (
        mock.patch.object(entries, "default_features", lambda *_: ["month_of_year"]),
        mock.patch.dict(skip.PROFILE_HARMONICS, month_of_year=form.profile),
        mock.patch.dict(skip.CALENDAR_HARMONICS, month_of_year=form.products),
        mock.patch.object(window_linear, "calendar_harmonics", lambda *_: (form.climatology,)),
    ):
        yield


def line_of(name: str, frame: pd.DataFrame, forms: list[str], horizon: int) -> str:
    """A row of the table."""
    problem = problem_of_rows(frame, horizon)
    others = fit_rows(problem, WITHOUT_CALENDAR)
    now = fit_rows(problem, WITH_CALENDAR)
    errors = {row: error_behind_validation(problem, table) for row, table in now.items()}
    error = error_behind_validation(problem, served(problem, {**now, **others}))
    cells = [name, f"{error:.4f}"]
    if "now" in forms:
        for row, table in fit_rows(problem, YARDSTICKS).items():
            over = 100 * (error / error_behind_validation(problem, table) - 1)
            cells.append(f"{row} {over:+.1f}")
    if "short" in forms:
        few = RULE.model_copy(update={"members": SHORT, "refit": "never"})
        table = combine(problem, fit_rows(problem, SHORT), few)
        cells.append(f"short {100 * (error_behind_validation(problem, table) / error - 1):+.2f}")
    for form in forms:
        if form in FORMS:
            with written_as(FORMS[form]):
                of_form = problem_of_rows(frame, horizon)
                rows_of_form = fit_rows(of_form, WITH_CALENDAR)
            changed = error_behind_validation(of_form, served(of_form, {**rows_of_form, **others}))
            cells.append(f"{form} {100 * (changed / error - 1):+.2f}")
            for row, table in rows_of_form.items():
                change = 100 * (error_behind_validation(of_form, table) / errors[row] - 1)
                cells.append(f"{change:+.1f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    source, forms, names = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
    if source.isdigit():
        for name in names or (FEW_ROWS if forms == ["short"] else KINDS):
            horizon = OWN[name].horizon if name in OWN else 0
            print(line_of(name, frame_of_kind(name, int(source)), forms, horizon), flush=True)
        return
    horizon = 3 if forms == ["short"] else 0
    records = newest_records_of if horizon else records_of
    for name, frame in records(Path(source)):
        if name in names or not names:
            print(line_of(name, frame, forms, horizon), flush=True)


if __name__ == "__main__":
    main()
