"""What one file of a short history is served, beside other means of the same rows.

    python -m bench.short_rows fit FOLDER SEED [SEED ...]     # simulated laws
    python -m bench.short_rows fit FOLDER t1 t1@log1p t1@none # textbook series; also laws @log1p
    python -m bench.short_rows rivals FOLDER t1 [t2 ...]      # what is served over four rivals
    python -m bench.short_rows fit FOLDER deciding            # or confirming: records of ../shared
    python -m bench.short_rows judge FOLDER SEED|deciding|confirming [...]
    python -m bench.short_rows intervals FOLDER SEED|deciding|confirming [...]
    python -m bench.short_rows many FIRST_SEED LAST_SEED LENGTHS    # one forecast, ETS and Theta
    python -m bench.short_rows scales FIRST_SEED LAST_SEED  # 96 to 99 months, raw and in logarithms

Each series gets the entry that `forecast add` writes. Its rows are fitted by the stages, without
networks and tuning, and their forecasts are kept in FOLDER; combinations are then made of them as
stage `train` does. Rule and result: docs/research/short-histories.md.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from dateutil.easter import easter

from bench.ten_minutes import autoregression, counts, frame, tourism
from forecast.backtest import combinations
from forecast.backtest.prepared_data import DataInMemory, PreparedRows
from forecast.backtest.setup import Setup
from forecast.backtest.training import train_candidates
from forecast.config.datasets import Dataset
from forecast.config.models import Combination, load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.reading import validate_config
from forecast.config.task import RegularCalendar, Task
from forecast.config.transforms import TRANSFORMS
from forecast.data.guesses import target as guesses
from forecast.data.guesses.entry import guess_entry
from forecast.data.guesses.target import guess_target_fields
from forecast.data.preparation import prepare_frame
from forecast.data.records import RunRecord
from forecast.forecaster import intervals
from forecast.forecaster.intervals import Difficulty, SplitConformal
from forecast.models.families import auto_ets, auto_theta, theta
from forecast.models.statistical import hold_to_history
from forecast.system.errors import ForecastError

Draw = np.random.Generator
PANELS = Path("../shared/data/panels")
SEASONS = {"quarters": 4, "months": 12, "weeks": 52, "days": 7}
STARTS = {
    "quarters": "2012-01-01",
    "months": "2008-01-01",
    "weeks": "2017-01-01",
    "days": "2021-01-01",
}
CODES = {"quarters": "QS", "months": "MS", "weeks": "W-SUN", "days": "D"}
LENGTHS = {
    "Q40": ("quarters", 40, 40),
    "M60": ("months", 60, 60),
    "M100": ("months", 100, 100),
    "M150": ("months", 150, 150),
    "W": ("weeks", 156, 260),
    "D": ("days", 130, 390),
}
"""Step, fewest and most rows."""
LINEAR = ("ridge", "nlinear", "climatology_ar", "boosting", "boosting_last")
STATISTICAL = {
    "E": {"family": "auto_ets"},
    "K": {"family": "auto_ets", "seasonal": "kept"},
    "T": {"family": "theta"},
    "T0": {"family": "theta", "refit": "never"},
    "A": {"family": "auto_theta"},
    "F": {"family": "auto_arima", "fourier": 6, "order": [[2, 1, 2], [0, 1, 1]], "refit": "never"},
    "F1": {"family": "auto_arima", "fourier": 6, "order": [[2, 1, 2], [0, 1, 1]], "refit": 1},
    "S": {"family": "seasonal_naive"},
    "M": {"family": "historical", "seasonal": True, "refit": "never"},
}


MAX_LOG = 2.0


class Case(NamedTuple):
    """One file: its names, and rows `ds, y`."""

    name: str
    law: str
    length: str
    rows: pd.DataFrame


def times(step: str, count: int) -> pd.DatetimeIndex:
    return pd.date_range(STARTS[step], periods=count, freq=CODES[step])


def harmonics(draw: Draw, t: np.ndarray, season: int, size: float) -> np.ndarray:
    """A smooth season of deviation `size`."""
    y = np.zeros(len(t))
    for order in range(1, min(season // 2, 4) + 1):
        phase = 2 * np.pi * order * t / season + draw.uniform(0, 2 * np.pi)
        y += draw.normal() / order * np.sin(phase)
    return size * y / max(y.std(), 1e-9)


def structure(draw: Draw, step: str, ds: pd.DatetimeIndex) -> np.ndarray:
    """A line with a kink, ARMA errors, a season that multiplies and has a free shape, wild values,
    a break in half of the draws, trading days or a holiday that moves.
    """
    count, season = len(ds), SEASONS[step]
    t = np.arange(count)
    years = t / season
    kink = draw.uniform(0.2, 0.9) * years[-1]
    level = draw.normal(0, 0.04) * years + draw.normal(0, 0.06) * np.maximum(years - kink, 0)
    if draw.random() < 0.5:
        level = level + draw.normal(0, 0.15) * (t >= draw.integers(count // 4, count))
    shape = draw.normal(0, draw.uniform(0.05, 0.25), season)
    shape = shape if step != "weeks" else np.convolve(np.tile(shape, 3), np.ones(5) / 3, "same")
    errors = autoregression(draw, count + 1, draw.uniform(0.2, 0.9), draw.uniform(0.02, 0.08))
    errors = errors[1:] + draw.uniform(-0.4, 0.6) * errors[:-1]
    if step == "weeks":
        calendar = 0.2 * np.array(
            [easter(d.year).isocalendar().week == d.isocalendar().week for d in ds]
        )
    else:
        calendar = 0.02 * (4.3 - np.array([d.isocalendar().weekday % 5 for d in ds]))
    wild = (draw.random(count) < 0.02) * draw.normal(0, 0.3, count)
    return 500 * np.exp(level + shape[t % len(shape)] + errors + calendar + wild)


def airline(draw: Draw, step: str, ds: pd.DatetimeIndex) -> np.ndarray:
    """(0, 1, 1)(0, 1, 1) of logarithms, with a season to begin with, drawn again until no
    logarithm lies beyond `MAX_LOG`.
    """
    season = SEASONS[step]
    count = len(ds)
    while True:
        first, yearly = draw.uniform(0.2, 0.8), draw.uniform(0.4, 0.9)
        shocks = draw.normal(0, draw.uniform(0.015, 0.05), count + season + 1)
        moved = shocks.copy()
        moved[1:] -= first * shocks[:-1]
        twice = moved.copy()
        twice[season:] -= yearly * moved[:-season]
        y = np.zeros(count + season + 1)
        y[: season + 1] = draw.normal(0, draw.uniform(0.05, 0.3), season + 1)
        for t in range(season + 1, len(y)):
            y[t] = y[t - 1] + y[t - season] - y[t - season - 1] + twice[t]
        if np.abs(y).max() < MAX_LOG:
            return 200 * np.exp(y[-count:])


def harmonic(draw: Draw, step: str, ds: pd.DatetimeIndex) -> np.ndarray:
    """An added season without a trend, AR errors."""
    t = np.arange(len(ds))
    memory = draw.uniform(0, 0.95)
    y = harmonics(draw, t, SEASONS[step], draw.uniform(4, 20))
    return 100 + y + autoregression(draw, len(ds), memory, draw.uniform(3, 10))


def saturation(draw: Draw, step: str, ds: pd.DatetimeIndex) -> np.ndarray:
    """Logistic growth; season and noise grow with the level."""
    t = np.arange(len(ds))
    middle = draw.uniform(0.1, 1.1) * len(ds)
    level = 100 + 900 / (1 + np.exp(-(t - middle) / (len(ds) * draw.uniform(0.06, 0.2))))
    season = harmonics(draw, t, SEASONS[step], draw.uniform(0.05, 0.2))
    noise = autoregression(draw, len(ds), draw.uniform(0, 0.8), draw.uniform(0.03, 0.08))
    return level * np.maximum(1 + season + noise, 0.05)


def campaigns(draw: Draw, step: str, ds: pd.DatetimeIndex) -> np.ndarray:
    """Counts around 10 to 300 with a season and campaigns that nobody recorded."""
    t = np.arange(len(ds))
    level = np.exp(draw.uniform(np.log(10), np.log(300)))
    season = np.exp(harmonics(draw, t, SEASONS[step], draw.uniform(0.1, 0.35)))
    slow = np.exp(autoregression(draw, len(ds), 0.97, 0.15))
    promo = 1 + 0.5 * (draw.random(len(ds)) < 0.08)
    return counts(draw, level * season * slow * promo, 0.1)


def growth(draw: Draw, step: str, ds: pd.DatetimeIndex) -> np.ndarray:
    """That of `bench.ten_minutes`, by the year."""
    y = tourism(draw, len(ds))["y"].to_numpy()
    if step == "months":
        return y
    t = 12 * np.arange(len(ds)) / SEASONS[step]
    season = np.exp(0.35 * np.sin(2 * np.pi * (t - 3) / 12))
    walk = np.cumsum(draw.normal(0, 0.012 * np.sqrt(12 / SEASONS[step]), len(ds)))
    return (
        1000
        * np.exp(t * draw.uniform(0.003, 0.008) + walk + draw.normal(0, 0.04, len(ds)))
        * season
    )


LAWS = {
    "structure": structure,
    "airline": airline,
    "harmonic": harmonic,
    "saturation": saturation,
    "counts": campaigns,
    "growth": growth,
}


def simulated(seed: int) -> Iterator[Case]:
    for number, (length, (step, fewest, most)) in enumerate(LENGTHS.items()):
        for place, (law, draw_law) in enumerate(LAWS.items()):
            draw = np.random.default_rng([604, number, place, seed])
            ds = times(step, int(draw.integers(fewest, most + 1)))
            y = draw_law(draw, step, ds)
            digits = 0 if law == "counts" else 2
            yield Case(f"{length}_{law}_{seed}", law, length, frame(ds, np.round(y, digits)))


def textbook_levels(draw: Draw, season: int, count: int) -> np.ndarray:
    """Growth of 3 to 15 % a year with a season that multiplies and noise of 1 to 5 % of the level;
    in a fifth of the draws the growth slows down, in a fifth the level breaks.
    """
    t = np.arange(count)
    yearly = draw.uniform(np.log(1.03), np.log(1.15))
    kind = draw.choice(["steady", "slower", "break"], p=[0.6, 0.2, 0.2])
    where = draw.integers(count // 3, count)
    level = yearly * t / season
    if kind == "slower":
        level -= yearly * draw.uniform(0.4, 1.0) * np.maximum(t - where, 0) / season
    if kind == "break":
        level += draw.choice([-1, 1]) * draw.uniform(0.1, 0.3) * (t >= where)
    shape = harmonics(draw, np.arange(season), season, draw.uniform(0.05, 0.3))
    noise = draw.uniform(0.01, 0.05)
    walk = np.cumsum(draw.normal(0, noise * draw.uniform(0, 0.5), count))
    errors = walk + draw.normal(0, noise, count)
    return draw.uniform(50, 2000) * np.exp(level + shape[t % season] + errors)


TEXTBOOK_LENGTHS = {
    "TM96": ("months", 96, 99),
    "TM108": ("months", 100, 112),
    "TM120": ("months", 113, 126),
    "TM144": ("months", 132, 156),
    "TQ40": ("quarters", 40, 60),
    "TQ80": ("quarters", 61, 100),
}
"""Step, fewest and most rows of textbook series."""


def textbook(seed: int) -> Iterator[Case]:
    """Series of every textbook: see `textbook_levels`."""
    for number, (length, (step, fewest, most)) in enumerate(TEXTBOOK_LENGTHS.items()):
        draw = np.random.default_rng([605, number, seed])
        count = int(draw.integers(fewest, most + 1))
        y = textbook_levels(draw, SEASONS[step], count)
        yield Case(
            f"{length}_textbook_{seed}",
            "textbook",
            length,
            frame(times(step, count), np.round(y, 1)),
        )


def panel_rows(file: str) -> pd.DataFrame:
    path = PANELS / file
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def by_step(file: str, column: str, code: str, how: str) -> pd.DataFrame:
    """Whole weeks or months of one series: `ds, y`."""
    table = panel_rows(file)
    table["ds"] = pd.to_datetime(table["ds"])
    groups = table.set_index("ds")[column].resample(code)
    sums = groups.agg(how)[groups.count() > 0].iloc[1:-1]
    return sums.rename("y").reset_index()


def deciding() -> Iterator[Case]:
    """Cut from the deciding panels."""
    table = panel_rows("aus_tourism_quarterly.parquet").rename(columns={"Trips": "y"})
    regions = table.groupby("unique_id")["y"].mean().sort_values(ascending=False).index
    for number, uid in enumerate(regions[:72:8]):
        rows = table.loc[table["unique_id"] == uid, ["ds", "y"]].sort_values("ds")
        count = 40 if number % 3 < 2 else 80
        yield Case(f"tourism_{number}", "tourism", "quarters", rows.tail(count))
    table = panel_rows("walmart_stores_weekly.csv").rename(columns={"Weekly_Sales": "y"})
    for number, (_, rows) in enumerate(table.groupby("unique_id")):
        if number % 12 == 0:
            yield Case(f"walmart_{number}", "walmart", "weeks", rows[["ds", "y"]])
    yield Case("walmart_panel", "panel", "panel", table[["unique_id", "ds", "y"]])
    for file, column, how in (
        ("vic_elec_halfhourly.parquet", "Demand", "sum"),
        ("uci_household_power_hourly.parquet", "Global_active_power", "mean"),
        ("uci_bike_sharing_hourly.csv", "cnt", "sum"),
        ("iowa_ed_arrivals_hourly.csv", "Arrivals", "sum"),
        ("delhi_climate_daily.csv", "meantemp", "mean"),
        ("delhi_climate_daily.csv", "humidity", "mean"),
    ):
        name = f"{file.split('_')[0]}_{file.split('_')[1]}_{column}"
        yield Case(f"{name}_w", name, "weeks", by_step(file, column, "W-SUN", how))
        months = by_step(file, column, "MS", how)
        if len(months) >= 40:
            yield Case(f"{name}_m", name, "months", months)
    table = panel_rows("dengue_weekly.csv")
    table["ds"] = pd.to_datetime(table["ds"])
    for uid, rows in table.groupby("unique_id"):
        y = rows.set_index("ds")["total_cases"]
        weeks = y.resample("W-SUN").sum().rename("y").reset_index().tail(260)
        months = y.resample("MS").sum().rename("y").reset_index().iloc[1:-1]
        yield Case(f"dengue_{uid}_w", "dengue", "weeks", weeks)
        for count in (60, 100):
            cut = months.iloc[:-20] if count == 60 else months
            yield Case(f"dengue_{uid}_m{count}", "dengue", "months", cut.tail(count))


def confirming() -> Iterator[Case]:
    """Cut from the confirming panels; opened once."""
    for column in ("Consumption", "Wind", "Solar"):
        rows = by_step("opsd_germany_daily.csv", column, "MS", "sum")
        weeks = by_step("opsd_germany_daily.csv", column, "W-SUN", "sum")
        for count in (60, 100) if column != "Consumption" else (60, 100, 142):
            yield Case(f"opsd_{column}_m{count}", "opsd", "months", rows.tail(count))
        yield Case(f"opsd_{column}_w", "opsd", "weeks", weeks.tail(208))
        quarters = by_step("opsd_germany_daily.csv", column, "QS", "sum").tail(40)
        yield Case(f"opsd_{column}_q", "opsd", "quarters", quarters)
    for column in ("brent", "wti", "henry_hub"):
        table = panel_rows("energy_spot_prices_daily.csv")
        names = [name for name in table.columns if column.split("_")[0] in name.lower()]
        if names:
            for code, length, count in (("MS", "months", 100), ("QS", "quarters", 40)):
                rows = by_step("energy_spot_prices_daily.csv", names[0], code, "mean")
                yield Case(f"{column}_{length}", "prices", length, rows.tail(count))
    for code, length, count in (
        ("MS", "months", 150),
        ("MS", "months", 60),
        ("QS", "quarters", 40),
    ):
        rows = by_step("sunspots_daily.csv", "sunspot_number", code, "mean").tail(count)
        yield Case(f"sunspots_{length}{count}", "sunspots", length, rows)
    for file, value in (
        ("water_demand_ferrara_hourly.parquet", "net_inflow_lps"),
        ("melbourne_pedestrians_hourly.parquet", "Count"),
        ("wikipedia_log_views_daily.csv", "log_views"),
        ("groundwater_heads_daily.csv", "head_m"),
    ):
        table = panel_rows(file)
        table["ds"] = pd.to_datetime(table["ds"])
        for number, (_, rows) in enumerate(table.groupby("unique_id")):
            for code, length, count in (("W-SUN", "weeks", 208), ("MS", "months", 97)):
                y = rows.set_index("ds")[value].resample(code).mean().iloc[1:-1].tail(count)
                if len(y) >= 48 and y.isna().mean() < 0.02:
                    name = f"{file.split('_')[0]}_{number}_{length}"
                    yield Case(name, file.split("_")[0], length, y.rename("y").reset_index())


def cases_of(group: str) -> Iterator[Case]:
    """Of a seed, a seed and lengths as `1:Q40,M60`, textbook series as `t1` or `t1:TM96`, or a
    group of records.
    """
    group, _, lengths = group.partition(":")
    record_groups = {"deciding": deciding, "confirming": confirming}
    if group in record_groups:
        cases = record_groups[group]()
    elif group.startswith("t"):
        cases = textbook(int(group[1:]))
    else:
        cases = simulated(int(group))
    return (case for case in cases if not lengths or case.length in lengths.split(","))


def fit_case(case: Case, target: Path, transform: str = "") -> None:
    """Keep the forecasts of all rows in target.parquet, the entry beside it. transform: of the
    target, in place of the guessed one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.csv"
        case.rows.to_csv(path, index=False)
        entry = yaml.safe_load(guess_entry(path, "mine.csv", "mine"))["mine"]
        if transform:
            entry["target"]["transform"] = transform
        settings = validate_config(Dataset, entry, where="mine")
        raw = case.rows.assign(ds=pd.to_datetime(case.rows["ds"]))
        raw = raw if "unique_id" in raw else raw.assign(unique_id="mine")
        prepared = prepare_frame(raw, "mine", settings)
        catalogue = load_models("configs")
        statistical = STATISTICAL
        is_short = entry.get("grid") == "short"
        linear = () if is_short else LINEAR
        lacking = {"K"} if settings.season_length > 24 else set()
        lacking |= {"T0"} if is_short else {"F1", "A"}
        statistical = {name: each for name, each in STATISTICAL.items() if name not in lacking}
        models = catalogue.model_copy(
            update={
                "grid": "asked",
                "grids": {"asked": (*linear, *statistical)},
                "rankings": ("shipped",),
                "models": {**catalogue.models, **statistical},
            }
        )
        paths = ProjectPaths.of(Path(folder))
        rows = PreparedRows(prepared.frame, settings.task, prepared.borders)
        data = DataInMemory(paths, "mine", "frame.parquet", digest="", rows=rows)
        tuning = load_tuning("configs")
        setup = Setup(data, settings.task, prepared.borders.to_json(), models, tuning)
        train_candidates(setup, jobs=1)
        table = pd.DataFrame()
        for trained in sorted(paths.trained("mine").iterdir()):
            if (trained / "forecasts.parquet").exists():
                forecasts = pd.read_parquet(trained / "forecasts.parquet")
                if table.empty:
                    table = forecasts[combinations.FORECAST_KEYS].copy()
                model = RunRecord.read(trained / "record.json").model
                table[f"row {model}"] = forecasts["y_hat"].to_numpy()
    table.to_parquet(target.with_suffix(".parquet"))
    target.with_suffix(".yaml").write_text(yaml.safe_dump(entry))


