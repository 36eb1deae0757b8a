"""Forecasts against actuals at origins picked by a stated rule, and the error through the test
period.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
import pandas as pd

from forecast.config.task import format_time
from forecast.data.results import Results, in_ranking
from forecast.report import text
from forecast.report.charts import Axes, Line, line_chart
from forecast.report.figures import AGAINST_NAIVE, Panel, change, fitted_skip, role_of, step_unit
from forecast.report.svg import Floats, floats
from forecast.report.text import MOST_SERIES

LEAST_HISTORY = 15


@dataclass(frozen=True)
class TestBlock:
    """One candidate's test forecasts of one series: cutoffs (n,), ds and y (n, H), y_hat (seeds, n,
    H), raw units.
    """

    cutoffs: pd.DatetimeIndex
    ds: np.ndarray
    y: Floats
    y_hat: Floats

    @property
    def forecast(self) -> Floats:
        """The seed-mean forecast (n, H)."""
        return np.asarray(self.y_hat.mean(axis=0))

    @property
    def losses(self) -> Floats:
        """Mean absolute error per origin (n,); steps without an observation are left out."""
        return np.asarray(pd.DataFrame(np.abs(self.forecast - self.y)).mean(axis=1))


def test_block_of(frame: pd.DataFrame, series: str) -> TestBlock:
    """The block `test` of one series from a long forecast frame."""
    mine = frame[(frame["block"] == "test") & (frame["unique_id"] == series)].sort_values(
        ["seed", "cutoff", "step"]
    )
    seeds, origins = mine["seed"].nunique(), mine["cutoff"].nunique()
    shape = (seeds, origins, -1)
    first = mine["ds"].to_numpy().reshape(shape)[0]
    y, y_hat = (mine[column].to_numpy(float).reshape(shape) for column in ("y", "y_hat"))
    return TestBlock(pd.DatetimeIndex(mine["cutoff"].unique()), first, y[0], y_hat)


def shown_forecasts(
    results: Results, ranking: str = "shipped"
) -> dict[str, tuple[str, pd.DataFrame]]:
    """role -> (model, long forecasts) of what is shown against the actuals: naive, skip, a network,
    the chosen one.
    """
    candidates = [
        "naive",
        fitted_skip(results),
        results.best_network(ranking),
        results.selected_model(ranking),
    ]
    by_role = {}
    for model in dict.fromkeys(m for m in candidates if m):
        name, role = results.candidate(model, ranking), role_of(results, ranking, model)
        if name and role != "other" and not results.records[name].has_failed:
            by_role[role] = (model, results.forecasts_by_series(name))
    return by_role


def is_private(results: Results) -> bool:
    """Whether the data's terms forbid to show their values in a page that may be passed on."""
    dataset = results.dataset
    return dataset.source.is_for_personal_use or "personal use" in dataset.licence.name.lower()


Bands = tuple[tuple[Floats, Floats], ...]
RoleTests = dict[str, tuple[str, TestBlock]]
"""Role to the model and its test block."""


def forecast_panels(results: Results) -> list[Panel]:
    """Per series the origins of the test block that `places` picks, judged by the chosen model (or
    the last shown).

    Nothing of data whose terms forbid to pass them on.
    """
    if is_private(results):
        return []
    forecasts_by_role = shown_forecasts(results)
    if not forecasts_by_role:
        return []
    judge = "chosen" if "chosen" in forecasts_by_role else list(forecasts_by_role)[-1]
    transforms = {column.column: column.transform for column in results.dataset.target}
    panels = []
    for series in results.series[:MOST_SERIES]:
        tests = {
            role: (model, test_block_of(frame, series))
            for role, (model, frame) in forecasts_by_role.items()
        }
        _, forecasts = next(iter(forecasts_by_role.values()))
        actuals = forecasts.loc[forecasts["unique_id"] == series, ["ds", "y"]]
        actuals = actuals.drop_duplicates("ds").sort_values("ds")
        history = pd.Series(floats(actuals["y"]), index=pd.DatetimeIndex(actuals["ds"]))
        naive = tests["naive"][1] if "naive" in tests else None
        transform = transforms.get(series.rpartition("/")[2], results.dataset.target[0].transform)
        is_relative = transform in ("log", "logdiff")
        drawing = SeriesDrawing(series, tests, history, judge)
        for word, origin in pick_origins(
            tests[judge][1], history, naive=naive, relative=is_relative
        ):
            panels.append(_origin_panel(results, drawing, word, origin))
    return panels


