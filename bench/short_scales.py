"""The mean of statistical forecasts below a hundred rows, fitted to the values and to logarithms.

    python -m bench.short_scales errors FILE SEED [SEED ...]     # all simulated series
    python -m bench.short_scales touched FILE SECONDS SEED ...   # months, quarters and days whose
                                                                 # guess changes, so long
    python -m bench.short_scales records FILE                    # deciding panels, cut short
    python -m bench.short_scales judge FILE [FILE ...]           # what the others wrote
    python -m bench.short_scales longer FILE SECONDS SEED ...    # touched ones of 48 rows or more,
                                                                 # with intervals
    python -m bench.short_scales longer_records FILE             # the same of records
    python -m bench.short_scales judge_longer FILE               # what the last two wrote
    python -m bench.short_scales seasonal FILE SECONDS SEED ...  # `longer` where a season is seen
    python -m bench.short_scales seasonal_records FILE           # the same of records

One forecast at the end of each series by AutoETS, ETS with its season kept and Theta, fitted to all
rows before: on the scale that `forecast add` guesses, on the values themselves, in logarithms, and
by the mean of the last two. `longer` takes logarithms of the values over their mean, as a row of
both scales would; `seasonal` the series that `add` models by `log1p` now as well. Rules and
results: docs/research/short-histories.md.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.short_means import draw_series
from bench.short_rows import (
    CODES,
    LAWS,
    MODELS,
    SEASONS,
    by_step,
    panel_rows,
    textbook_levels,
    times,
)
from forecast.config.task import RegularCalendar
from forecast.data.guesses import target as guesses
from forecast.data.guesses.spans import FITTED_SHARE, SHORT_ROWS, block_shares
from forecast.data.guesses.target import guess_target_fields
from forecast.data.splits import longest_horizon
from forecast.forecaster.intervals import Difficulty, SplitConformal
from forecast.models.statistical import FIT_DECIMALS, hold_to_history
from forecast.system.errors import ModelError

FEWEST_ROWS = 24
HORIZONS = {"months": 12, "quarters": 4, "days": 7, "weeks": 4}
TEXTBOOKS = ("textbook multiplied", "textbook added", "textbook trend")
MEMBERS = ("E", "K", "T")
ASKED_SEASONS, FEW_SEASONS = guesses.MIN_SEASONS, 3
"""Whole seasons that are asked for `log1p`, and for the mean of both scales."""
LONGER_ROWS = 48
MIN_SEASON_CORRELATION = 0.4
"""A season is seen where changes of the logarithm and those a season before correlate so much."""
COVERAGE = 0.8
Draw = np.random.Generator


class Short(NamedTuple):
    """The values of a short series, the horizon at their end, and what it is a case of."""

    step: str
    kind: str
    y: np.ndarray


def simulated(seed: int) -> Iterator[Short]:
    """A series of each step and kind, of 24 to 99 rows and a horizon."""
    for place, (step, horizon) in enumerate(HORIZONS.items()):
        for number, kind in enumerate((*LAWS, *TEXTBOOKS)):
            draw = np.random.default_rng([606, place, number, seed])
            count = int(draw.integers(FEWEST_ROWS, SHORT_ROWS)) + horizon
            yield Short(step, kind, draw_values(draw, step, kind, count))


def draw_values(draw: Draw, step: str, kind: str, count: int) -> np.ndarray:
    season = SEASONS[step]
    if kind == "textbook multiplied":
        return np.round(textbook_levels(draw, season, count), 1)
    if kind in TEXTBOOKS:
        seasonal = "added" if kind == "textbook added" else "none"
        noise = draw.choice([0.03, 0.12])
        return np.round(draw_series(draw, count, season, "line", seasonal, noise), 2)
    y = LAWS[kind](draw, step, times(step, count))
    return np.round(y, 0 if kind == "counts" else 2)


def records() -> Iterator[Short]:
    """Quarters, months, weeks and days of the deciding panels that end at several rows."""
    for step, kind, y in record_values():
        yield from cut_short(step, kind, y)


def record_values() -> Iterator[tuple[str, str, np.ndarray]]:
    """The step, panel and values of whole series of the deciding panels."""
    tourism = panel_rows("aus_tourism_quarterly.parquet")
    by_region = tourism.sort_values("ds").groupby("unique_id")["Trips"]
    for number, (_, trips) in enumerate(by_region):
        if number % 5 == 0:
            yield "quarters", "tourism", trips.to_numpy(float)
    dengue = panel_rows("dengue_weekly.csv")
    for _, rows in dengue.assign(ds=pd.to_datetime(dengue["ds"])).groupby("unique_id"):
        cases = rows.set_index("ds")["total_cases"].resample("MS").sum().iloc[1:-1]
        yield "months", "dengue", cases.to_numpy(float)
    shops = panel_rows("walmart_stores_weekly.csv").groupby("unique_id")["Weekly_Sales"]
    for number, (_, sales) in enumerate(shops):
        if number % 5 == 0:
            yield "weeks", "shops", sales.to_numpy(float)
    for file, column, how in (
        ("vic_elec_halfhourly.parquet", "Demand", "sum"),
        ("uci_household_power_hourly.parquet", "Global_active_power", "mean"),
        ("uci_bike_sharing_hourly.csv", "cnt", "sum"),
        ("iowa_ed_arrivals_hourly.csv", "Arrivals", "sum"),
        ("delhi_climate_daily.csv", "humidity", "mean"),
    ):
        for step, code in (("months", "MS"), ("weeks", "W-SUN"), ("days", "D")):
            if step == "days" and file.startswith("delhi"):
                continue
            y = by_step(file, column, code, how)["y"].interpolate().to_numpy(float)
            yield step, file.rsplit("_", 1)[0], y


def cut_short(step: str, kind: str, y: np.ndarray) -> Iterator[Short]:
    """Pieces of y (T,) of 24 to 99 rows and a horizon that do not overlap by their horizons: of at
    most five ends the rows before, each of another length.
    """
    horizon = HORIZONS[step]
    for number, end in enumerate(
        range(len(y), FEWEST_ROWS + horizon - 1, -max(len(y) // 5, horizon))
    ):
        count = min((90, 60, 36, 75, 48)[number % 5] + horizon, end)
        yield Short(step, kind, y[end - count : end])


def season_of(step: str, count: int) -> int:
    """As `add` chooses it."""
    return SEASONS[step] if 2 * SEASONS[step] <= count else 1


def forecast_members(z: np.ndarray, season: int, horizon: int) -> dict[str, np.ndarray]:
    """Of each member that can be fitted to z (T,), its forecasts (horizon,)."""
    size, by_member = z.std() or 1.0, {}
    for name in MEMBERS:
        if name == "K" and season == 1:
            continue
        try:
            fitted = MODELS[name].fit_series(z / size, season)
        except ModelError:
            continue
        ahead = fitted.forecasts(z / size, np.array([len(z) - 1]), horizon)
        by_member[name] = ahead[0] * size
    return by_member


def hold(y_hat: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`y_hat` (horizon,) as the product holds it, and at zero or above."""
    bounded = hold_to_history(y_hat[None, :, None], y[:, None], np.array([len(y) - 1]))
    return np.maximum(bounded[0, :, 0], 0)