def fit(folder: Path, groups: list[str]) -> None:
    warnings.simplefilter("ignore")
    folder.mkdir(exist_ok=True)
    for group, ending in map(split_transform, groups):
        for case in cases_of(group):
            target = folder / f"{case.name}{ending}"
            if not target.with_suffix(".parquet").exists():
                try:
                    fit_case(case, target, ending.removeprefix("@"))
                except ForecastError as error:
                    print(case.name, "left out:", error, flush=True)


FEW = (*LINEAR, "T0")
"""The members of `stacked_few` without networks, before F was one."""
MEANS = {
    "short": (
        "E",
        "ET",
        "KT",
        "EA",
        "KA",
        "EKA",
        "EKTA",
        "EKTF",
        "EKTG",
        "EKG",
        "ETG",
        "KTG",
        "G",
        "F",
        "EKTS",
        "EKTM",
        "A",
        "S",
        "T",
    ),
    "few": ("E", "S", "M", "T"),
}
"""Equal means, by letters; G is F fitted anew at every origin."""
STACKED = {
    "few": FEW,
    "E": (*FEW, "E"),
    "M": (*FEW, "M"),
    "F": (*FEW, "F"),
    "MF": (*FEW, "M", "F"),
    "EMF": (*FEW, "E", "M", "F"),
    "EKTF": (*FEW, "E", "K", "T", "F"),
    "EMF one tree": (*LINEAR[:4], "T0", "E", "M", "F"),
}


