"""What a stranger gets from a file of their own, beside what they write themselves in ten minutes.

    python -m bench.ten_minutes FOLDER SEED [NAME ...]

For each kind of `KINDS` a file is drawn, `forecast add` and `forecast run` are called in a project
in FOLDER as its user would, without networks, and the test block of the served row is set beside
AutoETS, AutoTheta, the last season, the mean of the last four seasons, a ridge on lags and LightGBM
on lags and calendar. A line for each kind: the error of the served row over that of each, coverage
of its 80 and 95 % intervals, and their mean width over its mean error. Rule and result:
docs/research/ten-minutes.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import pandas as pd
import yaml
from sklearn.linear_model import RidgeCV
from statsforecast.models import AutoETS, AutoTheta
from threadpoolctl import threadpool_limits

Draw = np.random.Generator
SIMPLE = ("naive", "seasonal_naive", "seasonal_mean", "lookback_mean")
LINEAR = ("ridge", "nlinear", "climatology_ar")
TREES = ("boosting", "boosting_last")
STATISTICAL = ("ets_chosen", "ets_short", "theta_short")
ROWS = {
    "default": (*SIMPLE, *LINEAR, *TREES, "stacked"),
    "few": (*SIMPLE, *LINEAR, *TREES, "theta", "arima_fourier", "stacked_few"),
    "yearly": (
        *SIMPLE,
        *LINEAR,
        *TREES,
        "theta",
        "arima_fourier",
        *STATISTICAL,
        "stacked_yearly",
    ),
    "short": (*SIMPLE, "ridge", *STATISTICAL, "mean_statistical"),
    "intermittent": (
        *SIMPLE,
        "lookback_median",
        "historical_median",
        "ridge",
        "nlinear",
        *TREES,
        "auto_ets",
    ),
}
"""By the grid that `add` writes: its rows without networks and automatic ARIMA."""
MOST_FITS = 12
"""Cutoffs of a series at which AutoETS and AutoTheta are fitted, spread evenly."""
ETS_ROWS = 700


class Kind(NamedTuple):
    """How rows are drawn, the season in steps and the lags that its user would take."""

    draw: Callable[[Draw], pd.DataFrame]
    season: int
    lags: int


def days(count: int, start: str = "2021-01-01") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="D")


def frame(ds: pd.DatetimeIndex, y: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"ds": ds, "y": y, **columns})


def autoregression(draw: Draw, count: int, memory: float, size: float) -> np.ndarray:
    """Stationary, of deviation `size`."""
    shocks = draw.normal(0, size * np.sqrt(1 - memory**2), count)
    y = np.empty(count)
    y[0] = draw.normal(0, size)
    for t in range(1, count):
        y[t] = memory * y[t - 1] + shocks[t]
    return y


def counts(draw: Draw, mean: np.ndarray, spread: float) -> np.ndarray:
    """Negative binomial: the mean times a gamma of relative deviation `spread`."""
    shape = 1 / spread**2
    return draw.poisson(np.maximum(mean, 0) * draw.gamma(shape, 1 / shape, len(mean)))


def retail(draw: Draw) -> pd.DataFrame:
    """Three years of days: week, year, closed on Sundays and holidays; the promotions of the next
    fortnight stand in rows without sales.
    """
    ds = days(1109)
    week = np.array([0.9, 0.85, 0.9, 1.0, 1.3, 1.6, 0.0])[ds.day_of_week]
    year = 1 + 0.2 * np.sin(2 * np.pi * (ds.day_of_year - 100) / 365) + 0.5 * (ds.month == 12)
    promo = np.zeros(len(ds))
    for begin in draw.choice(len(ds), 25, replace=False):
        promo[begin : begin + 5] = 1
    closed = np.isin(ds.strftime("%m-%d"), ["01-01", "12-25", "12-26", "05-01"])
    level = 60 * np.exp(autoregression(draw, len(ds), 0.97, 0.12))
    y = counts(draw, level * week * year * (1 + 0.5 * promo) * ~closed, 0.12)
    return frame(ds, np.where(np.arange(len(ds)) < 1095, y, np.nan), promo=promo)


def plain_week(draw: Draw) -> pd.DataFrame:
    """Two years of Poisson counts with a week and nothing else."""
    ds = days(730)
    return frame(ds, draw.poisson(np.array([10, 11, 12, 14, 20, 30, 5])[ds.day_of_week]))


def load(draw: Draw) -> pd.DataFrame:
    """Hours of nine months: day, weekend, temperature measured, holidays."""
    ds = pd.date_range("2023-01-01", periods=6500, freq="h")
    temp = 10 - 9 * np.cos(2 * np.pi * (ds.day_of_year - 20) / 365)
    temp = temp - 4 * np.cos(2 * np.pi * (ds.hour - 3) / 24) + autoregression(draw, 6500, 0.98, 3)
    is_off = (ds.day_of_week >= 5) | np.isin(ds.strftime("%m-%d"), ["01-01", "05-01", "08-15"])
    shape = (
        100 + 30 * np.exp(-(((ds.hour - 11) / 4) ** 2)) + 25 * np.exp(-(((ds.hour - 19) / 2) ** 2))
    )
    heating = 1.5 * np.maximum(15 - temp, 0) + 1.2 * np.maximum(temp - 20, 0)
    y = shape * np.where(is_off, 0.85, 1) + heating + autoregression(draw, 6500, 0.9, 4)
    return frame(ds, y.round(2), temp=np.round(temp, 1))


def flow(draw: Draw) -> pd.DataFrame:
    """Hours of half a year: a day's shape, another level and shape from 60 to 75 % on."""
    ds = pd.date_range("2023-02-01", periods=4400, freq="h")
    day = np.sin(2 * np.pi * (ds.hour - 7) / 24) + 0.5 * np.sin(4 * np.pi * ds.hour / 24)
    begin = int(len(ds) * draw.uniform(0.6, 0.75))
    is_new = np.arange(len(ds)) >= begin
    y = np.where(is_new, 70 + 8 * day, 50 + 15 * day) + autoregression(draw, len(ds), 0.95, 4)
    return frame(ds, y.round(2))


