"""Sine pairs of the weekday in linear maps: what a third one does to the served error.

    python -m bench.weekday_waves SEED [NAME ...]
    python -m bench.weekday_waves FOLDER [NAME ...]

For each kind of `KINDS` whose entry has a weekday, drawn with SEED, or each deciding panel of
FOLDER that has one, and each piece of a year of its days, from the entry that `forecast add`
writes: the mean absolute error on the test block, in scaled units, of the mean with weights where
the weekday has two sine pairs in every linear map; and the change in percent by a third pair, of
this mean and of each row that reads the weekday. Nothing is tuned or fitted again. Rule and result:
docs/research/quarter-hour.md, The weekday by three waves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import yaml

from bench import outside_kinds
from bench.growing import PIECES, problem_of_piece
from bench.quarter_hour import (
    PANELS,
    Row,
    combine,
    fit_row,
    problem_from,
    problem_of,
    written_entry,
)
from bench.simulated_kinds import YEAR_ENDING, draw_kind
from forecast.forecaster import Problem
from forecast.models import skip

OUTSIDE = ("stock_outs", "building", "call_centre")
DAYS = ["shop", "half_year", "views_by_day", "closed_sundays", "canteen", "museum", "gas", "ferry"]
DAYS += ["beds", "subscriptions", "backlog", "viral"]
DAYS += [name + YEAR_ENDING for name in ("shop", "closed_sundays", "canteen", "museum", "ferry")]
HOURS = ["seven_weeks", "night_shop", "parking", "bank", "bakery", "load", "bike_share"]
KINDS = (*DAYS, *HOURS, *OUTSIDE)
PANEL_NAMES = ("iowa", "bike", "household", "vic")
WITHOUT_WEEKDAY = ("nlinear", "boosting_last")
WITH_WEEKDAY = ("ridge", "climatology_ar", "boosting")


class Fitted(NamedTuple):
    """The served row and the rows that read the weekday, by name."""

    served: Row
    rows: dict[str, Row]


def fit_with(problem: Problem, pairs: int, others: list[Row]) -> Fitted:
    """The rows that read the weekday by so many sine pairs, and their mean with the `others`."""
    with (
        mock.patch.dict(skip.PROFILE_HARMONICS, day_of_week=pairs),
        mock.patch.dict(skip.CALENDAR_HARMONICS, day_of_week=pairs),
    ):
        rows = {name: fit_row(problem, name) for name in WITH_WEEKDAY}
    return Fitted(combine(problem, [*rows.values(), *others]), rows)


def test_error(row: Row) -> float:
    return float(np.nanmean(np.abs(row.test.errors)))


def problem_of_kind(name: str, seed: int) -> Problem:
    if name not in OUTSIDE:
        return draw_kind(name, seed).problem
    number = list(outside_kinds.KINDS).index(name)
    draw = np.random.default_rng([39, number, seed])
    rows = outside_kinds.KINDS[name].draw(draw).assign(unique_id="one")
    return problem_from(rows, yaml.safe_load(written_entry(rows))["panel"])


def problems_of(source: str, names: list[str]) -> Iterator[tuple[str, Callable[[], Problem]]]:
    """By name what draws or reads the problem anew."""
    if source.isdigit():
        for name in names or KINDS:
            yield name, lambda name=name: problem_of_kind(name, int(source))
        return
    folder = Path(source)
    for name in names or PANEL_NAMES:
        for number in range(PIECES[name]):
            piece = f"{name}, year {number}"
            yield piece, lambda name=name, number=number: problem_of_piece(name, number, folder)
        yield name, lambda name=name: problem_of(PANELS[name], folder)[0]


def line_of(name: str, draw: Callable[[], Problem]) -> str:
    """A row of the table; the problem is drawn twice, as it keeps sums of what was read."""
    problem = draw()
    if "day_of_week" not in problem.panel.task.calendar_features:
        return f"| {name} | no weekday |"
    others = [fit_row(problem, each) for each in WITHOUT_WEEKDAY]
    if max(blocks.test[1] for blocks in problem.blocks.values()) < 400:
        others.append(fit_row(problem, "theta"))
    before = fit_with(problem, 2, others)
    now = fit_with(draw(), 3, others)
    change = 100 * (test_error(now.served) / test_error(before.served) - 1)
    cells = [name, f"{test_error(before.served):.4f}", f"{change:+.2f}"]
    for row in WITH_WEEKDAY:
        change = 100 * (test_error(now.rows[row]) / test_error(before.rows[row]) - 1)
        cells.append(f"{change:+.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    print(f"| kind | two pairs | three | {' | '.join(WITH_WEEKDAY)} |")
    print("|---" * (len(WITH_WEEKDAY) + 3) + "|")
    for name, draw in problems_of(sys.argv[1], sys.argv[2:]):
        print(line_of(name, draw), flush=True)


if __name__ == "__main__":
    main()