def combine(table: pd.DataFrame, members: tuple[str, ...], refit: str) -> np.ndarray | None:
    """The forecasts of a learnt combination of those that have any, as stage `train` makes them."""
    names = [name for name in members if f"row {name}" in table]
    if not names:
        return None
    rule = Combination(family="combination", members=tuple(names), weights="stacked", refit=refit)
    records = {name: SimpleNamespace(model=name, kind="statistical") for name in names}
    values = {name: table[f"row {name}"].to_numpy() for name in names}
    rows = table[combinations.FORECAST_KEYS]
    return combinations._combine_forecasts(rule, records, rows, values)[1]["y_hat"].to_numpy()


def candidates_of(table: pd.DataFrame, grid: str) -> dict[str, np.ndarray]:
    """The forecasts by candidate; "now" is what was served then, "st F" what is now."""
    by_candidate = {}
    row = {
        name: table[f"row {name}"].to_numpy()
        for name in (*STATISTICAL, "G", *LINEAR)
        if f"row {name}" in table
    }
    short = combine(table, ("E", "K", "T"), "never")
    if grid != "short":
        for name, members in STACKED.items():
            by_candidate[f"st {name}"] = combine(table, members, "monthly")
        by_candidate["now"] = by_candidate.pop("st few")
        is_validation = (table["block"] == "validation").to_numpy()
        y = table["y"].to_numpy()
        losses = [
            np.nanmean(np.abs(y - each)[is_validation]) for each in (by_candidate["now"], short)
        ]
        by_candidate["chosen"] = by_candidate["now"] if losses[0] <= losses[1] else short
        by_candidate["EKT"] = short
        by_candidate["now+EKT/2"] = (by_candidate["now"] + short) / 2
    else:
        by_candidate["now"] = short
    for name in MEANS["short" if grid == "short" else "few"]:
        members = [row[letter] for letter in name if letter in row]
        if members and (len(members) == len(name) or "K" in name):
            by_candidate[name] = np.mean(members, axis=0)
    for name in ("EKT", "EKTA", "EKA", "EKTAG", "EKTG"):
        by_candidate[f"med {name}"] = np.median([row[x] for x in name if x in row], axis=0)
    return by_candidate


