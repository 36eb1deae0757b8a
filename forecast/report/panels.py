"""Charts of forecasts against actual values, and of the test error through the calendar.

For the page: the last test forecast (its first screen), the origins that a stated rule picks, and
the mean absolute error by hour of the day, weekday and month. All are drawn from `SeriesForecasts`:
the test forecasts of the few models that are shown, for one series. Of private data (`is_private`:
their terms forbid to pass values on) the forecasts are not drawn, the errors through the calendar
are; rows without dates have no calendar.

`last_panel`, `forecast_panels` and `calendar_panels` draw, `pick_origins` has the rule.

Another chart of forecasts is a function of `SeriesForecasts` that returns `ChartPanel`s, with its
place in `dataset.html.j2`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from forecast.comparison.scores import ForecastCube, series_forecasts
from forecast.config.task import format_time
from forecast.data.panel import add_series_names
from forecast.data.results import Results, in_ranking
from forecast.report import text
from forecast.report.charts import Axes, Floats, Line, floats, line_chart, name_ticks
from forecast.report.figures import LINEAR, ChartPanel, role_of, step_unit, title_of_series
from forecast.report.text import MOST_SERIES

LEAST_HISTORY = 15
MOST_MONTHS = 24
"""A longer test block is shown by quarters."""


@dataclass(frozen=True)
class SeriesForecasts:
    """What is drawn of one series."""

    series: str
    models: dict[str, str]
    """Role (naive, skip, network, chosen) to the model that plays it."""
    tests: dict[str, ForecastCube]
    """The forecasts of the test block by role; never empty."""
    history: pd.Series
    """Every observed target, by time."""

    @property
    def judge(self) -> str:
        """The role in `tests` whose errors pick the origins: the selected model, else the last one
        shown.
        """
        return "chosen" if "chosen" in self.tests else list(self.tests)[-1]


def read_forecasts(results: Results) -> list[SeriesForecasts]:
    """The forecasts of the `MOST_SERIES` largest series; empty where no shown model has any."""
    models = models_by_role(results)
    if not models:
        return []
    names = {role: str(results.candidate(model, "shipped")) for role, model in models.items()}
    actuals = results.forecasts_by_series(next(iter(names.values())))
    histories = {}
    for series in sort_by_size(results)[:MOST_SERIES]:
        rows = actuals[actuals["unique_id"] == series].drop_duplicates("ds").sort_values("ds")
        histories[series] = pd.Series(floats(rows["y"]), index=pd.DatetimeIndex(rows["ds"]))
    tests: dict[str, dict[str, ForecastCube]] = {series: {} for series in histories}
    for role, name in names.items():
        rows = add_series_names(results.forecasts(name, "test"))
        for cube in series_forecasts(rows[rows["series"].isin(list(histories))], histories):
            tests[cube.series][role] = cube
    return [
        SeriesForecasts(series, models, tests[series], history)
        for series, history in histories.items()
    ]


def mean_errors(test: ForecastCube) -> Floats:
    """Mean absolute error per origin (n,); steps without an observation are left out."""
    return np.asarray(pd.DataFrame(np.abs(test.seed_mean - test.y)).mean(axis=1))


def sort_by_size(results: Results) -> list[str]:
    """The series by the mean of their actuals in the test block, the largest first, equal ones by
    name, those that have ended at the end; as they stand where several targets have units of their
    own.
    """
    if len(results.dataset.target) > 1:
        return list(results.series)
    means = results.naive_on_test.groupby("unique_id")["y"].mean()
    means = means.reindex(sorted(results.series)).sort_values(ascending=False, kind="stable")
    return sorted(means.index, key=_ended_series(results).__contains__)


def describe_first(results: Results) -> str:
    """What the first of `sort_by_size` is: `largest`."""
    if len(results.dataset.target) > 1:
        return "first"
    return "largest that goes on" if _ended_series(results) else "largest"


def _ended_series(results: Results) -> set[str]:
    """The series without an actual in the newest quarter of the test block."""
    tested = results.naive_on_test
    ends = tested.groupby("unique_id")["ds"].max()
    return set(ends.index[ends <= tested["ds"].quantile(0.75)])


def models_by_role(results: Results) -> dict[str, str]:
    """Role to model of what is shown against the actual values: naive, the ridge, the best network
    and the selected model, as far as they have forecasts.
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
    """Whether the data's terms forbid to show their values in a page that may be passed on."""
    dataset = results.dataset
    return dataset.source.is_for_personal_use or "personal use" in dataset.licence.name.lower()


