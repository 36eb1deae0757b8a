"""Kinds of files as a stranger brings them, that no other bench draws (`bench.unseen_files`)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from dateutil.easter import easter

from bench.planned_systems import Draw, campaigns, year_wave
from bench.simulated_kinds import autoregression


def file_of(ds: pd.DatetimeIndex, y: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"ds": ds, "y": y, **columns})


def planned(ds: pd.DatetimeIndex, y: np.ndarray, ahead: int, **plans: np.ndarray) -> pd.DataFrame:
    """Rows whose target is not known `ahead` steps before the last."""
    return file_of(ds, np.where(np.arange(len(ds)) < len(ds) - ahead, y, np.nan), **plans)


def easter_visitors(draw: Draw) -> pd.DataFrame:
    """Visitors by the day over four years: a week times a year, and days around Easter."""
    ds = pd.date_range("2019-01-07", periods=1500)
    week = np.exp(draw.normal([0, 0, 0, 0, 0.2, 0.7, 0.5], 0.3))[ds.day_of_week]
    sundays = pd.DatetimeIndex([easter(year) for year in ds.year])
    to_easter = (ds - sundays).days
    holiday = np.where((to_easter >= -9) & (to_easter <= 7), draw.uniform(0.4, 0.9), 0)
    level = np.log(draw.uniform(50, 900)) + year_wave(draw, ds, 0.6) + holiday
    weather = autoregression(draw, len(ds), 0.5, 0.2)
    return file_of(ds, draw.poisson(np.exp(level + weather) * week).astype(float))


def sold_out(draw: Draw) -> pd.DataFrame:
    """A bread by the day over 20 months, counted in fives, of which too few are baked in the end of
    the week.
    """
    ds = pd.date_range("2023-01-02", periods=610)
    week = np.array([0.8, 0.8, 0.9, 1.0, 1.3, 1.6, 1.1])[ds.day_of_week]
    level = draw.uniform(50, 150) * np.exp(autoregression(draw, len(ds), 0.98, 0.2))
    demand = draw.poisson(level * week * np.exp(draw.normal(0, 0.15, len(ds))))
    baked = draw.uniform(1.1, 1.3) * pd.Series(level).rolling(28, min_periods=1).mean()
    return file_of(ds, 5 * np.round(np.minimum(demand, baked.to_numpy()) / 5))


def cannibals(draw: Draw) -> pd.DataFrame:
    """Two products by the day, whose promotions take from each other; both are planned."""
    ds = pd.date_range("2022-03-01", periods=1000)
    promo = np.array([campaigns(draw, len(ds), 25, 9) for _ in range(2)])
    parts = []
    for own in range(2):
        log_mean = np.log(draw.uniform(20, 200)) + draw.normal(0, 0.3, 7)[ds.day_of_week]
        log_mean += draw.uniform(0.4, 1.0) * promo[own] - draw.uniform(0.3, 0.7) * promo[1 - own]
        log_mean += autoregression(draw, len(ds), 0.97, 0.15) + year_wave(draw, ds, 0.2)
        plans = {"promo": promo[own], "other_promo": promo[1 - own]}
        y = draw.poisson(np.exp(log_mean)).astype(float)
        parts.append(planned(ds, y, 14, **plans).assign(unique_id=f"product {own}"))
    return pd.concat(parts, ignore_index=True)


def elastic_shops(draw: Draw) -> pd.DataFrame:
    """Nine shops by the week over three years: a price of its own each, an elasticity of its own,
    stocks at home behind a promotion, Christmas.
    """
    ds = pd.date_range("2021-01-04", periods=164, freq="W-MON")
    december = 0.5 * (ds.month == 12) * (ds.day < 26)
    parts = []
    for number in range(9):
        promo = campaigns(draw, len(ds), 9, 3)
        cut = promo * draw.choice([0.1, 0.2, 0.3], len(ds))
        stocked = np.convolve(cut, [0, 0.6, 0.3])[: len(ds)]
        log_mean = np.log(draw.uniform(60, 3000)) + year_wave(draw, ds, 0.2) + december
        log_mean += draw.uniform(1.5, 4) * -np.log1p(-cut) - draw.uniform(0, 1) * stocked
        log_mean += np.cumsum(draw.normal(0, 0.02, len(ds))) + draw.normal(0, 0.08, len(ds))
        price = (draw.uniform(2, 12) * (1 - cut)).round(2)
        y = draw.poisson(np.exp(log_mean)).astype(float)
        parts.append(planned(ds, y, 8, price=price, promo=promo).assign(unique_id=f"shop {number}"))
    return pd.concat(parts, ignore_index=True)


def summer_time(draw: Draw) -> pd.DataFrame:
    """The water of a town by the hour of UTC over 14 months; people live by the clock of summer."""
    ds = pd.date_range("2023-01-02", periods=10_200, freq="h")
    local = ds.tz_localize("UTC").tz_convert("Europe/Berlin")
    is_free = local.day_of_week >= 5
    morning = np.exp(-(((local.hour - np.where(is_free, 9.5, 7)) / 1.5) ** 2))
    evening = np.exp(-(((local.hour - 19.5) / 2.5) ** 2))
    warm = 1 + 0.15 * np.sin(2 * np.pi * (local.day_of_year - 110) / 365)
    mean = draw.uniform(20, 200) * warm * (0.4 + morning + 0.8 * evening)
    return file_of(ds, (mean * np.exp(autoregression(draw, len(ds), 0.93, 0.09))).round(1))


def wind_power(draw: Draw) -> pd.DataFrame:
    """The power of a wind turbine by the hour over nine months: calm and stormy weather, whose
    noise differs, cut at its capacity.
    """
    ds = pd.date_range("2024-02-01", periods=6600, freq="h")
    is_storm = np.cumsum(draw.random(len(ds)) < 1 / 60) % 2
    target = np.where(is_storm, draw.uniform(9, 12), draw.uniform(4, 6)) + year_wave(draw, ds, 1)
    speed, gusts = np.empty(len(ds)), draw.normal(0, 1, len(ds)) * np.where(is_storm, 0.9, 0.4)
    speed[0] = target[0]
    for t in range(1, len(ds)):
        speed[t] = speed[t - 1] + 0.1 * (target[t] - speed[t - 1]) + gusts[t]
    share = np.clip((speed / 12) ** 3, 0, 1) * ((speed > 3) & (speed < 20))
    return file_of(ds, (2000 * share).round())


def oil_tank(draw: Draw) -> pd.DataFrame:
    """The litres in a tank of heating oil by the day over four years, filled by a truck in days
    that nobody knows ahead.
    """
    ds = pd.date_range("2020-07-01", periods=1400)
    cold = 11 + 10 * np.cos(2 * np.pi * (ds.day_of_year - 20) / 365)
    cold = np.maximum(cold + autoregression(draw, len(ds), 0.8, 3), 0)
    used = draw.uniform(0.5, 1.5) + draw.uniform(0.8, 1.4) * cold
    litres, left, wait = np.empty(len(ds)), 2500.0, -1
    for t in range(len(ds)):
        if left < 800 and wait < 0:
            wait = int(draw.integers(1, 15))
        if wait == 0:
            left = draw.uniform(2300, 2900)
        wait, left = wait - 1, max(left - used[t], 0)
        litres[t] = left
    return file_of(ds, litres.round())


def shifts(draw: Draw) -> pd.DataFrame:
    """The power of a machine by 15 minutes over eight weeks: two or three shifts, cycles of on and
    off that drift, breaks.
    """
    ds = pd.date_range("2024-04-01", periods=96 * 56, freq="15min")
    hour = ds.hour + ds.minute / 60
    is_long_week = (draw.random(9) < 0.4)[np.arange(len(ds)) // (96 * 7)]
    works = (ds.day_of_week < 5) & (hour >= 6) & (hour < np.where(is_long_week, 24, 22))
    works &= (hour < 12) | (hour >= 12.5)
    period = draw.uniform(5, 9) * np.exp(autoregression(draw, len(ds), 0.99, 0.15))
    is_on = np.sin(2 * np.pi * np.cumsum(1 / period)) > -0.3
    y = 3 + works * (12 + draw.uniform(15, 40) * is_on) + draw.normal(0, 0.8, len(ds))
    return file_of(ds, y.round(1))


def carbon_dioxide(draw: Draw) -> pd.DataFrame:
    """A sensor of an office by ten minutes over five weeks: people come and go, a window is opened,
    it drifts and is set back, rows are lost for hours.
    """
    ds = pd.date_range("2024-01-08", periods=144 * 35, freq="10min")
    hour = ds.hour + ds.minute / 60
    works = (ds.day_of_week < 5) & (hour > 8) & (hour < 17.5)
    people = draw.poisson(4, 35)[np.arange(len(ds)) // 144] * works * ((hour < 12) | (hour > 13))
    airs = draw.random(len(ds)) < 0.02 * works
    y, level = np.empty(len(ds)), 420.0
    for t in range(len(ds)):
        level += 6 * people[t] - 0.04 * (level - 420) - 0.6 * airs[t] * (level - 420)
        y[t] = level
    drift = 0.02 * (np.arange(len(ds)) % int(draw.integers(1200, 2600)))
    rows = file_of(ds, (y + drift + draw.normal(0, 6, len(ds))).round())
    keep = draw.random(len(ds)) > 0.01
    for first in draw.choice(len(ds), 8, replace=False):
        keep[first : first + int(draw.integers(6, 60))] = False
    return rows[keep]


def tariff_months(draw: Draw) -> pd.DataFrame:
    """Power bills by the month: a year with two peaks, a level that is another one after each of a
    few changes of tariff.
    """
    ds = pd.date_range("2008-01-01", periods=int(draw.integers(110, 200)), freq="MS")
    level = np.cumsum((draw.random(len(ds)) < 0.03) * draw.normal(0, 0.25, len(ds)))
    angle = 2 * np.pi * ds.month / 12
    season = 0.15 * np.cos(angle) + draw.uniform(0.05, 0.15) * np.cos(2 * angle)
    return file_of(ds, np.exp(6 + level + season + draw.normal(0, 0.04, len(ds))).round(2))


def growing_quarters(draw: Draw) -> pd.DataFrame:
    """Revenue by the quarter of a young firm, whose growth slows and whose noise grows with it."""
    ds = pd.date_range("2006-01-01", periods=int(draw.integers(48, 76)), freq="QS")
    pace = draw.uniform(0.03, 0.07) * 0.97 ** np.arange(len(ds)) + draw.normal(0, 0.03, len(ds))
    season = draw.normal(0, 0.08, 4)[ds.quarter - 1]
    noise = draw.normal(0, 0.05, len(ds))
    return file_of(ds, np.exp(3 + np.cumsum(pace) + season + noise).round(1))


def spread_price(draw: Draw) -> pd.DataFrame:
    """The spread of two oils on weekdays: it returns to a level, jumps, and crosses zero."""
    ds = pd.bdate_range("2020-01-06", periods=1000)
    y, calm = np.zeros(len(ds)), draw.uniform(0.15, 0.3)
    jumps = (draw.random(len(ds)) < 0.01) * draw.normal(0, 3, len(ds))
    for t in range(1, len(ds)):
        size = calm * (1 + 0.3 * abs(y[t - 1]))
        y[t] = y[t - 1] - 0.03 * (y[t - 1] - 1.5) + draw.normal(0, size) + jumps[t]
    return file_of(ds, y.round(2))


class Kind(NamedTuple):
    """How a file is drawn, and the longer season of the contender in steps (1: none)."""

    draw: Callable[[Draw], pd.DataFrame]
    long_season: int


KINDS = {
    "easter_visitors": Kind(easter_visitors, 365),
    "sold_out": Kind(sold_out, 365),
    "cannibals": Kind(cannibals, 365),
    "elastic_shops": Kind(elastic_shops, 1),
    "summer_time": Kind(summer_time, 168),
    "wind_power": Kind(wind_power, 168),
    "oil_tank": Kind(oil_tank, 365),
    "shifts": Kind(shifts, 7 * 96),
    "carbon_dioxide": Kind(carbon_dioxide, 7 * 144),
    "tariff_months": Kind(tariff_months, 1),
    "growing_quarters": Kind(growing_quarters, 1),
    "spread_price": Kind(spread_price, 22),
}


def frame_of_kind(name: str, seed: int) -> pd.DataFrame:
    frame = KINDS[name].draw(np.random.default_rng([seed, zlib.crc32(name.encode())]))
    return frame if "unique_id" in frame else frame.assign(unique_id="one")