def split_transform(group: str) -> tuple[str, str]:
    """A group of series, and "@" with the transform that its targets get in place of the guessed
    one, or nothing.
    """
    group, at, transform = group.partition("@")
    return group, at + transform


class StoredFits(NamedTuple):
    """The forecasts that `fit` kept of a series."""

    case: Case
    entry: dict[str, object]
    grid: str
    table: pd.DataFrame


def read_fits(folder: Path, groups: list[str]) -> Iterator[StoredFits]:
    """What `fit` kept in `folder` of the series of `groups`, of those with one of the grids of
    `MEANS`.
    """
    for group, ending in map(split_transform, groups):
        for case in cases_of(group):
            target = folder / f"{case.name}{ending}"
            if not target.with_suffix(".parquet").exists():
                continue
            entry = yaml.safe_load(target.with_suffix(".yaml").read_text())
            grid = entry.get("grid", "default")
            if grid in MEANS:
                table = pd.read_parquet(target.with_suffix(".parquet"))
                yield StoredFits(case, entry, grid, table)


def read_errors(folder: Path, groups: list[str]) -> pd.DataFrame:
    """A row a series: law, length, grid and the test error of each candidate."""
    rows = []
    for case, _, grid, table in read_fits(folder, groups):
        is_test = (table["block"] == "test").to_numpy()
        y = table["y"].to_numpy()
        table = table.rename(columns={"row F1": "row G"})
        row = {"case": case.name, "law": case.law, "length": case.length, "grid": grid}
        for name, y_hat in candidates_of(table, grid).items():
            row[name] = np.nanmean(np.abs(y - y_hat)[is_test])
        rows.append(row)
    return pd.DataFrame(rows)