def last_panel(results: Results, forecasts: list[SeriesForecasts]) -> ChartPanel | None:
    """The last forecast of the test block of the largest series; None of private data."""
    if not forecasts or is_private(results):
        return None
    last = len(forecasts[0].tests[forecasts[0].judge].cutoffs) - 1
    note = "The last origin of the test block, whose newest rows are the actual values"
    if len(results.series) > 1:
        first = describe_first(results)
        if first != "first":
            first += " (by its mean there)"
        series = f"{text.count(len(results.series))} series"
        note += f"; {forecasts[0].series} is the {first} of {series}"
    return replace(_origin_panel(results, forecasts[0], "last test", last), note=note)


def forecast_panels(results: Results, forecasts: list[SeriesForecasts]) -> list[ChartPanel]:
    """Per series the origins of the test block that `pick_origins` names; none of private data."""
    panels: list[ChartPanel] = []
    if is_private(results):
        return panels
    for drawing in forecasts:
        for word, origin in pick_origins(drawing):
            panels.append(_origin_panel(results, drawing, word, origin))
    return panels


def pick_origins(forecasts: SeriesForecasts) -> list[tuple[str, int]]:
    """(why, origin): typical, worst and best error of `SeriesForecasts.judge`, a mean over the
    horizon; furthest behind naive. Each origin once.
    """
    losses = pd.Series(mean_errors(forecasts.tests[forecasts.judge]))
    by_loss = losses.dropna().sort_values(kind="stable").index
    if by_loss.empty:
        return []
    picked = {"typical": by_loss[len(by_loss) // 2], "worst": by_loss[-1], "best": by_loss[0]}
    if "naive" in forecasts.tests:
        excess = losses - mean_errors(forecasts.tests["naive"])
        if excess.max() > 0:
            picked["furthest behind naive"] = excess.idxmax()
    words: dict[int, list[str]] = {}
    for word, origin in picked.items():
        words.setdefault(int(origin), []).append(word)
    return [(", ".join(why), origin) for origin, why in words.items()]


def _origin_panel(
    results: Results, forecasts: SeriesForecasts, word: str, origin: int
) -> ChartPanel:
    """The last values before one cutoff, then the forecasts of every shown model and the actual
    values. `word` says why this origin is shown.
    """
    series = forecasts.series
    test = forecasts.tests[forecasts.judge]
    cutoff = pd.Timestamp(test.cutoffs[origin])
    horizon = test.y.shape[1]
    known = forecasts.history[forecasts.history.index <= cutoff]
    past = known.iloc[-max(2 * horizon, LEAST_HISTORY) :]
    x = np.arange(1 - len(past), horizon + 1, dtype=float)
    lines = [Line("actual", x, np.concatenate([past.to_numpy(), test.y[origin]]), "actual")]
    errors = []
    for role, of_model in forecasts.tests.items():
        model = forecasts.models[role]
        intervals: Bands = ()
        if role == "chosen":
            intervals = intervals_at(results, model, series, cutoff)
        lines.append(_forecast_line(role, model, of_model, origin, x, intervals))
        errors.append(f"{text.name(model)} {text.figure(mean_errors(of_model)[origin], 3)}")
    write = time_format(results)
    moments = [write(pd.Timestamp(d)) for d in [*past.index, *test.ds[origin]]]
    title = f"{series}, {write(cutoff)}"
    clock = " UTC" if ":" in write(cutoff) else ""
    axes = Axes(
        label=f"{word} forecast of {series} at {write(cutoff)}, against the actual values",
        x_title=f"{step_unit(results.dataset)}, forecast from {write(cutoff)}{clock}",
        y_title=results.unit_of(series) or results.dataset.target[0].column,
        x_ticks=[(x[0], moments[0]), (x[-1], moments[-1])],
        divide=0.0,
        moments=moments,
    )
    note = f"Mean absolute error: {', '.join(errors)}"
    return ChartPanel(f"{word.capitalize()} forecast: {title}", line_chart(lines, axes), note)


Bands = tuple[tuple[Floats, Floats], ...]


def _forecast_line(
    role: str, model: str, test: ForecastCube, origin: int, x: Floats, intervals: Bands
) -> Line:
    """The seed-mean forecast of one origin on the panel's x, with its intervals, else with the
    range over seeds.
    """
    before_cutoff = np.full(len(x) - test.y.shape[1], np.nan)
    seeds = test.y_hat[:, origin]
    ends = list(intervals)
    if not ends and len(seeds) > 1:
        ends = [(seeds.min(axis=0), seeds.max(axis=0))]
    bands = []
    for low, high in ends:
        bands.append((np.concatenate([before_cutoff, low]), np.concatenate([before_cutoff, high])))
    mean = np.concatenate([before_cutoff, np.mean(seeds, axis=0)])
    return Line(text.name(model), x, mean, role, model, tuple(bands))


def intervals_at(results: Results, model: str, series: str, cutoff: pd.Timestamp) -> Bands:
    """The selected model's intervals from one cutoff: (lower, upper) by step, the widest level
    first. Empty where no level is supported.
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
    """Mean absolute test error by the hour, weekday and month that was forecast, per series in its
    unit, all steps together; only where there is more than one of them; of private data too. None
    of rows without dates.
    """
    panels: list[ChartPanel] = []
    if results.dataset.calendar.counts_rows:
        return panels
    for drawing in forecasts:
        times = pd.DatetimeIndex(next(iter(drawing.tests.values())).ds.ravel())
        for title, keys in group_times(times).items():
            panels += _calendar_panel(results, drawing, title, keys)
    return panels


def group_times(times: pd.DatetimeIndex) -> dict[str, pd.Index]:
    """The groups of the times by title: the month and, of steps up to a day, the hour and the
    weekday; only those of more than one group.
    """
    groups: dict[str, pd.Index] = {"month": _months_or_quarters(times)}
    step = times.unique().sort_values().to_series().diff().median()
    if step <= pd.Timedelta(days=1):
        groups = {"hour of the day, UTC": times.hour, "weekday": times.day_of_week} | groups
    return {title: keys for title, keys in groups.items() if keys.nunique() > 1}


def _months_or_quarters(times: pd.DatetimeIndex) -> pd.PeriodIndex:
    """The month of each time, or the quarter where they span more than `MOST_MONTHS`."""
    months = times.to_period("M")
    return months if months.nunique() <= MOST_MONTHS else times.to_period("Q")


def name_period(key: pd.Period | int, title: str) -> str:
    """`Jul 2025`, `2025 Q3`, `Mon` or `17` of an hour."""
    if isinstance(key, pd.Period):
        return str(key.strftime("%Y Q%q" if key.freqstr.startswith("Q") else "%b %Y"))
    return WEEKDAYS[key] if title == "weekday" else str(key)


def _calendar_panel(
    results: Results, forecasts: SeriesForecasts, title: str, keys: pd.Index
) -> list[ChartPanel]:
    """One chart; `keys` (origins * horizon,): the group of each forecast value. None where no
    value was observed.
    """
    lines = []
    for role, test in forecasts.tests.items():
        errors = (
            pd.Series(np.abs(test.seed_mean - test.y).ravel()).groupby(keys).mean().sort_index()
        )
        if errors.notna().any():
            model = forecasts.models[role]
            x = np.arange(float(len(errors)))
            lines.append(Line(text.name(model), x, floats(errors), role, model))
    if not lines:
        return []
    names = [name_period(key, title) for key in errors.index]
    unit = results.unit_of(forecasts.series)
    title = title_of_series(results, f"By {title}", forecasts.series)
    axes = Axes(
        label=f"Test error, {title}",
        x_title="",
        y_title=f"MAE, {unit}" if unit else "MAE",
        x_ticks=name_ticks(names),
        moments=names,
    )
    return [ChartPanel(title, line_chart(lines, axes))]