def guess_transform(case: Short, min_seasons: int) -> str:
    """The transform that `add` guesses from the rows before the forecast."""
    known = case.y[: -HORIZONS[case.step]]
    calendar = RegularCalendar(kind="regular", freq=CODES[case.step])
    ds = times(case.step, len(known))
    rows = pd.DataFrame({"unique_id": "mine", "ds": ds, "y": known})
    guesses.MIN_SEASONS = min_seasons
    season = season_of(case.step, len(known))
    return guess_target_fields(rows, calendar, "y", season).get("transform", "none")


def is_touched(case: Short) -> bool:
    """Whether fewer seasons show what as many as are asked do not."""
    if season_of(case.step, len(case.y) - HORIZONS[case.step]) == 1:
        return False
    return guess_transform(case, FEW_SEASONS) != guess_transform(case, ASKED_SEASONS)


def errors_of(case: Short) -> dict[str, float | str | int]:
    """The mean absolute error of each candidate."""
    horizon = HORIZONS[case.step]
    known, actual = case.y[:-horizon], case.y[-horizon:]
    season = season_of(case.step, len(known))
    transform = guess_transform(case, ASKED_SEASONS)
    raw = forecast_members(known, season, horizon)
    in_logs = forecast_members(np.log1p(known), season, horizon)
    with np.errstate(over="ignore"):
        in_logs = {name: np.expm1(y_hat) for name, y_hat in in_logs.items()}
    both = {
        name: np.mean([scale[name] for scale in (raw, in_logs) if name in scale], axis=0)
        for name in {**raw, **in_logs}
    }
    now = raw if transform == "none" else in_logs
    errors = {}
    for name, members in {"raw": raw, "log1p": in_logs, "both": both, "now": now}.items():
        bounded = [hold(y_hat, known) for y_hat in members.values()]
        errors[name] = float(np.abs(np.mean(bounded, axis=0) - actual).mean())
    return {
        "step": case.step,
        "kind": case.kind,
        "rows": len(known),
        "transform": transform,
        "touched": is_touched(case),
        **errors,
    }


