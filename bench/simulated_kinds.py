"""Simulated kinds of series without plans: the bar of `bench.quarter_hour` and the intervals there.

    python -m bench.simulated_kinds SEED [NAME ...]

For each kind below, drawn with SEED (and each system of `bench.planned_systems`, whose inputs are
known ahead), from the entry that `forecast add` writes: the mean absolute error on the test block
of the contender of `bench.quarter_hour`, in percent of it that of the served row, which is the mean
with weights of the rows there (of counts that are mostly zero, as the grid `intermittent` has it,
the lowest on validation of these and the simple rows); and of its 80 and 95 % intervals, pooled
over series, steps and cutoffs of the test block, coverage in percent, mean width and interval score
in scaled units, and how many origins calibrated them. A level that too few errors support stays
empty. The last lines count kinds by the bar and by the coverage. What a kind is made of is drawn
anew with each seed.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.signal import lfilter

from bench import planned_systems
from bench.interval_margins import LEVELS, Scored, join, score_series
from bench.planned_systems import Draw, counts, growth, temperature, week_shape, year_wave
from bench.quarter_hour import (
    ROWS,
    Row,
    combine,
    contender_error,
    contender_pairs,
    fit_row,
    problem_from,
    written_entry,
)
from forecast.forecaster import Problem
from forecast.system.errors import InputError

FIRST = pd.Timestamp("2021-03-01")
DAY, WEEK_OF_HOURS, YEAR = 24, 168, 365
SIMPLE_ROWS = ("naive", "seasonal_naive", "lookback_mean", "lookback_median")
MISS = 5.0
"""By more points than this from its level a coverage is called off."""


class Kind(NamedTuple):
    """What makes a series (rows `ds`, `y` and numbers of the file) of a draw; the longer season of
    the contender in steps (1: none), how many series, and the newest rows that are kept (0: all).
    """

    series: Callable[[Draw], pd.DataFrame]
    long_season: int
    n_series: int = 1
    newest: int = 0


def times(count: int, freq: str) -> pd.DatetimeIndex:
    return pd.date_range(FIRST, periods=count, freq=freq)


def rows(ds: pd.DatetimeIndex, y: np.ndarray, **numbers: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"ds": ds, "y": y, **numbers})


def autoregression(draw: Draw, count: int, lasts: float, size: float) -> np.ndarray:
    """(T,) an AR(1) of coefficient `lasts` and deviation `size`."""
    pushes = draw.normal(0, size * np.sqrt(1 - lasts**2), count)
    pushes[0] = draw.normal(0, size)
    return np.asarray(lfilter([1.0], [1.0, -lasts], pushes))


def clock(ds: pd.DatetimeIndex) -> np.ndarray:
    """(T,) the hour of the day, with its minutes."""
    return np.asarray(ds.hour + ds.minute / 60)


def day_wave(ds: pd.DatetimeIndex, highest: float) -> np.ndarray:
    """(T,) -1 to 1: one wave of the day, highest at that hour."""
    return np.cos(2 * np.pi * (clock(ds) - highest) / 24)


def year_of_weeks(count: int, shift: float = 0.0) -> np.ndarray:
    """(T,) -1 to 1: one wave of 52 weeks."""
    return np.sin(2 * np.pi * (np.arange(count) - shift) / 52)


def bell(hours: np.ndarray, highest: float, width: float) -> np.ndarray:
    return np.exp(-(((hours - highest) / width) ** 2))


def switch(is_on: bool, value: float, low: float, high: float) -> bool:
    """Of a controller with hysteresis: on below `low`, off above `high`, else as it was."""
    return value < low or (is_on and value <= high)


def poisson(draw: Draw, mean: np.ndarray) -> np.ndarray:
    return draw.poisson(mean).astype(float)


def make_wild(draw: Draw, y: np.ndarray, share: float) -> np.ndarray:
    """(T,) a few values a hundred times too large."""
    return np.where(draw.random(len(y)) < share, 100 * y, y)


# -- levels with a threshold -----------------------------------------------------------------------


def tank(draw: Draw) -> pd.DataFrame:
    """A tank by the hour: emptied by use with a day, refilled over hours between two levels."""
    ds = times(4000, "h")
    low, high, inflow = draw.uniform(15, 25), draw.uniform(85, 100), draw.uniform(6, 12)
    use = draw.uniform(0.8, 1.6) * (1 + 0.5 * day_wave(ds, draw.integers(24)))
    use = use * np.exp(draw.normal(0, 0.15, len(ds)))
    y, level, fills = np.empty(len(ds)), 60.0, False
    for t in range(len(ds)):
        fills = switch(fills, level, low, high)
        level += inflow * fills - use[t]
        y[t] = level
    return rows(ds, np.maximum(y + draw.normal(0, 0.3, len(ds)), 0))


def silo(draw: Draw) -> pd.DataFrame:
    """A silo by the hour: emptied on workdays from 6 to 22, filled at once by a truck that comes in
    the daytime once a level is passed.
    """
    ds = times(4000, "h")
    low, full = draw.uniform(20, 35), draw.uniform(90, 110)
    works = (ds.hour >= 6) & (ds.hour < 22) & (ds.day_of_week < 5)
    use = draw.uniform(0.8, 1.5) * works * np.exp(draw.normal(0, 0.2, len(ds)))
    y, level = np.empty(len(ds)), full
    for t in range(len(ds)):
        level -= use[t]
        if level < low and 7 <= ds.hour[t] < 17:
            level = full + draw.normal(0, 1.5)
        y[t] = level
    return rows(ds, np.maximum(y + draw.normal(0, 0.2, len(ds)), 0))


def refilled(draw: Draw) -> pd.DataFrame:
    """A silo by the hour that is full again the hour after a level is passed."""
    ds = times(4000, "h")
    low, full = draw.uniform(15, 30), draw.uniform(80, 110)
    use = draw.uniform(0.7, 1.3) * (1 + 0.6 * day_wave(ds, 14))
    use = np.maximum(use + draw.normal(0, 0.35, len(ds)), 0)
    y, level = np.empty(len(ds)), full
    for t in range(len(ds)):
        level -= use[t]
        if level < low:
            level = full
        y[t] = level
    return rows(ds, y)


def stock(draw: Draw) -> pd.DataFrame:
    """A stock by the day: a fixed lot is ordered below a level and comes days later."""
    ds = times(1400, "D")
    sales = draw.poisson(np.exp(np.log(20) + week_shape(draw, ds)))
    wait, lot, low = (int(draw.integers(*ends)) for ends in ((1, 4), (350, 600), (80, 140)))
    y, level, arrives = np.empty(len(ds)), lot, -1
    for t in range(len(ds)):
        level = max(level + lot * (t == arrives) - sales[t], 0)
        if level < low and arrives <= t:
            arrives = t + wait
        y[t] = level
    return rows(ds, y)


def stock_up_to(draw: Draw) -> pd.DataFrame:
    """A stock by the day: ordered up to a level, delivered the next day that is no Sunday."""
    ds = times(1400, "D")
    is_open = ds.day_of_week < 6
    sales = draw.poisson(12 * np.exp(0.3 * (ds.day_of_week == 5))) * is_open
    full, low = int(draw.integers(180, 320)), int(draw.integers(40, 80))
    y, level, ordered = np.empty(len(ds)), full, 0
    for t in range(len(ds)):
        if is_open[t]:
            level, ordered = level + ordered, 0
        level = max(level - sales[t], 0)
        if level < low and not ordered:
            ordered = full - level
        y[t] = level
    return rows(ds, y)


def pump(draw: Draw) -> pd.DataFrame:
    """A pit by ten minutes: it fills, and is pumped empty between two levels."""
    ds = times(4000, "10min")
    inflow = draw.uniform(1, 2) * (1 + 0.5 * day_wave(ds, 14))
    inflow = inflow * np.exp(draw.normal(0, 0.1, len(ds)))
    y, level, rests = np.empty(len(ds)), 50.0, True
    for t in range(len(ds)):
        rests = switch(rests, level, 20, 80)
        level += inflow[t] - 4 * (not rests)
        y[t] = level
    return rows(ds, y)


def thermostat(draw: Draw) -> pd.DataFrame:
    """A room by 15 minutes that is heated to one temperature by day and a lower one by night."""
    ds = times(96 * 40, "15min")
    outside = np.repeat(temperature(draw, times(len(ds) // 4, "h")), 4)
    heat = draw.uniform(0.5, 0.9)
    y, indoors, heats = np.empty(len(ds)), 20.0, False
    for t in range(len(ds)):
        goal = 21 if 6 <= ds.hour[t] < 22 else 17
        heats = switch(heats, indoors, goal - 0.5, goal + 0.5)
        indoors += heat * heats - 0.015 * (indoors - outside[t]) + draw.normal(0, 0.05)
        y[t] = indoors
    return rows(ds, y)


def boiler(draw: Draw) -> pd.DataFrame:
    """A boiler over 60 days of hours, beside the temperature outside."""
    ds = times(60 * 24, "h")
    outside = temperature(draw, ds)
    y, water, heats = np.empty(len(ds)), 60.0, False
    for t in range(len(ds)):
        heats = switch(heats, water, 55, 75)
        water += 9 * heats - 0.072 * (water - outside[t]) + draw.normal(0, 0.5)
        y[t] = water
    return rows(ds, y, outside=outside)


# -- minutes ---------------------------------------------------------------------------------------


def traffic(draw: Draw) -> pd.DataFrame:
    """Vehicles by 5 minutes, four weeks: two peaks on workdays, one on free days."""
    ds = times(288 * 28, "5min")
    hours = clock(ds)
    peaks = draw.uniform(0.8, 1.2) * bell(hours, 8, 1.5)
    peaks += draw.uniform(0.8, 1.3) * bell(hours, 17.5, 2)
    shape = np.where(ds.day_of_week < 5, peaks, 0.6 * bell(hours, 14, 4))
    shape += 0.15 * ((hours > 6) & (hours < 22))
    mean = 20 + draw.uniform(150, 300) * shape
    return rows(ds, poisson(draw, mean * np.exp(autoregression(draw, len(ds), 0.98, 0.08))))


def calls(draw: Draw) -> pd.DataFrame:
    """Calls by 5 minutes, four weeks, of an office that is closed at night and at weekends."""
    ds = times(288 * 28, "5min")
    hours = clock(ds)
    is_open = (ds.day_of_week < 5) & (hours > 7) & (hours < 19)
    mean = np.where(is_open, draw.uniform(20, 60) * bell(hours, 11, 4), 0.3)
    return rows(ds, poisson(draw, mean * np.exp(autoregression(draw, len(ds), 0.97, 0.1))))


def office(draw: Draw) -> pd.DataFrame:
    """Power of an office by 15 minutes, five weeks."""
    ds = times(96 * 35, "15min")
    is_used = (ds.day_of_week < 5) & (clock(ds) > 6.5) & (clock(ds) < 18.5)
    y = 30 + draw.uniform(40, 80) * np.convolve(is_used, np.full(4, 0.25), "same")
    y += 8 * day_wave(ds, 15) + autoregression(draw, len(ds), 0.9, 4)
    return rows(ds, np.maximum(y, 0))


def lasting_noise(draw: Draw) -> pd.DataFrame:
    """A day by 5 minutes under noise that lasts for days; no week."""
    ds = times(288 * 28, "5min")
    noise = autoregression(draw, len(ds), 0.9985, 10) + autoregression(draw, len(ds), 0.5, 1)
    return rows(ds, 50 + 15 * day_wave(ds, 13) + noise)


def page_views(draw: Draw) -> pd.DataFrame:
    """Page views by 5 minutes, three weeks."""
    ds = times(288 * 21, "5min")
    log_mean = 4 + 0.9 * day_wave(ds, 16) + autoregression(draw, len(ds), 0.995, 0.3)
    return rows(ds, poisson(draw, np.exp(log_mean)))


def machine(draw: Draw) -> pd.DataFrame:
    """The temperature of a machine by 5 minutes, two weeks, without a day."""
    ds = times(288 * 14, "5min")
    slow, fast = autoregression(draw, len(ds), 0.999, 6), autoregression(draw, len(ds), 0.95, 1.5)
    return rows(ds, 80 + slow + fast)


def charging_car(draw: Draw) -> pd.DataFrame:
    """The power of a car's charger by 15 minutes: mostly zero, one of two powers in evenings."""
    n_days = 60
    y = np.zeros(96 * n_days)
    for day in range(n_days):
        if draw.random() < 0.6:
            first = day * 96 + int(np.clip(draw.normal(74, 5), 60, 90))
            y[first : first + int(draw.integers(6, 20))] = draw.choice([3.7, 11.0])
    return rows(times(len(y), "15min"), y)


