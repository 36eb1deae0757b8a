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
class Test:
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


def test_of(frame: pd.DataFrame, series: str) -> Test:
    """The block `test` of one series from a long forecast frame."""
    mine = frame[(frame["block"] == "test") & (frame["unique_id"] == series)].sort_values(
        ["seed", "cutoff", "step"]
    )
    seeds, origins = mine["seed"].nunique(), mine["cutoff"].nunique()
    shape = (seeds, origins, -1)
    first = mine["ds"].to_numpy().reshape(shape)[0]
    y, y_hat = (mine[column].to_numpy(float).reshape(shape) for column in ("y", "y_hat"))
    return Test(pd.DatetimeIndex(mine["cutoff"].unique()), first, y[0], y_hat)


def compared(results: Results, ranking: str = "shipped") -> dict[str, tuple[str, pd.DataFrame]]:
    """role -> (model, long forecasts) of what is shown against the actuals: naive, skip, a network,
    the chosen one.
    """
    wanted = ["naive", fitted_skip(results), results.best_network(ranking), results.chosen(ranking)]
    found = {}
    for model in dict.fromkeys(m for m in wanted if m):
        name, role = results.candidate(model, ranking), role_of(results, ranking, model)
        if name and role != "other" and not results.records[name].has_failed:
            found[role] = (model, results.forecasts_by_series(name))
    return found


def is_private(results: Results) -> bool:
    """Whether the data's terms forbid to show their values in a page that may be passed on."""
    dataset = results.dataset
    return dataset.source.is_for_personal_use or "personal use" in dataset.licence.name.lower()


Bands = tuple[tuple[Floats, Floats], ...]
Tests = dict[str, tuple[str, Test]]  # role -> (model, its test block)


def forecast_panels(results: Results) -> list[Panel]:
    """Per series the origins of the test block that `places` picks, judged by the chosen model (or
    the last shown).

    Nothing of data whose terms forbid to pass them on.
    """
    shown = {} if is_private(results) else compared(results)
    if not shown:
        return []
    judge = "chosen" if "chosen" in shown else list(shown)[-1]
    transforms = {column.column: column.transform for column in results.dataset.target}
    panels = []
    for series in results.series[:MOST_SERIES]:
        tests = {role: (model, test_of(frame, series)) for role, (model, frame) in shown.items()}
        frame = next(iter(shown.values()))[1]
        known = (
            frame.loc[frame["unique_id"] == series, ["ds", "y"]]
            .drop_duplicates("ds")
            .sort_values("ds")
        )
        # every observed target, by time
        history = pd.Series(floats(known["y"]), index=pd.DatetimeIndex(known["ds"]))
        naive = tests["naive"][1] if "naive" in tests else None
        transform = transforms.get(series.rpartition("/")[2], results.dataset.target[0].transform)
        found = places(
            tests[judge][1], history, naive=naive, relative=transform in ("log", "logdiff")
        )
        panels += [
            _origin_panel(results, series, w, place, tests, history, judge) for w, place in found
        ]
    return panels


