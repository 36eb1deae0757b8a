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
    for product in range(2):
        log_mean = np.log(draw.uniform(20, 200)) + draw.normal(0, 0.3, 7)[ds.day_of_week]
        log_mean += (
            draw.uniform(0.4, 1.0) * promo[product] - draw.uniform(0.3, 0.7) * promo[1 - product]
        )
        log_mean += autoregression(draw, len(ds), 0.97, 0.15) + year_wave(draw, ds, 0.2)
        plans = {"promo": promo[product], "other_promo": promo[1 - product]}
        y = draw.poisson(np.exp(log_mean)).astype(float)
        parts.append(planned(ds, y, 14, **plans).assign(unique_id=f"product {product}"))
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


def bike_docks(draw: Draw) -> pd.DataFrame:
    """The bikes at four docks by the hour over five weeks: people ride to work from some and to
    others, a dock is empty or full, and a truck evens some of them out at night.
    """
    ds = pd.date_range("2024-05-06", periods=24 * 35, freq="h")
    is_work = ds.day_of_week < 5
    wet = np.repeat(np.where(draw.random(35) < 0.25, 0.4, 1.0), 24)
    morning, evening = (np.exp(-(((ds.hour - hour) / 1.4) ** 2)) for hour in (8, 17.5))
    leisure = np.exp(-(((ds.hour - 15) / 4) ** 2)) * np.where(is_work, 0.4, 1)
    parts = []
    for number in range(4):
        most, pull, pace = int(draw.integers(14, 36)), draw.uniform(0.6, 0.95), draw.uniform(3, 7)
        to_work, back = (morning, evening) if number % 2 else (evening, morning)
        leaves = wet * pace * (is_work * (pull * back + (1 - pull) * to_work) + leisure + 0.03)
        comes = wet * pace * (is_work * (pull * to_work + (1 - pull) * back) + leisure + 0.03)
        y, bikes = np.empty(len(ds)), most // 2
        for t in range(len(ds)):
            bikes = min(max(bikes + draw.poisson(comes[t]) - draw.poisson(leaves[t]), 0), most)
            if ds.hour[t] == 3 and draw.random() < 0.5:
                bikes = round((bikes + most) / 3)
            y[t] = bikes
        parts.append(file_of(ds, y).assign(unique_id=f"dock {number}"))
    return pd.concat(parts, ignore_index=True)


def net_load(draw: Draw) -> pd.DataFrame:
    """The load of a town by the hour from March to June, less what its roofs give, which grow in
    number; the sun of the next two days is forecast.
    """
    ds = pd.date_range("2024-03-01", periods=3000 + 48, freq="h")
    peaks = [np.exp(-(((ds.hour - hour) / width) ** 2)) for hour, width in ((8, 2.5), (19, 3))]
    used = 1 + 0.3 * peaks[0] + 0.5 * peaks[1] - 0.15 * (ds.day_of_week > 4)
    height = np.sin(2 * np.pi * (ds.hour - 6.5) / 24) + 0.25 * np.sin(
        2 * np.pi * (ds.day_of_year - 80) / 365
    )
    clear = 1 / (1 + np.exp(-autoregression(draw, len(ds), 0.95, 1.6)))
    sun = np.maximum(height, 0) * (0.15 + 0.85 * clear)
    roofs = np.linspace(draw.uniform(0.1, 0.3), draw.uniform(0.8, 1.4), len(ds))
    noise = autoregression(draw, len(ds), 0.9, 0.03)
    sun_seen = np.maximum(sun * np.exp(draw.normal(0, 0.1, len(ds))), 0).round(3)
    return planned(ds, (40 * (used - roofs * sun + noise)).round(2), 48, sun_forecast=sun_seen)


