"""Members of the mean of few rows: what they do where a level grows, and where growth has stopped.

    python -m bench.growing SEED [NAME ...]
    python -m bench.growing FOLDER [NAME ...]

For each simulated kind of `KINDS`, drawn with SEED, or each deciding panel of FOLDER that has fewer
than 400 rows and each piece of a year of the days of others (`PIECES`), from the entry that
`forecast add` writes, in percent: how much larger than the last value's the mean absolute error of
the mean with weights is (over all cutoffs behind validation, then over those of the test block
alone), with the members that the grid `few` has, with the last value too, with `nlinear` without a
constant, and with both. Models and weights are fitted again as a run has them; there are no
networks. Rule and result: docs/research/quarter-hour.md, Growth that stops.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from bench.ablation import RULE, Forecasts, Patch, combine, patched
from bench.quarter_hour import PANELS, problem_from, problem_of, written_entry
from bench.simulated_kinds import OF_A_YEAR, YEAR, YEAR_ENDING, draw_kind
from forecast import models
from forecast.backtest.backtest import forecast_blocks
from forecast.backtest.candidates import Candidate
from forecast.backtest.timeline import CandidateFitter, fit_through_time
from forecast.forecaster import Budget, Problem
from forecast.models import choice, skip
from forecast.models.families import window_linear

GROWTH = ["adoption", "plateau", "cumulative", "decline", "line", "exponential", "fading", "levels"]
GROWTH += ["drifting", "ramp_stops", "slope_changes", "smooth_trend", "users", "wearing"]
OTHERS = ["enrolment", "passengers", "price_index", "installs", "quarters", "months_of_shops"]
OTHERS += ["christmas", "half_year", "four_years_of_weeks", "wild_weeks", "flu"]
KINDS = (*GROWTH, *OTHERS, *(name + YEAR_ENDING for name in OF_A_YEAR))
"""All of fewer than 400 rows."""
SHORT_PANELS = ("walmart", "tourism")
PIECES = {"vic": 3, "household": 3, "bike": 1, "iowa": 4, "delhi": 4}
"""By panel how many years of days are read, the newest first."""
FEW = ("ridge", "nlinear", "climatology_ar", "theta", "boosting", "boosting_last")
NO_CONSTANT = "nlinear without a constant"
MEMBERS = {
    "as it is": FEW,
    "naive": (*FEW, "naive"),
    NO_CONSTANT: (*FEW, NO_CONSTANT),
    "both": (*FEW, "naive", NO_CONSTANT),
}


def sums_about_zero(sums: np.ndarray) -> skip.Moments:
    """Instead of `centre_sums`: those of a map without a constant."""
    return skip.Moments(sums[:-1, :-1], np.zeros(len(sums) - 1), {})


WITHOUT_CONSTANT: list[Patch] = [
    (module, "centre_sums", sums_about_zero) for module in (choice, window_linear)
]


def fit_rows(problem: Problem, names: tuple[str, ...]) -> Forecasts:
    """Each row as configs/models.yaml has it, with its refits, through all blocks."""
    config = yaml.safe_load(Path("configs/models.yaml").read_text())
    tables = {}
    for name in names:
        spec = models.spec(config["models"][name], where=name, refit=config["refit"])
        if not spec.reason_unsuited(problem.panel.task.season_length):
            fitter = CandidateFitter(Candidate(name, spec, "baseline", None), 0, Budget(1, 1))
            fresh = Problem.of(problem.panel, problem.borders)
            timeline = fit_through_time(fresh, fitter).timeline
            tables[name] = forecast_blocks(timeline, fresh, 0)
    return tables


def relative_error(table: pd.DataFrame, naive: pd.DataFrame, blocks: list[str]) -> float:
    """The error on `blocks` over that of the last value, mean over series."""
    is_scored = table["block"].isin(blocks)
    served, last = (
        (each["y"] - each["y_hat"]).abs()[is_scored].groupby(each["unique_id"]).mean()
        for each in (table, naive)
    )
    return float((served / last).replace(np.inf, np.nan).mean())


def changes_of(problem: Problem) -> dict[str, tuple[float, float]]:
    """By name of `MEMBERS` the change against the last value in percent, behind validation and on
    the test block.
    """
    rows = fit_rows(problem, MEMBERS["naive"])
    with patched(WITHOUT_CONSTANT):
        rows[NO_CONSTANT] = fit_rows(problem, ("nlinear",))["nlinear"]
    changes = {}
    for name, members in MEMBERS.items():
        table = combine(problem, rows, RULE.model_copy(update={"members": members}))
        changes[name] = tuple(
            100 * (relative_error(table, rows["naive"], blocks) - 1)
            for blocks in (["calibration", "test"], ["test"])
        )
    return changes


def problem_of_piece(name: str, number: int, folder: Path) -> Problem:
    """Of the days of a panel a year, the number-th before the newest; days of hours are sums."""
    chosen = PANELS[name]
    path = folder / chosen.file
    read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
    frame = read(path)
    times = pd.to_datetime(frame[chosen.time])
    days = frame[chosen.target].groupby(times.dt.normalize()).sum(min_count=1)
    days = days.asfreq("D").iloc[: len(days) - number * YEAR][-YEAR:]
    rows = pd.DataFrame({"ds": days.index, "y": days.to_numpy(), "unique_id": "one"})
    return problem_from(rows, yaml.safe_load(written_entry(rows))["panel"])


def problems_of(source: str, names: list[str]) -> Iterator[tuple[str, Problem]]:
    """By name the problems of a seed, or of a folder of panels."""
    if source.isdigit():
        for name in names or KINDS:
            yield name, draw_kind(name, int(source)).problem
        return
    for name in names or [*SHORT_PANELS, *PIECES]:
        if name in SHORT_PANELS:
            yield name, problem_of(PANELS[name], Path(source))[0]
        for number in range(PIECES.get(name, 0)):
            yield f"{name}, year {number}", problem_of_piece(name, number, Path(source))


def main() -> None:
    print(f"| kind | {' | '.join(MEMBERS)} |\n{'|---' * (len(MEMBERS) + 1)}|")
    for name, problem in problems_of(sys.argv[1], sys.argv[2:]):
        changes = changes_of(problem)
        cells = [
            f"{after_validation:+.1f}, {test:+.1f}" for after_validation, test in changes.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
