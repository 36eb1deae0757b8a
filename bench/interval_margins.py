"""Margins of the calibration block alone, and of the newest errors, on the panels of the bar: the
table by panel in docs/research/interval-widths.md.

    python -m bench.interval_margins FOLDER [NAME ...]

For each panel of `bench.quarter_hour` (FOLDER holds them) the mean with weights that is served, and
of its intervals at 80 and 95 %, pooled over series, steps and cutoffs of the test block: coverage
in percent with either margins, and by how much width and interval score of the newest differ. A
level that too few errors of the calibration block support stays empty.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.quarter_hour import (
    CONFIRMING,
    PANELS,
    ROWS,
    Row,
    calibrate_series,
    combine,
    fit_row,
    problem_of,
)
from forecast.forecaster import Problem
from forecast.forecaster.intervals import Bounds
from forecast.system.errors import InputError

LEVELS = (0.8, 0.95)


class Scored(NamedTuple):
    """Of intervals: which targets lie inside, their widths, and their interval scores."""

    is_covered: np.ndarray
    width: np.ndarray
    score: np.ndarray


def score_intervals(bounds: Bounds, target: np.ndarray, level: float) -> Scored:
    """(known targets,) each; the score is the width and 2 / (1 - level) times what lies outside."""
    is_known = np.isfinite(target)
    low, high, y = (each[is_known] for each in (*bounds, target))
    outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    return Scored(outside == 0.0, high - low, high - low + 2 / (1 - level) * outside)


def score_series(problem: Problem, row: Row, level: float) -> Iterator[tuple[Scored, Scored]]:
    """Of every series: with the margins of the calibration block, with those of the newest errors.
    `InputError` where one supports no interval of `level`.
    """
    for uid, (calibrated, newest, now) in calibrate_series(problem, row).items():
        forecast, target = row.test.forecasts[uid], row.test.targets[uid]
        low, high = newest.bounds_in_turn(forecast, now, [level])
        yield (
            score_intervals(calibrated.bounds(forecast, now, level), target, level),
            score_intervals(Bounds(low[0], high[0]), target, level),
        )


def join(by_series: Iterable[Scored]) -> Scored:
    """Of all series together."""
    return Scored(*(np.concatenate(each) for each in zip(*by_series, strict=True)))


def cells(problem: Problem, row: Row, level: float) -> list[str]:
    """Coverage before and now, change of the mean width and of the mean score."""
    try:
        pairs = list(score_series(problem, row, level))
    except InputError:
        return [""] * 4
    before, now = (join(each) for each in zip(*pairs, strict=True))
    return [
        f"{100 * before.is_covered.mean():.1f}",
        f"{100 * now.is_covered.mean():.1f}",
        f"{100 * (now.width.mean() / before.width.mean() - 1):+.1f} %",
        f"{100 * (now.score.mean() / before.score.mean() - 1):+.1f} %",
    ]


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(PANELS)
    heads = [f"{100 * level:.0f} %: {each}" for level in LEVELS for each in ("before", "newest")]
    heads = [*heads[:2], "width", "score", *heads[2:], "width", "score"]
    print(f"| panel | n | {' | '.join(heads)} |\n{'|---' * (len(heads) + 2)}|")
    for name in names:
        problem, _ = problem_of((PANELS | CONFIRMING)[name], folder)
        row = combine(problem, [fit_row(problem, each) for each in ROWS])
        n_origins = max(len(each) for each in row.calibration.targets.values())
        row_cells = [cell for level in LEVELS for cell in cells(problem, row, level)]
        print(f"| {name} | {n_origins} | {' | '.join(row_cells)} |", flush=True)


if __name__ == "__main__":
    main()