# -- hours -----------------------------------------------------------------------------------------


def seven_weeks(draw: Draw) -> pd.DataFrame:
    """Counts by the hour over seven weeks, with a strong week."""
    ds = times(24 * 49, "h")
    log_mean = 3.5 + week_shape(draw, ds, 0.4) + 1.1 * day_wave(ds, 14)
    log_mean += autoregression(draw, len(ds), 0.8, 0.12)
    return rows(ds, poisson(draw, np.exp(log_mean)))


def solar(draw: Draw) -> pd.DataFrame:
    """Solar power by the hour, ten months from February on."""
    ds = pd.date_range("2021-02-10", periods=24 * 290, freq="h")
    season = 1 + 0.35 * np.sin(2 * np.pi * (ds.day_of_year - 80) / 365)
    height = np.maximum(day_wave(ds, 12) * season - 0.15, 0)
    clear = 1 / (1 + np.exp(-autoregression(draw, len(ds), 0.93, 2)))
    return rows(ds, height * draw.uniform(3, 6) * (0.25 + 0.75 * clear))


def night_shop(draw: Draw) -> pd.DataFrame:
    """Customers by the hour of a shop that is closed at night, ten months."""
    ds = times(24 * 300, "h")
    log_mean = draw.uniform(3, 5) + 0.5 * day_wave(ds, 17) + week_shape(draw, ds, 0.2)
    log_mean += autoregression(draw, len(ds), 0.9, 0.2)
    is_open = (clock(ds) >= 9) & (clock(ds) < 20)
    return rows(ds, np.where(is_open, poisson(draw, np.exp(log_mean)), 0))


def parking(draw: Draw) -> pd.DataFrame:
    """Cars by the hour in a car park of offices, eight months."""
    ds = times(24 * 250, "h")
    hours = clock(ds)
    cars = np.where(ds.day_of_week < 5, 1, 0.3) * bell(hours, 13, 4) * draw.uniform(150, 400)
    mean = np.where((hours > 6) & (hours < 22), cars, 0) + 0.02
    return rows(ds, poisson(draw, mean * np.exp(autoregression(draw, len(ds), 0.95, 0.15))))


def bank(draw: Draw) -> pd.DataFrame:
    """Customers by the hour of a bank, 50 weeks; no row while it is closed."""
    ds = times(24 * 7 * 50, "h")
    hours = clock(ds)
    log_mean = draw.uniform(2.5, 4) + 0.4 * bell(hours, 11, 3) + week_shape(draw, ds, 0.25)
    log_mean += autoregression(draw, len(ds), 0.98, 0.04)
    is_open = (ds.day_of_week < 5) & (hours >= 8) & (hours < 18)
    return rows(ds, poisson(draw, np.exp(log_mean)))[is_open]