def judge(folder: Path, groups: list[str]) -> None:
    warnings.simplefilter("ignore")
    errors = read_errors(folder, groups)
    for grid, table in errors.groupby("grid"):
        names = [name for name in table.columns if name not in ("case", "law", "length", "grid")]
        names = [name for name in names if table[name].notna().all()]
        logs = np.log(table[names]).sub(np.log(table["now"]), axis=0)
        print(f"\n{grid}: {len(table)} series; error over what is served now")
        for by in ("length", "law"):
            print(np.exp(logs.groupby(table[by]).mean()).T.round(3).to_string())
        summary = pd.DataFrame(
            {"all": np.exp(logs.mean()), "se": logs.std() / np.sqrt(len(logs)), "n": len(logs)}
        )
        print(summary.sort_values("all").round(3).to_string())


def block_of(table: pd.DataFrame, y_hat: np.ndarray, block: str, task: Task) -> tuple:
    """Actuals, forecasts (n, H) and difficulty."""
    rows = table.assign(y_hat=y_hat)[table["block"] == block]
    shape = (-1, rows["step"].nunique())
    y, centre, volatility, ds = (
        rows[name].to_numpy().reshape(shape) for name in ("y", "y_hat", "volatility", "ds")
    )
    return y, centre, Difficulty.of_targets(volatility[:, 0], ds, task)