def blood(draw: Draw) -> pd.DataFrame:
    """Donations of blood by the day over three years and a half: drives are known four weeks ahead,
    and who has given may not give again for eight weeks; closed on Sundays.
    """
    ds = pd.date_range("2021-01-04", periods=1280 + 28)
    drive = campaigns(draw, len(ds), 35, 7)
    week = np.array([1.0, 1.1, 1.1, 1.0, 0.8, 0.5, 0.0])[ds.day_of_week]
    away = 1 - 0.25 * np.isin(ds.month, [7, 8])
    share = draw.uniform(0.008, 0.012) * week * away * np.exp(draw.uniform(0.5, 1.0) * drive)
    share = np.clip(share * np.exp(autoregression(draw, len(ds), 0.7, 0.12)), 0, 1)
    y, donors = np.empty(len(ds)), int(draw.integers(3000, 9000))
    for t in range(len(ds)):
        donors += int(y[t - 56]) if t >= 56 else 0
        y[t] = draw.binomial(donors, share[t])
        donors -= int(y[t])
    return planned(ds, y, 28, drive=drive)


def river_temperature(draw: Draw) -> pd.DataFrame:
    """The temperature of a river by the day over three years and a half, which follows that of the
    air the slower the more water it has; both are measured.
    """
    ds = pd.date_range("2020-11-01", periods=1300)
    air = 9 - 10 * np.cos(2 * np.pi * (ds.day_of_year - 20) / 365)
    air = air + autoregression(draw, len(ds), 0.8, 4)
    flow = np.exp(3 + year_wave(draw, ds, 0.5) + autoregression(draw, len(ds), 0.95, 0.5))
    y, water, pace = np.empty(len(ds)), 6.0, draw.uniform(0.1, 0.25)
    for t in range(len(ds)):
        water += min(pace * (20 / flow[t]) ** 0.5, 0.8) * (0.85 * air[t] + 2 - water)
        water = max(water, 0)
        y[t] = water + draw.normal(0, 0.15)
    return file_of(ds, np.maximum(y, 0).round(1), air=air.round(1), flow=flow.round(1))