def places(
    test: Test, history: pd.Series, *, naive: Test | None, relative: bool
) -> list[tuple[str, int]]:
    """(why, origin): typical, worst and best error; largest rise and fall; furthest behind naive.

    Each origin once.

    A rise or fall is from the last value at the cutoff to the end of the horizon, as a share of it
    if `relative`; an error is the mean over the horizon.
    """
    last = history.reindex(test.cutoffs).to_numpy(float)
    moves = (test.y[:, -1] - last) / (np.abs(last) if relative else 1.0)
    losses = _known_order(test.losses)
    moved = _known_order(moves)
    picked = (
        [("typical", losses[len(losses) // 2]), ("worst", losses[-1]), ("best", losses[0])]
        if losses
        else []
    )
    picked += [("largest rise", moved[-1]), ("largest fall", moved[0])] if moved else []
    behind = _known_order(test.losses - naive.losses) if naive is not None else []
    if naive is not None and behind and test.losses[behind[-1]] > naive.losses[behind[-1]]:
        picked.append(("furthest behind naive", behind[-1]))
    words: dict[int, list[str]] = {}
    for word, place in picked:
        words.setdefault(place, []).append(word)
    return [(", ".join(why), place) for place, why in words.items()]


def _known_order(values: Floats) -> list[int]:
    """The places of the finite values, smallest first."""
    return [int(i) for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]


def _origin_panel(
    results: Results,
    series: str,
    word: str,
    origin: int,
    tests: Tests,
    history: pd.Series,
    judge: str,
) -> Panel:
    """The last values before one cutoff, then the forecasts of every shown model and the actual
    values.
    """
    test = tests[judge][1]
    cutoff, horizon = test.cutoffs[origin], test.y.shape[1]
    past = history[history.index <= cutoff].iloc[-max(2 * horizon, LEAST_HISTORY) :]
    x = np.arange(1 - len(past), horizon + 1, dtype=float)
    lines = [Line("actual", x, np.concatenate([past.to_numpy(), test.y[origin]]), "actual")]
    for role, (model, found) in tests.items():
        intervals = intervals_at(results, model, series, cutoff) if role == "chosen" else ()
        lines.append(_forecast_line(role, model, found, origin, x, intervals))
    low, spans = int(x[0]), (-2 * horizon, -horizon, 0, horizon)
    steps = [t for t in spans if low - 1 <= t] if horizon > 7 else [low, 0, horizon]
    write = _writing(results)
    when = write(cutoff)
    axes = Axes(
        label=f"{word} forecast of {series} at {when}, against the actual values",
        x_title=f"{step_unit(results.dataset)} from the cutoff",
        y_title=results.unit_of(series) or results.dataset.target[0].column,
        x_ticks=[(float(t), f"{t:+d}".replace("-", text.MINUS) if t else "cutoff") for t in steps],
        divide=0.0,
        moments=[write(pd.Timestamp(d)) for d in [*past.index, *test.ds[origin]]],
    )
    errors = ", ".join(
        f"{text.name(model)} {text.figure(found.losses[origin], 3)}"
        for model, found in tests.values()
    )
    return Panel(
        f"{word.capitalize()}: {series}, {when}",
        line_chart(lines, axes),
        f"Mean absolute error: {errors}",
    )


def _forecast_line(
    role: str, model: str, test: Test, origin: int, x: Floats, intervals: Bands
) -> Line:
    """The seed-mean forecast of one origin on the panel's x, with its intervals, else with the
    range over seeds.
    """
    unknown = np.full(len(x) - test.y.shape[1], np.nan)
    seeds = test.y_hat[:, origin]
    low, high, mean = (
        np.concatenate([unknown, f(seeds, axis=0)]) for f in (np.min, np.max, np.mean)
    )
    bands = tuple(
        (np.concatenate([unknown, a]), np.concatenate([unknown, b])) for a, b in intervals
    )
    return Line(
        text.name(model), x, mean, role, model, bands or (((low, high),) if len(seeds) > 1 else ())
    )


def intervals_at(results: Results, model: str, series: str, cutoff: pd.Timestamp) -> Bands:
    """The chosen model's intervals from one cutoff: (lower, upper) by step, the widest level first.

    Empty where all levels were refused.
    """
    rows = in_ranking(results.bands, "shipped")
    mine = (rows["model"] == model) & (rows["series"] == series)
    rows = rows[mine & (rows["cutoff"] == cutoff)].sort_values("step")
    ends = [(floats(part["lower"]), floats(part["upper"])) for _, part in rows.groupby("level")]
    return tuple(reversed(ends))


def _writing(results: Results) -> Callable[[datetime], str]:
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
    shown = {} if results.dataset.calendar.kind == "index" else compared(results)
    panels = []
    for series in results.series[:MOST_SERIES] if shown else ():
        errors = {
            role: (model, _by_period(test_of(frame, series)))
            for role, (model, frame) in shown.items()
        }
        unit = results.unit_of(series)
        with np.errstate(divide="ignore", invalid="ignore"):
            known = errors if "naive" in errors else {}
            relative = {
                role: (model, found / errors["naive"][1] - 1)
                for role, (model, found) in known.items()
            }
        for title, own, y_title, show in (
            (series, errors, f"MAE, {unit}" if unit else "MAE", None),
            (f"{series} against naive", relative, AGAINST_NAIVE, change),
        ):
            # there is no error without an actual, and no share of a naive forecast without error
            drawn = {role: one for role, one in own.items() if np.isfinite(one[1]).any()}
            panels += [_time_panel(title, drawn, y_title, show)] if drawn else []
    return panels


def _by_period(test: Test) -> pd.Series:
    """Mean absolute error by period, named 2016 Q1, Jul 2025, or by the first day of a week."""
    months = (test.cutoffs[-1] - test.cutoffs[0]).days / 30.4
    freq = "Q" if months > 18 else "M" if months > 4 else "W"
    mean = pd.Series(test.losses).groupby(pd.DatetimeIndex(test.ds[:, 0]).to_period(freq)).mean()
    starts = pd.PeriodIndex(mean.index).start_time
    if freq == "Q":
        return mean.set_axis([f"{start.year} Q{start.quarter}" for start in starts])
    return mean.set_axis(
        [f"{start:%b %Y}" if freq == "M" else f"{start.day} {start:%b}" for start in starts]
    )


def _time_panel(
    title: str,
    errors: dict[str, tuple[str, pd.Series]],
    y_title: str,
    show: Callable[[float], str] | None,
) -> Panel:
    periods = list(next(iter(errors.values()))[1].index)
    x = np.arange(float(len(periods)))
    lines = [
        Line(text.name(m), x, np.asarray(found, float), role, m)
        for role, (m, found) in errors.items()
    ]
    ticks = [(float(i), periods[i]) for i in range(0, len(periods), max(1, -(-len(periods) // 4)))]
    axes = Axes(f"Test error by period: {title}", "", y_title, ticks, moments=periods, show=show)
    return Panel(title, line_chart(lines, axes))