def join_blocks(first: tuple, second: tuple) -> tuple:
    y, y_hat = (np.concatenate([a, b]) for a, b in zip(first[:2], second[:2], strict=True))
    parts = zip(first[2], second[2], strict=True)
    return y, y_hat, Difficulty(*(np.concatenate(pair) for pair in parts))


USUAL_LEANING = intervals.LEANING
INTERVAL_RULES = {
    "now": (USUAL_LEANING, False),
    "joined": (USUAL_LEANING, True),
    "lean": (1.0, False),
    "both": (1.0, True),
    "joined5": (0.5, True),
}
"""For short calibration blocks: `intervals.LEANING`, and whether validation joins the block."""


def score_intervals(folder: Path, groups: list[str]) -> pd.DataFrame:
    """A row a series and rule: coverage, mean width and interval score over the mean error."""
    rows = []
    for case, entry, grid, table in read_fits(folder, groups):
        task = validate_config(Dataset, entry, where="mine").task
        members, refit = (("E", "K", "T"), "never") if grid == "short" else (FEW, "monthly")
        y_hat = combine(table, members, refit)
        blocks = {
            name: block_of(table, y_hat, name, task)
            for name in ("validation", "calibration", "test")
        }
        column = task.target[0]
        options = {
            "lookback": task.lookback,
            "transform": column.transform,
            "limits": column.limits,
        }
        n = len(blocks["calibration"][0])
        joined = join_blocks(blocks["validation"], blocks["calibration"])
        is_short = n < intervals.SHORT_BLOCK
        for rule, (leaning, joins_validation) in INTERVAL_RULES.items():
            intervals.LEANING = leaning if is_short else USUAL_LEANING
            errors = joined if joins_validation and is_short else blocks["calibration"]
            margins = SplitConformal.calibrate(*errors, **options)
            if not is_short:
                margins = margins.resized(*blocks["validation"])
            y, centre, difficulty = blocks["test"]
            margins = margins.followed_by(y, centre, difficulty, step_size=task.step_size)
            try:
                low, high = (end[0] for end in margins.bounds_in_turn(centre, difficulty, [0.8]))
            except ForecastError:
                continue
            error = np.nanmean(np.abs(y - centre))
            outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
            rows.append(
                {
                    "length": case.length,
                    "law": case.law,
                    "grid": grid,
                    "rule": rule,
                    "n": n,
                    "cover": np.nanmean((y >= low) & (y <= high)),
                    "width": np.nanmean(high - low) / error,
                    "score": np.log(np.nanmean(high - low + 10 * outside)),
                    "case": case.name,
                }
            )
    return pd.DataFrame(rows)


