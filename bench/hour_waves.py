"""Waves of the hour in products of the ridge and in the climatology: the served error.

    python -m bench.hour_waves SEED PAIRS[,PAIRS ...] [NAME ...]
    python -m bench.hour_waves FOLDER PAIRS[,PAIRS ...] [NAME ...]

For each kind of `KINDS`, drawn with SEED, or each deciding panel of hours of FOLDER, from the entry
that `forecast add` writes: the mean absolute error on the test block, in scaled units, of `ridge`,
`climatology_ar` and the mean with weights of both, `nlinear` and `boosting_last`; and for each
number of sine PAIRS of the hour the change of the three in percent. `boosting`, which stands on the
ridge, is left out. Nothing is tuned or fitted again. Rule and result:
docs/research/quarter-hour.md, Hours by more waves.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

from bench.quarter_hour import PANELS, Row, combine, fit_row, problem_of
from bench.weekday_waves import problem_of_kind, test_error
from forecast.forecaster import Problem
from forecast.models import skip

KINDS = ("bank", "bakery", "load", "bike_share", "night_shop", "parking", "call_centre")
KINDS += ("sensor", "solar", "wild_hours")
PANEL_NAMES = ("iowa", "bike", "household", "vic")
READ_THE_HOUR = ("ridge", "climatology_ar")
OTHERS = ("nlinear", "boosting_last")


def fit_with(problem: Problem, pairs: int) -> list[Row]:
    with mock.patch.dict(skip.CALENDAR_HARMONICS, hour_of_day=pairs):
        return [fit_row(problem, name) for name in READ_THE_HOUR]


def line_of(name: str, source: str, numbers: list[int]) -> str:
    """A row of the table; the problem is drawn anew each time, as it keeps sums of what was
    read.
    """

    def draw() -> Problem:
        if source.isdigit():
            return problem_of_kind(name, int(source))
        return problem_of(PANELS[name], Path(source))[0]

    problem = draw()
    others = [fit_row(problem, each) for each in OTHERS]
    rows = fit_with(problem, 2)
    before = [*rows, combine(problem, [*rows, *others])]
    cells = [name, *(f"{test_error(row):.4f}" for row in before)]
    for pairs in numbers:
        rows = fit_with(draw(), pairs)
        now = [*rows, combine(problem, [*rows, *others])]
        changes = (test_error(b) / test_error(a) - 1 for a, b in zip(before, now, strict=True))
        cells.append(f"{pairs}: " + ", ".join(f"{100 * change:+.2f}" for change in changes))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    source, numbers = sys.argv[1], [int(each) for each in sys.argv[2].split(",")]
    for name in sys.argv[3:] or (KINDS if source.isdigit() else PANEL_NAMES):
        print(line_of(name, source, numbers), flush=True)


if __name__ == "__main__":
    main()