def tourism(draw: Draw, count: int) -> pd.DataFrame:
    """Months: growth and a season that multiplies."""
    t = np.arange(count)
    season = np.exp(0.35 * np.sin(2 * np.pi * (t - 3) / 12) + 0.12 * np.sin(4 * np.pi * t / 12 + 1))
    growth = np.exp(t * draw.uniform(0.003, 0.008) + np.cumsum(draw.normal(0, 0.012, count)))
    y = 1000 * growth * season * np.exp(draw.normal(0, 0.04, count))
    return frame(pd.date_range("2012-01-01", periods=count, freq="MS"), y.round())


def weekly(draw: Draw) -> pd.DataFrame:
    """Four years of weeks: a smooth year, a peak before Christmas, a slow level."""
    ds = pd.date_range("2020-01-05", periods=208, freq="W-SUN")
    year = 20 * np.sin(2 * np.pi * (ds.day_of_year - 90) / 365) + 60 * (
        (ds.month == 12) & (ds.day < 26)
    )
    return frame(
        ds, (150 + year + autoregression(draw, 208, 0.9, 10) + draw.normal(0, 8, 208)).round()
    )


def quarterly(draw: Draw) -> pd.DataFrame:
    """Forty quarters: trend and season."""
    t = np.arange(40)
    walk = np.cumsum(draw.normal(0.6, 1.2, 40))
    y = 100 + walk + np.array([-8, 3, 10, -5])[t % 4] + draw.normal(0, 2, 40)
    return frame(pd.date_range("2014-01-01", periods=40, freq="QS"), y.round(1))


def solar(draw: Draw) -> pd.DataFrame:
    """Quarters of an hour of 50 days: clouds by day and hour, zero at night."""
    ds = pd.date_range("2023-05-01", periods=96 * 50, freq="15min")
    hour = ds.hour + ds.minute / 60
    sun = np.maximum(np.sin(np.pi * (hour - 5.5) / 14), 0) ** 1.3 * ((hour > 5.5) & (hour < 19.5))
    cloud = 1 / (1 + np.exp(-1.2 - 1.5 * autoregression(draw, len(ds), 0.985, 1)))
    return frame(ds, np.maximum(500 * sun * cloud, 0).round(1))