def clinic(draw: Draw) -> pd.DataFrame:
    """Patients by the hour of a clinic, 60 weeks; no row while it is closed, as it is on 3 % of the
    days.
    """
    ds = times(24 * 7 * 60, "h")
    hours = clock(ds)
    log_mean = draw.uniform(1.5, 3) + 0.5 * bell(hours, 9, 2) + week_shape(draw, ds, 0.3)
    log_mean += autoregression(draw, len(ds), 0.95, 0.08)
    days = (ds - ds[0]).days
    is_free = draw.random(days.max() + 1) < 0.03
    is_open = (ds.day_of_week < 5) & (hours >= 7) & (hours < 16) & ~is_free[days]
    return rows(ds, poisson(draw, np.exp(log_mean)))[is_open]


def bakery(draw: Draw) -> pd.DataFrame:
    """Customers by the hour of a bakery, 40 weeks; no row while it is closed, as on Mondays."""
    ds = times(24 * 7 * 40, "h")
    hours = clock(ds)
    log_mean = 2.8 + 0.7 * bell(hours, 8, 2) + 0.4 * (ds.day_of_week > 4)
    log_mean += autoregression(draw, len(ds), 0.95, 0.06)
    is_open = (ds.day_of_week != 0) & (hours >= 6) & (hours < 14)
    return rows(ds, poisson(draw, np.exp(log_mean)))[is_open]


def store(draw: Draw) -> pd.DataFrame:
    """Customers by the half hour of a store, 24 weeks; no row while it is closed."""
    ds = times(48 * 7 * 24, "30min")
    hours = clock(ds)
    log_mean = draw.uniform(2, 3.5) + 0.6 * bell(hours, 17, 4) + week_shape(draw, ds, 0.2)
    log_mean += autoregression(draw, len(ds), 0.97, 0.05)
    is_open = (ds.day_of_week < 6) & (hours >= 9) & (hours < 20)
    return rows(ds, poisson(draw, np.exp(log_mean)))[is_open]


def helpdesk(draw: Draw) -> pd.DataFrame:
    """Calls by the half hour, 21 weeks, many on Mondays; no row while nobody answers."""
    ds = times(48 * 7 * 21, "30min")
    hours = clock(ds)
    days = (ds - ds[0]).days
    by_hour = 40 * (bell(hours, 10, 1.8) + 0.7 * bell(hours, 15, 2) + 0.25)
    by_weekday = np.array([1.35, 1, 1, 1, 1, 0.55, 0])[ds.day_of_week]
    by_day = np.exp(autoregression(draw, days.max() + 1, 0.8, 0.08))
    is_open = (ds.day_of_week < 6) & (hours >= 8) & (hours < 18)
    return rows(ds, poisson(draw, by_hour * by_weekday * by_day[days]))[is_open]


def load(draw: Draw) -> pd.DataFrame:
    """A load by the hour over 200 days: two peaks on workdays, none on free days."""
    ds = times(24 * 200, "h")
    hours = clock(ds)
    y = 50 + 20 * (ds.day_of_week < 5) * (bell(hours, 9, 3) + bell(hours, 19, 3))
    y = y + 8 * day_wave(ds, 14) + autoregression(draw, len(ds), 0.97, 4)
    return rows(ds, y + draw.normal(0, 1, len(ds)))


def creek(draw: Draw) -> pd.DataFrame:
    """A creek by the hour, beside the rain that reaches it five hours later."""
    ds = times(24 * 150, "h")
    rain = (draw.random(len(ds)) < 0.05) * draw.exponential(3, len(ds))
    rain = np.convolve(rain, np.full(4, 0.5))[: len(ds)]
    flow = lfilter([0, 0, 0, 0, 0, 0.4], [1, -0.97], rain)
    return rows(ds, flow + 0.5 + np.abs(draw.normal(0, 0.05, len(ds))), rain=rain)


def price(draw: Draw) -> pd.DataFrame:
    """A price of power by the hour, with peaks."""
    ds = times(24 * 250, "h")
    y = 40 + 10 * day_wave(ds, 14) + 6 * (ds.day_of_week < 5)
    y = y + autoregression(draw, len(ds), 0.98, 8)
    return rows(ds, y + (draw.random(len(ds)) < 0.01) * draw.exponential(40, len(ds)))


def sensor(draw: Draw) -> pd.DataFrame:
    """A sensor by the hour, 12 hours behind the valve beside it."""
    valve = np.repeat(draw.uniform(0, 100, 100), 30)
    late = np.concatenate([np.full(12, valve[0]), valve[:-12]])
    y, value = np.empty(len(valve)), 30.0
    for t in range(len(valve)):
        value += 0.15 * (0.6 * late[t] - value)
        y[t] = value
    return rows(times(len(y), "h"), y + draw.normal(0, 0.5, len(y)), valve=valve)


def mackey_glass(draw: Draw) -> pd.DataFrame:
    """The chaotic equation of Mackey and Glass (1977) with a delay of 17, and little noise."""
    inner, n_rows = 6, 2000
    x = 1.2 + draw.normal(0, 0.05, n_rows * inner + 200)
    delay = 17 * inner
    for t in range(delay, len(x) - 1):
        late = x[t - delay]
        x[t + 1] = x[t] + (0.2 * late / (1 + late**10) - 0.1 * x[t]) / inner
    y = x[200::inner]
    return rows(times(n_rows, "h"), y + draw.normal(0, 0.02, n_rows))


def wild_hours(draw: Draw) -> pd.DataFrame:
    """The load, with a few values a hundred times too large."""
    frame = load(draw)
    return frame.assign(y=make_wild(draw, frame["y"].to_numpy(), 0.002))


# -- days ------------------------------------------------------------------------------------------


def shop(draw: Draw) -> pd.DataFrame:
    """Sales by the day that grow, with a week and a year."""
    ds = times(1100, "D")
    log_mean = 4.5 + week_shape(draw, ds) + year_wave(draw, ds, 0.2) + growth(draw, ds)
    return rows(ds, counts(draw, log_mean))


def half_year(draw: Draw) -> pd.DataFrame:
    """Counts by the day over half a year."""
    ds = times(180, "D")
    return rows(ds, poisson(draw, np.exp(4 + week_shape(draw, ds) + growth(draw, ds))))


def views_by_day(draw: Draw) -> pd.DataFrame:
    """Page views by the day, with single days of 4.5 times as many."""
    ds = times(1300, "D")
    log_views = 7 + week_shape(draw, ds, 0.1) + autoregression(draw, len(ds), 0.95, 0.4)
    return rows(ds, np.exp(log_views + 1.5 * (draw.random(len(ds)) < 0.01)))


def closed_sundays(draw: Draw) -> pd.DataFrame:
    """Sales by the day of a shop that is closed on Sundays."""
    ds = times(1100, "D")
    log_mean = 4.2 + week_shape(draw, ds, 0.3) + year_wave(draw, ds, 0.25)
    log_mean += autoregression(draw, len(ds), 0.7, 0.15)
    return rows(ds, np.where(ds.day_of_week == 6, 0, poisson(draw, np.exp(log_mean))))


def canteen(draw: Draw) -> pd.DataFrame:
    """Meals by the day, none at weekends."""
    ds = times(900, "D")
    log_mean = 5.5 + week_shape(draw, ds, 0.1) + year_wave(draw, ds, 0.1)
    log_mean += autoregression(draw, len(ds), 0.6, 0.12)
    return rows(ds, np.where(ds.day_of_week > 4, 0, poisson(draw, np.exp(log_mean))))