def airport_security(draw: Draw) -> pd.DataFrame:
    """Passengers by the half hour at security over nine weeks, who come one to three hours before
    their flight; the seats of the next two days are known, the timetable changes once, and planes
    are full in the school holidays.
    """
    ds = pd.date_range("2024-02-05", periods=48 * 62 + 96, freq="30min")
    slots = np.arange(len(ds)) % (48 * 7)
    is_open = (ds.hour >= 6) & (ds.hour < 22)
    wave = 1 + np.exp(-(((ds.hour - 7) / 1.5) ** 2)) + 0.7 * np.exp(-(((ds.hour - 17) / 2) ** 2))
    planes = [draw.poisson(1.2, 48 * 7)[slots] for _ in range(2)]
    is_new = np.arange(len(ds)) >= 48 * int(draw.integers(35, 46))
    seats = draw.choice([120, 150, 180], len(ds)) * np.where(is_new, planes[1], planes[0])
    seats = np.round(seats * wave / 2) * is_open
    first = 48 * int(draw.integers(10, 45))
    school = (np.arange(len(ds)) >= first) & (np.arange(len(ds)) < first + 48 * 12)
    days = np.repeat(draw.normal(0, 0.06, len(ds) // 48), 48)
    board = seats * np.exp(-0.3 + 0.2 * school + days)
    early = np.concatenate([board, np.zeros(6)])
    before = zip((2, 3, 4, 5, 6), (0.15, 0.3, 0.3, 0.15, 0.1), strict=True)
    mean = sum(share * early[step : step + len(ds)] for step, share in before)
    return planned(ds, draw.poisson(mean).astype(float), 96, seats=seats, school=school * 1.0)


def egg_price(draw: Draw) -> pd.DataFrame:
    """The price of eggs by the week over 15 years: it follows the cost of feed, is high before
    Easter and Christmas, and far higher in the months of a bird flu.
    """
    ds = pd.date_range("2009-01-05", periods=800, freq="W-MON")
    feed = np.cumsum(draw.normal(0, 0.008, len(ds)))
    easters = pd.DatetimeIndex([easter(year) for year in ds.year])
    to_easter = (easters - ds).days
    season = 0.12 * ((to_easter > 0) & (to_easter < 28)) + 0.1 * (ds.month == 12)
    flu, first = np.zeros(len(ds)), int(draw.integers(20, 120))
    while first < len(ds):
        length = int(draw.integers(18, 45))
        flu[first : first + length] = draw.uniform(0.3, 0.9)
        first += length + int(draw.integers(60, 200))
    y, level = np.empty(len(ds)), 0.4
    for t in range(len(ds)):
        level += 0.15 * (0.4 + feed[t] + flu[t] + season[t] - level) + draw.normal(0, 0.015)
        y[t] = np.exp(level)
    return file_of(ds, y.round(2))


def intensive_care(draw: Draw) -> pd.DataFrame:
    """The patients of six intensive care units by the day over 18 months: who is tested positive is
    admitted a week later, planned operations come on workdays, few leave at weekends, and there
    are only so many beds.
    """
    ds = pd.date_range("2021-09-01", periods=560)
    waves = 5.5 + autoregression(draw, len(ds), 0.995, 0.9)
    parts = []
    for number in range(6):
        size, most = draw.uniform(0.3, 1.5), int(draw.integers(18, 50))
        log_tests = waves + np.log(size) + autoregression(draw, len(ds), 0.9, 0.15)
        tests = draw.poisson(np.exp(log_tests) * np.where(ds.day_of_week < 5, 1.15, 0.6))
        ill = np.convolve(tests, np.r_[np.zeros(6), np.full(5, 0.2)])[: len(ds)]
        mean = most * (0.05 * (ds.day_of_week < 5) + 0.02) + 0.012 * ill / size * most / 30
        y, occupied = np.empty(len(ds)), most // 2
        for t in range(len(ds)):
            occupied -= draw.binomial(occupied, 0.13 if ds.day_of_week[t] < 5 else 0.06)
            occupied = min(occupied + draw.poisson(mean[t]), most)
            y[t] = occupied
        rows = file_of(ds, y, positive_tests=tests.astype(float))
        parts.append(rows.assign(unique_id=f"unit {number}"))
    return pd.concat(parts, ignore_index=True)


def web_requests(draw: Draw) -> pd.DataFrame:
    """Requests of a site by the hour over 19 weeks: people, a crawler that comes every third night,
    a scraper that goes on for days, and a burst behind each release.
    """
    ds = pd.date_range("2024-01-08", periods=168 * 19, freq="h")
    shape = 0.25 + np.exp(-(((ds.hour - 11) / 3) ** 2)) + 0.8 * np.exp(-(((ds.hour - 20) / 3) ** 2))
    people = draw.uniform(500, 3000) * shape * np.where(ds.day_of_week < 5, 1, 0.6)
    people = people * np.exp(0.3 * np.arange(len(ds)) / len(ds))
    people = people * np.exp(autoregression(draw, len(ds), 0.9, 0.1))
    day = np.arange(len(ds)) // 24
    crawler = 2500 * (day % 3 == 0) * (ds.hour >= 1) * (ds.hour < 4)
    scraper = draw.uniform(400, 1200) * campaigns(draw, len(ds), 300, 90)
    burst = np.zeros(len(ds))
    for week in range(1, 19, int(draw.integers(2, 4))):
        first = week * 168 + 24 + 10
        burst[first:] += draw.uniform(0.5, 1.2) * np.exp(-np.arange(len(ds) - first) / 20)
    return file_of(ds, draw.poisson(people * (1 + burst) + crawler + scraper).astype(float))


def cash_machine(draw: Draw) -> pd.DataFrame:
    """The withdrawals from a cash machine by the day over three years: a week, a year, wages on the
    25th or the workday before, pensions on the first.
    """
    ds = pd.date_range("2021-03-01", periods=1100)
    week = np.array([0.9, 0.85, 0.9, 1.0, 1.3, 1.25, 0.7])[ds.day_of_week]
    wages = (ds.day == 25) & (ds.day_of_week < 5)
    wages |= (ds.day_of_week == 4) & ((ds.day == 23) | (ds.day == 24))
    fades = draw.uniform(0.3, 0.7) * 0.65 ** np.arange(8)
    paid = np.convolve(wages, fades)[: len(ds)]
    paid += np.convolve(ds.day == 1, draw.uniform(0.2, 0.5) * 0.6 ** np.arange(6))[: len(ds)]
    level = np.log(draw.uniform(60, 400)) + year_wave(draw, ds, 0.15) + 0.2 * (ds.month == 12)
    noise = autoregression(draw, len(ds), 0.6, 0.1)
    return file_of(ds, draw.poisson(np.exp(level + paid + noise) * week).astype(float))


def wages_at_month_end(draw: Draw) -> pd.DataFrame:
    """The sales of a supermarket by the day over 30 months: a week, and wages on the last workday
    of the month, after which more is bought for ten days.
    """
    ds = pd.date_range("2022-01-01", periods=910)
    week = np.array([0.9, 0.85, 0.9, 1.0, 1.3, 1.5, 0.6])[ds.day_of_week]
    is_last_workday = ds.isin(pd.date_range(ds[0], ds[-1], freq="BME"))
    paid = np.convolve(is_last_workday, draw.uniform(0.15, 0.4) * 0.8 ** np.arange(11))[: len(ds)]
    level = np.log(draw.uniform(2_000, 9_000)) + year_wave(draw, ds, 0.1) + paid
    noise = autoregression(draw, len(ds), 0.5, 0.06)
    return file_of(ds, np.round(np.exp(level + noise) * week, 2))


def booked_invoices(draw: Draw) -> pd.DataFrame:
    """The invoices that a firm books, on workdays alone over three years: more on the last three
    days of a month, fewer on the first two, and payment runs on the 10th or the workday after.
    """
    ds = pd.bdate_range("2021-02-01", periods=780)
    left = np.busday_count(
        ds.to_numpy("datetime64[D]"), (ds + pd.offsets.MonthEnd(0)).to_numpy("datetime64[D]")
    )
    effect = np.where(left < 3, draw.uniform(0.3, 0.8), 0.0) - 0.3 * (ds.day <= 2)
    effect += draw.uniform(0.1, 0.5) * (
        (ds.day == 10) | ((ds.day_of_week == 0) & (ds.day > 10) & (ds.day < 13))
    )
    level = np.log(draw.uniform(30, 300)) + draw.normal(0, 0.1, 5)[ds.day_of_week] + effect
    noise = autoregression(draw, len(ds), 0.8, 0.12)
    return file_of(ds, draw.poisson(np.exp(level + noise)).astype(float))


def benefit_shops(draw: Draw) -> pd.DataFrame:
    """The customers of six shops by the day over two years, with benefits on the first and the
    fifteenth, which matter to some of them more.
    """
    ds = pd.date_range("2023-03-01", periods=740)
    paid = np.convolve((ds.day == 1) | (ds.day == 15), 0.7 ** np.arange(7))[: len(ds)]
    parts = []
    for number in range(6):
        level = np.log(draw.uniform(40, 400)) + draw.normal(0, 0.15, 7)[ds.day_of_week]
        level += draw.uniform(0.0, 0.4) * paid + year_wave(draw, ds, 0.1)
        mean = np.exp(level + autoregression(draw, len(ds), 0.6, 0.08))
        parts.append(file_of(ds, draw.poisson(mean).astype(float)).assign(unique_id=f"s{number}"))
    return pd.concat(parts, ignore_index=True)


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
    "bike_docks": Kind(bike_docks, 168),
    "net_load": Kind(net_load, 168),
    "blood": Kind(blood, 365),
    "river_temperature": Kind(river_temperature, 365),
    "airport_security": Kind(airport_security, 336),
    "egg_price": Kind(egg_price, 1),
    "intensive_care": Kind(intensive_care, 365),
    "web_requests": Kind(web_requests, 168),
    "cash_machine": Kind(cash_machine, 365),
    "wages_at_month_end": Kind(wages_at_month_end, 365),
    "booked_invoices": Kind(booked_invoices, 260),
    "benefit_shops": Kind(benefit_shops, 365),
}


def frame_of_kind(name: str, seed: int) -> pd.DataFrame:
    frame = KINDS[name].draw(np.random.default_rng([seed, zlib.crc32(name.encode())]))
    return frame if "unique_id" in frame else frame.assign(unique_id="one")