@dataclass(frozen=True)
class SeriesDrawing:
    """What panels of one series are drawn from."""

    series: str
    tests: RoleTests
    history: pd.Series
    """Every observed target, by time."""
    judge: str
    """The role of the model whose errors picked the origins."""


def pick_origins(
    test: TestBlock, history: pd.Series, *, naive: TestBlock | None, relative: bool
) -> list[tuple[str, int]]:
    """(why, origin): typical, worst and best error; largest rise and fall; furthest behind naive.

    Each origin once.

    A rise or fall is from the last value at the cutoff to the end of the horizon, as a share of it
    if `relative`; an error is the mean over the horizon.
    """
    last = history.reindex(test.cutoffs).to_numpy(float)
    moves = test.y[:, -1] - last
    if relative:
        moves = moves / np.abs(last)
    by_loss = _known_order(test.losses)
    by_move = _known_order(moves)
    picked: list[tuple[str, int]] = []
    if by_loss:
        picked.append(("typical", by_loss[len(by_loss) // 2]))
        picked.append(("worst", by_loss[-1]))
        picked.append(("best", by_loss[0]))
    if by_move:
        picked.append(("largest rise", by_move[-1]))
        picked.append(("largest fall", by_move[0]))
    if naive is not None:
        by_excess_loss = _known_order(test.losses - naive.losses)
        if by_excess_loss and test.losses[by_excess_loss[-1]] > naive.losses[by_excess_loss[-1]]:
            picked.append(("furthest behind naive", by_excess_loss[-1]))
    words: dict[int, list[str]] = {}
    for word, origin in picked:
        words.setdefault(origin, []).append(word)
    return [(", ".join(why), origin) for origin, why in words.items()]


def _known_order(values: Floats) -> list[int]:
    """The places of the finite values, smallest first."""
    return [int(i) for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]


def _origin_panel(results: Results, drawing: SeriesDrawing, word: str, origin: int) -> Panel:
    """The last values before one cutoff, then the forecasts of every shown model and the actual
    values.
    """
    series = drawing.series
    test = drawing.tests[drawing.judge][1]
    cutoff = test.cutoffs[origin]
    horizon = test.y.shape[1]
    known = drawing.history[drawing.history.index <= cutoff]
    past = known.iloc[-max(2 * horizon, LEAST_HISTORY) :]
    x = np.arange(1 - len(past), horizon + 1, dtype=float)
    lines = [Line("actual", x, np.concatenate([past.to_numpy(), test.y[origin]]), "actual")]
    for role, (model, forecasts) in drawing.tests.items():
        intervals: Bands = ()
        if role == "chosen":
            intervals = intervals_at(results, model, series, cutoff)
        lines.append(_forecast_line(role, model, forecasts, origin, x, intervals))
    lowest = int(x[0])
    steps = [lowest, 0, horizon]
    if horizon > 7:
        steps = [t for t in (-2 * horizon, -horizon, 0, horizon) if lowest - 1 <= t]
    ticks = [(float(step), _step_label(step)) for step in steps]
    write = time_format(results)
    title = f"{series}, {write(cutoff)}"
    axes = Axes(
        label=f"{word} forecast of {series} at {write(cutoff)}, against the actual values",
        x_title=f"{step_unit(results.dataset)} from the cutoff",
        y_title=results.unit_of(series) or results.dataset.target[0].column,
        x_ticks=ticks,
        divide=0.0,
        moments=[write(pd.Timestamp(d)) for d in [*past.index, *test.ds[origin]]],
    )
    errors = [
        f"{text.name(model)} {text.figure(forecasts.losses[origin], 3)}"
        for model, forecasts in drawing.tests.values()
    ]
    note = f"Mean absolute error: {', '.join(errors)}"
    return Panel(f"{word.capitalize()}: {title}", line_chart(lines, axes), note)


def _step_label(step: int) -> str:
    """`cutoff`, `+12` or `−24`."""
    if step == 0:
        return "cutoff"
    return f"{step:+d}".replace("-", text.MINUS)


def _forecast_line(
    role: str, model: str, test: TestBlock, origin: int, x: Floats, intervals: Bands
) -> Line:
    """The seed-mean forecast of one origin on the panel's x, with its intervals, else with the
    range over seeds.
    """
    before_cutoff = np.full(len(x) - test.y.shape[1], np.nan)
    seeds = test.y_hat[:, origin]
    ends = list(intervals)
    if not ends and len(seeds) > 1:
        ends = [(seeds.min(axis=0), seeds.max(axis=0))]
    bands = tuple(
        (np.concatenate([before_cutoff, low]), np.concatenate([before_cutoff, high]))
        for low, high in ends
    )
    mean = np.concatenate([before_cutoff, np.mean(seeds, axis=0)])
    return Line(text.name(model), x, mean, role, model, bands)


def intervals_at(results: Results, model: str, series: str, cutoff: pd.Timestamp) -> Bands:
    """The chosen model's intervals from one cutoff: (lower, upper) by step, the widest level first.

    Empty where all levels were refused.
    """
    rows = in_ranking(results.bands, "shipped")
    mine = (rows["model"] == model) & (rows["series"] == series)
    rows = rows[mine & (rows["cutoff"] == cutoff)].sort_values("step")
    ends = [(floats(part["lower"]), floats(part["upper"])) for _, part in rows.groupby("level")]
    return tuple(reversed(ends))


def time_format(results: Results) -> Callable[[datetime], str]:
    """How a moment is written: with its hour where steps are shorter than a day; a row without a
    date by number.
    """
    if results.dataset.calendar.kind == "index":
        return lambda moment: format_time("index", moment.isoformat())
    times = pd.DatetimeIndex(results.naive["ds"])
    return partial(text.moment, hours=bool((times != times.normalize()).any()))


def time_panels(results: Results) -> list[Panel]:
    """Test error by calendar period of the first step ahead, per series in its unit and against
    naive; none of rows without dates.
    """
    if results.dataset.calendar.kind == "index":
        return []
    forecasts_by_role = shown_forecasts(results)
    if not forecasts_by_role:
        return []
    panels = []
    for series in results.series[:MOST_SERIES]:
        errors = {
            role: (model, _by_period(test_block_of(frame, series)))
            for role, (model, frame) in forecasts_by_role.items()
        }
        unit = results.unit_of(series)
        y_title = f"MAE, {unit}" if unit else "MAE"
        panels += _time_panel(series, errors, y_title, None)
        if "naive" in errors:
            of_naive = errors["naive"][1]
            with np.errstate(divide="ignore", invalid="ignore"):
                relative = {
                    role: (model, error / of_naive - 1) for role, (model, error) in errors.items()
                }
            panels += _time_panel(f"{series} against naive", relative, AGAINST_NAIVE, change)
    return panels


def _by_period(test: TestBlock) -> pd.Series:
    """Mean absolute error by period, named 2016 Q1, Jul 2025, or by the first day of a week."""
    months = (test.cutoffs[-1] - test.cutoffs[0]).days / 30.4
    freq = "W"
    if months > 18:
        freq = "Q"
    elif months > 4:
        freq = "M"
    mean = pd.Series(test.losses).groupby(pd.DatetimeIndex(test.ds[:, 0]).to_period(freq)).mean()
    names = []
    for start in pd.PeriodIndex(mean.index).start_time:
        if freq == "Q":
            names.append(f"{start.year} Q{start.quarter}")
        elif freq == "M":
            names.append(f"{start:%b %Y}")
        else:
            names.append(f"{start.day} {start:%b}")
    return mean.set_axis(names)


def _time_panel(
    title: str,
    errors: dict[str, tuple[str, pd.Series]],
    y_title: str,
    show: Callable[[float], str] | None,
) -> list[Panel]:
    """One panel of the models with a finite error, by role; none without any."""
    # there is no error without an actual, and no share of a naive forecast without error
    drawn = {role: pair for role, pair in errors.items() if np.isfinite(pair[1]).any()}
    if not drawn:
        return []
    periods = list(next(iter(drawn.values()))[1].index)
    x = np.arange(float(len(periods)))
    lines = [
        Line(text.name(model), x, np.asarray(error, float), role, model)
        for role, (model, error) in drawn.items()
    ]
    every = max(1, -(-len(periods) // 4))
    ticks = [(float(i), periods[i]) for i in range(0, len(periods), every)]
    axes = Axes(f"Test error by period: {title}", "", y_title, ticks, moments=periods, show=show)
    return [Panel(title, line_chart(lines, axes))]