def museum(draw: Draw) -> pd.DataFrame:
    """Visitors by the day, none on Mondays."""
    ds = times(1400, "D")
    log_mean = 6 + 0.5 * (ds.day_of_week > 4) + year_wave(draw, ds, 0.5)
    log_mean += autoregression(draw, len(ds), 0.8, 0.3)
    return rows(ds, np.where(ds.day_of_week == 0, 0, poisson(draw, np.exp(log_mean))))


def gas(draw: Draw) -> pd.DataFrame:
    """Gas by the day that rises below 16 °C, beside the temperature."""
    ds = times(1500, "D")
    warmth = temperature(draw, ds)
    y = 10 + draw.uniform(2, 4) * np.maximum(16 - warmth, 0) + 3 * (ds.day_of_week < 5)
    return rows(ds, y + draw.normal(0, 2, len(ds)), temperature=warmth)


def five_levels(draw: Draw) -> pd.DataFrame:
    """Whole levels of 1 to 5 by the day, as of a rating."""
    level = autoregression(draw, 1200, 0.97, 1.2)
    return rows(times(1200, "D"), np.clip(np.round(level + 3), 1, 5))


def goods(draw: Draw) -> pd.DataFrame:
    """A good by the day that four days in five sell none of."""
    y = (draw.random(900) < 0.2) * (1.0 + draw.poisson(1.5, 900))
    return rows(times(900, "D"), y)


def availability(draw: Draw) -> pd.DataFrame:
    """Availability in percent by the day: mostly 100."""
    lost = 4 * np.maximum(autoregression(draw, 1000, 0.9, 2) - 1.5, 0)
    outage = (draw.random(1000) < 0.03) * draw.exponential(15, 1000)
    return rows(times(1000, "D"), np.clip(100 - lost - outage, 0, 100))


def logistic_map(draw: Draw) -> pd.DataFrame:
    """The logistic map with noise (May 1976)."""
    rate, x, y = draw.uniform(3.7, 3.9), 0.4, np.empty(2000)
    for t in range(len(y)):
        x = np.clip(rate * x * (1 - x) + draw.normal(0, 0.01), 0.01, 0.99)
        y[t] = x
    return rows(times(len(y), "D"), y)


def walk(draw: Draw) -> pd.DataFrame:
    """A price by the day: a random walk of its logarithm."""
    return rows(times(1500, "D"), 100 * np.exp(np.cumsum(draw.normal(0, 0.01, 1500))))


def regimes(draw: Draw) -> pd.DataFrame:
    """Noise by the day whose level and size change every few months."""
    number = np.cumsum(draw.random(1200) < 1 / 150)
    level, size = draw.normal(100, 25, number[-1] + 1), draw.uniform(2, 12, number[-1] + 1)
    return rows(times(1200, "D"), level[number] + size[number] * draw.normal(0, 1, 1200))


def changing_size(draw: Draw) -> pd.DataFrame:
    """An autoregression by the day under pushes whose size itself lasts."""
    size = np.exp(autoregression(draw, 1500, 0.98, 0.7))
    return rows(times(1500, "D"), 50 + lfilter([1], [1, -0.8], size * draw.normal(0, 1, 1500)))


def sunspots(draw: Draw) -> pd.DataFrame:
    """A count by the day with a cycle of eleven years, cut at zero; one cycle is seen."""
    cycle = np.sin(2 * np.pi * np.arange(4000) / 3900 + draw.uniform(0, 6))
    return rows(
        times(4000, "D"), np.maximum(60 + 55 * cycle + autoregression(draw, 4000, 0.95, 20), 0)
    )


def wild_days(draw: Draw) -> pd.DataFrame:
    """A week by the day, with a few values a hundred times too large."""
    ds = times(1100, "D")
    y = np.exp(4 + week_shape(draw, ds) + autoregression(draw, len(ds), 0.8, 0.1))
    return rows(ds, make_wild(draw, y, 0.004))


# -- weeks, months, quarters -----------------------------------------------------------------------


def wild_weeks(draw: Draw) -> pd.DataFrame:
    """A year by the week, with a few values a hundred times too large."""
    y = np.exp(5 + 0.4 * year_of_weeks(250) + autoregression(draw, 250, 0.6, 0.15))
    return rows(times(250, "7D"), make_wild(draw, y, 0.012))


def flu(draw: Draw) -> pd.DataFrame:
    """Cases by the week, few but for a season of the year."""
    log_mean = 2 + 1.5 * year_of_weeks(420, draw.integers(52))
    return rows(
        times(420, "7D"), poisson(draw, np.exp(log_mean + autoregression(draw, 420, 0.9, 0.5)))
    )


def four_years_of_weeks(draw: Draw) -> pd.DataFrame:
    """A series by the week that grows a little, with a year."""
    log_level = 6 + 0.2 * year_of_weeks(208) + 0.001 * np.arange(208)
    return rows(times(208, "7D"), np.exp(log_level + autoregression(draw, 208, 0.7, 0.1)))


def passengers(draw: Draw) -> pd.DataFrame:
    """Passengers by the month: growth and a year in proportion to it."""
    t = np.arange(180)
    log_level = 5 + 0.008 * t + 0.2 * np.sin(2 * np.pi * (t + draw.integers(12)) / 12)
    log_level += 0.1 * np.cos(4 * np.pi * t / 12) + autoregression(draw, 180, 0.9, 0.05)
    return rows(times(180, "MS"), np.exp(log_level))


def adoption(draw: Draw) -> pd.DataFrame:
    """The sales of a product by the month: growth that slows (a logistic curve)."""
    middle, width = draw.uniform(60, 100), draw.uniform(10, 18)
    curve = 1000 / (1 + np.exp(-(np.arange(150) - middle) / width))
    return rows(times(150, "MS"), curve * np.exp(autoregression(draw, 150, 0.7, 0.03)) + 1)


def quarters(draw: Draw) -> pd.DataFrame:
    """A series by the quarter that grows, over 25 years."""
    t = np.arange(100)
    log_level = 5 + 0.01 * t + np.array([0.1, -0.1, 0.2, -0.2])[t % 4]
    return rows(times(100, "QS"), np.exp(log_level + autoregression(draw, 100, 0.8, 0.06)))


def months_of_shops(draw: Draw) -> pd.DataFrame:
    """Six years of months of a shop, of any size, noise and season."""
    t = np.arange(72)
    noise = np.exp(draw.normal(-2.3, 0.5))
    log_level = 5 + draw.normal(0, 1.2) + draw.normal(0, 0.004) * t
    log_level += draw.uniform(0.05, 0.4) * np.sin(2 * np.pi * (t - draw.uniform(0, 12)) / 12)
    log_level += np.cumsum(draw.normal(0, 0.3 * noise, 72)) + draw.normal(0, noise, 72)
    return rows(times(72, "MS"), np.exp(log_level))


def years_of_towns(draw: Draw) -> pd.DataFrame:
    """35 years of a town, of any size, growth and noise."""
    growth_of_years = draw.normal(draw.normal(0.01, 0.02), np.exp(draw.normal(-3.3, 0.5)), 35)
    return rows(times(35, "YS"), np.exp(draw.normal(6, 1.5) + np.cumsum(growth_of_years)))


def weeks_of_goods(draw: Draw) -> pd.DataFrame:
    """130 weeks of an article: any demand and noise, a season, and noise that lasts."""
    t = np.arange(130)
    noise = np.exp(draw.normal(-1.8, 0.5))
    log_mean = draw.normal(4, 1) + draw.uniform(0, 0.4) * np.sin(
        2 * np.pi * t / 52 + draw.uniform(0, 6)
    )
    log_mean += autoregression(draw, 130, draw.uniform(0.2, 0.9), noise)
    return rows(times(130, "7D"), poisson(draw, np.exp(log_mean)))


