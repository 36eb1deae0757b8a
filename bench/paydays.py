"""The day of the month as an input: what it changes where `forecast add` writes it.

    python -m bench.paydays SEED [NAME ...]
    python -m bench.paydays FOLDER [NAME ...]
    python -m bench.paydays --found FIRST LAST

For each kind of `PAYDAYS`, drawn with SEED, or the days of each panel of `DAYS` in FOLDER: what the
share of the variance is that each feature explains, what `add` writes, and the change in percent of
the error on the test block of the served row and of its members by that feature. A panel for which
`add` writes none gets `day_of_month` all the same, in brackets. `--found`: for each daily kind
without paydays (`OTHERS`), the seeds from FIRST to LAST for which `add` writes one, and its changes
there. Rule and result: docs/research/day-of-month.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench import ablation
from bench.growing import fit_rows
from bench.quarter_hour import PANELS, problem_from, written_entry
from bench.unseen_files import MEMBERS, error_on_test, plain_problem
from bench.unseen_kinds import frame_of_kind
from forecast.data import calendars

PAYDAYS = ("cash_machine", "wages_at_month_end", "booked_invoices", "benefit_shops")
OTHERS = ("easter_visitors", "sold_out", "cannibals", "elastic_shops", "river_temperature")
OTHERS += ("intensive_care", "blood", "oil_tank")
DAYS = ("vic", "household", "bike", "iowa", "delhi")


def is_of_month(feature: str) -> bool:
    return feature in calendars.MONTH_FEATURES


def errors_of(frame: pd.DataFrame, entry: dict[str, Any]) -> pd.Series:
    """By row and for `served` the mean absolute error on the test block."""
    problem, plain = problem_from(frame, deepcopy(entry)), plain_problem(frame, entry)
    tables = fit_rows(problem, MEMBERS[entry.get("grid", "")])
    rule = ablation.RULE.model_copy(update={"members": tuple(tables)})
    tables = {"served": ablation.combine(problem, tables, rule), **tables}
    return pd.Series({row: error_on_test(plain, table) for row, table in tables.items()})


def describe_changes(frame: pd.DataFrame, *, forced: bool) -> str:
    """What `add` writes, and the changes by it; `forced`: by `day_of_month` if it writes none."""
    entry = yaml.safe_load(written_entry(frame))["panel"]
    written = [*filter(is_of_month, entry["calendar_features"])]
    others = [name for name in entry["calendar_features"] if not is_of_month(name)]
    if not written and not forced:
        return "none"
    features = [*others, *(written or ["day_of_month"])]
    before = errors_of(frame, {**entry, "calendar_features": others})
    after = errors_of(frame, {**entry, "calendar_features": features})
    changes = [f"{row} {change:+.1f}" for row, change in (100 * (after / before - 1)).items()]
    return f"{', '.join(written) or '(day_of_month)'} | {', '.join(changes)}"


def days_of_panels(folder: Path, names: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """By name the days of each panel; those of hours and half hours are sums."""
    for name in names or DAYS:
        chosen = PANELS[name]
        path = folder / chosen.file
        read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
        frame = read(path)
        times = pd.to_datetime(frame[chosen.time])
        days = frame[chosen.target].groupby(times.dt.normalize()).sum(min_count=1).asfreq("D")
        yield name, pd.DataFrame({"ds": days.index, "y": days.to_numpy(), "unique_id": "one"})


def shares_of(frame: pd.DataFrame) -> str:
    """What each feature of the month explains, as `find_month_feature` asks."""
    observed = frame[np.isfinite(frame["y"])]
    shares = [
        calendars._explained_share(observed, "y", name, calendars.MONTH_LIMITS)
        for name in calendars.MONTH_FEATURES
    ]
    return ", ".join(f"{share:.2f}" for share in shares)


def main() -> None:
    source, *names = sys.argv[1:]
    if source == "--found":
        for name in OTHERS:
            for seed in range(int(names[0]), int(names[1]) + 1):
                line = describe_changes(frame_of_kind(name, seed), forced=False)
                if line != "none":
                    print(f"| {name} {seed} | {line} |", flush=True)
        return
    frames: Iterator[tuple[str, pd.DataFrame]] = (
        ((name, frame_of_kind(name, int(source))) for name in names or PAYDAYS)
        if source.isdigit()
        else days_of_panels(Path(source), names)
    )
    for name, frame in frames:
        line = describe_changes(frame, forced=not source.isdigit())
        print(f"| {name} | {shares_of(frame)} | {line} |", flush=True)


if __name__ == "__main__":
    main()