def sensor(draw: Draw) -> pd.DataFrame:
    """Minutes of four days with gaps."""
    ds = pd.date_range("2024-03-04", periods=5760, freq="min")
    y = 20 + 2 * np.sin(2 * np.pi * (ds.hour * 60 + ds.minute) / 1440)
    y = y + autoregression(draw, len(ds), 0.995, 0.8) + draw.normal(0, 0.1, len(ds))
    drawn = frame(ds, y.round(2))
    keep = draw.random(len(ds)) > 0.02
    for begin in draw.choice(5000, 4, replace=False):
        keep[begin : begin + 45] = False
    return drawn[keep]


def price(draw: Draw) -> pd.DataFrame:
    """A thousand weekdays of a random walk in logarithms, its size in clusters."""
    size = 0.012 * np.exp(autoregression(draw, 1000, 0.97, 0.35))
    ds = pd.date_range("2020-01-01", periods=1000, freq="B")
    return frame(ds, (100 * np.exp(np.cumsum(draw.normal(0.0003, size)))).round(2))


def shift(draw: Draw) -> pd.DataFrame:
    """Two years of days with a week; the level moves by a third two months before the end."""
    ds = days(730)
    week = np.array([0, 2, 3, 5, 12, 20, -15])[ds.day_of_week]
    level = np.where(np.arange(730) >= 670, 135, 100)
    return frame(ds, (level + week + autoregression(draw, 730, 0.5, 6)).round(1))


def panel(draw: Draw) -> pd.DataFrame:
    """Thirty series of 200 to 700 days, levels from 5 to 5,000, weeks of their own."""
    parts = []
    for number in range(30):
        ds = days(700)[-int(draw.integers(200, 700)) :]
        week = np.exp(draw.normal(0, 0.25, 7))[ds.day_of_week]
        level = np.exp(draw.uniform(np.log(5), np.log(5000)))
        mean = level * week * np.exp(autoregression(draw, len(ds), 0.95, 0.15))
        parts.append(frame(ds, counts(draw, mean, 0.15)).assign(unique_id=f"shop_{number:02d}"))
    return pd.concat(parts)


def small_counts(draw: Draw) -> pd.DataFrame:
    """Two years of days with 0 to 3."""
    ds = days(730)
    mean = np.array([0.5, 0.5, 0.6, 0.8, 1.2, 1.6, 0.3])[ds.day_of_week]
    return frame(ds, np.minimum(draw.poisson(mean), 3))


def spare_part(draw: Draw) -> pd.DataFrame:
    """Two years of days; four in five without demand."""
    return frame(days(730), draw.poisson(4, 730) * (draw.random(730) < 0.2))


def noisy_hours(draw: Draw) -> pd.DataFrame:
    """Hours of four months whose noise is three times as large by day."""
    ds = pd.date_range("2023-03-01", periods=2900, freq="h")
    size = np.where((ds.hour >= 8) & (ds.hour < 20), 3.0, 1.0)
    y = 50 + 10 * np.sin(2 * np.pi * (ds.hour - 8) / 24) - 6 * (ds.day_of_week >= 5)
    return frame(ds, (y + size * autoregression(draw, 2900, 0.6, 2)).round(2))


def trend(draw: Draw) -> pd.DataFrame:
    """Two years of days: a line, a week, errors that last."""
    ds = days(730)
    week = np.array([0, 1, 2, 3, 8, 4, -6])[ds.day_of_week]
    return frame(
        ds, (50 + 0.06 * np.arange(730) + week + autoregression(draw, 730, 0.7, 5)).round(1)
    )