def weeks_of_shops(draw: Draw) -> pd.DataFrame:
    """143 weeks of a shop, whose sales double at most before Christmas and fall behind it."""
    ds = pd.date_range("2020-02-07", periods=143, freq="7D")
    weeks = (ds.day_of_year.to_numpy() - 355) / 7.0
    peak = draw.uniform(0.2, 0.7) * np.exp(-((weeks / 1.5) ** 2))
    slump = draw.uniform(0, 0.3) * (ds.day_of_year < 28)
    log_mean = draw.normal(8, 0.6) + peak - slump + autoregression(draw, 143, 0.6, 0.06)
    return rows(ds, np.exp(log_mean + draw.normal(0, draw.uniform(0.02, 0.08), 143)))


# -- kinds that strangers bring --------------------------------------------------------------------


def subscriptions(draw: Draw) -> pd.DataFrame:
    """Subscribers by the day: sign-ups with a week and campaigns, more leave after a price step."""
    ds = times(1300, "D")
    base, leaves = draw.uniform(30, 80), draw.uniform(0.002, 0.005)
    count = base / leaves * draw.uniform(0.1, 0.5)
    more_leave, campaign = np.zeros(len(ds)), np.zeros(len(ds))
    for day in set(draw.integers(300, 1250, 3).tolist()):
        more_leave[day : day + 30] += draw.uniform(0.002, 0.006)
    for day in draw.integers(0, 1250, 8):
        campaign[day : day + 14] = draw.uniform(0.5, 2)
    mean = base * np.exp(week_shape(draw, ds, 0.2)) * (1 + campaign)
    y = np.empty(len(ds))
    for t in range(len(ds)):
        count += draw.poisson(mean[t]) - draw.binomial(int(count), leaves + more_leave[t])
        y[t] = count
    return rows(ds, y)


def solar_fleet(draw: Draw) -> pd.DataFrame:
    """Solar energy by the day of panels that grow in number."""
    ds = times(1300, "D")
    added = np.cumsum((draw.random(len(ds)) < 1 / 120) * draw.uniform(0.1, 0.4, len(ds)))
    season = 1 + 0.7 * np.sin(2 * np.pi * (ds.day_of_year - 80) / 365)
    clear = 1 / (1 + np.exp(-autoregression(draw, len(ds), 0.5, 1.5)))
    return rows(ds, (1 + added) * 100 * season * (0.2 + 0.8 * clear))


def water_leak(draw: Draw) -> pd.DataFrame:
    """Water of a district by the hour: a day, a week, and leaks that grow until they are mended."""
    ds = times(24 * 240, "h")
    hours = clock(ds)
    shape = 1 + 0.5 * bell(hours, 8, 2.5) + 0.6 * bell(hours, 19, 3) - 0.5 * bell(hours, 3, 3)
    y = draw.uniform(15, 40) * shape * np.exp(week_shape(draw, ds, 0.05))
    y = y * np.exp(autoregression(draw, len(ds), 0.9, 0.06))
    leak, first = np.zeros(len(ds)), 0
    while first < len(ds):
        first += int(draw.exponential(24 * 30)) + 24
        mended = first + int(draw.uniform(24 * 3, 24 * 20))
        growing = draw.uniform(3, 10) * np.linspace(0.2, 1, mended - first)
        leak[first:mended] = growing[: max(len(ds) - first, 0)]
        first = mended
    return rows(ds, y + leak)


def viral(draw: Draw) -> pd.DataFrame:
    """Visits of a site by the day: a week, growth, and bursts that fade by a power of their age."""
    ds = times(900, "D")
    log_mean = 6 + week_shape(draw, ds, 0.15) + growth(draw, ds)
    mean = np.exp(log_mean + autoregression(draw, len(ds), 0.9, 0.15))
    for day in draw.integers(20, 880, 6):
        age = np.arange(len(ds) - day) + 1.0
        mean[day:] += np.exp(6) * draw.uniform(2, 15) * age ** -draw.uniform(0.8, 1.4)
    return rows(ds, poisson(draw, mean))


