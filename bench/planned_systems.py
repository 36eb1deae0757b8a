"""Simulated shops, loads and rivers whose inputs are known ahead: the bar of `bench.quarter_hour`.

    python -m bench.planned_systems SEED [NAME ...]

For each system below, drawn with SEED, the row that `bench.quarter_hour` prints for a panel: the
mean absolute error on the test block of boosted trees as somebody writes them in a quarter of an
hour, which see the plan and the holidays of the step that they forecast, and in percent of it rows
of the product, from the entry that `forecast add` writes with the line `holidays` that
docs/data.md shows. What a system is made of (sizes of effects, dates of promotions, noise) is drawn
anew with each seed. Systems were developed on seeds 1 to 9; larger ones judge.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from holidays import country_holidays

from bench.quarter_hour import print_header, print_row, problem_from, written_entry
from forecast.forecaster import Problem

FIRST_DAY = pd.Timestamp("2021-03-01")
HOLIDAYS = {"country": "DE", "days_before": 1, "days_after": 1}
AHEAD = 60
"""Rows behind the last observation that hold the plan alone; at least a horizon."""
Draw = np.random.Generator


class PlannedSystem(NamedTuple):
    """What makes a series (rows `ds`, `y` and plans) of a draw and the number of the series; how
    many series, whether the entry gets holidays, and the longer season of the contender.
    """

    series: Callable[[Draw, int], pd.DataFrame]
    n_series: int
    has_holidays: bool
    long_season: int


def days(count: int) -> pd.DatetimeIndex:
    """So many days, and the plan behind them."""
    return pd.date_range(FIRST_DAY, periods=count + AHEAD)


def is_holiday(times: pd.DatetimeIndex) -> np.ndarray:
    """(T,) bool: public holidays of Germany."""
    years = range(times[0].year - 1, times[-1].year + 2)
    return np.asarray(
        times.normalize().isin(pd.DatetimeIndex([*country_holidays("DE", years=years)]))
    )


def week_shape(draw: Draw, times: pd.DatetimeIndex, spread: float = 0.25) -> np.ndarray:
    """(T,) logarithm of a factor of the weekday; Saturdays are strong, Sundays weak."""
    effects = draw.normal(0, spread / 2, 7) + np.array([0, 0, 0, 0, 1, 1.5, -1.5]) * spread
    return np.asarray(effects[times.day_of_week])


def year_wave(draw: Draw, times: pd.DatetimeIndex, size: float) -> np.ndarray:
    """(T,) one wave of the year."""
    return np.asarray(size * np.sin(2 * np.pi * (times.day_of_year / 365.25 + draw.random())))


def growth(draw: Draw, times: pd.DatetimeIndex) -> np.ndarray:
    """(T,) logarithm of a level that grows by 0 to 25 % a year and wanders."""
    years = (times - times[0]) / pd.Timedelta(365, "D")
    steps = draw.normal(0, 0.1 / np.sqrt(len(times)), len(times))
    return np.asarray(draw.uniform(0, 0.22) * years + np.cumsum(steps))


def campaigns(draw: Draw, count: int, every: int, longest: int) -> np.ndarray:
    """(T,) 0 or 1: stretches of 2 to `longest` steps, one in about `every` steps."""
    flag = np.zeros(count)
    at = int(draw.integers(1, every))
    while at < count:
        length = int(draw.integers(2, longest + 1))
        flag[at : at + length] = 1
        at += length + int(draw.integers(every // 2, 3 * every // 2))
    return flag


def after_effect(flag: np.ndarray, steps: int) -> np.ndarray:
    """(T,) 1 on the first step behind a campaign, falling to 0 over `steps`."""
    left = np.zeros(len(flag))
    for step in range(1, steps + 1):
        ended = np.roll(flag, step) > flag
        ended[:step] = False
        left = np.maximum(left, np.where(ended, 1 - (step - 1) / steps, 0) * (flag == 0))
    return left


def holiday_effect(draw: Draw, times: pd.DatetimeIndex) -> np.ndarray:
    """(T,) logarithm: fewer on a holiday, more on the day before."""
    now = is_holiday(times)
    before = is_holiday(times + pd.Timedelta(1, "D"))
    after = is_holiday(times - pd.Timedelta(1, "D"))
    sizes = draw.uniform([0.4, 0.15, -0.1], [1.0, 0.45, 0.15])
    return np.asarray(-sizes[0] * now + sizes[1] * before * ~now + sizes[2] * after * ~now)


def counts(draw: Draw, log_mean: np.ndarray, spread: float = 0.08) -> np.ndarray:
    """(T,) counts whose mean has noise in proportion beside that of a Poisson."""
    return draw.poisson(np.exp(log_mean + draw.normal(0, spread, len(log_mean)))).astype(float)


def temperature(draw: Draw, times: pd.DatetimeIndex) -> np.ndarray:
    """(T,) degrees: a year, a day where steps are hours, weather that lasts some days."""
    per_day = 24 if times[1] - times[0] < pd.Timedelta(1, "D") else 1
    stays = 0.75 ** (1 / per_day)
    weather = np.zeros(len(times))
    pushes = draw.normal(0, 4 * np.sqrt(1 - stays**2), len(times))
    for t in range(1, len(times)):
        weather[t] = stays * weather[t - 1] + pushes[t]
    year = -10 * np.cos(2 * np.pi * (times.day_of_year - 20) / 365.25)
    day = -4 * np.cos(2 * np.pi * (times.hour - 3) / 24) if per_day > 1 else 0
    return np.asarray(11 + year + day + weather)


def forecast_of(draw: Draw, values: np.ndarray, error: float) -> np.ndarray:
    """(T,) a forecast of `values` (T,) by a service, with errors of deviation `error`."""
    return values + draw.normal(0, error, len(values))


def shop(draw: Draw, number: int) -> pd.DataFrame:
    """A shop by day: promotions with a dip behind them, holidays, growth."""
    ds = days(1200)
    promo = campaigns(draw, len(ds), 24, 6)
    log_mean = np.log(120) + week_shape(draw, ds) + year_wave(draw, ds, 0.15) + growth(draw, ds)
    log_mean += draw.uniform(0.25, 0.55) * promo - draw.uniform(0.1, 0.25) * after_effect(promo, 4)
    log_mean += holiday_effect(draw, ds)
    return pd.DataFrame({"ds": ds, "y": counts(draw, log_mean), "promo": promo})


def shops(draw: Draw, number: int) -> pd.DataFrame:
    """Shops of sizes 15 to 120: promotions of three depths at dates of their own."""
    ds = days(900)
    promo = campaigns(draw, len(ds), 28, 7)
    starts = np.cumsum(np.diff(promo, prepend=0) > 0)
    depth = draw.choice([0.1, 0.2, 0.3], starts.max() + 1)[starts] * promo
    log_mean = np.log(15 * 2.0**number) + week_shape(draw, ds) + growth(draw, ds)
    log_mean += year_wave(draw, ds, 0.2) + draw.uniform(1.2, 2.4) * depth
    log_mean += holiday_effect(draw, ds) - draw.uniform(0.05, 0.2) * after_effect(promo, 5)
    return pd.DataFrame({"ds": ds, "y": counts(draw, log_mean), "discount": depth})


def closed_days(draw: Draw, number: int) -> pd.DataFrame:
    """A shop without rows on Sundays and holidays; the days around a holiday are strong."""
    ds = days(1300)
    promo = campaigns(draw, len(ds), 30, 8)
    log_mean = np.log(200) + week_shape(draw, ds) + year_wave(draw, ds, 0.15) + growth(draw, ds)
    log_mean += draw.uniform(0.2, 0.5) * promo + holiday_effect(draw, ds)
    frame = pd.DataFrame({"ds": ds, "y": counts(draw, log_mean), "promo": promo})
    return frame[~is_holiday(ds) & (ds.day_of_week < 6)].reset_index(drop=True)


def weekday_promotions(draw: Draw, number: int) -> pd.DataFrame:
    """Promotions that bring many customers on some weekdays and few on others."""
    ds = days(1100)
    promo = campaigns(draw, len(ds), 14, 5)
    by_weekday = draw.uniform(0.0, 0.7, 7)
    log_mean = np.log(80) + week_shape(draw, ds) + year_wave(draw, ds, 0.1) + growth(draw, ds)
    log_mean += by_weekday[ds.day_of_week] * promo + holiday_effect(draw, ds)
    return pd.DataFrame({"ds": ds, "y": counts(draw, log_mean), "promo": promo})


def priced(draw: Draw, number: int) -> pd.DataFrame:
    """Two goods whose price and the price of a competitor change every few weeks."""
    ds = days(900)
    prices = []
    for _ in range(2):
        changes = np.cumsum(draw.random(len(ds)) < 1 / 18)
        prices.append(draw.choice([7.99, 8.49, 8.99, 9.99], changes.max() + 1)[changes])
    own_price, other = prices
    log_mean = np.log(40 * 3.0**number) + week_shape(draw, ds) + growth(draw, ds)
    log_mean += -draw.uniform(1.5, 3) * np.log(own_price / 9) + draw.uniform(0.5, 1.5) * np.log(
        other / 9
    )
    frame = {"ds": ds, "y": counts(draw, log_mean), "price": own_price, "competitor": other}
    return pd.DataFrame(frame)


def kiosk(draw: Draw, number: int) -> pd.DataFrame:
    """Small counts with days without a row: warm and dry days sell, school holidays do not."""
    ds = days(1000)
    warmth = temperature(draw, ds)
    rain = (draw.random(len(ds)) < 0.3) * draw.exponential(4, len(ds))
    school = np.isin(ds.month, [7, 8]) | ((ds.month == 12) & (ds.day > 22))
    log_mean = np.log(30) + week_shape(draw, ds) + growth(draw, ds)
    log_mean += 0.9 / (1 + np.exp(-(warmth - 19) / 3)) - 0.25 * (rain > 2) * (warmth > 10)
    log_mean += -draw.uniform(0.1, 0.4) * school + holiday_effect(draw, ds)
    columns = {"temperature_forecast": forecast_of(draw, warmth, 1.0)}
    columns |= {
        "rain_forecast": np.maximum(forecast_of(draw, rain, 0.5), 0),
        "school": school * 1.0,
    }
    frame = pd.DataFrame({"ds": ds, "y": counts(draw, log_mean), **columns})
    is_kept = (draw.random(len(ds)) > 0.04) | (np.arange(len(ds)) >= 1000)
    return frame[is_kept].reset_index(drop=True)


def load_days(draw: Draw, number: int) -> pd.DataFrame:
    """A load by day: heating and cooling, weekdays, holidays like Sundays."""
    ds = days(1200)
    warmth = temperature(draw, ds)
    free = np.where(is_holiday(ds), 6, ds.day_of_week)
    level = 100 + np.array([0, 1, 1, 1, -1, -8, -13])[free] * draw.uniform(0.8, 1.2)
    level += draw.uniform(0.8, 1.6) * np.maximum(15 - warmth, 0)
    level += draw.uniform(1, 2) * np.maximum(warmth - 21, 0) + 8 * growth(draw, ds)
    frame = {"ds": ds, "y": level + draw.normal(0, 1.5, len(ds))}
    return pd.DataFrame({**frame, "temperature_forecast": forecast_of(draw, warmth, 1.0)})


def load_hours(draw: Draw, number: int) -> pd.DataFrame:
    """A load by hour: a day with two peaks on workdays and one on others, heating by day."""
    ds = pd.date_range(FIRST_DAY, periods=2_900 + AHEAD, freq="h")
    warmth = temperature(draw, ds)
    is_free = is_holiday(ds) | (ds.day_of_week > 4)
    peaks = [np.exp(-(((ds.hour - hour) / width) ** 2)) for hour, width in ((8, 2.5), (19, 3))]
    shape = np.where(is_free, 0.5 * np.exp(-(((ds.hour - 12) / 5) ** 2)), peaks[0] + peaks[1])
    level = 60 + draw.uniform(15, 30) * shape + draw.uniform(0.6, 1.4) * np.maximum(16 - warmth, 0)
    level += draw.uniform(1, 2) * np.maximum(warmth - 22, 0) * ((ds.hour > 9) & (ds.hour < 21))
    frame = {"ds": ds, "y": level + draw.normal(0, 1.5, len(ds))}
    return pd.DataFrame({**frame, "temperature_forecast": forecast_of(draw, warmth, 0.7)})


def rides_hours(draw: Draw, number: int) -> pd.DataFrame:
    """Counts by hour: commuters on workdays, rain and cold, days of free rides."""
    ds = pd.date_range(FIRST_DAY, periods=2_900 + AHEAD, freq="h")
    warmth = temperature(draw, ds)
    is_free = is_holiday(ds) | (ds.day_of_week > 4)
    rain = np.repeat(campaigns(draw, len(ds) // 3 + 1, 12, 5), 3)[: len(ds)]
    free_rides = np.repeat(campaigns(draw, len(ds) // 24 + 1, 16, 3), 24)[: len(ds)]
    peaks = sum(np.exp(-(((ds.hour - hour) / 1.8) ** 2)) for hour in (8, 17))
    shape = np.where(is_free, np.exp(-(((ds.hour - 14) / 4) ** 2)), peaks)
    log_mean = np.log(20) + draw.uniform(1.5, 2.2) * shape + 0.03 * (warmth - 10)
    log_mean += growth(draw, ds) - draw.uniform(0.3, 0.8) * rain
    log_mean += draw.uniform(0.2, 0.6) * free_rides * np.where(is_free, 1, 0.4)
    columns = {"rain": rain, "free_rides": free_rides}
    columns["temperature_forecast"] = forecast_of(draw, warmth, 0.7)
    return pd.DataFrame({"ds": ds, "y": counts(draw, log_mean), **columns})


def heat_hours(draw: Draw, number: int) -> pd.DataFrame:
    """District heat by hour: walls keep the weather of a day or two, and boilers have a limit."""
    ds = pd.date_range(FIRST_DAY, periods=2_900 + AHEAD, freq="h")
    outside = temperature(draw, ds)
    walls = pass_store(outside - outside[0], draw.uniform(15, 40)) + outside[0]
    shape = 1 + draw.uniform(0.1, 0.3) * np.exp(-(((ds.hour - 7) / 2.5) ** 2))
    need = 8 + draw.uniform(1, 2) * np.maximum(17 - 0.7 * walls - 0.3 * outside, 0) * shape
    heat = np.minimum(need, np.quantile(need, 0.97)) * np.exp(draw.normal(0, 0.04, len(ds)))
    planned = forecast_of(draw, outside, 0.7)
    return pd.DataFrame({"ds": ds, "y": heat, "temperature_forecast": planned})


def weekly_shops(draw: Draw, number: int) -> pd.DataFrame:
    """Shops by week: leaflets at dates of their own, weeks with holidays, a year."""
    ds = pd.date_range(FIRST_DAY, periods=170 + 10, freq="7D")
    leaflet = campaigns(draw, len(ds), 8, 3)
    feasts = sum(is_holiday(ds + pd.Timedelta(day, "D")) * 1.0 for day in range(7))
    log_mean = np.log(draw.uniform(300, 3000)) + year_wave(draw, ds, 0.15) + growth(draw, ds)
    log_mean += draw.uniform(0.15, 0.45) * leaflet - draw.uniform(0.03, 0.12) * feasts
    log_mean += 0.35 * (ds.month == 12) - 0.08 * after_effect(leaflet, 2)
    return pd.DataFrame({"ds": ds, "y": counts(draw, log_mean, 0.06), "leaflet": leaflet})


def pass_store(inflow: np.ndarray, steps: float) -> np.ndarray:
    """(T,) what leaves a store that keeps its content for so many steps in the mean."""
    outflow = np.zeros(len(inflow))
    for t in range(1, len(inflow)):
        outflow[t] = outflow[t - 1] + (inflow[t] - outflow[t - 1]) / steps
    return outflow


def river(draw: Draw, ds: pd.DatetimeIndex, quick: float, late: int) -> pd.DataFrame:
    """The flow of a river: the ground lets little rain through while it is dry and all when it is
    full; what runs off arrives `late` steps later through a store of `quick` steps.
    """
    per_day = pd.Timedelta(1, "D") / (ds[1] - ds[0])
    is_wet = campaigns(draw, len(ds), max(round(3 * per_day), 6), max(round(per_day), 4))
    rain = is_wet * draw.exponential(1, len(ds)) * draw.uniform(15, 25) / per_day
    dry = 2.5 * np.exp(year_wave(draw, ds, 0.3)) / per_day
    room, ground = draw.uniform(60, 120), 40.0
    through, base = np.empty(len(ds)), np.empty(len(ds))
    for t in range(len(ds)):
        through[t] = rain[t] * (ground / room) ** 2
        base[t] = 0.01 * ground / per_day
        ground = min(max(ground + rain[t] - through[t] - base[t] - dry[t], 1.0), room)
    flow = per_day * (pass_store(np.roll(through, late), quick) + base)
    flow *= np.exp(draw.normal(0, 0.04, len(ds)))
    planned = rain * np.exp(draw.normal(0, 0.2, len(ds)))
    return pd.DataFrame({"ds": ds, "y": flow, "rain_forecast": planned})


def river_days(draw: Draw, number: int) -> pd.DataFrame:
    """A river by day, rain known ahead."""
    return river(draw, days(1200), draw.uniform(1.5, 4), 1)


def river_hours(draw: Draw, number: int) -> pd.DataFrame:
    """A river by hour, rain known ahead."""
    ds = pd.date_range(FIRST_DAY, periods=2_900 + AHEAD, freq="h")
    return river(draw, ds, draw.uniform(5, 12), int(draw.integers(2, 7)))


def tank_hours(draw: Draw, number: int) -> pd.DataFrame:
    """The level of a tank that pumps fill by plan: it empties through a hole, and overflows."""
    ds = pd.date_range(FIRST_DAY, periods=2_900 + AHEAD, freq="h")
    strength = np.resize(np.repeat(draw.uniform(0.3, 2, len(ds) // 6), 6), len(ds))
    pumps = campaigns(draw, len(ds), 9, 8) * strength
    hole, full = draw.uniform(0.15, 0.3), draw.uniform(7, 10)
    level, levels = 4.0, np.empty(len(ds))
    for t in range(len(ds)):
        level = min(max(level + pumps[t] - hole * np.sqrt(level), 0.0), full)
        levels[t] = level
    return pd.DataFrame({"ds": ds, "y": levels + draw.normal(0, 0.08, len(ds)), "pumps": pumps})


SYSTEMS = {
    "shop": PlannedSystem(shop, 1, True, 365),
    "shops": PlannedSystem(shops, 4, True, 365),
    "closed_days": PlannedSystem(closed_days, 1, True, 302),
    "weekday_promotions": PlannedSystem(weekday_promotions, 1, True, 365),
    "priced": PlannedSystem(priced, 2, False, 365),
    "kiosk": PlannedSystem(kiosk, 1, True, 365),
    "load_days": PlannedSystem(load_days, 1, True, 365),
    "load_hours": PlannedSystem(load_hours, 1, True, 168),
    "rides_hours": PlannedSystem(rides_hours, 1, True, 168),
    "weekly_shops": PlannedSystem(weekly_shops, 12, True, 1),
    "heat_hours": PlannedSystem(heat_hours, 1, False, 168),
    "river_days": PlannedSystem(river_days, 1, False, 365),
    "river_hours": PlannedSystem(river_hours, 1, False, 168),
    "tank_hours": PlannedSystem(tank_hours, 1, False, 168),
}


def simulate(name: str, seed: int) -> pd.DataFrame:
    """Rows of all series of a system, those of the plan behind the last observation included."""
    system = SYSTEMS[name]
    parts = []
    for number in range(system.n_series):
        draw = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        rows = system.series(draw, number)
        ahead = 10 if name == "weekly_shops" else AHEAD
        is_ahead = np.arange(len(rows)) >= len(rows) - ahead
        rows["y"] = rows["y"].where(~is_ahead)
        parts.append(rows.assign(unique_id=f"series {number}"))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    seed, names = int(sys.argv[1]), sys.argv[2:] or list(SYSTEMS)
    print_header()
    for name in names:
        frame = simulate(name, seed)
        observed = frame.loc[frame["y"].notna(), ["unique_id", "ds", "y"]]
        print_row(name, problem_of(name, frame), observed, SYSTEMS[name].long_season)


def problem_of(name: str, frame: pd.DataFrame) -> Problem:
    """The problem of the entry that `add` writes of the rows of a system, with holidays."""
    entry = yaml.safe_load(written_entry(frame))["panel"]
    if SYSTEMS[name].has_holidays:
        entry["holidays"] = HOLIDAYS
    return problem_from(frame, entry)


if __name__ == "__main__":
    main()
