"""Guesses season, horizon, lookback and blocks of a new entry from its calendar and its number of
rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast.data.calendars import DAY, Calendar, count_day_steps, step_length
from forecast.data.entries import entry_line
from forecast.data.splits import (
    BLOCKS,
    MIN_CALIBRATION_CUTOFFS,
    TESTED_HORIZONS,
    held_out_steps,
    most_test_steps,
)
from forecast.system.errors import quote_names

CUTOFFS_OF_95_PERCENT, MAX_CALIBRATION_SHARE = 19, 0.25
"""The cutoffs that an interval of 95 % needs, and the largest share of the rows for them."""
SHORT_ROWS, FEW_SERIES = 100, 10
"""With fewer rows, fewer series and no inputs, the mean of three statistical forecasts is better
than what a short validation block selects (docs/research/short-histories.md).
"""
MAX_SEASON_SHARE = 0.4
"""The lookback holds a season of at most this share of the usual length of a series. The train
rows, 60 %, are then one and a half seasons.
"""
FITTED_SHARE = 0.75
"""The share of the rows that an entry's train and validation blocks have, unless the calibration or
the test block needs more. The guesses read this share of each series' own rows.
"""
FEW_ROWS = 400
"""With fewer rows, statistical members lower the error of the mean that is served
(docs/research/short-histories.md).
"""


class Spans(NamedTuple):
    """The spans of an entry, in steps; the season is 1 where there is none of whole steps."""

    season: int
    horizon: int
    lookback: int


SPANS_BY_STEP = {
    "D": Spans(7, 7, 28),
    "B": Spans(5, 5, 60),
    "W": Spans(52, 4, 52),
    "SM": Spans(24, 6, 48),
    "M": Spans(12, 12, 24),
    "OM": Spans(12, 12, 24),
    "Q": Spans(4, 4, 8),
    "Y": Spans(1, 1, 4),
}
"""The usual spans by pandas' name of a step."""
YEAR = 365.25 * DAY
YEARLY_SPANS = [SPANS_BY_STEP[name] for name in "MQY"]
"""The spans of steps whose season is a year."""


def guess_spans(calendar: Calendar) -> Spans:
    """The usual spans of a calendar: for a step below a day from the steps of a day, for one of a
    week or more from those of a year, else by its name.
    """
    if calendar.counts_rows:
        return Spans(1, 10, 100)
    if calendar.kind == "year_weeks":
        return SPANS_BY_STEP["W"]._replace(season=calendar.weeks)
    if calendar.kind == "weekdays":
        week = len(calendar.days)
        return Spans(week, week, 12 * week)
    if calendar.kind == "sessions":
        return SPANS_BY_STEP["B"]
    if calendar.opening_hours:
        day = count_day_steps(calendar)
        return Spans(day, min(day, 144), min(2 * len(calendar.opening_hours.days) * day, 672))
    offset = pd.tseries.frequencies.to_offset(calendar.freq)
    is_weekly = isinstance(offset, pd.offsets.Week)
    step = 7 * offset.n * DAY if is_weekly else step_length(calendar)
    if isinstance(offset, pd.offsets.BusinessDay):  # after five steps the days are the same again
        return SPANS_BY_STEP["B"]._replace(season=5 if offset.n % 5 else 1)
    if step is None:
        # `BM`, a month of working days, has the spans of a month; `OM` is what is left of `WOM`
        name = offset.rule_code.split("-")[0].rstrip("SE")[-2:].removeprefix("B")
        spans = SPANS_BY_STEP.get(name, SPANS_BY_STEP["D"]._replace(season=1))
        season, rest = divmod(spans.season, offset.n)
        return spans._replace(season=1 if rest else season)
    if step < DAY:
        day = round(DAY / step)
        return Spans(1 if DAY % step else day, min(day, 96), min(7 * day, 672))
    if step < 7 * DAY:  # after seven steps of some days the days of the week are the same again
        return SPANS_BY_STEP["D"]._replace(season=1 if step % DAY else 7)
    return SPANS_BY_STEP["W"]._replace(season=max(round(YEAR / step), 1))


def choose_season(usual: int, n_rows: int) -> tuple[int, str]:
    """The season of series of `n_rows`, and the comment of its line."""
    note = "steps of a season; 1 for none"
    if 2 * usual <= n_rows:  # MASE needs seasonal differences of the train rows
        return usual, note
    return 1, f"{note}: {usual} would be more than half of the series"