def power_price(draw: Draw) -> pd.DataFrame:
    """A power price by the hour, below zero where sun and wind leave no load, with peaks."""
    ds = times(24 * 300, "h")
    hours = clock(ds)
    used = 1 + 0.25 * bell(hours, 9, 3) + 0.35 * bell(hours, 19, 3) - 0.2 * (ds.day_of_week > 4)
    season = 1 + 0.5 * np.sin(2 * np.pi * (ds.day_of_year - 80) / 365)
    sun = np.maximum(day_wave(ds, 12.5) - 0.2, 0) * season
    sun = sun * np.repeat(draw.beta(3, 2, len(ds) // 24), 24)
    rest = used - 0.9 * sun - 0.35 / (1 + np.exp(-autoregression(draw, len(ds), 0.985, 2)))
    peaks = 150 * np.maximum(rest - 1.05, 0) ** 1.5 * (draw.random(len(ds)) < 0.9)
    return rows(ds, 60 + 90 * (rest - 0.5) + peaks + autoregression(draw, len(ds), 0.8, 6))


def ferry(draw: Draw) -> pd.DataFrame:
    """Passengers by the day: a timetable of the summer, a break, and a slow return."""
    ds = times(1800, "D")
    summer = ((ds.month >= 5) & (ds.month <= 9)).astype(float)
    log_mean = 6 + 0.9 * summer + 0.5 * (ds.day_of_week > 4) * (0.3 + summer)
    log_mean += year_wave(draw, ds, 0.2)
    age = np.arange(len(ds)) - int(draw.integers(500, 800))
    lost = -2.5 * np.exp(-np.maximum(age - 120, 0) / draw.uniform(100, 250)) * (age >= 0)
    log_mean = log_mean + lost + autoregression(draw, len(ds), 0.8, 0.12)
    return rows(ds, poisson(draw, np.exp(log_mean)))


def battery(draw: Draw) -> pd.DataFrame:
    """The charge of a house's battery by the hour: sun fills it, the evening empties it."""
    ds = times(24 * 200, "h")
    clear = np.repeat(draw.beta(2, 1.5, len(ds) // 24), 24)
    season = 1 + 0.5 * np.sin(2 * np.pi * (ds.day_of_year - 80) / 365)
    charge = 2.2 * clear * season * np.maximum(day_wave(ds, 12.5) - 0.1, 0)
    use = 0.3 + 0.9 * bell(clock(ds), 20, 2.5) + 0.3 * bell(clock(ds), 7, 1.5)
    use = use * np.exp(draw.normal(0, 0.4, len(ds)))
    y, level = np.empty(len(ds)), 5.0
    for t in range(len(ds)):
        level = min(max(level + charge[t] - use[t], 0.5), 10.0)
        y[t] = level
    return rows(ds, y)


def beds(draw: Draw) -> pd.DataFrame:
    """Beds of a hospital by the day that are taken: a week, waves, and no more than there are."""
    ds = times(1200, "D")
    most = draw.integers(150, 260)
    mean = most / 6 * np.exp(autoregression(draw, len(ds), 0.985, 0.18))
    mean = mean * np.exp(0.25 * ((ds.day_of_week < 5) - 0.7))
    y, occupied = np.empty(len(ds)), int(most * 0.8)
    for t in range(len(ds)):
        occupied -= draw.binomial(occupied, 0.17)
        occupied = min(occupied + draw.poisson(mean[t]), most)
        y[t] = occupied
    return rows(ds, y)


def snow_river(draw: Draw) -> pd.DataFrame:
    """A river by the day: rain, and snow that lies in winter and melts in spring."""
    ds = times(1500, "D")
    warmth = 5 + 11 * np.sin(2 * np.pi * (ds.day_of_year - 110) / 365)
    warmth += autoregression(draw, len(ds), 0.8, 4)
    rain = (draw.random(len(ds)) < 0.3) * draw.exponential(8, len(ds))
    y, snow, fast, slow = np.empty(len(ds)), 0.0, 0.0, 100.0
    for t in range(len(ds)):
        melts = min(snow, 1.2 * warmth[t]) if warmth[t] >= 0 else -rain[t]
        snow -= melts
        fast = 0.75 * fast + 0.6 * (rain[t] + melts)
        slow = 0.985 * slow + 0.4 * (rain[t] + melts)
        y[t] = 0.25 * fast + 0.015 * slow + 0.3
    return rows(ds, y * np.exp(draw.normal(0, 0.03, len(ds))))


def price_index(draw: Draw) -> pd.DataFrame:
    """A price index by the month that always rises, at a pace that changes."""
    pace = 0.002 + 0.003 * np.abs(autoregression(draw, 240, 0.97, 1))
    return rows(times(240, "MS"), 80 * np.exp(np.cumsum(pace + draw.normal(0, 0.0015, 240))))


def installs(draw: Draw) -> pd.DataFrame:
    """Machines in the field by the week: adopted, later replaced by another product."""
    t = np.arange(260)
    middle, end = draw.uniform(70, 120), draw.uniform(180, 280)
    curve = 5000 / (1 + np.exp(-(t - middle) / draw.uniform(12, 25)))
    curve -= 3000 / (1 + np.exp(-(t - end) / 15))
    return rows(
        times(260, "7D"), np.maximum(curve * np.exp(autoregression(draw, 260, 0.8, 0.01)), 1)
    )


def epidemic(draw: Draw) -> pd.DataFrame:
    """New cases by the day in waves, fewer at weekends."""
    ds = times(700, "D")
    pace = autoregression(draw, len(ds), 0.98, 0.05)
    level = lfilter([1.0], [1.0, -0.99], pace + 0.06, zi=[5.94])[0]
    week = 0.3 * np.cos(2 * np.pi * (ds.day_of_week - 1) / 7)
    log_mean = np.clip(level, 0, 11) + week + draw.normal(0, 0.08, len(ds))
    return rows(ds, poisson(draw, np.exp(log_mean)))


def reservoir(draw: Draw) -> pd.DataFrame:
    """A reservoir by the day in percent: filled in winter up to the brim, drawn down in summer."""
    ds = times(1500, "D")
    inflow = np.maximum(1 + np.cos(2 * np.pi * (ds.day_of_year - 30) / 365), 0)
    inflow = inflow * np.exp(autoregression(draw, len(ds), 0.97, 0.7))
    use = 1.0 + 0.5 * np.cos(2 * np.pi * (ds.day_of_year - 200) / 365)
    y, level = np.empty(len(ds)), 60.0
    for t in range(len(ds)):
        level = min(max(level + 0.35 * inflow[t] - 0.35 * use[t], 5), 100)
        y[t] = level
    return rows(ds, y)


def tool_wear(draw: Draw) -> pd.DataFrame:
    """The wear of a tool by the hour: it grows with the work until the tool is changed."""
    ds = times(3000, "h")
    works = (ds.hour >= 6) & (ds.hour < 22) & (ds.day_of_week < 6)
    rate, limit = draw.uniform(0.3, 0.7), draw.uniform(60, 100)
    y, wear = np.empty(len(ds)), 0.0
    for t in range(len(ds)):
        wear += rate * works[t] * (1 + (wear / limit) ** 2) * np.exp(draw.normal(0, 0.3))
        if wear > limit * draw.uniform(0.9, 1.05):
            wear = 0.0
        y[t] = wear
    return rows(ds, y + np.abs(draw.normal(0, 0.5, len(ds))))


def backlog(draw: Draw) -> pd.DataFrame:
    """Open tickets by the day: worked off on workdays, and in a push every quarter."""
    ds = times(1000, "D")
    works = ds.day_of_week < 5
    come = 40 * np.exp(autoregression(draw, len(ds), 0.97, 0.25)) * np.where(works, 1, 0.2)
    y, is_open = np.empty(len(ds)), 200
    for t in range(len(ds)):
        is_open += draw.poisson(come[t])
        team = 44 + 0.05 * max(is_open - 200, 0) + 60 * (t % 90 > 84)
        is_open = max(is_open - draw.poisson(team) * works[t], 0)
        y[t] = is_open
    return rows(ds, y)


def christmas(draw: Draw) -> pd.DataFrame:
    """Sales of a toy shop by the week: a steep peak before Christmas, little else."""
    ds = pd.date_range("2018-01-07", periods=330, freq="7D")
    weeks = (ds.day_of_year - 350) / 7.0
    log_mean = 5 + 0.001 * np.arange(330) * draw.uniform(-1, 2)
    log_mean += 1.6 * np.exp(-((weeks / 3) ** 2)) * (weeks < 2)
    return rows(ds, poisson(draw, np.exp(log_mean + autoregression(draw, 330, 0.6, 0.1))))


def enrolment(draw: Draw) -> pd.DataFrame:
    """Pupils by the month: another number each September, a few less before."""
    ds = times(180, "MS")
    y, level = np.empty(180), 800.0
    for t in range(180):
        if ds.month[t] == 9:
            level *= np.exp(draw.normal(0.01, 0.04))
        y[t] = level + draw.normal(0, 2) - 3 * (ds.month[t] in (6, 7))
    return rows(ds, np.round(y))


def bike_share(draw: Draw) -> pd.DataFrame:
    """Rides by the hour of a young system over eight months: more bikes, a week, wet days."""
    ds = times(24 * 240, "h")
    hours = clock(ds)
    bikes = 1 / (1 + np.exp(-(np.arange(len(ds)) / 24 - draw.uniform(60, 130)) / 25))
    work = bell(hours, 8, 1.3) + 1.2 * bell(hours, 17.5, 1.8) + 0.3 * bell(hours, 13, 4)
    shape = np.where(ds.day_of_week < 5, work, 1.1 * bell(hours, 15, 4)) + 0.03
    wet = np.exp(-0.8 * np.repeat((draw.random(len(ds) // 24) < 0.25), 24))
    year = np.exp(0.4 * np.sin(2 * np.pi * (ds.day_of_year - 100) / 365))
    mean = (20 + 200 * bikes) * shape * wet * year
    return rows(ds, poisson(draw, mean * np.exp(autoregression(draw, len(ds), 0.9, 0.15))))


# -- levels that grow, and may stop ---------------------------------------------------------------


def plateau(draw: Draw) -> pd.DataFrame:
    """Sales by the month: fast growth that slows (Gompertz), and a year in proportion to it."""
    t = np.arange(130)
    middle, width = draw.uniform(35, 80), draw.uniform(10, 25)
    log_level = np.log(500) - np.exp(-(t - middle) / width)
    log_level += 0.1 * np.sin(2 * np.pi * (t + draw.integers(12)) / 12)
    log_level = np.maximum(log_level, 0) + autoregression(draw, 130, 0.6, 0.05)
    return rows(times(130, "MS"), np.exp(log_level) + 1)


def decline(draw: Draw) -> pd.DataFrame:
    """A product by the week that is given up, down to a floor."""
    floor = draw.uniform(20, 150)
    mean = floor + 1000 * np.exp(-np.arange(220) / draw.uniform(25, 80))
    return rows(times(220, "7D"), mean * np.exp(autoregression(draw, 220, 0.7, 0.04)))


def ramp_stops(draw: Draw) -> pd.DataFrame:
    """Orders by the day with a week: a straight rise that stops."""
    ds, stop = times(340, "D"), draw.integers(150, 330)
    level = 100 + draw.uniform(0.3, 2) * np.minimum(np.arange(340), stop)
    noise = week_shape(draw, ds, 0.15) + autoregression(draw, 340, 0.8, 0.05)
    return rows(ds, level * np.exp(noise))


def slope_changes(draw: Draw) -> pd.DataFrame:
    """A line by the week whose slope is another one every few months."""
    slope, first = np.zeros(260), 0
    while first < len(slope):
        last = first + int(draw.integers(25, 90))
        slope[first:last] = draw.normal(0, 2)
        first = last
    return rows(times(260, "7D"), 600 + np.cumsum(slope) + autoregression(draw, 260, 0.5, 6))


def line(draw: Draw) -> pd.DataFrame:
    """A line by the month: growth that goes on."""
    level = 200 + draw.uniform(0.5, 3) * np.arange(150)
    return rows(times(150, "MS"), level + autoregression(draw, 150, 0.6, 12))


def exponential(draw: Draw) -> pd.DataFrame:
    """Growth by the week at one pace, which goes on."""
    log_level = draw.uniform(0.005, 0.015) * np.arange(200) + autoregression(draw, 200, 0.8, 0.05)
    return rows(times(200, "7D"), 50 * np.exp(log_level))


def cumulative(draw: Draw) -> pd.DataFrame:
    """All cases so far by the day: one to three waves that end."""
    t, new = np.arange(260), np.zeros(260)
    for _ in range(int(draw.integers(1, 4))):
        middle, width = draw.uniform(30, 250), draw.uniform(5, 15)
        new += draw.uniform(1000, 5000) / width / np.cosh((t - middle) / (2 * width)) ** 2
    new = new * np.exp(autoregression(draw, 260, 0.5, 0.15)) + 0.5
    return rows(times(260, "D"), np.cumsum(poisson(draw, new)))


def drifting(draw: Draw) -> pd.DataFrame:
    """A walk by the week with a small drift, measured with noise."""
    walk = np.cumsum(draw.normal(draw.uniform(-0.5, 0.5), 4, 300))
    return rows(times(300, "7D"), 500 + walk + draw.normal(0, 2, 300))


def smooth_trend(draw: Draw) -> pd.DataFrame:
    """A level by the day whose slope comes and goes."""
    slope = autoregression(draw, 360, 0.97, 0.8)
    return rows(times(360, "D"), 300 + np.cumsum(slope) + draw.normal(0, 3, 360))


def users(draw: Draw) -> pd.DataFrame:
    """Users by the day of something new, with a week: growth that slows (a logistic curve)."""
    ds = times(380, "D")
    curve = 2000 / (1 + np.exp(-(np.arange(380) - draw.uniform(60, 220)) / draw.uniform(20, 45)))
    noise = week_shape(draw, ds, 0.2) + autoregression(draw, 380, 0.8, 0.06)
    return rows(ds, poisson(draw, 20 + curve * np.exp(noise)))


def levels(draw: Draw) -> pd.DataFrame:
    """A level by the week that steps up or down five times."""
    level = np.full(220, 300.0)
    for first in draw.integers(10, 210, 5):
        level[first:] += draw.normal(15, 50)
    noise = autoregression(draw, 220, 0.4, 0.05)
    return rows(times(220, "7D"), np.maximum(level, 20) * np.exp(noise))


def fading(draw: Draw) -> pd.DataFrame:
    """Growth by the month whose slope fades for years, with a year."""
    t = np.arange(160)
    level = 100 + np.cumsum(3 * np.exp(-t / draw.uniform(30, 90)))
    level += 5 * np.sin(2 * np.pi * t / 12)
    return rows(times(160, "MS"), level + autoregression(draw, 160, 0.7, 3))


def wearing(draw: Draw) -> pd.DataFrame:
    """A capacity by the day that falls faster and faster."""
    age = np.arange(380) / 380
    level = 100 - draw.uniform(2, 8) * age - draw.uniform(5, 20) * age ** draw.uniform(2, 5)
    return rows(times(380, "D"), level + autoregression(draw, 380, 0.6, 0.4))


KINDS = {
    "tank": Kind(tank, WEEK_OF_HOURS),
    "silo": Kind(silo, WEEK_OF_HOURS),
    "refilled": Kind(refilled, WEEK_OF_HOURS),
    "stock": Kind(stock, YEAR),
    "stock_up_to": Kind(stock_up_to, YEAR),
    "pump": Kind(pump, 7 * 144),
    "thermostat": Kind(thermostat, 7 * 96),
    "boiler": Kind(boiler, WEEK_OF_HOURS),
    "traffic": Kind(traffic, 7 * 288),
    "calls": Kind(calls, 7 * 288),
    "office": Kind(office, 7 * 96),
    "lasting_noise": Kind(lasting_noise, 7 * 288),
    "page_views": Kind(page_views, 7 * 288),
    "machine": Kind(machine, 7 * 288),
    "charging_car": Kind(charging_car, 7 * 96),
    "seven_weeks": Kind(seven_weeks, WEEK_OF_HOURS),
    "solar": Kind(solar, WEEK_OF_HOURS),
    "night_shop": Kind(night_shop, WEEK_OF_HOURS),
    "parking": Kind(parking, WEEK_OF_HOURS),
    "bank": Kind(bank, WEEK_OF_HOURS),
    "clinic": Kind(clinic, WEEK_OF_HOURS),
    "bakery": Kind(bakery, WEEK_OF_HOURS),
    "store": Kind(store, WEEK_OF_HOURS),
    "helpdesk": Kind(helpdesk, WEEK_OF_HOURS),
    "load": Kind(load, WEEK_OF_HOURS),
    "creek": Kind(creek, WEEK_OF_HOURS),
    "price": Kind(price, WEEK_OF_HOURS),
    "sensor": Kind(sensor, WEEK_OF_HOURS),
    "mackey_glass": Kind(mackey_glass, WEEK_OF_HOURS),
    "wild_hours": Kind(wild_hours, WEEK_OF_HOURS),
    "shop": Kind(shop, YEAR),
    "half_year": Kind(half_year, 1),
    "views_by_day": Kind(views_by_day, YEAR),
    "closed_sundays": Kind(closed_sundays, YEAR),
    "canteen": Kind(canteen, YEAR),
    "museum": Kind(museum, YEAR),
    "gas": Kind(gas, YEAR),
    "five_levels": Kind(five_levels, YEAR),
    "goods": Kind(goods, YEAR, n_series=12),
    "availability": Kind(availability, YEAR),
    "logistic_map": Kind(logistic_map, YEAR),
    "walk": Kind(walk, YEAR),
    "regimes": Kind(regimes, YEAR),
    "changing_size": Kind(changing_size, YEAR),
    "sunspots": Kind(sunspots, 27),
    "wild_days": Kind(wild_days, YEAR),
    "wild_weeks": Kind(wild_weeks, 1),
    "flu": Kind(flu, 1),
    "four_years_of_weeks": Kind(four_years_of_weeks, 1, n_series=3),
    "passengers": Kind(passengers, 1),
    "adoption": Kind(adoption, 1),
    "quarters": Kind(quarters, 1, n_series=3),
    "months_of_shops": Kind(months_of_shops, 1, n_series=20),
    "years_of_towns": Kind(years_of_towns, 1, n_series=40),
    "weeks_of_goods": Kind(weeks_of_goods, 1, n_series=25),
    "weeks_of_shops": Kind(weeks_of_shops, 1, n_series=30),
    "subscriptions": Kind(subscriptions, YEAR),
    "solar_fleet": Kind(solar_fleet, YEAR),
    "water_leak": Kind(water_leak, WEEK_OF_HOURS),
    "viral": Kind(viral, YEAR),
    "power_price": Kind(power_price, WEEK_OF_HOURS),
    "ferry": Kind(ferry, YEAR),
    "battery": Kind(battery, WEEK_OF_HOURS),
    "beds": Kind(beds, YEAR),
    "snow_river": Kind(snow_river, YEAR),
    "price_index": Kind(price_index, 1),
    "installs": Kind(installs, 1),
    "epidemic": Kind(epidemic, YEAR),
    "reservoir": Kind(reservoir, YEAR),
    "tool_wear": Kind(tool_wear, WEEK_OF_HOURS),
    "backlog": Kind(backlog, YEAR),
    "christmas": Kind(christmas, 1),
    "enrolment": Kind(enrolment, 1),
    "bike_share": Kind(bike_share, WEEK_OF_HOURS),
    "plateau": Kind(plateau, 1),
    "decline": Kind(decline, 1),
    "ramp_stops": Kind(ramp_stops, YEAR),
    "slope_changes": Kind(slope_changes, 1),
    "line": Kind(line, 1),
    "exponential": Kind(exponential, 1),
    "cumulative": Kind(cumulative, YEAR),
    "drifting": Kind(drifting, 1),
    "smooth_trend": Kind(smooth_trend, YEAR),
    "users": Kind(users, YEAR),
    "levels": Kind(levels, 1),
    "fading": Kind(fading, 1),
    "wearing": Kind(wearing, YEAR),
}
OF_A_YEAR = [
    "shop",
    "closed_sundays",
    "gas",
    "beds",
    "backlog",
    "viral",
    "museum",
    "ferry",
    "subscriptions",
    "reservoir",
    "canteen",
    "views_by_day",
]
YEAR_ENDING = "_of_a_year"
KINDS |= {name + YEAR_ENDING: KINDS[name]._replace(newest=YEAR) for name in OF_A_YEAR}
PLANNED = {f"planned_{name}": name for name in planned_systems.SYSTEMS}
"""The systems of `bench.planned_systems` by their names here, some of which are kinds too."""


def simulate(name: str, seed: int) -> pd.DataFrame:
    """Rows of all series of a kind."""
    kind, parts = KINDS[name], []
    for number in range(kind.n_series):
        series_name = name.removesuffix(YEAR_ENDING)
        draw = np.random.default_rng([seed, zlib.crc32(series_name.encode()), number])
        series = kind.series(draw)[-kind.newest :]
        parts.append(series.assign(unique_id=f"series {number}"))
    return pd.concat(parts, ignore_index=True)


class Drawn(NamedTuple):
    """A kind or system that was drawn: the problem of the entry that `add` writes, the grid of the
    entry, the rows that its contender reads, and the longer season of that.
    """

    problem: Problem
    grid: str
    frame: pd.DataFrame
    long_season: int


def draw_kind(name: str, seed: int) -> Drawn:
    if name in PLANNED:
        planned = planned_systems.simulate(PLANNED[name], seed)
        problem = planned_systems.problem_of(PLANNED[name], planned)
        observed = planned.loc[planned["y"].notna(), ["unique_id", "ds", "y"]]
        return Drawn(problem, "", observed, planned_systems.SYSTEMS[PLANNED[name]].long_season)
    frame = simulate(name, seed)
    entry = yaml.safe_load(written_entry(frame))["panel"]
    problem = problem_from(frame, entry)
    return Drawn(problem, entry.get("grid", ""), frame, KINDS[name].long_season)


def served_row(drawn: Drawn) -> Row:
    """The mean with weights, or the lowest row on validation of an intermittent target. Of few rows
    with theta, but without the other statistical rows that are served beside it.
    """
    if drawn.grid != "intermittent":
        members = (*ROWS, "theta") if drawn.grid in ("few", "yearly") else ROWS
        return combine(drawn.problem, [fit_row(drawn.problem, row) for row in members])
    fitted = [fit_row(drawn.problem, row) for row in (*SIMPLE_ROWS, *ROWS)]
    return min(fitted, key=lambda row: np.nanmean(np.abs(row.validation.errors)))


class Outcome(NamedTuple):
    """Of a kind: the contender's error, that of the served row over it, and of each level that the
    calibration errors support what its intervals do.
    """

    contender: float
    ratio: float
    n_origins: int
    intervals: dict[float, Scored]


def outcome_of(name: str, seed: int) -> Outcome:
    drawn = draw_kind(name, seed)
    served = served_row(drawn)
    contender = contender_error(contender_pairs(drawn.problem, drawn.frame, drawn.long_season))
    error = float(np.nanmean(np.abs(served.test.errors)))
    n_origins = max(len(targets) for targets in served.calibration.targets.values())
    return Outcome(
        contender, error / contender, n_origins, dict(scored_levels(drawn.problem, served))
    )


def scored_levels(problem: Problem, served: Row) -> Iterator[tuple[float, Scored]]:
    """Of each level that is supported, the intervals of the newest errors, as they are served."""
    for level in LEVELS:
        try:
            yield level, join(newest for _, newest in score_series(problem, served, level))
        except InputError:
            continue


def line_of(name: str, outcome: Outcome) -> str:
    """A row of the table."""
    cells = [name, f"{outcome.contender:.4f}", f"{100 * (outcome.ratio - 1):+.1f} %"]
    cells.append(str(outcome.n_origins))
    for level in LEVELS:
        scored = outcome.intervals.get(level)
        if scored is None:
            cells += [""] * 3
        else:
            cells += [f"{100 * scored.is_covered.mean():.1f}", f"{scored.width.mean():.3f}"]
            cells.append(f"{scored.score.mean():.3f}")
    return f"| {' | '.join(cells)} |"


def summary(outcomes: dict[str, Outcome]) -> Iterator[str]:
    """The lines below the table: kinds by the bar, and by the coverage of each level."""
    changes = {name: 100 * (each.ratio - 1) for name, each in outcomes.items()}
    above = {name: change for name, change in changes.items() if change > 0}
    far = ", ".join(f"{name} {change:+.1f} %" for name, change in above.items() if change > 3)
    yield (
        f"at or below the contender: {len(changes) - len(above)} of {len(changes)}; more than 3 %"
        f" above: {far or 'none'}; median {np.median(list(changes.values())):+.1f} %"
    )
    for level in LEVELS:
        misses = {
            name: 100 * (each.intervals[level].is_covered.mean() - level)
            for name, each in outcomes.items()
            if level in each.intervals
        }
        if misses:
            off = {name: miss for name, miss in misses.items() if abs(miss) > MISS}
            missed = ", ".join(f"{name} {miss:+.1f}" for name, miss in off.items())
            yield (
                f"{100 * level:.0f} %: mean miss {np.mean(np.abs(list(misses.values()))):.2f}"
                f" points; more than {MISS:g}: {len(off)} of {len(misses)} ({missed or 'none'})"
            )


def main() -> None:
    seed, names = int(sys.argv[1]), sys.argv[2:] or [*KINDS, *PLANNED]
    heads = [f"{100 * level:.0f} %" for level in LEVELS]
    columns = ["kind", "contender", "served", "n", heads[0], "width", "score"]
    columns += [heads[1], "width", "score"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    outcomes = {}
    for name in names:
        outcomes[name] = outcome_of(name, seed)
        print(line_of(name, outcomes[name]), flush=True)
    print("", *summary(outcomes), sep="\n")


if __name__ == "__main__":
    main()
