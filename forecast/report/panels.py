"""The page's charts of forecasts and actual values: the last test forecast (`last_panel`), origins
that a rule picks (`forecast_panels`, `pick_origins`), and the test error by hour, weekday and month
(`calendar_panels`).

All are drawn from `SeriesForecasts`, the test forecasts of a few models for one series, for the
`MOST_SERIES` largest series. Forecasts of private data (`is_private`), whose terms forbid to pass
values on, are not drawn; errors are. A chart begins two horizons (`LEAST_HISTORY` rows at least)
before the cutoff, where the validation block has begun by then. The levels shaded are those of
configs/evaluation.yaml that stage `compare` wrote for the selected model (`Results.bands`); around
other networks it is the range of the seeds. The sentence about it is in templates/dataset.html.j2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from forecast.comparison.scores import (
    ForecastCube,
    list_ended_series,
    series_forecasts,
    sort_by_size,
)
from forecast.config.task import format_time
from forecast.data.panel import add_series_names
from forecast.data.results import Results, in_ranking
from forecast.report import text
from forecast.report.charts import Axes, Floats, Line, floats, line_chart, name_ticks
from forecast.report.figures import LINEAR, ChartPanel, role_of, step_unit
from forecast.report.text import MOST_SERIES

LEAST_HISTORY = 15
"""Fewest actual values that are drawn before a cutoff."""
MOST_MONTHS = 24
"""The errors of a longer test block are shown by quarters."""


@dataclass(frozen=True)
class SeriesForecasts:
    """The forecasts of one series that are drawn, by the role of their model in the charts: naive,
    skip, network or chosen (`figures.role_of`).
    """

    series: str
    models: dict[str, str]
    """The model in each role."""
    on_test: dict[str, ForecastCube]
    """The forecasts of the test block by role; never empty."""
    history: pd.Series
    """The actuals that some forecast was made of (validation block and later), by time."""

    @property
    def main(self) -> ForecastCube:
        """The forecasts whose errors pick the origins: those of the selected model, or of the last
        one shown.
        """
        return self.on_test.get("chosen", list(self.on_test.values())[-1])


def read_forecasts(results: Results) -> list[SeriesForecasts]:
    """The forecasts of the `MOST_SERIES` largest series; empty if no model to show has any."""
    models = models_by_role(results)
    if not models:
        return []
    names = {role: str(results.candidate(model, "shipped")) for role, model in models.items()}
    actuals = results.forecasts_by_series(next(iter(names.values())))
    histories = {}
    for series in sort_by_size(results)[:MOST_SERIES]:
        rows = actuals[actuals["unique_id"] == series].drop_duplicates("ds").sort_values("ds")
        histories[series] = pd.Series(floats(rows["y"]), index=pd.DatetimeIndex(rows["ds"]))
    on_test: dict[str, dict[str, ForecastCube]] = {series: {} for series in histories}
    for role, name in names.items():
        rows = add_series_names(results.forecasts(name, "test"))
        for cube in series_forecasts(rows[rows["series"].isin(list(histories))], histories):
            on_test[cube.series][role] = cube
    return [
        SeriesForecasts(series, models, on_test[series], history)
        for series, history in histories.items()
    ]


def mean_errors(cube: ForecastCube) -> Floats:
    """(n,): the mean absolute error of each origin over its observed steps."""
    return np.asarray(pd.DataFrame(np.abs(cube.seed_mean - cube.y)).mean(axis=1))


def describe_first(results: Results) -> str:
    """What the first series of `sort_by_size` is in words: `largest`."""
    if len(results.dataset.target) > 1:
        return "first"
    return "largest that goes on" if list_ended_series(results) else "largest"


def models_by_role(results: Results) -> dict[str, str]:
    """By role the models that are drawn with the actual values: naive, the ridge, the best network
    and the selected model, as far as they have forecasts.

    A model with several roles has the first that `figures.role_of` finds; a selected model is drawn
    as `chosen` whatever it is. A further model needs a role of its own in `charts.ROLES`, since
    those with the role `other` are left out.
    """
    candidates = [
        "naive",
        LINEAR,
        results.best_network("shipped"),
        results.selected_model("shipped"),
    ]
    models = {}
    for model in candidates:
        name = results.candidate(model or "", "shipped")
        if model and name and not results.records[name].has_failed:
            models[role_of(results, "shipped", model)] = model
    models.pop("other", None)
    return models


def is_private(results: Results) -> bool:
    """Whether the terms of the data forbid to pass their values on: those of Yahoo, and those with
    `personal use` in the name of the `licence` of a dataset.

    Of such data the page shows errors, times and counts. It draws and lists no forecast, explains
    none, and quotes no value: neither the extremes of a column nor what a data check found.
    """
    dataset = results.dataset
    return dataset.source.is_for_personal_use or "personal use" in dataset.licence.name.lower()


def last_panel(results: Results, forecasts: list[SeriesForecasts]) -> ChartPanel | None:
    """The last test forecast of the largest series; None for private data."""
    if not forecasts or is_private(results):
        return None
    last = len(forecasts[0].main.cutoffs) - 1
    note = "The last origin of the test block, whose newest rows are the actual values"
    if len(results.series) > 1:
        first = describe_first(results)
        if first != "first":
            first += " (by its mean there)"
        series = f"{text.count(len(results.series))} series"
        note += f"; {forecasts[0].series} is the {first} of {series}"
    return replace(_origin_panel(results, forecasts[0], "last test", last), note=note)


def forecast_panels(results: Results, forecasts: list[SeriesForecasts]) -> list[ChartPanel]:
    """For each series the forecasts at the origins of `pick_origins`; none for private data."""
    if is_private(results):
        return []
    return [
        _origin_panel(results, drawing, reason, origin)
        for drawing in forecasts
        for reason, origin in pick_origins(drawing)
    ]


def pick_origins(forecasts: SeriesForecasts) -> list[tuple[str, int]]:
    """The origins to draw, each once with the reason: those with the median, largest and smallest
    error of `SeriesForecasts.main`, and the one where it is furthest behind naive.
    """
    losses = pd.Series(mean_errors(forecasts.main))
    by_loss = losses.dropna().sort_values(kind="stable").index
    if by_loss.empty:
        return []
    picked = {"typical": by_loss[len(by_loss) // 2], "worst": by_loss[-1], "best": by_loss[0]}
    if "naive" in forecasts.on_test:
        excess = losses - mean_errors(forecasts.on_test["naive"])
        if excess.max() > 0:
            picked["furthest behind naive"] = excess.idxmax()
    reasons: dict[int, list[str]] = {}
    for reason, origin in picked.items():
        reasons.setdefault(int(origin), []).append(reason)
    return [(", ".join(listed), origin) for origin, listed in reasons.items()]


def _origin_panel(
    results: Results, forecasts: SeriesForecasts, reason: str, origin: int
) -> ChartPanel:
    """A chart of the last actuals before a cutoff, the actuals after it, and the forecasts of every
    model that is drawn. `reason`: why this origin is shown.
    """
    series = forecasts.series
    main = forecasts.main
    cutoff = pd.Timestamp(main.cutoffs[origin])
    horizon = main.y.shape[1]
    known = forecasts.history[forecasts.history.index <= cutoff]
    past = known.iloc[-max(2 * horizon, LEAST_HISTORY) :]
    x = np.arange(1 - len(past), horizon + 1, dtype=float)
    lines = [Line("actual", x, np.concatenate([past.to_numpy(), main.y[origin]]), "actual")]
    errors = []
    for role, cube in forecasts.on_test.items():
        model = forecasts.models[role]
        intervals: Bands = ()
        if role == "chosen":
            intervals = intervals_at(results, model, series, cutoff)
        lines.append(_forecast_line(role, model, cube, origin, x, intervals))
        errors.append(f"{text.name(model)} {text.figure(mean_errors(cube)[origin], 3)}")
    write = time_format(results)
    moments = [write(pd.Timestamp(d)) for d in [*past.index, *main.ds[origin]]]
    title = f"{series}, {write(cutoff)}"
    clock = " UTC" if ":" in write(cutoff) else ""
    axes = Axes(
        label=f"{reason} forecast of {series} at {write(cutoff)}, against the actual values",
        x_title=f"{step_unit(results.dataset)}, forecast from {write(cutoff)}{clock}",
        y_title=results.unit_of(series) or results.dataset.target[0].column,
        x_ticks=[(x[0], moments[0]), (x[-1], moments[-1])],
        divider_x=0.0,
        x_names=moments,
    )
    note = f"Mean absolute error: {', '.join(errors)}"
    return ChartPanel(f"{reason.capitalize()} forecast: {title}", line_chart(lines, axes), note)


Bands = tuple[tuple[Floats, Floats], ...]


def _forecast_line(
    role: str, model: str, cube: ForecastCube, origin: int, x: Floats, intervals: Bands
) -> Line:
    """The line of the mean of the seeds' forecasts from one origin, with `intervals`, or without
    any with the range of the seeds. `x`: of the chart, with the rows before the cutoff.
    """
    seeds = cube.y_hat[:, origin]
    if not intervals and len(seeds) > 1:
        intervals = ((seeds.min(axis=0), seeds.max(axis=0)),)

    def over_chart(values: Floats) -> Floats:
        """The values of the horizon, with none at the rows before the cutoff."""
        return np.concatenate([np.full(len(x) - len(values), np.nan), values])

    bands = tuple((over_chart(low), over_chart(high)) for low, high in intervals)
    mean = over_chart(np.mean(seeds, axis=0))
    return Line(text.name(model), x, mean, role, model, bands)


def intervals_at(results: Results, model: str, series: str, cutoff: pd.Timestamp) -> Bands:
    """The intervals of the selected model from one cutoff, (lower, upper) by step, the widest level
    first; empty if no level is supported.
    """
    rows = in_ranking(results.bands, "shipped")
    mine = (rows["model"] == model) & (rows["series"] == series)
    rows = rows[mine & (rows["cutoff"] == cutoff)].sort_values("step")
    ends = [(floats(part["lower"]), floats(part["upper"])) for _, part in rows.groupby("level")]
    return tuple(reversed(ends))


def time_format(results: Results) -> Callable[[datetime], str]:
    """A function that writes a time: with its hour if steps are shorter than a day; as the number
    of the row if rows have no dates.
    """
    times = pd.DatetimeIndex(results.naive["ds"])
    has_hours = bool((times != times.normalize()).any())
    is_index = results.dataset.calendar.counts_rows

    def write(moment: datetime) -> str:
        if is_index:
            return format_time("index", moment.isoformat())
        return text.moment(moment, hours=has_hours)

    return write


WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def calendar_panels(results: Results, forecasts: list[SeriesForecasts]) -> list[ChartPanel]:
    """Charts of the mean absolute test error by the hour, weekday and month that was forecast, for
    each series in its unit, over all steps; private data too. Empty if rows have no dates.
    """
    panels: list[ChartPanel] = []
    if results.dataset.calendar.counts_rows:
        return panels
    for drawing in forecasts:
        times = pd.DatetimeIndex(drawing.main.ds.ravel())
        for title, keys in group_times(times).items():
            panels += _calendar_panel(results, drawing, title, keys)
    return panels


def group_times(times: pd.DatetimeIndex) -> dict[str, pd.Index]:
    """The group of each of `times`, by title: the month (of more than `MOST_MONTHS` the quarter)
    and, for steps of up to a day, hour and weekday. Titles with a single group are left out.
    """
    months = times.to_period("M")
    if months.nunique() > MOST_MONTHS:
        months = times.to_period("Q")
    groups: dict[str, pd.Index] = {"month": months}
    step = times.unique().sort_values().to_series().diff().median()
    if step <= pd.Timedelta(days=1):
        groups = {"hour of the day, UTC": times.hour, "weekday": times.day_of_week} | groups
    return {title: keys for title, keys in groups.items() if keys.nunique() > 1}


def name_period(key: pd.Period | int, title: str) -> str:
    """The name of a group: `Jul 2025`, `2025 Q3`, `Mon`, or `17` for an hour."""
    if isinstance(key, pd.Period):
        return str(key.strftime("%Y Q%q" if key.freqstr.startswith("Q") else "%b %Y"))
    return WEEKDAYS[key] if title == "weekday" else str(key)


def _calendar_panel(
    results: Results, forecasts: SeriesForecasts, title: str, keys: pd.Index
) -> list[ChartPanel]:
    """One chart of the error by group; no chart if no value was observed. `keys`
    (origins * horizon,): the group of each forecast value.
    """
    lines = []
    for role, cube in forecasts.on_test.items():
        errors = pd.Series(np.abs(cube.seed_mean - cube.y).ravel()).groupby(keys).mean()
        errors = errors.sort_index()
        if errors.notna().any():
            model = forecasts.models[role]
            x = np.arange(float(len(errors)))
            lines.append(Line(text.name(model), x, floats(errors), role, model))
    if not lines:
        return []
    periods = [name_period(key, title) for key in errors.index]
    unit = results.unit_of(forecasts.series)
    title = f"By {title}"
    if len(results.series) > 1:
        title += f", {forecasts.series}"
    axes = Axes(
        label=f"Test error, {title}",
        x_title="",
        y_title=f"MAE, {unit}" if unit else "MAE",
        x_ticks=name_ticks(periods),
        x_names=periods,
    )
    return [ChartPanel(title, line_chart(lines, axes))]