def judge_intervals(folder: Path, groups: list[str]) -> None:
    warnings.simplefilter("ignore")
    scored = score_intervals(folder, groups)
    base = scored[scored["rule"] == "now"].set_index("case")["score"]
    scored["score"] -= scored["case"].map(base)
    table = scored.groupby(["length", "rule"]).agg(
        n=("n", "median"),
        cover=("cover", "mean"),
        spread=("cover", "std"),
        width=("width", "median"),
        score=("score", "mean"),
        series=("case", "count"),
    )
    table["score"] = np.exp(table["score"])
    print(table.round(3).to_string())


MODELS = {
    "E": auto_ets.Spec(family="auto_ets"),
    "K": auto_ets.Spec(family="auto_ets", seasonal="kept"),
    "T": theta.Spec(family="theta"),
    "A": auto_theta.Spec(family="auto_theta"),
}


def forecast_end(case: Case) -> dict[str, float]:
    """The error of each mean of `MODELS` over the last rows, fitted to those before."""
    step = LENGTHS[case.length][0]
    season = SEASONS[step]
    horizon = min(season, 12)
    y = case.rows["y"].to_numpy(float)
    known = case.rows.iloc[:-horizon].assign(unique_id="mine")
    calendar = RegularCalendar(kind="regular", freq=CODES[step])
    scale = TRANSFORMS[guess_target_fields(known, calendar, "y", season).get("transform", "none")]
    z = scale.to_model_units(y[:-horizon])
    size = z.std()
    by_model = {}
    for name, model in MODELS.items():
        try:
            fitted = model.fit_series(z / size, season)
        except ForecastError:
            continue
        ahead = fitted.forecasts(z / size, np.array([len(z) - 1]), horizon)
        bounded = hold_to_history(ahead[:, :, None], z[:, None] / size, np.array([len(z) - 1]))
        by_model[name] = scale.to_raw(size * bounded[0, :, 0])
    errors = {}
    for name in ("EKT", "E", "ET", "KT", "EA", "KA", "EKA", "EKTA", "A", "T", "K"):
        members = [by_model[letter] for letter in name if letter in by_model]
        if not members:
            continue
        errors[name] = np.abs(np.mean(members, axis=0) - y[-horizon:]).mean()
        if len(members) > 2:
            errors[f"med {name}"] = np.abs(np.median(members, axis=0) - y[-horizon:]).mean()
    return errors


def judge_many(first: int, last: int, lengths: str) -> None:
    warnings.simplefilter("ignore")
    seeds = range(first, last + 1)
    cases = [case for seed in seeds for case in cases_of(f"{seed}:{lengths}")]
    rows = [{"law": case.law, "length": case.length, **forecast_end(case)} for case in cases]
    table = pd.DataFrame(rows)
    names = [name for name in table.columns if name not in ("law", "length")]
    logs = np.log(table[names].clip(lower=1e-9)).sub(np.log(table["EKT"].clip(lower=1e-9)), axis=0)
    means = pd.concat(
        [np.exp(logs.groupby(table[by]).mean()).T for by in ("length", "law")], axis=1
    )
    means["all"], means["se"] = np.exp(logs.mean()), logs.std() / np.sqrt(len(logs))
    means["worst"] = means.drop(columns="se").max(axis=1)
    print(len(table), means.sort_values("all").round(3).to_string(), sep="\n")


MONTHS = RegularCalendar(kind="regular", freq=CODES["months"])