KINDS = {
    "retail": Kind(retail, 7, 28),
    "plain_week": Kind(plain_week, 7, 28),
    "load": Kind(load, 24, 168),
    "flow": Kind(flow, 24, 168),
    "tourism_60": Kind(lambda draw: tourism(draw, 60), 12, 13),
    "tourism_100": Kind(lambda draw: tourism(draw, 100), 12, 13),
    "tourism_150": Kind(lambda draw: tourism(draw, 150), 12, 13),
    "weekly": Kind(weekly, 52, 13),
    "quarterly": Kind(quarterly, 4, 4),
    "solar": Kind(solar, 96, 96),
    "sensor": Kind(sensor, 1440, 60),
    "price": Kind(price, 1, 10),
    "shift": Kind(shift, 7, 28),
    "panel": Kind(panel, 7, 14),
    "small_counts": Kind(small_counts, 7, 28),
    "spare_part": Kind(spare_part, 7, 28),
    "noisy_hours": Kind(noisy_hours, 24, 168),
    "trend": Kind(trend, 7, 28),
}


class Served(NamedTuple):
    """The project, the entry's grid, the served row, and its test forecasts with the ends of
    intervals.
    """

    project: Path
    grid: str
    name: str
    table: pd.DataFrame


def call(project: Path, *words: str) -> str:
    """A command of `forecast` in the project; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "forecast", *words],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return done.stdout


def run_product(folder: Path, name: str, drawn: pd.DataFrame) -> Served:
    """`new`, `add`, `run` and `export` of the drawn rows."""
    project = folder / name
    if not project.exists():
        call(folder, "new", name)
        drawn.to_csv(project / "data" / "mine.csv", index=False)
        call(project, "add", "data/mine.csv")
    entry = yaml.safe_load((project / "configs/datasets.yaml").read_text())["datasets"]["mine"]
    grid = entry.get("grid", "default")
    call(project, "run", "--dataset", "mine", "--jobs", "1", "--model", ",".join(ROWS[grid]))
    narrowed = next((project / "narrowed").iterdir())
    board = pd.read_csv(narrowed / "reports/leaderboard.csv")
    chosen = board.loc[board["chosen"].astype(bool), "model"].iloc[0]
    words = ["export", "mine", "--root", str(narrowed), "--models", chosen, "-o", "test.csv"]
    try:
        call(project, *words, "--levels", "80,95")
    except RuntimeError:
        call(project, *words, "--levels", "80")
    table = pd.read_csv(project / "test.csv", parse_dates=["ds", "cutoff"])
    table = table.rename(columns=lambda column: column.replace(chosen, "served"))
    return Served(project, grid, chosen, table)


def regular(drawn: pd.DataFrame, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By series its rows on a regular calendar, holes filled with the value before."""
    given = drawn[drawn["y"].notna()].copy()
    if "unique_id" not in given:
        given["unique_id"] = table["unique_id"].iloc[0]
    series = {}
    for uid, rows in given.groupby("unique_id"):
        rows = rows.set_index("ds").drop(columns="unique_id")
        freq = pd.infer_freq(rows.index[:10]) or pd.Series(rows.index).diff().mode()[0]
        series[str(uid)] = rows.asfreq(freq).ffill()
    return series


def simple_forecasts(y: np.ndarray, season: int, horizon: int) -> dict[str, np.ndarray]:
    """Of the rows up to a cutoff."""
    at = np.arange(horizon) % season - season
    last = y[at] if len(y) >= season else np.full(horizon, y[-1])
    whole = [y[at - k * season] for k in range(4) if len(y) >= (k + 1) * season] or [last]
    return {"last": np.full(horizon, y[-1]), "season": last, "mean4": np.mean(whole, axis=0)}


def statistical_forecasts(y: np.ndarray, season: int, horizon: int) -> dict[str, np.ndarray]:
    season = season if season <= 24 else 1
    by_model = {}
    for name, model in (
        ("ets", AutoETS(season_length=season)),
        ("theta", AutoTheta(season_length=season)),
    ):
        try:
            by_model[name] = model.forecast(y[-ETS_ROWS:].astype(float), horizon)["mean"]
        except Exception:  # noqa: BLE001  # statsforecast raises bare ones
            by_model[name] = np.full(horizon, np.nan)
    return by_model


def calendar(ds: pd.DatetimeIndex) -> np.ndarray:
    """Hour, weekday, day of the year and month of each row."""
    hour = ds.hour + ds.minute / 60
    return np.column_stack([hour, ds.day_of_week, ds.day_of_year, ds.month])