def choose_lookback(usual: Spans, n_rows: int, n_train: int) -> int:
    """The lookback of series of `n_rows`: the usual one up to a fifth of the rows, or a season of
    at most `MAX_SEASON_SHARE` of them; shorter than `n_train`, the train rows before a horizon.
    """
    lookback = min(usual.lookback, 4 * max(n_rows // 20, 1))
    if usual.season <= MAX_SEASON_SHARE * n_rows:
        lookback = max(lookback, usual.season)
    return max(min(lookback, n_train - 1), 1)


def fit_horizon_to_plan(
    horizon: int, planned_steps: int, usual_horizon: int, n_rows: int
) -> tuple[int, str]:
    """The horizon of a file with a plan, and the end of its comment: as far as the plan, where all
    blocks and intervals of 95 % still have their cutoffs.
    """
    with_intervals = int(MAX_CALIBRATION_SHARE * n_rows) - CUTOFFS_OF_95_PERCENT
    farthest = min(usual_horizon, with_intervals, n_rows // 10)
    horizon = min(planned_steps, max(horizon, farthest))
    note = f"; the plan has {planned_steps}"
    if horizon < planned_steps:
        most = "is usual" if horizon >= usual_horizon else "the rows bear"
        note += f", more than {most} (`--horizon {planned_steps}` for all)"
    return horizon, note


def describe_horizon(rows_by_series: pd.Series, shortest: int) -> str:
    """The comment of the horizon: the series it was chosen for, which have at least `shortest`
    rows.
    """
    shorter = rows_by_series.index[rows_by_series < shortest]
    if not len(shorter):
        return f"steps ahead; the shortest series has {rows_by_series.min()}"
    return (
        f"steps ahead; series have {rows_by_series.min()} to {rows_by_series.max()} rows; chosen"
        f" for those of {shortest} and more; shorter ones: {quote_names(shorter)}"
    )


def without_new_series(lengths: pd.Series) -> pd.Series:
    """`lengths` without those below a quarter of the median, where these are at most a third: a few
    new series do not shorten the horizon; they are not scored until they have grown.
    """
    is_new = lengths < lengths.median() / 4
    return lengths[~is_new] if is_new.mean() <= 1 / 3 else lengths


def block_shares(n_rows: int, horizon: int, season: int) -> dict[str, float]:
    """The shares of train, validation and calibration of a series of `n_rows`, by these names; the
    test block has the rest: 15 %, or `TESTED_HORIZONS` horizons, but at most 35 % together with
    calibration, so that about half of the rows train. Where a share would be shorter than
    a horizon, the blocks are chosen in steps, if there are four horizons.
    """
    calibration = _calibration_share(n_rows, horizon)
    # one step fewer, since blocks end at rounded rows
    n_calibrated = int(calibration * n_rows) - MIN_CALIBRATION_CUTOFFS
    if min(n_calibrated, int(0.15 * n_rows) - 1) >= horizon or n_rows < 4 * horizon:
        # one step more, since blocks end at rounded rows
        test = max(0.15, min((TESTED_HORIZONS * horizon + 1) / n_rows, 0.35 - calibration))
        return {
            "train": math.floor(100 * (0.85 - test - calibration) + 1e-6) / 100,
            "validation": 0.15,
            "calibration": calibration,
        }
    n_rest = n_rows - most_test_steps(n_rows, horizon, season)
    held_out = held_out_steps(n_rest, horizon, season)
    steps = (n_rest - sum(held_out), *held_out)
    return {
        block: round(n_steps / n_rows, 4) for block, n_steps in zip(BLOCKS, steps, strict=False)
    }


def _calibration_share(n_rows: int, horizon: int) -> float:
    """The share of the rows for calibration: a tenth, or what an interval of 95 % needs, up to
    `MAX_CALIBRATION_SHARE`.
    """
    needed = np.ceil(100 * (horizon + CUTOFFS_OF_95_PERCENT) / n_rows) / 100
    return max(0.1, float(needed)) if needed <= MAX_CALIBRATION_SHARE else 0.1


def blocks_hold(n_rows: int, horizon: int, season: int) -> bool:
    """Whether validation and test have an origin, and calibration has enough for an interval of 80
    %.
    """
    shares = block_shares(n_rows, horizon, season)
    steps = {block: round(share * n_rows) for block, share in shares.items()}
    shortest_tested = min(steps["validation"], n_rows - sum(steps.values()))
    n_calibrated = steps["calibration"] - (MIN_CALIBRATION_CUTOFFS - 1)
    return min(shortest_tested, n_calibrated) >= horizon


def step_lines(n_rows: int, horizon: int, calibration: float) -> list[str]:
    """The lines of the steps between cutoffs. calibration: the share of that block."""
    step_size = max(1, horizon // 4)
    steps_between = int(calibration * n_rows) - 1 - horizon
    calibration_step = max(1, steps_between // (CUTOFFS_OF_95_PERCENT - 1))
    lines = [entry_line("step_size", step_size, "steps from one forecast of a block to the next")]
    if calibration_step < step_size:
        note = f"an interval of 95 % takes {CUTOFFS_OF_95_PERCENT} cutoffs"
        n_cutoffs = max(round(calibration * n_rows) - horizon, 0) // calibration_step + 1
        if n_cutoffs < CUTOFFS_OF_95_PERCENT:
            level = 100 * n_cutoffs // (n_cutoffs + 1)
            note += f"; the calibration block has {n_cutoffs}, for {level} %"
        lines.append(entry_line("calibration_step_size", calibration_step, note))
    return lines