def write_errors(cases: Iterable[Short], path: str) -> None:
    """Of the series whose values before the forecast are all above zero."""
    warnings.simplefilter("ignore")
    errors = [errors_of(case) for case in cases if case.y[: -HORIZONS[case.step]].min() > 0]
    pd.DataFrame(errors).to_csv(path, index=False)


def drawn_until(
    draw: Callable[[int], Iterable[Short]], seconds: float, seeds: Iterable[int]
) -> Iterator[Short]:
    """What `draw` makes of the seeds, in order, that begin within so many seconds."""
    begin = time.monotonic()
    for seed in seeds:
        if time.monotonic() - begin > seconds:
            return
        print("seed", seed, flush=True)
        yield from draw(seed)


def touched(seed: int) -> Iterator[Short]:
    """The touched series of the seed."""
    return filter(is_touched, simulated(seed))


def judge(paths: list[str]) -> None:
    """Print the error of each candidate over that of what is served now, with its standard error:
    both scales everywhere, and on the touched series.
    """
    table = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    table["length"] = pd.cut(table["rows"], [23, 47, 71, 95, 99]).astype(str)
    table["is textbook"] = table["kind"].str.startswith("textbook")
    table["all"] = "all"
    names = ["raw", "log1p", "both", "now"]
    logs = np.log(table[names].clip(lower=1e-9))
    logs = logs.sub(logs.pop("now"), axis=0)
    for title, is_judged in (("everywhere", table["all"] == "all"), ("touched", table["touched"])):
        print("\n" + title)
        for by in ("all", "is textbook", "step", "kind", "length", "transform"):
            groups = logs[is_judged].groupby(table.loc[is_judged, by])
            columns = [
                groups.size().rename("n"),
                np.exp(groups.mean()),
                groups["both"].sem().rename("se"),
            ]
            columns.append(np.exp(groups["both"].max()).rename("worst"))
            print(pd.concat(columns, axis=1).round(3).to_string())


def is_longer(case: Short) -> bool:
    """Whether it is touched and has so many rows that both scales pay, all values above zero."""
    known = case.y[: -HORIZONS[case.step]]
    return len(known) >= LONGER_ROWS and known.min() > 0 and is_touched(case)


def longer(seed: int) -> Iterator[Short]:
    """The series of the seed that the rule from 48 rows on touches."""
    return filter(is_longer, simulated(seed))


def is_seasonal(case: Short) -> bool:
    """Whether it has so many rows that both scales pay, all values above zero, three seasons show
    that its spread grows with the level, and a season is seen.
    """
    known = case.y[: -HORIZONS[case.step]]
    season = season_of(case.step, len(known))
    if len(known) < LONGER_ROWS or known.min() <= 0 or season == 1:
        return False
    if season_correlation(known, season) < MIN_SEASON_CORRELATION:
        return False
    return guess_transform(case, FEW_SEASONS) == "log1p"


def season_correlation(known: np.ndarray, season: int) -> float:
    """Of changes of the logarithm with those a season before, in the rows that a guess reads."""
    fitted = pd.Series(np.log(known[: int(FITTED_SHARE * len(known))]))
    return float(fitted.diff().autocorr(season))


def seasonal(seed: int) -> Iterator[Short]:
    """The series of the seed that the rule of seasonal series touches."""
    return filter(is_seasonal, simulated(seed))


def longer_records(steps: tuple[str, ...], is_judged: Callable[[Short], bool]) -> Iterator[Short]:
    """Judged pieces of the deciding panels of these steps that end at every horizon, of 48 to 90
    rows.
    """
    for step, kind, y in record_values():
        if step not in steps:
            continue
        horizon = HORIZONS[step]
        ends = range(len(y), LONGER_ROWS + horizon - 1, -horizon)
        for number, end in enumerate(ends):
            count = min((90, 60, 75, 48)[number % 4] + horizon, end)
            case = Short(step, kind, y[end - count : end])
            if is_judged(case):
                yield case


def forecast_scales(
    known: np.ndarray, season: int, horizon: int, transform: str
) -> dict[str, np.ndarray]:
    """(horizon,) each: the mean of the members on the scale of now, in logarithms, and on the
    values and in logarithms.
    """
    bounded = [hold(y_hat, known) for y_hat in forecast_members(known, season, horizon).values()]
    now = bounded
    if transform == "log1p":
        members = forecast_members(np.log1p(known), season, horizon).values()
        with np.errstate(over="ignore"):
            now = [hold(np.expm1(y_hat), known) for y_hat in members]
    in_logs = []
    level = known.mean()
    z = np.log(known / level)
    for name in MEMBERS:
        try:
            fitted = MODELS[name].fit_series(np.round(z, FIT_DECIMALS), season)
        except ModelError:
            continue
        ahead = fitted.forecasts(z, np.array([len(z) - 1]), horizon)[0]
        with np.errstate(over="ignore"):
            in_logs.append(hold(level * np.exp(ahead), known))
    return {
        "now": np.mean(now, axis=0),
        "log": np.mean(in_logs, axis=0),
        "both": np.mean([*bounded, *in_logs], axis=0),
    }