class Learner(NamedTuple):
    """Inputs of one series: of the ridge a row a cutoff, of the trees one a cutoff and step."""

    ridge: np.ndarray
    trees: np.ndarray
    targets: np.ndarray


def learner_inputs(rows: pd.DataFrame, cutoffs: np.ndarray, kind: Kind, horizon: int) -> Learner:
    """At the positions `cutoffs` of the last known row; lags and targets over the series' mean."""
    y = rows["y"].to_numpy(float)
    goal = cutoffs[:, None] + np.arange(1, horizon + 1)
    known_goal = np.minimum(goal, len(y) - 1)
    lags = y[cutoffs[:, None] - np.arange(kind.lags)]
    ds = pd.DatetimeIndex(rows.index)
    step = pd.Series(ds).diff().mode()[0]
    when = (
        pd.DatetimeIndex(np.repeat(ds[cutoffs].to_numpy(), horizon))
        + np.tile(np.arange(1, horizon + 1), len(cutoffs)) * step
        if kind.season not in (12, 4, 1)
        else ds[known_goal.ravel()]
    )
    clock = calendar(when)
    same = [
        y[np.maximum(goal - s * -(-horizon // s), 0)]
        for s in {kind.season, 7 * kind.season}
        if s > 1
    ]
    plan = [rows["promo"].to_numpy(float)[known_goal]] if "promo" in rows else []
    now = calendar(ds[cutoffs])
    dummies = [now[:, 1:2] == np.arange(7)]
    if kind.season == 24:
        dummies.append(now[:, :1] == np.arange(24))
    angle = 2 * np.pi * now[:, 2:3] / 365
    ridge = np.column_stack([lags, *dummies, np.sin(angle), np.cos(angle), *plan])
    if "temp" in rows:
        ridge = np.column_stack([ridge, rows["temp"].to_numpy()[cutoffs]])
    trees = [np.repeat(lags[:, : min(kind.lags, 56)], horizon, axis=0), clock]
    trees += [np.tile(np.arange(horizon), len(cutoffs))[:, None]]
    trees += [each.reshape(-1, 1) for each in (*same, *plan)]
    if "temp" in rows:
        trees.append(np.repeat(rows["temp"].to_numpy()[cutoffs], horizon)[:, None])
    targets = np.where(goal < len(y), y[known_goal], np.nan)
    return Learner(ridge.astype(float), np.column_stack(trees), targets)


def learnt_forecasts(
    series: dict[str, pd.DataFrame], positions: dict[str, np.ndarray], kind: Kind, horizon: int
) -> dict[str, dict[str, np.ndarray]]:
    """By name and series (cutoffs, H); fitted once on what is known at the first test cutoff."""
    train, test = {}, {}
    for uid, rows in series.items():
        first = positions[uid][0] if uid in positions else len(rows) - 1
        cutoffs = np.arange(kind.lags - 1, first - horizon + 1)
        every = max(1, len(cutoffs) * len(series) * horizon // 60_000)
        scale = max(float(rows["y"].iloc[: first + 1].abs().mean()), 1e-9)
        scaled = rows.assign(y=rows["y"] / scale) if len(series) > 1 else rows
        if len(cutoffs) > 3:
            train[uid] = learner_inputs(scaled, cutoffs[::every], kind, horizon)
        if uid in positions:
            back = scale if len(series) > 1 else 1.0
            test[uid] = learner_inputs(scaled, positions[uid], kind, horizon), back
    targets = np.concatenate([each.targets for each in train.values()])
    ridge = RidgeCV(np.logspace(-2, 4, 13)).fit(
        np.concatenate([each.ridge for each in train.values()]), targets
    )
    trees = lightgbm.LGBMRegressor(
        objective="l1", n_estimators=300, learning_rate=0.05, num_leaves=31, verbose=-1, n_jobs=1
    )
    trees.fit(np.concatenate([each.trees for each in train.values()]), targets.ravel())
    return {
        "ridge": {uid: ridge.predict(x.ridge) * scale for uid, (x, scale) in test.items()},
        "trees": {
            uid: trees.predict(x.trees).reshape(-1, horizon) * scale
            for uid, (x, scale) in test.items()
        },
    }


def yardsticks(kind: Kind, drawn: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column for each yardstick; AutoETS and AutoTheta at some cutoffs alone."""
    series = regular(drawn, table)
    horizon = int(table.groupby(["unique_id", "cutoff"]).size().max())
    table = table.assign(unique_id=table["unique_id"].astype(str))
    groups = dict(iter(table.groupby("unique_id")))
    positions = {}
    for uid, rows in groups.items():
        index = pd.DatetimeIndex(series[uid].index)
        positions[uid] = index.get_indexer(
            pd.DatetimeIndex(rows["cutoff"].unique()), method="ffill"
        )
    with threadpool_limits(1):
        learnt = learnt_forecasts(series, positions, kind, horizon)
    most = MOST_FITS if len(series) == 1 else 3
    parts = []
    for uid, rows in groups.items():
        y = series[uid]["y"].to_numpy(float)
        few = set(np.linspace(0, len(positions[uid]) - 1, most).round().astype(int))
        for number, (_, each) in enumerate(rows.groupby("cutoff")):
            known = y[: positions[uid][number] + 1]
            by_yardstick = simple_forecasts(known, kind.season, horizon)
            if number in few and kind.season <= 52:
                by_yardstick |= statistical_forecasts(known, kind.season, horizon)
            by_yardstick |= {name: by_series[uid][number] for name, by_series in learnt.items()}
            parts.append(
                each.assign(**{name: values[: len(each)] for name, values in by_yardstick.items()})
            )
    return pd.concat(parts)


YARDSTICKS = ("last", "season", "mean4", "ets", "theta", "ridge", "trees")


def scaled_error(table: pd.DataFrame, column: str, scale: pd.Series) -> float:
    missed = (table["y"] - table[column]).abs() / table["unique_id"].map(scale)
    return float(missed.mean())


def result_of(kind: Kind, drawn: pd.DataFrame, served: Served) -> dict[str, object]:
    table = yardsticks(kind, drawn, served.table)
    table = table[table["y"].notna()]
    scale = (table["y"] - table["served"]).abs().groupby(table["unique_id"]).mean().clip(lower=1e-9)
    if len(scale) > 1:  # series count alike, by their size
        scale = table["y"].abs().groupby(table["unique_id"]).mean().clip(lower=1e-9)
    result: dict[str, object] = {"grid": served.grid, "served": served.name}
    result["origins"] = int(table["cutoff"].nunique())
    result["mae"] = float((table["y"] - table["served"]).abs().mean())
    ratios = {}
    for name in YARDSTICKS:
        if name in table and table[name].notna().any():
            both = table[table[name].notna()]
            ratios[name] = scaled_error(both, "served", scale) / scaled_error(both, name, scale)
    result["over"] = ratios
    for level in (80, 95):
        low, high = f"served-lo-{level}", f"served-hi-{level}"
        if low in table and table[low].notna().any():
            both = table[table[low].notna()]
            result[f"cover_{level}"] = float(both["y"].between(both[low], both[high]).mean())
            width = ((both[high] - both[low]) / both["unique_id"].map(scale)).mean()
            result[f"width_{level}"] = float(width / scaled_error(both, "served", scale))
    return result


def print_results(
    kinds: Mapping[str, Any],
    draws: int,
    judge: Callable[[Any, pd.DataFrame, Served], dict[str, object]],
) -> None:
    """Draw a file of each kind that the command names, run the product on it, and print what
    `judge` makes of kind, rows and served row: a line of JSON per kind, its error if it failed.

    draws: a number of the bench alone, so that no two benches draw the same rows.
    """
    folder, seed, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(kinds)
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        drawn = kinds[name].draw(np.random.default_rng([draws, list(kinds).index(name), seed]))
        try:
            served = run_product(folder, f"{name}_{seed}", drawn)
            result = judge(kinds[name], drawn, served)
        except Exception as error:  # noqa: BLE001  # the next kind goes on
            result = {"error": repr(error)[:3000]}
        print(json.dumps({"kind": name, "seed": seed, **result}), flush=True)


if __name__ == "__main__":
    print_results(KINDS, 35, result_of)
