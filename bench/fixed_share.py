"""Months, quarters and years: a fixed share of the served mean for three statistical forecasts.

    python -m bench.fixed_share SEED[,SEED ...] [NAME ...]
    python -m bench.fixed_share FOLDER [NAME ...]

For each kind of `KINDS`, drawn with each SEED, or each record of months and quarters of FOLDER,
from the entry that `forecast add` writes, over all cutoffs behind validation, without networks: by
each form of `FORMS` the change in percent of the error of the mean that the grid `few` served, then
that of its CRPS on the test block, and the coverage of 80 and 95 % by what was served and
by each form. Rule and result: docs/research/short-histories.md, A share that is not learnt.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bench import month_waves, short_means, short_rows, unseen_kinds
from bench.ablation import RULE, combine
from bench.growing import fit_rows
from bench.month_waves import SHORT, error_behind_validation
from bench.month_weights import NOW
from bench.quarter_hour import PANELS, interval_scores, problem_from, written_entry
from bench.unseen_files import row_of_table
from forecast.forecaster import Problem

SHARES = {"half": 1 / 2, "third": 1 / 3}
FORMS = (*SHARES, "members")
"""The equal mean of `SHORT` with a share of the weight, and `SHORT` as members like all others."""
LENGTHS = {"quarters": (42, 79), "months": (100, 200)}
LAWS = [f"{step} {law}" for step in LENGTHS for law in (*short_rows.LAWS, "textbook")]
YEARS = [f"years {trend}" for trend in short_means.TRENDS]
OF_MONTHS = ("heating_60", "passengers", "retail", "electricity", "flights", "fading")
OF_MONTHS += ("wandering_season", "walk_of_months", "heating", "sales_of_quarters", "august")
OF_MONTHS += ("plateau", "retail_72", "flights_84", "adoption", "price_index", "enrolment")
OF_MONTHS += ("births", "rain", "slow_level", "quarters")
KINDS = ("growing_quarters", "tariff_months", *OF_MONTHS, *LAWS, *YEARS)
N_REGIONS = 24
REGION_ROWS = (78, 66, 54, 45)


def draw_law(name: str, seed: int) -> pd.DataFrame:
    """A series of a law of `bench.short_rows`, of `bench.short_means` for years."""
    step, law = name.split()
    draw = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if step == "years":
        y = short_means.draw_series(draw, int(draw.integers(22, 60)), 1, law, "none", 0.05)
        times = pd.date_range("1960-01-01", periods=len(y), freq="YS")
        return pd.DataFrame({"ds": times, "y": y.round(2), "unique_id": "one"})
    times = short_rows.times(step, int(draw.integers(*LENGTHS[step])))
    if law == "textbook":
        y = short_rows.textbook_levels(draw, short_rows.SEASONS[step], len(times))
    else:
        y = short_rows.LAWS[law](draw, step, times)
    return pd.DataFrame({"ds": times, "y": np.round(y, 2), "unique_id": "one"})


def draw_kind(name: str, seed: int) -> pd.DataFrame:
    if name in unseen_kinds.KINDS:
        return unseen_kinds.frame_of_kind(name, seed)
    if " " in name:
        return draw_law(name, seed)
    return month_waves.frame_of_kind(name, seed)


def records_of(folder: Path) -> Iterator[tuple[str, pd.DataFrame, int]]:
    """Whole records of months, their newest 84 and 60 rows, and the newest quarters of the largest
    regions, one by one: name, rows, horizon (0: that of `add`).
    """
    for name, frame in month_waves.records_of(folder):
        if name != "regions":
            yield name, frame, 0
            yield from ((f"{name}_{rows}", frame.tail(rows), 3) for rows in (84, 60))
    regions = pd.read_parquet(folder / PANELS["tourism"].file).rename(columns={"Trips": "y"})
    sizes = regions.groupby("unique_id")["y"].mean().sort_values(ascending=False)
    for number, region in enumerate(sizes.index[:N_REGIONS]):
        rows = regions.loc[regions["unique_id"] == region, ["ds", "y", "unique_id"]]
        yield f"region_{number}", rows.tail(REGION_ROWS[number % len(REGION_ROWS)]), 0


def serve(problem: Problem) -> dict[str, pd.DataFrame]:
    """The table of what was served ("now") and of each form."""
    rows = fit_rows(problem, (*NOW, *SHORT))
    served = combine(problem, rows, RULE.model_copy(update={"members": NOW}))
    equal = {"members": SHORT, "weights": "equal", "refit": "never"}
    statistical = combine(problem, rows, RULE.model_copy(update=equal))
    tables = {"now": served}
    for form, share in SHARES.items():
        y_hat = (1 - share) * served["y_hat"] + share * statistical["y_hat"]
        tables[form] = served.assign(y_hat=y_hat)
    joined = RULE.model_copy(update={"members": (*NOW, *SHORT)})
    return {**tables, "members": combine(problem, rows, joined)}


def line_of(name: str, frame: pd.DataFrame, horizon: int) -> str:
    """A row of the table."""
    entry = yaml.safe_load(written_entry(frame, horizon or None))["panel"]
    problem = problem_from(frame, entry)
    tables = serve(problem)
    errors = {form: error_behind_validation(problem, table) for form, table in tables.items()}
    transform = problem.panel.task.targets[0].transform
    scores = {
        form: interval_scores(problem, row_of_table(problem, table), transform)
        for form, table in tables.items()
    }
    changes = [f"{100 * (errors[form] / errors['now'] - 1):+.2f}" for form in FORMS]
    wider = [f"{100 * (scores[form][2] / scores['now'][2] - 1):+.2f}" for form in FORMS]
    covered = [f"{low:.0f}, {high:.0f}" for low, high, _ in scores.values()]
    cells = [name, entry.get("grid", ""), f"{errors['now']:.4f}", *changes, *wider, *covered]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    source, names = sys.argv[1], sys.argv[2:]
    if source[0].isdigit():
        for name in names or KINDS:
            horizon = month_waves.OWN[name].horizon if name in month_waves.OWN else 0
            for seed in source.split(","):
                frame = draw_kind(name, int(seed))
                print(line_of(name, frame, horizon), flush=True)
        return
    for name, frame, horizon in records_of(Path(source)):
        if name in names or not names:
            print(line_of(name, frame, horizon), flush=True)


if __name__ == "__main__":
    main()