def count_origins(step: str, n_rows: int) -> tuple[int, int]:
    """The origins of the calibration block, and the tested horizon, of the entry that `add`
    writes.
    """
    season = SEASONS[step]
    tested = min(HORIZONS[step], longest_horizon(n_rows, season))
    n_steps = round(block_shares(n_rows, tested, season)["calibration"] * n_rows)
    return max(n_steps - tested, 0) + 1, tested


def score_longer(case: Short) -> dict[str, float | str | int]:
    """Errors, and coverage and interval scores of 80 % intervals from the newest known errors."""
    horizon = HORIZONS[case.step]
    known, actual = case.y[:-horizon], case.y[-horizon:]
    season = season_of(case.step, len(known))
    n_origins, tested = count_origins(case.step, len(known))
    ends = [len(known) - tested - back for back in range(n_origins)][::-1]
    transform = guess_transform(case, ASKED_SEASONS)
    past = [forecast_scales(known[:end], season, tested, transform) for end in ends]
    past_actual = np.array([known[end : end + tested] for end in ends])
    scored: dict[str, float | str | int] = {"step": case.step, "kind": case.kind}
    scored["rows"] = len(known)
    scored["transform"] = transform
    for name, y_hat in forecast_scales(known, season, horizon, transform).items():
        scored[name] = float(np.abs(y_hat - actual).mean())
        past_y_hat = np.array([each[name] for each in past])
        conformal = SplitConformal.calibrate(past_actual, past_y_hat, limits=(0.0, np.inf))
        unknown = Difficulty(np.full(1, np.nan))
        low, high = (end[0] for end in conformal.bounds(y_hat[None], unknown, COVERAGE))
        outside = np.maximum(low - actual, 0) + np.maximum(actual - high, 0)
        scored[f"cover {name}"] = float(((actual >= low) & (actual <= high)).mean())
        scored[f"score {name}"] = float((high - low + 2 / (1 - COVERAGE) * outside).mean())
        scored[f"width {name}"] = float((high - low).mean())
    return scored


def write_longer(cases: Iterable[Short], path: str) -> None:
    warnings.simplefilter("ignore")
    pd.DataFrame([score_longer(case) for case in cases]).to_csv(path, index=False)


def judge_longer(path: str) -> None:
    """Print errors over those of now with their standard errors, coverages and interval scores."""
    table = pd.read_csv(path)
    table["all"] = "all"
    table["is textbook"] = table["kind"].str.startswith("textbook")
    table["length"] = pd.cut(table["rows"], [47, 71, 95, 99]).astype(str)
    logs = np.log(table[["both", "log"]].div(table["now"], axis=0))
    logs["score"] = np.log(table["score both"] / table["score now"])
    logs["width"] = np.log(table["width both"] / table["width now"])
    table["more covered"] = table["cover both"] - table["cover now"]
    for by in ("all", "is textbook", "step", "kind", "length", "transform"):
        groups = logs.groupby(table[by])
        columns = np.exp(groups.mean()).assign(n=groups.size(), worst=np.exp(groups["both"].max()))
        columns["se"] = groups["both"].sem()
        columns["score se"] = groups["score"].sem()
        columns["share better"] = (logs["both"] < 0).groupby(table[by]).mean()
        covered = table.groupby(by)[["cover now", "cover both"]].mean()
        covered["cover se"] = table.groupby(by)["more covered"].sem()
        print(columns.join(covered).round(4).to_string())


if __name__ == "__main__":
    word, *rest = sys.argv[1:]
    if word == "errors":
        write_errors((case for seed in rest[1:] for case in simulated(int(seed))), rest[0])
    elif word == "touched":
        write_errors(drawn_until(touched, float(rest[1]), map(int, rest[2:])), rest[0])
    elif word == "records":
        write_errors(records(), rest[0])
    elif word == "longer":
        write_longer(drawn_until(longer, float(rest[1]), map(int, rest[2:])), rest[0])
    elif word == "longer_records":
        write_longer(longer_records(("months", "days"), is_longer), rest[0])
    elif word == "seasonal":
        write_longer(drawn_until(seasonal, float(rest[1]), map(int, rest[2:])), rest[0])
    elif word == "seasonal_records":
        steps = ("quarters", "months", "days")
        write_longer(longer_records(steps, is_seasonal), rest[0])
    elif word == "judge_longer":
        judge_longer(rest[0])
    else:
        judge(rest)