def months_of(seed: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Names and rows of 96 to 99 months, of each law and of every textbook."""
    for place, (law, draw_law) in enumerate(LAWS.items()):
        draw = np.random.default_rng([604, 20, place, seed])
        ds = times("months", int(draw.integers(96, 100)))
        yield law, frame(ds, np.round(draw_law(draw, "months", ds), 0 if law == "counts" else 2))
    yield from (("textbook", case.rows) for case in cases_of(f"t{seed}:TM96"))


def guess_months(rows: pd.DataFrame, min_seasons: int) -> str:
    """The transform that is guessed where it takes so many seasons to see one."""
    guesses.MIN_SEASONS = min_seasons
    guessed = guess_target_fields(rows.assign(unique_id="mine"), MONTHS, "y", SEASONS["months"])
    return guessed.get("transform", "none")


def forecast_months(y: np.ndarray, transform: str) -> np.ndarray:
    """(12,) by the mean of AutoETS, ETS with its season kept and Theta, from the months before."""
    season, scale = SEASONS["months"], TRANSFORMS[transform]
    z = scale.to_model_units(y[:-season])
    size, last = z.std(), np.array([len(z) - 1])
    by_model = []
    for name in "EKT":
        try:
            fitted = MODELS[name].fit_series(z / size, season)
        except ForecastError:
            continue
        ahead = fitted.forecasts(z / size, last, season)
        bounded = hold_to_history(ahead[:, :, None], z[:, None] / size, last)
        by_model.append(scale.to_raw(size * bounded[0, :, 0]))
    return np.mean(by_model, axis=0)


def judge_scales(first: int, last: int) -> None:
    """Errors of six seasons' guess, and of the mean of both scales, over that of seven seasons'
    guess, on the series where the two guesses differ.
    """
    warnings.simplefilter("ignore")
    errors = []
    for law, rows in (each for seed in range(first, last + 1) for each in months_of(seed)):
        seven, six = (guess_months(rows, seasons) for seasons in (7, 6))
        if seven == six:
            continue
        y = rows["y"].to_numpy(float)
        old, new = (forecast_months(y, transform) for transform in (seven, six))
        sizes = [np.abs(y_hat - y[-12:]).mean() for y_hat in (old, new, (old + new) / 2)]
        errors.append({"law": law, "six seasons": sizes[1] / sizes[0], "both": sizes[2] / sizes[0]})
    logs = pd.DataFrame(errors).set_index("law").apply(np.log)
    by_law = logs.groupby("law")
    print(by_law.size(), np.exp(by_law.mean()), by_law.sem(), sep="\n")
    of_laws = logs.drop("textbook", errors="ignore")
    print(len(of_laws), np.exp(of_laws.mean()), of_laws.sem(), sep="\n")


def forecast_rivals(y: np.ndarray, season: int, horizon: int) -> dict[str, np.ndarray]:
    """What four models forecast that are fitted to all of y (T,), each (horizon,)."""
    from statsforecast.models import ARIMA, AutoETS, AutoTheta

    log_y = np.log1p(y)
    airline = ARIMA(order=(0, 1, 1), seasonal_order=(0, 1, 1), season_length=season)
    ets, auto = AutoETS(season_length=season), AutoTheta(season_length=season)
    return {
        "AutoTheta": auto.forecast(y, horizon)["mean"],
        "AutoETS": ets.forecast(y, horizon)["mean"],
        "AutoETS of logarithms": np.expm1(ets.forecast(log_y, horizon)["mean"]),
        "airline model of logarithms": np.expm1(airline.forecast(log_y, horizon)["mean"]),
    }


def judge_rivals(folder: Path, groups: list[str]) -> None:
    """Print the test error of what is served over that of each rival, fitted at every cutoff."""
    warnings.simplefilter("ignore")
    rows = []
    for case, entry, grid, table in read_fits(folder, groups):
        members, refit = (("E", "K", "T"), "never") if grid == "short" else ((*FEW, "F"), "monthly")
        served = table.assign(y_hat=combine(table, members, refit))
        served = served[served["block"] == "test"]
        y = case.rows.set_index(pd.to_datetime(case.rows["ds"]))["y"].to_numpy(float)
        known = pd.to_datetime(case.rows["ds"]).to_numpy()
        rival_forecasts = []
        for cutoff, ahead in served.groupby("cutoff"):
            count = np.searchsorted(known, np.datetime64(cutoff), side="right")
            forecasts = forecast_rivals(y[:count], int(entry["season_length"]), len(ahead))
            rival_forecasts.append(pd.DataFrame(forecasts, index=ahead.index))
        errors = pd.concat(rival_forecasts).sub(served["y"], axis=0).abs().mean()
        error = (served["y_hat"] - served["y"]).abs().mean()
        rows.append(pd.Series(error / errors, name=case.name))
        print(case.name, rows[-1].round(3).to_dict(), flush=True)
    logs = np.log(pd.DataFrame(rows))
    print(np.exp(logs.mean()).round(3), (logs.std() / np.sqrt(len(logs))).round(3), sep="\n")


if __name__ == "__main__":
    if sys.argv[1] == "fit":
        fit(Path(sys.argv[2]), sys.argv[3:])
    elif sys.argv[1] == "judge":
        judge(Path(sys.argv[2]), sys.argv[3:])
    elif sys.argv[1] == "rivals":
        judge_rivals(Path(sys.argv[2]), sys.argv[3:])
    elif sys.argv[1] == "many":
        judge_many(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    elif sys.argv[1] == "scales":
        judge_scales(int(sys.argv[2]), int(sys.argv[3]))
    else:
        judge_intervals(Path(sys.argv[2]), sys.argv[3:])
