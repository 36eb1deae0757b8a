"""Kinds of files that an outsider would judge by, beside what is quickly written for them.

    python -m bench.outside_kinds FOLDER SEED [NAME ...]

For each kind of `KINDS` a file is drawn, and `forecast add` and `forecast run` are called in a
project in FOLDER as `bench.ten_minutes` does. A line for each: the error of the served row on its
test block over that of LightGBM with the inputs of the contender of `bench.quarter_hour`, a ridge
on the same inputs, the last value, the last season, the mean of the last four and AutoETS (at
`ETS_CUTOFFS` of them); and the errors of all rows of the run over that of the served one. LightGBM
and the ridge are fitted once. Rule and result: docs/research/quarter-hour.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lightgbm
import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bench import ten_minutes
from bench.ten_minutes import Draw, autoregression, counts, frame

SEASONS = 4
TREES, MOST_PAIRS = 400, 60_000
"""Of LightGBM, and the pairs of cutoff and step that it is fitted on."""
ETS_CUTOFFS = 48
"""Of the test block, at which AutoETS is fitted anew: over twelve its error was a tenth off."""


class Kind(NamedTuple):
    """How rows are drawn, the season and a longer one in steps (1: none), the columns of the file
    whose values are known ahead of the step, and those that are measured.
    """

    draw: Callable[[Draw], pd.DataFrame]
    season: int
    long_season: int
    plans: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


def planned(rows: pd.DataFrame, steps: int) -> pd.DataFrame:
    """The rows without the target of the last steps, whose plan stays."""
    is_known = np.arange(len(rows)) < len(rows) - steps
    return rows.assign(y=rows["y"].where(is_known))


def stock_outs(draw: Draw) -> pd.DataFrame:
    """Three years of days of an article: price and promotions are known a fortnight ahead; what is
    delivered on Mondays and Thursdays is sold out early in many weeks with a promotion.
    """
    ds = pd.date_range("2021-01-04", periods=1109, freq="D")
    week = np.array([0.9, 0.85, 0.9, 1.0, 1.3, 1.6, 0.7])[ds.day_of_week]
    year = 1 + 0.2 * np.sin(2 * np.pi * (ds.day_of_year - 100) / 365)
    cut = np.zeros(len(ds))
    for first in draw.choice(len(ds), 30, replace=False):
        cut[first : first + int(draw.integers(4, 9))] = draw.choice([0.1, 0.2, 0.3])
    price = np.round(9.9 * (1 - cut), 2)
    level = 40 * np.exp(autoregression(draw, len(ds), 0.98, 0.15))
    demand = counts(draw, level * week * year * np.exp(3.5 * cut), 0.12)
    sold, stock = np.empty(len(ds)), 150.0
    for t in range(len(ds)):
        if ds.day_of_week[t] in (0, 3):
            stock += max(draw.uniform(1.0, 1.6) * 4 * level[t] * np.exp(1.5 * cut[t]) - stock, 0)
        sold[t] = min(demand[t], np.floor(stock))
        stock -= sold[t]
    return planned(frame(ds, sold, price=price, promo=(cut > 0).astype(int)), 14)


def call_centre(draw: Draw) -> pd.DataFrame:
    """Half hours of sixteen weeks: open from 8 to 20 on workdays and 9 to 14 on Saturdays; letters
    that arrive are known two days ahead.
    """
    ds = pd.date_range("2024-01-01", periods=48 * 7 * 16, freq="30min")
    hours = ds.hour + ds.minute / 60
    workday = (ds.day_of_week < 5) & (hours >= 8) & (hours < 20)
    is_open = workday | ((ds.day_of_week == 5) & (hours >= 9) & (hours < 14))
    shape = np.exp(-(((hours - 10.5) / 2.2) ** 2)) + 0.7 * np.exp(-(((hours - 15.5) / 2.5) ** 2))
    day = np.array([1.35, 1.05, 1.0, 0.95, 0.9, 0.6, 0.0])[ds.day_of_week]
    days = np.arange(len(ds)) // 48
    letters = np.where(draw.random(days.max() + 1) < 0.2, draw.integers(2, 12, days.max() + 1), 0)
    answered = np.convolve(letters, [0.5, 0.3, 0.15])[: len(letters)]
    of_day = np.repeat(np.exp(autoregression(draw, days.max() + 1, 0.6, 0.1)), 48)
    mean = 45 * (0.15 + shape) * day * of_day * (1 + 0.06 * answered[days]) * is_open
    y = draw.poisson(mean * np.exp(autoregression(draw, len(ds), 0.9, 0.08))).astype(float)
    return planned(frame(ds, y, letters=letters[days]), 96)


def valve_pump(draw: Draw) -> pd.DataFrame:
    """The power of a pump by 10 minutes over four weeks, half an hour behind the valve that
    switches it: the operator opens it in steps, for hours, mostly by day.
    """
    ds = pd.date_range("2024-03-04", periods=144 * 28, freq="10min")
    valve, state, left = np.empty(len(ds)), 0.0, 0
    for t in range(len(ds)):
        if left == 0:
            is_day = 6 <= ds.hour[t] < 20
            state = draw.choice(
                [0, 30, 60, 100], p=[0.2, 0.2, 0.3, 0.3] if is_day else [0.7, 0.2, 0.1, 0]
            )
            left = int(draw.integers(9, 40))
        valve[t], left = state, left - 1
    goal = np.concatenate([np.zeros(3), valve[:-3]]) * draw.uniform(0.4, 0.6)
    y, power = np.empty(len(ds)), 0.0
    for t in range(len(ds)):
        power += 0.35 * (goal[t] - power)
        y[t] = power
    y = y + 4 * (y > 1) * autoregression(draw, len(ds), 0.95, 0.5) + draw.normal(0, 0.2, len(ds))
    return frame(ds, np.maximum(y, 0).round(2), valve=valve)


def bike_hire(draw: Draw) -> pd.DataFrame:
    """Hires by the hour over 25 weeks; temperature and rain are known two days ahead."""
    ds = pd.date_range("2024-03-04", periods=168 * 25, freq="h")
    temp = 13 + 8 * np.sin(2 * np.pi * (ds.day_of_year - 110) / 365)
    temp = temp - 4 * np.cos(2 * np.pi * (ds.hour - 3) / 24)
    temp = temp + autoregression(draw, len(ds), 0.985, 3)
    rain = np.maximum(autoregression(draw, len(ds), 0.85, 1) - 1.2, 0) * 2
    is_work = ds.day_of_week < 5
    commute = np.exp(-(((ds.hour - 8) / 1.2) ** 2)) + 1.1 * np.exp(-(((ds.hour - 17.5) / 1.8) ** 2))
    leisure = np.exp(-(((ds.hour - 14.5) / 4) ** 2))
    mean = np.where(is_work, 260 * commute + 60 * leisure, 200 * leisure) + 6
    warm = np.exp(-(((temp - 24) / 13) ** 2))
    wet = np.exp(-0.5 * np.minimum(rain + 0.5 * np.concatenate([[0.0], rain[:-1]]), 3))
    growth = np.exp(0.2 * np.arange(len(ds)) / len(ds))
    mean = mean * warm * wet * growth * np.exp(autoregression(draw, len(ds), 0.9, 0.15))
    y = draw.poisson(mean).astype(float)
    return planned(frame(ds, y, temp=temp.round(1), rain=rain.round(1)), 48)


EASTER = pd.to_datetime(
    ["2018-04-01", "2019-04-21", "2020-04-12", "2021-04-04", "2022-04-17", "2023-04-09"]
)


def moving_holidays(draw: Draw) -> pd.DataFrame:
    """Six years of weekly sales: a strong year, Christmas, and Easter, whose week is marked eight
    weeks ahead.
    """
    ds = pd.date_range("2018-01-07", periods=312, freq="W-SUN")
    is_easter = np.isin(ds, EASTER)
    before = np.append(is_easter[1:], False)
    christmas = (ds.month == 12) & (ds.day > 9) & (ds.day < 27)
    angle = 2 * np.pi * (ds.day_of_year - 60) / 365
    log_mean = 6 + 0.35 * np.sin(angle) + 0.15 * np.cos(2 * angle)
    log_mean = log_mean + 0.45 * before + 0.2 * is_easter + 0.6 * christmas
    log_mean = log_mean + np.cumsum(draw.normal(0.0006, 0.006, 312))
    y = np.exp(log_mean + autoregression(draw, 312, 0.5, 0.05)).round()
    holiday = (is_easter | christmas).astype(int)
    return planned(frame(ds, y, holiday=holiday), 8)


def building(draw: Draw) -> pd.DataFrame:
    """Three years of days: heated below 15 degrees from October to April alone, cooled above 22;
    less at weekends; a renovation in the second year; the temperature is known a week ahead.
    """
    ds = pd.date_range("2021-01-04", periods=1100, freq="D")
    temp = 11 - 10 * np.cos(2 * np.pi * (ds.day_of_year - 20) / 365)
    temp = temp + autoregression(draw, len(ds), 0.8, 3.5)
    is_heated = (ds.month > 9) | (ds.month < 5)
    is_work = ds.day_of_week < 5
    loss = np.where(np.arange(len(ds)) < draw.integers(450, 650), 14, 9)
    y = 120 + 60 * is_work + loss * np.maximum(15 - temp, 0) * is_heated * np.where(is_work, 1, 0.7)
    y = y + 10 * np.maximum(temp - 22, 0) * is_work + autoregression(draw, len(ds), 0.7, 8)
    return planned(frame(ds, y.round(1), temp=temp.round(1)), 7)


def freight(draw: Draw) -> pd.DataFrame:
    """Six years of a weekly freight price: it returns to a level that jumps now and then."""
    ds = pd.date_range("2018-01-07", periods=312, freq="W-SUN")
    level = np.log(1500) + np.cumsum((draw.random(312) < 0.03) * draw.normal(0, 0.4, 312))
    y, log_price = np.empty(312), level[0]
    for t in range(312):
        log_price += 0.15 * (level[t] - log_price) + draw.normal(0, 0.02)
        y[t] = np.exp(log_price)
    return frame(ds, y.round())


KINDS = {
    "stock_outs": Kind(stock_outs, 7, 365, ("price", "promo")),
    "call_centre": Kind(call_centre, 48, 336, ("letters",)),
    "valve_pump": Kind(valve_pump, 144, 1, (), ("valve",)),
    "bike_hire": Kind(bike_hire, 24, 168, ("temp", "rain")),
    "moving_holidays": Kind(moving_holidays, 52, 1, ("holiday",)),
    "building": Kind(building, 7, 365, ("temp",)),
    "freight": Kind(freight, 1, 52),
}


def learner_inputs(
    rows: pd.DataFrame, cutoffs: np.ndarray, kind: Kind, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """(cutoffs, H, inputs) as the contender has them, and targets (cutoffs, H); NaN behind the
    last row.
    """
    y = rows["y"].to_numpy(float)
    times = pd.DatetimeIndex(rows.index)
    goal = cutoffs[:, None] + np.arange(1, horizon + 1)
    known_goal = np.minimum(goal, len(y) - 1)
    recent = min(max(2 * kind.season, 8), 56)
    lags = y[np.maximum(cutoffs[:, None] - np.arange(recent), 0)]
    measured = rows[[*kind.measured, *kind.plans]].to_numpy(float)[cutoffs]
    known = np.concatenate([lags, measured], axis=1)
    parts = [np.repeat(known[:, None], horizon, axis=1)]
    for season in {kind.season, kind.long_season} - {1}:
        first = -(-horizon // season)
        parts += [
            y[np.maximum(goal - count * season, 0)][..., None]
            for count in range(first, first + SEASONS)
        ]
    clock = times[known_goal.ravel()]
    numbers = (clock.hour + clock.minute / 60, clock.day_of_week, clock.day_of_year)
    parts += [number.to_numpy().reshape(goal.shape)[..., None] for number in numbers]
    parts.append(np.broadcast_to(np.arange(1, horizon + 1)[None, :, None], (*goal.shape, 1)))
    parts.append(rows[[*kind.plans]].to_numpy(float)[known_goal])
    return np.concatenate(parts, axis=2), np.where(goal < len(y), y[known_goal], np.nan)


def ridge_inputs(x: np.ndarray, kind: Kind) -> np.ndarray:
    """The inputs of one step for the ridge: weekday and hour as flags, the year as a wave."""
    n_plans = len(kind.plans)
    stop = x.shape[1] - 4 - n_plans
    hour, weekday, day = x[:, stop], x[:, stop + 1], x[:, stop + 2]
    flags = [weekday[:, None] == np.arange(7)]
    if kind.season in (24, 48, 144):
        flags.append(np.floor(hour)[:, None] == np.arange(24))
    angle = 2 * np.pi * day[:, None] / 365
    return np.column_stack([x[:, :stop], x[:, stop + 4 :], *flags, np.sin(angle), np.cos(angle)])


def learnt_forecasts(
    rows: pd.DataFrame, positions: np.ndarray, kind: Kind, horizon: int
) -> dict[str, np.ndarray]:
    """(positions, H) of LightGBM and the ridge, fitted once to what the first position knows."""
    longest = max(kind.season, kind.long_season) * (SEASONS if kind.season < 100 else 1)
    first = min(longest, positions[0] // 3)
    cutoffs = np.arange(first, positions[0] - horizon + 1)
    cutoffs = cutoffs[:: max(1, len(cutoffs) * horizon // MOST_PAIRS)]
    x, y = learner_inputs(rows, cutoffs, kind, horizon)
    test, _ = learner_inputs(rows, positions, kind, horizon)
    trees = lightgbm.LGBMRegressor(objective="l1", n_estimators=TREES, verbose=-1, n_jobs=1)
    trees.fit(x.reshape(-1, x.shape[2]), y.ravel())
    linear = np.empty((len(positions), horizon))
    for step in range(horizon):
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
        ridge.fit(ridge_inputs(x[:, step], kind), y[:, step])
        linear[:, step] = ridge.predict(ridge_inputs(test[:, step], kind))
    grown = trees.predict(test.reshape(-1, test.shape[2])).reshape(-1, horizon)
    return {"trees": grown, "ridge": linear}


YARDSTICKS = ("trees", "ridge", "last", "season", "mean4", "ets")


def result_of(kind: Kind, drawn: pd.DataFrame, served: ten_minutes.Served) -> dict[str, object]:
    """The grid, the error of the served row, this over that of each yardstick, and that of each row
    over it.
    """
    table = served.table
    rows = drawn.set_index("ds")
    rows = rows.asfreq(pd.infer_freq(rows.index[:10])).ffill()
    horizon = int(table.groupby("cutoff").size().max())
    at = pd.DatetimeIndex(table["cutoff"].unique())
    positions = pd.DatetimeIndex(rows.index).get_indexer(at, method="ffill")
    with threadpool_limits(1):
        learnt = learnt_forecasts(rows, positions, kind, horizon)
    y = rows["y"].to_numpy(float)
    few = set(np.linspace(0, len(at) - 1, ETS_CUTOFFS).round().astype(int))
    parts = []
    for number, (_, each) in enumerate(table.groupby("cutoff")):
        known = y[: positions[number] + 1]
        by_yardstick = ten_minutes.simple_forecasts(known, kind.season, horizon)
        if number in few:
            by_yardstick["ets"] = ten_minutes.statistical_forecasts(known, kind.season, horizon)[
                "ets"
            ]
        by_yardstick |= {name: forecasts[number] for name, forecasts in learnt.items()}
        parts.append(
            each.assign(**{name: values[: len(each)] for name, values in by_yardstick.items()})
        )
    table = pd.concat(parts)
    table = table[table["y"].notna()]
    over = {}
    for name in YARDSTICKS:
        both = table[table[name].notna()]
        missed = both[["served", name]].rsub(both["y"], axis=0).abs().mean()
        over[name] = round(float(missed["served"] / missed[name]), 4)
    error = float((table["y"] - table["served"]).abs().mean())
    return {
        "grid": served.grid,
        "origins": len(at),
        "horizon": horizon,
        "mae": round(error, 4),
        "over": over,
        "rows": rows_over_served(served.project),
    }


def rows_over_served(project: Path) -> dict[str, float]:
    """Of the narrowed run, the test error of each row over that of the served one."""
    board = pd.read_csv(next((project / "narrowed").iterdir()) / "reports/leaderboard.csv")
    errors = board.set_index("model")["mae"]
    served = errors[board.set_index("model")["chosen"].astype(bool)].iloc[0]
    return (errors / served).sort_values().round(3).to_dict()


if __name__ == "__main__":
    ten_minutes.print_results(KINDS, 39, result_of)
